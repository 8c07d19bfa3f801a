package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"chatd/router"
	"chatd/stanza"
)

func want(t *testing.T, what string, got []string, wanted ...string) {
	t.Helper()
	if !slices.Equal(got, wanted) {
		t.Errorf("%s: got %q, want %q", what, got, wanted)
	}
}

func TestServiceRoutes(t *testing.T) {
	onSites(t, 3, func(t *testing.T, c *sites) {
		alice := c.all[0].bind("alice@chat.test/game", 0, 0)
		phone := c.all[1].bind("bob@chat.test/phone", 5, 0)
		desk := c.all[2].bind("bob@chat.test/desk", 1, router.Carbons)
		time.Sleep(time.Second)
		alice.say("<message to='bob@chat.test' type='chat'><body>bare</body></message>")
		alice.say("<message to='bob@chat.test/desk' type='chat'><body>full</body></message>")
		alice.say("<message to='bob@chat.test/gone' type='chat'><body>no such resource</body></message>")
		alice.say("<message to='bob@chat.test' type='headline'><body>headline</body></message>")
		time.Sleep(time.Second)
		want(t, "phone", phone.bodies(), "bare", "no such resource", "headline")
		want(t, "desk", desk.bodies(), "copy bare", "full", "copy no such resource", "headline")

		desk.say("<message to='alice@chat.test' type='chat'><body>answer</body></message>")
		phone.say("<iq to='alice@chat.test/game' type='get' id='q'><query xmlns='jabber:iq:version'/></iq>")
		time.Sleep(time.Second)
		got := alice.took()
		slices.Sort(got) // of two senders
		if len(got) != 2 || !strings.Contains(got[0], "id='q'") || !strings.Contains(got[0], "from='bob@chat.test/phone'") {
			t.Errorf("alice got %q", got)
		}
		alice.say("<iq to='bob@chat.test/phone' type='result' id='q'/>")
		alice.say("<iq to='bob@chat.test/nobody' type='get' id='x'><query xmlns='jabber:iq:version'/></iq>")
		time.Sleep(time.Second)
		if got := phone.took(); len(got) != 1 || !strings.Contains(got[0], "type='result'") {
			t.Errorf("phone got %q", got)
		}
		if got := alice.took(); len(got) != 1 || !strings.Contains(got[0], "service-unavailable") {
			t.Errorf("alice got %q", got)
		}

		// A push of the server's own, from another node.
		push, err := stanza.Parse([]byte("<iq from='bob@chat.test' to='bob@chat.test/phone' type='set' id='p'><query xmlns='jabber:iq:roster'/></iq>"))
		if err != nil {
			t.Fatal(err)
		}
		phone.state.Blocked.Store(router.NewBlocklist([]string{"chat.test"}))
		for _, row := range c.all[0].Table.Rows(push.To) {
			if row.Session.JID() == push.To {
				row.Session.Send(nil, push)
			}
		}
		time.Sleep(time.Second)
		if got := phone.took(); len(got) != 1 || !strings.Contains(got[0], "roster") {
			t.Errorf("push: %q", got)
		}
	})
}

// TestServiceKeepsOrder has messages to bare and full JIDs arrive as they were sent.
func TestServiceKeepsOrder(t *testing.T) {
	onSites(t, 2, func(t *testing.T, c *sites) {
		alice, bob := c.all[0].bind("alice@chat.test/game", 0, 0), c.all[1].bind("bob@chat.test/game", 0, 0)
		time.Sleep(time.Second)
		var sent []string
		for i := range 200 {
			sent = append(sent, fmt.Sprint(i))
			alice.say("<message to='%s' type='chat'><body>%d</body></message>", []string{"bob@chat.test", "bob@chat.test/game"}[i%2], i)
		}
		time.Sleep(time.Second)
		want(t, "bob", bob.bodies(), sent...)
	})
}

// TestServiceAsksTheBlockListThere: only the recipient's node has it (XEP-0191 §3.2).
func TestServiceAsksTheBlockListThere(t *testing.T) {
	onSites(t, 2, func(t *testing.T, c *sites) {
		alice, bob := c.all[0].bind("alice@chat.test/game", 0, 0), c.all[1].bind("bob@chat.test/game", 0, 0)
		bob.state.Blocked.Store(router.NewBlocklist([]string{"alice@chat.test"}))
		time.Sleep(time.Second)
		alice.say("<message to='bob@chat.test' type='chat'><body>psst</body></message>")
		alice.say("<iq to='bob@chat.test/game' type='get' id='q'><query xmlns='jabber:iq:version'/></iq>")
		alice.say("<presence to='bob@chat.test/game'/>")
		time.Sleep(time.Second)
		want(t, "bob", bob.took())
		got := alice.took()
		if len(got) != 2 || !strings.Contains(got[0], "service-unavailable") || !strings.Contains(got[1], "service-unavailable") {
			t.Errorf("alice got %q", got)
		}
		if held := c.store.bodies("bob"); len(held) > 0 {
			t.Errorf("stored: %q", held)
		}
	})
}

// storedBlocks is the block list that everybody has in the store.
type storedBlocks []string

func (b storedBlocks) Blocklist(context.Context, string) (*router.Blocklist, error) {
	return router.NewBlocklist(b), nil
}

// TestServiceBlocksRequests: what the server answers on a user's behalf (RFC 6121 §8.5.2.1.3) it does not answer to who is blocked
// (XEP-0191 §3.3), also where the user is on another node.
func TestServiceBlocksRequests(t *testing.T) {
	onSites(t, 2, func(t *testing.T, c *sites) {
		alice := c.all[0].bind("alice@chat.test/game", 0, 0)
		c.all[1].bind("bob@chat.test/game", 0, 0)
		c.all[0].Handle(router.ToAccount, "vcard-temp", "vCard", func(context.Context, *router.Request) ([]byte, error) {
			return []byte("<vCard xmlns='vcard-temp'/>"), nil
		})
		time.Sleep(time.Second)
		for _, blocked := range []storedBlocks{nil, {"alice@chat.test"}} {
			c.all[0].Blocks = blocked
			alice.say("<iq to='bob@chat.test' type='get' id='v'><vCard xmlns='vcard-temp'/></iq>")
			got := alice.took()
			if len(got) != 1 || strings.Contains(got[0], "<service-unavailable ") != (blocked != nil) {
				t.Errorf("who is blocked by %q got %q", blocked, got)
			}
		}
	})
}

// TestServiceRefusesOnce: a message to resources on several nodes that a block list stops is answered once, and stopped as a copy, too.
func TestServiceRefusesOnce(t *testing.T) {
	onSites(t, 3, func(t *testing.T, c *sites) {
		alice := c.all[0].bind("alice@chat.test/game", 0, 0)
		bobs := []*fakeSession{
			c.all[1].bind("bob@chat.test/desk", 5, router.Carbons), c.all[1].bind("bob@chat.test/phone", 5, router.Carbons),
			c.all[2].bind("bob@chat.test/tablet", 5, router.Carbons), c.all[2].bind("bob@chat.test/watch", 1, router.Carbons),
		}
		block := func() {
			for _, bob := range bobs {
				bob.state.Blocked.Store(router.NewBlocklist([]string{"alice@chat.test"}))
			}
		}
		block()
		time.Sleep(time.Second)
		say := func() {
			for _, st := range []string{"to='bob@chat.test' type='chat'", "to='bob@chat.test/gone' type='chat'", "to='bob@chat.test/watch' type='chat'",
				"to='bob@chat.test/phone' type='chat'", "to='bob@chat.test' type='headline'"} {
				alice.say("<message %s id='%s'><body>psst</body></message>", st, strings.ReplaceAll(st, "'", ""))
			}
			time.Sleep(time.Second)
			for _, bob := range bobs {
				want(t, bob.jid.String(), bob.took())
			}
			got := alice.took()
			if len(got) != 5 || strings.Count(strings.Join(got, ""), "<service-unavailable ") != 5 {
				t.Errorf("alice got %q", got)
			}
		}
		say()
		bobs = append(bobs, c.all[0].bind("bob@chat.test/couch", -1, router.Carbons))
		block()
		time.Sleep(time.Second)
		say()
	})
}

func TestServiceEndsSessions(t *testing.T) {
	onSites(t, 2, func(t *testing.T, c *sites) {
		old := c.all[0].bind("bob@chat.test/game", 0, 0)
		time.Sleep(time.Second)
		if err := c.all[1].Take(t.Context(), old.jid); err != nil {
			t.Fatal(err)
		}
		if old.closed() != "conflict" || len(c.all[0].Table.Local(old.jid)) > 0 {
			t.Errorf("taken over, the old session is %q", old.closed())
		}
		if err := c.all[1].Take(t.Context(), stanza.MustJID("nobody@chat.test/game")); err != nil {
			t.Error(err)
		}
		other := c.all[0].bind("bob@chat.test/desk", 0, 0)
		time.Sleep(time.Second)
		row, ok := c.all[1].Table.Row(other.jid)
		if !ok || !row.Remote || row.Node() != "n01" {
			t.Fatalf("%+v", row)
		}
		row.Session.Close(stanza.StreamPolicyViolation)
		time.Sleep(time.Second)
		if other.closed() != "policy-violation" {
			t.Errorf("closed from elsewhere, the session is %q", other.closed())
		}
	})
}

// TestServiceBindsOnce has one full JID bound on all nodes at the same moment, and while they do not see each other.
func TestServiceBindsOnce(t *testing.T) {
	for _, split := range []bool{false, true} {
		onSites(t, 3, func(t *testing.T, c *sites) {
			if split {
				c.Split([]string{simIP(1)}, []string{simIP(2)}, []string{simIP(3)})
				time.Sleep(5 * time.Second)
			}
			var all []*fakeSession
			for _, s := range c.all {
				all = append(all, s.bind("bob@chat.test/game", 0, 0))
			}
			c.Heal()
			time.Sleep(30 * time.Second)
			stayed := slices.DeleteFunc(slices.Clone(all), func(f *fakeSession) bool { return f.closed() != "" })
			if len(stayed) != 1 {
				t.Fatalf("split %v: %d sessions are left", split, len(stayed))
			}
			for _, s := range c.all {
				if rows := s.Table.Rows(all[0].jid); len(rows) != 1 || rows[0].Remote == (s == stayed[0].site) {
					t.Errorf("split %v: %s has %d rows", split, s.name, len(rows))
				}
			}
			for _, f := range all {
				if reason := f.closed(); f != stayed[0] && reason != "conflict" {
					t.Errorf("closed with %q", reason)
				}
			}
		})
	}
}

// TestServiceLooks: who is on another node, or comes there, is handed what was stored here before anything that is sent later.
func TestServiceLooks(t *testing.T) {
	onSites(t, 2, func(t *testing.T, c *sites) {
		alice := c.all[0].bind("alice@chat.test/game", 0, 0)
		alice.say("<message to='bob@chat.test' type='chat'><body>one</body></message>")
		want(t, "store", c.store.bodies("bob"), "one")
		bob := c.all[1].bind("bob@chat.test/game", 0, 0) // and has looked before that message was stored
		time.Sleep(100 * time.Millisecond)
		alice.say("<message to='bob@chat.test' type='chat'><body>two</body></message>")
		time.Sleep(time.Second)
		want(t, "bob", bob.bodies(), "one", "two")
		want(t, "store", c.store.bodies("bob"))
	})
}

// TestServiceTakesBack cuts a link with messages on it. Those that had arrived are not there twice, and those that had not
// are there once, behind them.
func TestServiceTakesBack(t *testing.T) {
	onSites(t, 2, func(t *testing.T, c *sites) {
		alice, bob := c.all[0].bind("alice@chat.test/game", 0, 0), c.all[1].bind("bob@chat.test/game", 0, 0)
		time.Sleep(time.Second)
		c.Cut(simIP(2), simIP(1)) // what arrives is not acknowledged
		alice.say("<message to='bob@chat.test' type='chat'><body>arrives</body></message>")
		time.Sleep(50 * time.Millisecond)
		c.Split([]string{simIP(1)}, []string{simIP(2)})
		alice.say("<message to='bob@chat.test' type='chat'><body>does not</body></message>")
		time.Sleep(5 * time.Second)
		want(t, "bob", bob.bodies(), "arrives")
		want(t, "store", c.store.bodies("bob"), "arrives", "does not")
		want(t, "lost", c.all[0].notes("lost"), "lost [bob@chat.test/game]")
		alice.say("<message to='bob@chat.test' type='chat'><body>during</body></message>")
		want(t, "store", c.store.bodies("bob"), "arrives", "does not", "during")
		c.Heal()
		time.Sleep(30 * time.Second)
		alice.say("<message to='bob@chat.test' type='chat'><body>after</body></message>")
		time.Sleep(time.Second)
		want(t, "bob", bob.bodies(), "does not", "during", "after")
		want(t, "store", c.store.bodies("bob"))
		if c.all[0].returned.count != 0 {
			t.Errorf("%d messages are still remembered", c.all[0].returned.count)
		}
		want(t, "found", c.all[0].notes("found n02"), "found n02", "found n02")
	})
}

// TestServiceStoresOnce: of a message that went to several resources of the node that died, and of its copies, one is stored.
func TestServiceStoresOnce(t *testing.T) {
	onSites(t, 2, func(t *testing.T, c *sites) {
		alice := c.all[0].bind("alice@chat.test/game", 0, 0)
		for _, resource := range []string{"one", "two"} {
			c.all[1].bind("bob@chat.test/"+resource, 1, 0)
		}
		c.all[1].bind("bob@chat.test/third", 0, router.Carbons)
		time.Sleep(time.Second)
		c.Split([]string{simIP(1)}, []string{simIP(2)})
		alice.say("<message to='bob@chat.test' type='chat'><body>a</body></message>")
		alice.say("<message to='bob@chat.test' type='chat'><body>b</body></message>")
		time.Sleep(5 * time.Second)
		want(t, "store", c.store.bodies("bob"), "a", "b")
		want(t, "alice", alice.took())
	})
}

// TestServiceOverflows: what there is no room for is answered, and changes to what is cached are not lost all the same.
func TestServiceOverflows(t *testing.T) {
	onSites(t, 2, func(t *testing.T, c *sites) {
		alice, bob := c.all[0].bind("alice@chat.test/game", 0, 0), c.all[1].bind("bob@chat.test/game", 0, 0)
		time.Sleep(time.Second)
		release := make(chan struct{})
		c.all[1].stale = func(stanza.JID, router.Kept) { <-release }
		c.all[0].Stale(bob.jid.Bare(), router.KeptFriends) // the store there takes its time
		time.Sleep(time.Second)
		sent := 0
		for size := 64 << 10; size > 1; size /= 8 { // until there is no room for the shortest
			for range 100 {
				alice.say("<message to='bob@chat.test' type='chat'><body>%s</body></message>", strings.Repeat("x", size))
				time.Sleep(10 * time.Millisecond)
				sent++
			}
		}
		c.all[0].Stale(bob.jid.Bare(), router.KeptBlocklist)
		time.Sleep(time.Second)
		errors := alice.took()
		if len(errors) == 0 || !strings.Contains(errors[0], "resource-constraint") {
			t.Fatalf("%d errors", len(errors))
		}
		close(release)
		time.Sleep(time.Second)
		if got := bob.took(); len(got)+len(errors) != sent {
			t.Errorf("%d arrived, %d came back", len(got), len(errors))
		}
		want(t, "stale", c.all[1].notes("stale"), "stale bob@chat.test 1", "stale bob@chat.test 2")
	})
}

// TestServiceMovesSessions: what nobody says that it keeps goes on where it was.
func TestServiceMovesSessions(t *testing.T) {
	onSites(t, 3, func(t *testing.T, c *sites) {
		session, kept, err := c.all[0].Fetch(t.Context(), "n02.1", "bob")
		if err != nil || string(session) != "session n02.1 of bob" {
			t.Fatalf("%s, %v", session, err)
		}
		kept()
		want(t, "forgotten", c.all[0].notes("forget bob"), "forget bob")
		if _, _, err = c.all[0].Fetch(t.Context(), "n02.2", "bob"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * keepTime)
		want(t, "restored", c.all[1].notes("restore"), "restore session n02.2 of bob")
		if err := c.all[0].HandOver(t.Context(), "n01.1", func() ([]byte, error) { return []byte("s"), nil }); err != nil {
			t.Error(err)
		}
		if adopted := append(c.all[1].notes("adopt"), c.all[2].notes("adopt")...); len(adopted) != 1 {
			t.Errorf("adopted: %q", adopted)
		}
		abouts := c.all[0].Abouts()
		if len(abouts) != 2 || string(abouts["n03"]) != "this is n03" {
			t.Errorf("abouts: %q", abouts)
		}
	})
}

// TestServiceUnconfirmedWhenLeaving: a node that goes takes nothing with it that it waits to hear of: what nobody says that it keeps, also
// since that node cannot be reached, ends before.
func TestServiceUnconfirmedWhenLeaving(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", cut), func(t *testing.T) {
			onSites(t, 2, func(t *testing.T, c *sites) {
				_, _, err := c.all[0].Fetch(t.Context(), "n02.1", "bob")
				_, kept, err2 := c.all[0].Fetch(t.Context(), "n02.2", "bob")
				if err != nil || err2 != nil {
					t.Fatal(err, err2)
				}
				if !cut {
					time.AfterFunc(time.Millisecond, kept)
				} else {
					c.Split([]string{simIP(1)}, []string{simIP(2)})
					time.Sleep(5 * time.Second)
				}
				if err := c.all[1].Leave(context.Background()); err != nil {
					t.Fatal(err)
				}
				restored := c.all[1].notes("restore")
				slices.Sort(restored)
				all := []string{"restore session n02.1 of bob", "restore session n02.2 of bob"}
				if !cut {
					all = all[:1]
				}
				want(t, "restored", restored, all...)
				time.Sleep(2 * keepTime)
				if n := len(c.all[1].notes("restore")); n != len(all) {
					t.Errorf("%d restored in the end", n)
				}
				c.all = c.all[:1]
			})
		})
	}
}

// TestServiceSuspends: what another node has in the store of a session that waits for resumption, or is about to put there, is not overtaken by what is sent
// later, and a session that was bound again elsewhere is sent nothing.
func TestServiceSuspends(t *testing.T) {
	onSites(t, 3, func(t *testing.T, c *sites) {
		alice, bob := c.all[0].bind("alice@chat.test/game", 0, 0), c.all[1].bind("bob@chat.test/game", 0, 0)
		c.all[1].slow = 500 * time.Millisecond
		time.Sleep(time.Second)
		ready := make(chan struct{})
		c.all[1].Table.Detach(bob, ready)
		time.Sleep(time.Second)
		for i := range 3 {
			alice.say("<message to='bob@chat.test' type='chat'><body>%d</body></message>", i)
		}
		time.Sleep(time.Second)
		want(t, "in the store before what came earlier", c.store.bodies("bob"))
		c.all[1].Table.Settled(bob)
		close(ready)
		time.Sleep(100 * time.Millisecond)
		alice.say("<message to='bob@chat.test' type='chat'><body>3</body></message>")
		time.Sleep(5 * time.Second)
		want(t, "stored or handed over", append(bob.bodies(), c.store.bodies("bob")...), "0", "1", "2", "3")

		c.store.take("bob")
		c.all[1].Table.Attach(bob)
		again := &fakeSession{jid: bob.jid, done: make(chan struct{}), site: c.all[2]}
		again.state.Begun = c.all[2].Now()
		bob.reason = stanza.StreamConflict // and busy for a while
		c.all[2].Table.Bind(again, true)
		c.all[2].Table.SetPresence(again, true, 0)
		time.Sleep(time.Second)
		bob.took()
		alice.say("<message to='bob@chat.test' type='chat'><body>4</body></message>")
		time.Sleep(time.Second)
		want(t, "where it is", again.bodies(), "4")
		c.all[1].Table.Unbind(bob)
	})
}

// TestServiceSeeksAtFirstMeeting: a node that is met for the first time may have had a predecessor that stored something.
func TestServiceSeeksAtFirstMeeting(t *testing.T) {
	onSites(t, 1, func(t *testing.T, c *sites) {
		bob := c.all[0].bind("bob@chat.test/game", 0, 0)
		c.store.add("bob", []byte("<message from='alice@chat.test/game' to='bob@chat.test' type='chat'><body>early</body></message>"))
		time.Sleep(time.Minute)
		want(t, "bob", bob.bodies())
		c.start(2)
		time.Sleep(10 * time.Second)
		want(t, "bob", bob.bodies(), "early")
	})
}

// TestForgottenNodeIsNotMissed: who gives up a node that is gone for good does so on all nodes, and none is on an island any more.
func TestForgottenNodeIsNotMissed(t *testing.T) {
	onSites(t, 3, func(t *testing.T, c *sites) {
		if err := c.all[0].ForgetNode(simName(3)); err != ErrNodeThere {
			t.Error("one that is there:", err)
		}
		if err := c.all[0].ForgetNode("nobody"); err != ErrNoNode {
			t.Error("one that never was:", err)
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		c.Vanish(simIP(3))
		_ = c.all[2].Leave(gone) // in vain
		c.all = c.all[:2]
		time.Sleep(5 * time.Second)
		for _, s := range c.all {
			if !s.Split() || !s.Overview().Island || !slices.Equal(s.Service.Missing(), []string{simName(3)}) {
				t.Fatalf("%s does not miss the third: %+v", s.name, s.Overview())
			}
		}
		if err := c.all[0].ForgetNode(simName(3)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for _, s := range c.all {
			if s.Split() || s.Overview().Island || len(s.Service.Missing()) > 0 || len(s.Overview().Members) != 1 {
				t.Errorf("%s: %+v", s.name, s.Overview())
			}
		}
		c.Revive(simIP(3))
		c.start(3)
		time.Sleep(10 * time.Second)
		if o := c.all[0].Overview(); len(o.Replicas) != 2 || o.Island || c.all[0].Split() {
			t.Errorf("it is not taken back: %+v", o)
		}
	})
}

// TestServicePassesOnWhoIsHeld: a node that leaves during a split tells the others for whom it has stored what may have arrived.
func TestServicePassesOnWhoIsHeld(t *testing.T) {
	onSites(t, 3, func(t *testing.T, c *sites) {
		alice, bob := c.all[0].bind("alice@chat.test/game", 0, 0), c.all[1].bind("bob@chat.test/game", 0, 0)
		time.Sleep(time.Second)
		c.Cut(simIP(1), simIP(2))
		c.Cut(simIP(2), simIP(1))
		alice.say("<message to='bob@chat.test' type='chat'><body>one</body></message>")
		time.Sleep(5 * time.Second)
		want(t, "store", c.store.bodies("bob"), "one")
		alice.Close(stanza.StreamSystemShutdown)
		if err := c.all[0].Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.all = c.all[1:]
		time.Sleep(5 * time.Second)
		want(t, "bob", bob.bodies(), "one")
	})
}

// TestServiceKeepsOrderWhenReplaced: what was sent to a node that is dead, which nobody has noticed, is not overtaken by what is sent
// later to the session that the user has by then elsewhere, or here.
func TestServiceKeepsOrderWhenReplaced(t *testing.T) {
	for where := range 3 {
		if where == 1 {
			continue
		}
		t.Run(fmt.Sprint("n0", where+1), func(t *testing.T) {
			onSites(t, 3, func(t *testing.T, c *sites) {
				alice, old := c.all[0].bind("alice@chat.test/game", 0, 0), c.all[1].bind("bob@chat.test/game", 0, 0)
				time.Sleep(time.Second)
				c.Split([]string{simIP(1), simIP(3)}, []string{simIP(2)})
				alice.say("<message to='bob@chat.test' type='chat'><body>one</body></message>")
				bob := c.all[where].bind("bob@chat.test/game", 0, 0)
				time.Sleep(100 * time.Millisecond)
				if c.all[0].Split() {
					t.Fatal("noticed already")
				}
				alice.say("<message to='bob@chat.test' type='chat'><body>two</body></message>")
				alice.say("<message to='bob@chat.test/game' type='chat'><body>three</body></message>")
				time.Sleep(5 * time.Second)
				want(t, "bob", bob.bodies(), "one", "two", "three")
				want(t, "the old session", old.bodies())
			})
		})
	}
}

// TestServiceEndsBeforeItIsReplaced: a session here that was bound anew elsewhere is gone before its user is sent anything there.
func TestServiceEndsBeforeItIsReplaced(t *testing.T) {
	onSites(t, 2, func(t *testing.T, c *sites) {
		alice, old := c.all[0].bind("alice@chat.test/game", 0, 0), c.all[0].bind("bob@chat.test/game", 0, 0)
		time.Sleep(time.Second)
		old.parting = make(chan struct{})
		bob := c.all[1].bind("bob@chat.test/game", 0, 0)
		time.Sleep(time.Second)
		said := make(chan struct{})
		go func() {
			alice.say("<message to='bob@chat.test' type='chat'><body>after</body></message>")
			close(said)
		}()
		time.Sleep(time.Second)
		want(t, "bob, while what the old session was sent finds another way", bob.bodies())
		close(old.parting)
		<-said
		time.Sleep(time.Second)
		want(t, "bob", bob.bodies(), "after")
	})
}

// TestServiceLooksBeforeItConfirms: what a node had to store is found by the nodes where the user is before they are sent what comes later from
// elsewhere, however slow the way to them is.
func TestServiceLooksBeforeItConfirms(t *testing.T) {
	onSites(t, 3, func(t *testing.T, c *sites) {
		alice := c.all[0].bind("alice@chat.test/game", 0, 0)
		phone, desk := c.all[1].bind("bob@chat.test/phone", 5, 0), c.all[2].bind("bob@chat.test/desk", 1, 0)
		time.Sleep(time.Second)
		c.Shape(simIP(1), simIP(2), 50*time.Millisecond, 0, 0)
		c.Shape(simIP(2), simIP(3), 200*time.Millisecond, 0, 0)
		alice.say("<message to='bob@chat.test' type='chat'><body>one</body></message>")
		ready := make(chan struct{})
		close(ready)
		c.all[1].Table.Detach(phone, ready)
		c.all[1].Table.Settled(phone)
		time.Sleep(20 * time.Millisecond)
		alice.say("<message to='bob@chat.test' type='chat'><body>two</body></message>")
		time.Sleep(5 * time.Second)
		want(t, "desk", desk.bodies(), "one", "two")
		want(t, "phone", phone.bodies())
	})
}

// TestServiceGivesOnce: a message that was for several resources of a user, of which one has just gone, is not given to another one once more in its place,
// whichever is dealt with first, and counts as had however it was taken.
func TestServiceGivesOnce(t *testing.T) {
	for _, gone := range []string{"bob@chat.test/desk", "bob@chat.test/phone"} {
		t.Run(gone, func(t *testing.T) {
			onSites(t, 2, func(t *testing.T, c *sites) {
				alice := c.all[0].bind("alice@chat.test/game", 0, 0)
				bobs := map[string]*fakeSession{}
				for _, full := range []string{"bob@chat.test/desk", "bob@chat.test/phone"} {
					bobs[full] = c.all[1].bind(full, 0, 0)
				}
				time.Sleep(time.Second)
				c.Shape(simIP(2), simIP(1), 200*time.Millisecond, 0, 0)
				ready := make(chan struct{})
				close(ready)
				c.all[1].Table.Detach(bobs[gone], ready)
				c.all[1].Table.Settled(bobs[gone])
				alice.say("<message to='bob@chat.test' type='chat'><body>one</body></message>")
				time.Sleep(5 * time.Second)
				want(t, gone, bobs[gone].bodies())
				delete(bobs, gone)
				for full, bob := range bobs {
					want(t, full, bob.bodies(), "one")
				}
				want(t, "store", c.store.bodies("bob"))
			})
		})
	}
}

// TestServiceKeepsOrderWithoutStore: what comes back from a node that is dead, while the store is out, is given to a session that its recipient has here by
// then, whoever else has to wait for the store, and is not overtaken by what comes from a third node.
func TestServiceKeepsOrderWithoutStore(t *testing.T) {
	onSites(t, 3, func(t *testing.T, c *sites) {
		alice := c.all[0].bind("alice@chat.test/game", 0, 0)
		users := []string{"bob"}
		for i := range 4 * returnLanes {
			users = append(users, fmt.Sprint("carol", i))
		}
		for _, user := range users {
			c.all[1].bind(user+"@chat.test/game", 0, 0)
		}
		time.Sleep(time.Second)
		c.all[0].out.Store(true)
		c.Split([]string{simIP(1), simIP(3)}, []string{simIP(2)})
		for _, user := range users {
			alice.say("<message to='%s@chat.test/game' type='chat'><body>one</body></message>", user)
		}
		time.Sleep(5 * time.Second)
		bob := c.all[0].bind("bob@chat.test/game", 0, 0)
		time.Sleep(10 * time.Millisecond)
		c.all[2].bind("alice@chat.test/phone", 0, 0).say("<message to='bob@chat.test/game' type='chat'><body>two</body></message>")
		time.Sleep(2 * returnPauseMax)
		want(t, "bob", bob.bodies(), "one", "two")
		c.all[0].out.Store(false)
		time.Sleep(2 * returnPauseMax)
		for _, user := range users[1:] {
			want(t, user, c.store.bodies(user), "one")
		}
	})
}

// TestServiceCrossing: two nodes send one another messages for a user whose sessions on both have just gone. Neither waits for the other one to have dealt with
// what it was sent before it stores what it was.
func TestServiceCrossing(t *testing.T) {
	onSites(t, 2, func(t *testing.T, c *sites) {
		alice, carol := c.all[0].bind("alice@chat.test/game", 0, 0), c.all[1].bind("carol@chat.test/game", 0, 0)
		phone, desk := c.all[0].bind("bob@chat.test/phone", 0, 0), c.all[1].bind("bob@chat.test/desk", 0, 0)
		time.Sleep(time.Second)
		c.Shape(simIP(1), simIP(2), 50*time.Millisecond, 0, 0)
		c.Shape(simIP(2), simIP(1), 50*time.Millisecond, 0, 0)
		phone.site.Table.Unbind(phone)
		desk.site.Table.Unbind(desk)
		alice.say("<message to='bob@chat.test/desk' type='chat'><body>one</body></message>")
		carol.say("<message to='bob@chat.test/phone' type='chat'><body>two</body></message>")
		time.Sleep(time.Second)
		if got := c.store.bodies("bob"); len(got) != 2 {
			t.Errorf("%q are stored after a second", got)
		}
	})
}
