package muc

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// spokenHere is a message of a room's to all, encoded as it is for that.
func spokenHere(id stanza.ID) *stanza.Stanza {
	return &stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: stanza.MustJID("r@" + fakeHost + "/ann"), To: stanza.MustJID("bob@chat.test/1"),
		Wire: fmt.Appendf(nil, "<message from='r@%s/ann' type='groupchat'><body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' by='r@%[1]s' id='%[2]s'/></message>", fakeHost, id)}
}

// waitsFull is a session for which all waits that may, and the last of that.
func waitsFull() (a *absent, last *stanza.Stanza) {
	a = new(absent)
	for range maxWaiting {
		last = spokenHere(stanza.NewID())
		a.Send(nil, last)
	}
	return a, last
}

// TestWaitingIsEncodedOnce has a session that is looked for be told again what waits for it: that waits once, and what waits already is not encoded again, nor when
// the room's state is taken.
func TestWaitingIsEncodedOnce(t *testing.T) {
	a, last := waitsFull()
	if n := testing.AllocsPerRun(100, func() {
		if !a.Send(nil, last) {
			t.Error("a message that waits already is refused")
		}
	}); n > 8 {
		t.Errorf("to compare one message with %d takes %v allocations", len(a.waiting), n)
	}
	if n := testing.AllocsPerRun(100, func() { a.waits() }); n > 2 {
		t.Errorf("what waits for another process takes %v allocations", n)
	}
	if a.Send(nil, spokenHere(stanza.NewID())) || len(a.waiting) != maxWaiting {
		t.Errorf("%d wait", len(a.waiting))
	}
	b := new(absent)
	if b.await(a.waits()); len(b.waiting) != maxWaiting || !b.Send(nil, last) {
		t.Errorf("%d of %d are taken over", len(b.waiting), maxWaiting)
	}
}

// BenchmarkAbsent has a message be told to a session that is looked for, for which all waits that may.
func BenchmarkAbsent(b *testing.B) {
	a, last := waitsFull()
	b.ReportAllocs()
	for b.Loop() {
		a.Send(nil, last)
	}
}

// TestFullLink has the link to a node take nothing for a while: what is for its sessions there waits, and they and the others are not told of that all the time. When there is
// room they are told all in order, once, and they have been in the room all along.
func TestFullLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, "a", "b", "c")
		home := c.node(c.node("a").Home("r0"))
		second := c.node(home.Second("r0"))
		other := c.nodes[slices.IndexFunc(c.nodes, func(n *fakeNode) bool { return n != home && n != second })]
		ann := home.client("ann@chat.test/1")
		ann.makes("r0", "Ann")
		var all []*fakeClient
		for i := range 10 {
			u := other.client(fmt.Sprintf("u%d@chat.test/1", i))
			u.enter("r0", fmt.Sprint("U", i))
			c.quiet()
			all = append(all, u)
		}
		ann.hears("")
		for _, u := range all {
			u.hears("")
		}
		stuff := func(stuffed bool) (changes, refused int) {
			c.mu.Lock()
			defer c.mu.Unlock()
			other.stuffed = stuffed
			return home.sent[frameChange], other.refused
		}
		before, _ := stuff(true)
		ann.shout("r0", "one")
		ann.shout("r0", "two")
		time.Sleep(4 * absence)
		changes, refused := stuff(false)
		if changes -= before; changes > 2 || refused > 20*len(all) {
			t.Errorf("while there was no room for two messages, there were %d changes of the room, and %d attempts", changes, refused)
		}
		time.Sleep(maxPause)
		ann.shout("r0", "three")
		c.quiet()
		for _, u := range all {
			if got := texts(u.hears("")); !slices.Equal(got, []string{"one", "two", "three"}) {
				t.Errorf("%s heard %q", u.jid, got)
			}
		}
		if got := ann.hears("<presence"); len(got) > 0 {
			t.Errorf("ann was told %q", got)
		}
	})
}

// TestFullLinkMeanwhile has a session become another in the eyes of the room while its node has yet to be told what there was no room for: that is not told that it has left.
func TestFullLinkMeanwhile(t *testing.T) {
	c, alice, bob := aliceAndBob(t)
	a, other := c.node("a"), c.node("b")
	alice.hears("")
	bob.hears("")
	var b router.Batch
	defer b.Flush()
	r := a.lock(&b, "r")
	a.unsent(r, a.node("b"), spokenHere(stanza.NewID()), []stanza.JID{bob.jid})
	r.rep.touchAll(r.of(bob.jid))
	a.tellNodes(r)
	other.flushJobs()
	sh := other.laneShard("r")
	sh.mu.Lock()
	if !sh.seats("r") {
		t.Error("its node was told that bob has left")
	}
	sh.mu.Unlock()
	a.unlock(&b, r)
	if got := texts(bob.await(1)); !slices.Equal(got, []string{"hi"}) {
		t.Errorf("bob heard %q", got)
	}
	if got := alice.hears("unavailable"); len(got) > 0 {
		t.Errorf("alice was told %q", got)
	}
}

// TestAbsentIsNotTold has one of two sessions of an occupant on one node be looked for: the node is told that this one is not there, and nothing of what waits for it. Another that
// gets the room is.
func TestAbsentIsNotTold(t *testing.T) {
	c, _, bob := aliceAndBob(t)
	rest := c.node("b").client("bob@chat.test/2")
	rest.enter("r", "bob")
	c.quiet()
	a := c.node("a")
	var b router.Batch
	r := a.lock(&b, "r")
	o := r.of(bob.jid)
	a.miss(r, o.seat(bob.jid), spokenHere(stanza.NewID()), true)
	r.rep.touchAll(o)
	var told, copied State
	r.addTouched(&told, r.rep.touched, "b")
	r.addTouched(&copied, r.rep.touched, "")
	a.unlock(&b, r)
	if all := sittings(&told); len(all) != 1 || all[0].JID != rest.jid.String() || !slices.Equal(told.Left, []string{bob.jid.String()}) {
		t.Errorf("the node is told of %v, and that %q have left", all, told.Left)
	}
	if all := sittings(&copied); len(all) != 2 || all[0].Absent == 0 || len(all[0].Waits) != 1 {
		t.Errorf("the copy is told of %v", all)
	}
}

// TestLongGone has a room come back from a copy that has not been told that somebody has left who was on the node with the copy: nobody sees him there again.
func TestLongGone(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	c.place([]string{"a", "b", "c"}, []string{"a", "b"})
	room := "r0"
	for i := 1; c.node("c").Home(room) != "a"; i++ {
		room = fmt.Sprint("r", i)
	}
	begun := time.Now()
	alice, bob := c.node("c").client("alice@chat.test/1"), c.node("b").clientSince("bob@chat.test/1", begun)
	alice.makes(room, "alice")
	bob.enter(room, "bob")
	c.quiet()
	b := c.node("b")
	sh := b.laneShard(room)
	sh.mu.Lock()
	old := *sh.copies[room].state
	old.Occupants = slices.Clone(old.Occupants)
	sh.mu.Unlock()
	bob.says("<presence type='unavailable' to='%s@%s/bob'/>", room, fakeHost)
	c.quiet()
	b.table.Unbind(bob)
	sh.mu.Lock()
	sh.copies[room].state = &old
	sh.mu.Unlock()
	alice.hears("")
	c.kill("a")
	c.quiet()
	if got := alice.hears("/bob'"); len(got) > 0 {
		t.Errorf("alice was told %q", got)
	}
	if _, all, err := b.Members(t.Context(), room); err != nil || len(all) != 1 || all[0].Nick != "alice" {
		t.Errorf("occupants %v, %v", all, err)
	}
}
