package muc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chatd/stanza"
)

// texts is what messages say.
func texts(all []string) (said []string) {
	for _, m := range all {
		_, rest, _ := strings.Cut(m, "<body>")
		text, _, _ := strings.Cut(rest, "</body>")
		said = append(said, text)
	}
	return said
}

// TestMove drains a node while occupants of its rooms talk.
func TestMove(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	const count = 12
	alice, bob := c.node("a").client("alice@chat.test/1"), c.node("b").client("bob@chat.test/1")
	for i := range count {
		room := fmt.Sprint("r", i)
		alice.makes(room, "Alice")
		bob.enter(room, "Bob")
		c.quiet()
	}
	alice.hears("")
	bob.hears("")
	total := 0
	say := func() {
		for i := range count {
			alice.shout(fmt.Sprint("r", i), fmt.Sprint(total))
		}
		total++
	}
	for range 20 {
		say()
	}
	go c.place([]string{"a", "b", "c"}, []string{"a", "b"})
	for c.node("c").Token() == (Token{1, 0}) {
		say()
	}
	for range 200 {
		say()
	}
	c.quiet()
	say()
	c.quiet()
	if n := c.node("c").count.Load(); n != 0 {
		t.Errorf("%d rooms have stayed", n)
	}
	for _, who := range []*fakeClient{alice, bob} {
		all := who.hears("")
		for i := range count {
			var mine []string
			for _, m := range all {
				if strings.Contains(m, fmt.Sprintf("from='r%d@", i)) {
					mine = append(mine, m)
				}
			}
			said := texts(mine)
			for k := range total {
				if k >= len(said) || said[k] != fmt.Sprint(k) {
					t.Fatalf("%s: room %d: message %d of %d is missing or late: %v", who.jid, i, k, total, said[min(k, len(said)):min(k+3, len(said))])
				}
			}
			if len(said) != total {
				t.Errorf("%s: room %d: %d messages too many", who.jid, i, len(said)-total)
			}
		}
	}
}

// TestHomeDies kills each node of a cluster in turn, in which there are occupants on the others.
func TestHomeDies(t *testing.T) {
	for _, victim := range []string{"a", "b", "c"} {
		t.Run(victim, func(t *testing.T) {
			c := newFakeCluster(t, "a", "b", "c")
			const count = 12
			users := map[string]*fakeClient{}
			for _, n := range c.nodes {
				users[n.name] = n.client("u" + n.name + "@chat.test/1")
			}
			rest := []*fakeClient{}
			for name, u := range users {
				if name != victim {
					rest = append(rest, u)
				}
			}
			for i := range count {
				room := fmt.Sprint("r", i)
				owner := rest[0]
				owner.makes(room, owner.jid.Local())
				owner.says("<iq type='set' id='m' to='%s@%s'><query xmlns='%s'><item affiliation='admin' jid='%s'/></query></iq>", room, fakeHost, nsAdmin, rest[1].jid.Bare())
				c.quiet()
				for _, u := range users {
					u.enter(room, u.jid.Local())
				}
				c.quiet()
				owner.says("<message type='groupchat' to='%s@%s'><subject>s%d</subject></message>", room, fakeHost, i)
				rest[1].shout(room, fmt.Sprint("before ", i))
				c.quiet()
			}
			for _, u := range users {
				u.hears("")
			}
			c.kill(victim)
			c.quiet()
			for _, u := range rest {
				all := u.hears("")
				if len(all) != count {
					t.Errorf("%s heard %d stanzas, not one of each room: %s", u.jid, len(all), strings.Join(all, "\n"))
				}
				for _, m := range all {
					if !strings.Contains(m, "/u"+victim+"'") || !strings.Contains(m, "unavailable") || !strings.Contains(m, "333") {
						t.Errorf("%s heard %s", u.jid, m)
					}
				}
			}
			for i := range count {
				rest[0].shout(fmt.Sprint("r", i), fmt.Sprint("after ", i))
			}
			c.quiet()
			for _, u := range rest {
				if got := texts(u.hears("<body>")); len(got) != count {
					t.Errorf("%s heard %v", u.jid, got)
				}
			}
			late := rest[0].n.client("late@chat.test/1")
			for i := range count {
				late.enter(fmt.Sprint("r", i), "late")
				c.quiet()
				all := strings.Join(late.hears(""), "\n")
				for _, want := range []string{"affiliation='owner'", "affiliation='admin'", "/" + rest[0].jid.Local(), "/" + rest[1].jid.Local(),
					fmt.Sprint("<body>before ", i), fmt.Sprint("<body>after ", i), fmt.Sprintf("<subject>s%d<", i)} {
					if !strings.Contains(all, want) {
						t.Errorf("room %d has no %s any more: %s", i, want, all)
					}
				}
				if strings.Contains(all, "/u"+victim+"'") {
					t.Errorf("room %d still has its lost occupant", i)
				}
			}
		})
	}
}

// TestStops has a node lose sight of the others when it has stopped: rooms of which it has copies stay theirs.
func TestStops(t *testing.T) {
	c := newFakeCluster(t, "a", "b")
	b, room := c.node("b"), "r0"
	for i := 1; b.Home(room) != "a"; i++ {
		room = fmt.Sprint("r", i)
	}
	c.node("a").client("ann@chat.test/1").makes(room, "Ann")
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.place([]string{"b"}, []string{"b"})
	c.quiet()
	if all := b.orphaned(); len(all) != 1 || all[0] != room || b.count.Load() > 0 {
		t.Errorf("%d rooms are here, copies of %v", b.count.Load(), all)
	}
}

// TestSplit cuts a cluster in two, has both sides talk, and heals it.
func TestSplit(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	const count = 12
	var users []*fakeClient
	for _, n := range c.nodes {
		users = append(users, n.client("u"+n.name+"@chat.test/1"))
	}
	for i := range count {
		room := fmt.Sprint("r", i)
		for _, u := range users {
			u.makes(room, u.jid.Local())
		}
	}
	for _, u := range users {
		u.hears("")
	}
	c.place([]string{"a"}, []string{"a"})
	c.place([]string{"b", "c"}, []string{"b", "c"})
	c.quiet()
	gone := func(m, who string) bool {
		return strings.Contains(m, "/u"+who+"'") && strings.Contains(m, "unavailable")
	}
	for i, lost := range [][]string{{"b", "c"}, {"a"}, {"a"}} {
		all := users[i].await(count * len(lost))
		for _, who := range lost {
			n := 0
			for _, m := range all {
				if gone(m, who) {
					n++
				}
			}
			if n != count {
				t.Errorf("%s was told %d times that u%s has gone", users[i].jid, n, who)
			}
		}
		if len(all) != count*len(lost) {
			t.Errorf("%s was told %d things: %s", users[i].jid, len(all), strings.Join(all, "\n"))
		}
	}
	eve, fay := c.node("a").client("eve@chat.test/1"), c.node("b").client("fay@chat.test/1")
	for i := range count {
		room := fmt.Sprint("r", i)
		users[0].shout(room, "left")
		users[1].shout(room, "right")
		eve.enter(room, "Guest") // the same nick on both sides
		fay.enter(room, "Guest")
	}
	c.quiet()
	for i, want := range []string{"left", "right", "right"} {
		if got := texts(users[i].hears("<body>")); len(got) != count || got[0] != want {
			t.Errorf("%s heard %v", users[i].jid, got)
		}
	}
	eve.hears("")
	fay.hears("")
	all := []string{"a", "b", "c"}
	c.place(all, all)
	c.quiet()
	renamed := 0
	for _, m := range append(eve.hears(""), fay.hears("")...) {
		st, err := stanza.Parse([]byte(m))
		if err != nil {
			t.Fatalf("a guest was sent what is no stanza: %v: %q", err, m)
		}
		if st.From.Resource() == "Guest 2" && strings.Contains(m, "<status code='210'/>") {
			renamed++
		}
	}
	if renamed != count {
		t.Errorf("guests were told %d times that they have another nick now", renamed)
	}
	for i, back := range [][]string{{"b", "c"}, {"a"}, {"a"}} {
		text := users[i].hears("<presence")
		for _, who := range back {
			n := 0
			for _, m := range text {
				if strings.Contains(m, "/u"+who+"'") && !strings.Contains(m, "unavailable") {
					n++
				}
			}
			if n != count {
				t.Errorf("%s was told %d times, not once a room, that u%s is there", users[i].jid, n, who)
			}
		}
	}
	for i := range count {
		users[i%3].shout(fmt.Sprint("r", i), "whole")
	}
	c.quiet()
	for _, u := range users {
		if got := texts(u.hears("<body>")); len(got) != count {
			t.Errorf("%s heard %v", u.jid, got)
		}
	}
	late := c.node("c").client("late@chat.test/1")
	for i := range count {
		late.enter(fmt.Sprint("r", i), "late")
		c.quiet()
		heard := late.hears("")
		text := strings.Join(heard, "\n")
		for _, want := range []string{">left<", ">right<", ">whole<", "/ua'", "/ub'", "/uc'", "/Guest'", "/Guest 2'"} {
			if strings.Count(text, want) < 1 {
				t.Errorf("room %d has no %s: %s", i, want, text)
			}
		}
		if n := len(texts(late.hears("<body>"))); n > 3 {
			t.Errorf("room %d has %d messages", i, n)
		}
	}
}

// TestServicesAnywhere configures rooms from a node that is not their home, and reads them.
func TestServicesAnywhere(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	ann := c.node("a").client("ann@chat.test/1")
	for i := range 12 {
		room := fmt.Sprint("r", i)
		ann.makes(room, "Ann")
		ann.hears("")
		n := c.node("b")
		if err := n.Configure(t.Context(), room, func(cfg *Settings) { cfg.Title = "T" + room }); err != nil {
			t.Fatal(err)
		}
		ann.shout(room, "here")
		if _, all, err := c.node("c").Members(t.Context(), room); err != nil || len(all) != 1 || all[0].Nick != "Ann" {
			t.Errorf("%s: occupants %v, %v", room, all, err)
		}
		c.quiet()
		heard := strings.Join(ann.hears(""), "\n")
		if !strings.Contains(heard, "status code='104'") || strings.Count(heard, "<body>here") != 1 || strings.Contains(heard, "unavailable") {
			t.Errorf("%s: heard %s", room, heard)
		}
		cfg, err := c.node("a").Configuration(t.Context(), room)
		if err != nil || cfg.Title != "T"+room {
			t.Errorf("%s: %+v, %v", room, cfg, err)
		}
	}
	for i := range 12 {
		room := fmt.Sprint("r", i)
		home := c.node(c.node("a").Home(room))
		for deadline := time.Now().Add(10 * time.Second); home.find(room) == nil; time.Sleep(borrowed / 10) {
			if time.Now().After(deadline) {
				t.Fatalf("%s has not gone home", room)
			}
		}
	}
}

// TestOneFrame has a message go once to each node, however many of its sessions are in the room, and what an old home says after another has
// spoken go nowhere.
func TestOneFrame(t *testing.T) {
	c := newFakeCluster(t, "a", "b")
	var all []*fakeClient
	for i := range 20 {
		u := c.node("b").client(fmt.Sprintf("u%d@chat.test/1", i))
		if i == 0 {
			u.makes("r0", "n0")
		} else {
			u.enter("r0", fmt.Sprint("n", i))
			c.quiet()
		}
		all = append(all, u)
	}
	c.place([]string{"a", "b"}, []string{"a"})
	c.quiet()
	for _, u := range all {
		u.hears("")
	}
	home := c.node("a")
	c.mu.Lock()
	before := home.sent[frameCast]
	c.mu.Unlock()
	all[3].shout("r0", "once")
	c.quiet()
	c.mu.Lock()
	sent := home.sent[frameCast] - before
	c.mu.Unlock()
	if sent != 1 {
		t.Errorf("%d frames for one message to the sessions of one node", sent)
	}
	for _, u := range all {
		if got := texts(u.hears("<body>")); len(got) != 1 {
			t.Errorf("%s heard %v", u.jid, got)
		}
	}
	wire := []byte("<message from='r0@" + fakeHost + "/n1' type='groupchat'><body>late</body></message>")
	payload := append(Token{}.append(nil), 1)
	payload = append(appendText(payload, all[0].jid.String()), wire...)
	c.node("b").Frame(t.Context(), nil, "c", frameCast, "r0", payload)
	if got := all[0].hears("late"); len(got) > 0 {
		t.Errorf("an old home was heard: %v", got)
	}
}

// TestPause has a node continue that the others have gone on without: it loses them and finds them again at once.
func TestPause(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	const count = 24
	var users []*fakeClient
	for _, n := range c.nodes {
		users = append(users, n.client("u"+n.name+"@chat.test/1"))
	}
	for i := range count {
		for _, u := range users {
			u.makes(fmt.Sprint("r", i), u.jid.Local())
		}
	}
	c.place([]string{"a", "b"}, []string{"a", "b"})
	c.quiet()
	for _, u := range users {
		u.hears("")
	}
	c.place([]string{"c"}, []string{"c"})
	all := []string{"a", "b", "c"}
	c.place(all, all)
	c.quiet()
	for i := range count {
		users[0].shout(fmt.Sprint("r", i), "again")
	}
	c.quiet()
	heard := strings.Join(users[0].hears(""), "\n")
	for i := range count {
		if !strings.Contains(heard, fmt.Sprintf("from='r%d@%s/uc'><x", i, fakeHost)) {
			t.Errorf("room %d: ua was not told that uc is back; its home is %s", i, c.node("a").Home(fmt.Sprint("r", i)))
		}
	}
	if got := texts(users[2].hears("<body>")); len(got) != count {
		t.Errorf("uc heard %d messages", len(got))
	}
}
