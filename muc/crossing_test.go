package muc

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

// hold has a node deal with nothing more than what it has been given already, until what it returns is called.
func (n *fakeNode) hold() (goOn func()) {
	held := make(chan struct{})
	n.jobs <- func(*router.Batch) { <-held }
	return func() { close(held) }
}

// flushJobs returns when a node has dealt with what it has been given until now, and with what it has told itself of that.
func (n *fakeNode) flushJobs() {
	for range 3 {
		done := make(chan struct{})
		n.jobs <- func(*router.Batch) { close(done) }
		<-done
	}
}

// resumed is a session that goes on here (XEP-0198 §5), resumedAt is one that is bound here since a time.
func (n *fakeNode) resumed(full string) *fakeClient { return n.resumedAt(full, time.Time{}) }

func (n *fakeNode) resumedAt(full string, begun time.Time) *fakeClient {
	c := n.clientSince(full, begun)
	n.table.SetFlags(c, router.Resumed, 0)
	return c
}

// sees gives a node a placement of its own.
func (c *fakeCluster) sees(name string, nodes, homes []string) {
	c.mu.Lock()
	c.epoch++
	n := c.node(name)
	n.view = view{Token{c.epoch, 0}, nodes, homes}
	c.mu.Unlock()
}

// TestRoomsCross has two halves of a room, each on its way to the other's node, as those disagree about its home for a moment: nothing that was said is lost.
func TestRoomsCross(t *testing.T) {
	c := newFakeCluster(t, "a", "b")
	c.place([]string{"a"}, []string{"a"})
	c.place([]string{"b"}, []string{"b"})
	a, b := c.node("a"), c.node("b")
	alice, bob := a.client("alice@chat.test/1"), b.client("bob@chat.test/1")
	for _, who := range []*fakeClient{alice, bob} {
		who.makes("r", who.jid.Local())
		who.shout("r", "island of "+who.jid.Local())
	}
	c.quiet()
	bob.says("<message type='groupchat' to='r@%s'><subject>of bob</subject></message>", fakeHost)
	c.quiet()

	goOnA := a.hold()
	c.sees("a", []string{"a", "b"}, []string{"b"})
	c.sees("b", []string{"a", "b"}, []string{"a"})
	b.Placed(context.Background())
	b.flushJobs() // b has asked a to send nothing more
	bob.shout("r", "on the way")
	b.flushJobs()
	a.Placed(context.Background())
	goOnB := b.hold()
	goOnA()
	a.flushJobs() // a has answered, and asked b
	goOnB()
	b.flushJobs()
	a.flushJobs()
	c.place([]string{"a", "b"}, []string{"a", "b"})
	c.quiet()

	late := a.client("late@chat.test/1")
	late.enter("r", "late")
	c.quiet()
	all := late.await(0)
	if !strings.Contains(strings.Join(all, ""), "<subject>of bob</subject>") {
		t.Errorf("the subject is lost: %s", all)
	}
	said := texts(slices.DeleteFunc(all, func(m string) bool { return !strings.Contains(m, "<body>") }))
	slices.Sort(said)
	if want := []string{"island of alice", "island of bob", "on the way"}; !slices.Equal(said, want) {
		t.Errorf("the history is %q", said)
	}
	if got := texts(bob.hears("on the way")); len(got) != 1 {
		t.Errorf("bob heard his own message %d times", len(got))
	}
}

// TestFollow moves a session to a node where somebody else hears what is said: from a third node, and from the room's home.
func TestFollow(t *testing.T) {
	for _, from := range []string{"a", "b"} {
		t.Run(from, func(t *testing.T) { follow(t, from) })
	}
}

func follow(t *testing.T, from string) {
	c := newFakeCluster(t, "a", "b", "c")
	c.place([]string{"a", "b", "c"}, []string{"a"})
	alice, carol := c.node("a").client("alice@chat.test/1"), c.node("c").client("carol@chat.test/1")
	bob := c.node(from).client("bob@chat.test/1")
	alice.makes("r", "alice")
	bob.enter("r", "bob")
	carol.enter("r", "carol")
	c.quiet()
	goOn := c.node("b").hold()
	if from == "a" {
		bob.gone.Store(true)
		c.node("a").table.Unbind(bob)
		bob = c.node("c").resumed("bob@chat.test/1")
	}
	alice.shout("r", "once")
	if from == "b" {
		c.node("b").table.Unbind(bob)
		bob = c.node("c").resumed("bob@chat.test/1")
	}
	goOn()
	c.quiet()
	for _, who := range []*fakeClient{alice, bob, carol} {
		if got := texts(who.hears("<body>")); !slices.Equal(got, []string{"once"}) {
			t.Errorf("%s heard %q", who.jid, got)
		}
	}
}

// TestHalvesMeet has two islands meet: who goes over to the other half of a room is heard by all who are on the way there.
func TestHalvesMeet(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	c.place([]string{"a"}, []string{"a"})
	c.place([]string{"b", "c"}, []string{"b"})
	var all []*fakeClient
	for _, n := range c.nodes {
		who := n.client(n.name + "@chat.test/1")
		all = append(all, who)
		who.makes("r", n.name)
	}
	a, b := c.node("a"), c.node("b")
	for _, n := range []string{"a", "b", "c"} {
		c.sees(n, []string{"a", "b", "c"}, []string{"a"})
	}
	b.Placed(context.Background())
	b.flushJobs() // it has begun
	a.flushJobs()
	goOn := b.hold()
	c.node("c").flushJobs()
	all[2].shout("r", "from c")
	all[0].shout("r", "from a")
	a.flushJobs()
	goOn()
	c.place([]string{"a", "b", "c"}, []string{"a"})
	c.quiet()
	for _, who := range all {
		said := texts(who.hears("<body>"))
		slices.Sort(said)
		if !slices.Equal(said, []string{"from a", "from c"}) {
			t.Errorf("%s heard %q", who.jid, said)
		}
	}
}

// aliceAndBob are in the room r, whose home is a: she on a, he on b. There is a node c as well.
func aliceAndBob(t *testing.T) (c *fakeCluster, alice, bob *fakeClient) {
	t.Helper()
	c = newFakeCluster(t, "a", "b", "c")
	c.place([]string{"a", "b", "c"}, []string{"a"})
	alice, bob = c.node("a").client("alice@chat.test/1"), c.node("b").client("bob@chat.test/1")
	alice.makes("r", "alice")
	bob.enter("r", "bob")
	c.quiet()
	return c, alice, bob
}

// TestReturned has a node leave that has given a session to another and is told something for it then.
func TestReturned(t *testing.T) {
	c, alice, bob := aliceAndBob(t)
	goOn := c.node("b").hold()
	alice.shout("r", "once")
	c.node("b").table.Unbind(bob)
	bob = c.node("c").resumed("bob@chat.test/1")
	a := c.node("a")
	var unacked []Frame
	c.mu.Lock()
	for _, f := range a.cast["b"] {
		if strings.Contains(string(f.Payload), "once") {
			unacked = append(unacked, f)
		}
	}
	c.node("b").down = true
	c.mu.Unlock()
	goOn()
	c.sees("a", []string{"a", "c"}, []string{"a"})
	c.sees("c", []string{"a", "c"}, []string{"a"})
	a.Down("b", true, unacked)
	a.Placed(context.Background())
	c.quiet()
	if got := texts(bob.hears("<body>")); !slices.Equal(got, []string{"once"}) {
		t.Errorf("%d frames came back, and bob heard %q", len(unacked), got)
	}
	if got := alice.hears("unavailable"); len(got) > 0 {
		t.Errorf("alice was told %q", got)
	}
}

// TestUnsent has a room say something when the node of a session is gone, which nobody has been told yet, and has given the session to another before or after that.
func TestUnsent(t *testing.T) {
	for _, before := range []bool{true, false} {
		for _, left := range []bool{true, false} {
			c, alice, bob := aliceAndBob(t)
			c.mu.Lock()
			c.node("b").down = true
			c.mu.Unlock()
			if before {
				bob = c.node("c").resumed("bob@chat.test/1")
			}
			alice.shout("r", "once")
			if !before {
				bob = c.node("c").resumed("bob@chat.test/1")
			}
			c.sees("a", []string{"a", "c"}, []string{"a"})
			c.sees("c", []string{"a", "c"}, []string{"a"})
			c.node("a").Down("b", left, nil)
			c.node("a").Placed(context.Background())
			if got := texts(bob.await(1)); !slices.Equal(got, []string{"once"}) {
				t.Errorf("before %v, left %v: bob heard %q", before, left, got)
			}
			if got := alice.hears("unavailable"); len(got) > 0 {
				t.Errorf("before %v, left %v: alice was told %q", before, left, got)
			}
		}
	}
}

// TestMovesFromHome has a session go from the room's home to another node, and one that is there end: the room says something in each moment of that. Who goes on
// hears all of it, and who does not says so itself.
func TestMovesFromHome(t *testing.T) {
	for _, moves := range []bool{true, false} {
		c := newFakeCluster(t, "a", "b", "c")
		c.place([]string{"a", "b", "c"}, []string{"a"})
		alice, bob := c.node("b").client("alice@chat.test/1"), c.node("a").client("bob@chat.test/1")
		alice.makes("r", "alice")
		bob.enter("r", "bob")
		c.quiet()
		alice.hears("")
		shout := func(text string) {
			alice.shout("r", text)
			c.quiet()
		}
		bob.gone.Store(true)
		shout("takes nothing")
		c.node("a").table.Unbind(bob)
		shout("is nowhere")
		if got := alice.hears("unavailable"); len(got) > 0 {
			t.Errorf("moves %v: alice was told %q", moves, got)
		}
		if !moves {
			bob.says("<presence type='unavailable' to='r@%s/bob'><status>bye</status></presence>", fakeHost)
			c.quiet()
			if got := alice.hears("unavailable"); len(got) != 1 || !strings.Contains(got[0], "bye") || strings.Contains(got[0], "333") {
				t.Errorf("bob left, and alice was told %q", got)
			}
			continue
		}
		bob = c.node("c").resumed("bob@chat.test/1")
		if got := texts(bob.await(2)); !slices.Equal(got, []string{"takes nothing", "is nowhere"}) {
			t.Errorf("bob heard %q", got)
		}
		shout("is there")
		if got := texts(bob.hears("<body>")); !slices.Equal(got, []string{"is there"}) {
			t.Errorf("bob heard %q", got)
		}
	}
}

// TestOlderElsewhere has somebody who has logged in anew go to another node, while the session from before that, which had been resumed, is still on a third, and ends.
func TestOlderElsewhere(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	c.place([]string{"a", "b", "c"}, []string{"a"})
	alice := c.node("a").client("alice@chat.test/1")
	begun := time.Now()
	anew := c.node("b").clientSince("bob@chat.test/1", begun.Add(1))
	alice.makes("r", "alice")
	anew.enter("r", "bob")
	c.quiet()
	old := c.node("c").clientSince("bob@chat.test/1", begun)
	old.n.table.SetFlags(old, router.Resumed, 0)
	anew.n.table.Unbind(anew)
	alice.shout("r", "once")
	c.quiet()
	old.says("<presence type='unavailable' to='r@%s/bob'/>", fakeHost)
	c.quiet()
	old.n.table.Unbind(old)
	anew = c.node("c").resumedAt("bob@chat.test/1", begun.Add(2))
	if got := texts(anew.await(1)); !slices.Equal(got, []string{"once"}) {
		t.Errorf("bob heard %q", got)
	}
	if got := texts(old.hears("")); len(got) > 0 {
		t.Errorf("his old session heard %q", got)
	}
	if got := alice.hears("unavailable"); len(got) > 0 {
		t.Errorf("alice was told %q", got)
	}
}

// TestUnreachable has the node of a session be out of reach for a moment.
func TestUnreachable(t *testing.T) {
	c, alice, bob := aliceAndBob(t)
	bob.hears("")
	c.sees("a", []string{"a", "c"}, []string{"a"})
	alice.shout("r", "once")
	c.quiet()
	c.sees("a", []string{"a", "b", "c"}, []string{"a"})
	if got := texts(bob.await(1)); !slices.Equal(got, []string{"once"}) {
		t.Errorf("bob heard %q", got)
	}
	alice.shout("r", "twice")
	c.quiet()
	if got := texts(bob.hears("<body>")); !slices.Equal(got, []string{"twice"}) {
		t.Errorf("bob heard %q", got)
	}
}

// TestRoomMovesMeanwhile has a session go from one node to another while the room goes to a third, or to the one that the session was on: its old home has missed it or not,
// and its node may have left.
func TestRoomMovesMeanwhile(t *testing.T) {
	t.Run("to where it was", func(t *testing.T) { roomMovesMeanwhile(t, "b", false, false) })
	t.Run("missed, to where it was", func(t *testing.T) { roomMovesMeanwhile(t, "b", true, false) })
	t.Run("missed, to another", func(t *testing.T) { roomMovesMeanwhile(t, "c", true, false) })
	t.Run("missed, its node left", func(t *testing.T) { roomMovesMeanwhile(t, "c", true, true) })
}

func roomMovesMeanwhile(t *testing.T, home string, missed, left bool) {
	c, all, begun := newFakeCluster(t, "a", "b", "c", "d"), []string{"a", "b", "c", "d"}, time.Now()
	c.place(all, []string{"a"})
	alice, bob := c.node("d").client("alice@chat.test/1"), c.node("b").clientSince("bob@chat.test/1", begun)
	alice.makes("r", "alice")
	bob.enter("r", "bob")
	c.quiet()
	alice.hears("")
	c.node("b").table.Unbind(bob)
	var want []string
	if missed {
		alice.shout("r", "before")
		c.quiet()
		want = []string{"before"}
	}
	if left {
		c.mu.Lock()
		c.node("b").down = true
		c.mu.Unlock()
		all = []string{"a", "c", "d"}
		for _, n := range all {
			c.sees(n, all, []string{"a"})
			c.node(n).Down("b", true, nil)
		}
	}
	c.place(all, []string{home})
	c.quiet()
	if c.node(home).find("r") == nil {
		t.Fatal("the room has not moved")
	}
	alice.shout("r", "after")
	c.quiet()
	bob = c.node("a").resumedAt("bob@chat.test/1", begun.Add(time.Millisecond))
	if got := texts(bob.await(len(want) + 1)); !slices.Equal(got, append(want, "after")) {
		t.Errorf("bob heard %q", got)
	}
	if got := alice.hears("unavailable"); len(got) > 0 {
		t.Errorf("alice was told %q", got)
	}
}

// TestBouncedMeanwhile has an error say that a session is nowhere, as that goes to another node or ends.
func TestBouncedMeanwhile(t *testing.T) {
	for _, moves := range []bool{true, false} {
		c, alice, bob := aliceAndBob(t)
		c.node("b").table.Unbind(bob)
		c.node("b").Handle(t.Context(), nil, nil, &stanza.Stanza{Kind: stanza.Message, Type: stanza.TypeError, From: bob.jid, To: stanza.MustJID("r@" + fakeHost),
			Inner: []byte("<error type='cancel'><service-unavailable xmlns='" + stanza.NSStanzas + "'/></error>")})
		c.quiet()
		if got := alice.hears("unavailable"); len(got) > 0 {
			t.Errorf("alice was told %q", got)
		}
		if !moves {
			if got := alice.await(1); len(got) != 1 || !strings.Contains(got[0], "333") {
				t.Errorf("bob is nowhere, and alice was told %q", got)
			}
			continue
		}
		bob = c.node("c").resumed("bob@chat.test/1")
		alice.shout("r", "once")
		if got := texts(bob.await(1)); !slices.Equal(got, []string{"once"}) {
			t.Errorf("bob heard %q", got)
		}
		if got := alice.hears("unavailable"); len(got) > 0 {
			t.Errorf("alice was told %q", got)
		}
	}
}

// TestApartMeanwhile has the node of a session be cut off from a room's home, which is about to go to one that reaches both: what is said until then is heard once at most, and
// they see each other.
func TestApartMeanwhile(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	c.place([]string{"a", "b", "c"}, []string{"c"})
	alice, bob, carol := c.node("a").client("alice@chat.test/1"), c.node("b").client("bob@chat.test/1"), c.node("c").client("carol@chat.test/1")
	carol.makes("r", "carol")
	bob.enter("r", "bob")
	alice.enter("r", "alice")
	c.quiet()
	goOn := c.node("b").hold()
	carol.shout("r", "under way")
	var unacked []Frame
	c.mu.Lock()
	for _, f := range c.node("c").cast["b"] {
		if strings.Contains(string(f.Payload), "under way") {
			unacked = append(unacked, f)
		}
	}
	c.node("b").misses = true
	c.mu.Unlock()
	c.sees("a", []string{"a", "b", "c"}, []string{"a"})
	c.sees("b", []string{"a", "b"}, []string{"a"})
	c.sees("c", []string{"a", "c"}, []string{"a"})
	c.node("c").Down("b", false, unacked)
	c.node("b").Down("c", false, nil)
	c.node("c").flushJobs()
	carol.shout("r", "apart")
	alice.says("<presence type='unavailable' to='r@%s/alice'/>", fakeHost)
	c.node("c").flushJobs()
	alice.enter("r", "alice")
	c.node("c").flushJobs()
	c.mu.Lock()
	c.node("b").misses = false
	c.mu.Unlock()
	goOn()
	for _, n := range c.nodes {
		n.Placed(t.Context())
	}
	c.quiet()
	alice.shout("r", "after")
	var all []string
	for range 10 {
		if all = append(all, bob.await(1)...); strings.Contains(strings.Join(all, ""), "<body>after") {
			break
		}
	}
	said := texts(slices.DeleteFunc(slices.Clone(all), func(m string) bool { return !strings.Contains(m, "<body>") }))
	if !slices.Equal(said, []string{"under way", "after"}) && !slices.Equal(said, []string{"under way", "apart", "after"}) {
		t.Errorf("bob heard %q", said)
	}
	sees := false
	for _, p := range all {
		if strings.Contains(p, "/alice'") && strings.HasPrefix(p, "<presence") {
			sees = !strings.Contains(p, "unavailable")
		}
	}
	if !sees {
		t.Errorf("bob does not see alice: %q", all)
	}
}

// TestRetoldWhileAbsent has a session that is looked for be told again what has been said: it hears nothing of that twice.
func TestRetoldWhileAbsent(t *testing.T) {
	c, alice, bob := aliceAndBob(t)
	alice.shout("r", "heard")
	c.quiet()
	bob.hears("")
	for at := time.Now().UnixMilli(); time.Now().UnixMilli() < at+2; { // what was said in the millisecond in which it is missed may come again
	}
	c.node("b").table.Unbind(bob)
	for _, text := range []string{"missed", "since"} {
		alice.shout("r", text)
		c.quiet()
	}
	a := c.node("a")
	var b router.Batch
	r := a.lock(&b, "r")
	for _, m := range r.past.messages {
		a.retell(&b, r, m, func(*seat) bool { return true })
	}
	a.unlock(&b, r)
	b.Flush()
	bob = c.node("c").resumed("bob@chat.test/1")
	if got := texts(bob.await(2)); !slices.Equal(got, []string{"missed", "since"}) {
		t.Errorf("bob heard %q", got)
	}
}

// TestResumedTwice has a session end that goes on elsewhere.
func TestResumedTwice(t *testing.T) {
	c, alice, bob := aliceAndBob(t)
	other := &fakeClient{n: c.node("c"), jid: bob.jid, done: make(chan struct{})}
	other.says("<presence type='unavailable' to='r@%s/bob'/>", fakeHost)
	c.quiet()
	if got := alice.hears("unavailable"); len(got) > 0 {
		t.Errorf("alice was told %q", got)
	}
	bob.says("<presence type='unavailable' to='r@%s/bob'/>", fakeHost)
	c.quiet()
	if got := alice.hears("unavailable"); len(got) != 1 {
		t.Errorf("alice was told %q", got)
	}
}

// TestAbsent has a session go from one node to another, of which the room's home hears a little later.
func TestAbsent(t *testing.T) {
	c, alice, bob := aliceAndBob(t)
	c.node("b").table.Unbind(bob)
	for _, text := range []string{"one", "two"} {
		alice.shout("r", text)
		c.quiet()
	}
	bob = c.node("c").resumed("bob@chat.test/1")
	if got := texts(bob.await(2)); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("bob heard %q", got)
	}
	alice.shout("r", "three")
	c.quiet()
	if got := texts(bob.hears("<body>")); !slices.Equal(got, []string{"three"}) {
		t.Errorf("bob heard %q", got)
	}
	if got := alice.hears("unavailable"); len(got) > 0 {
		t.Errorf("alice was told %q", got)
	}

	c.node("c").table.Unbind(bob)
	alice.shout("r", "four")
	if got := alice.await(2); !strings.Contains(strings.Join(got, ""), "333") {
		t.Errorf("bob is nowhere, and alice was told %q", got)
	}
}

// TestLeavesFirst has a node leave that has given a session to another, of which the room's home hears after that.
func TestLeavesFirst(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	c.place([]string{"a", "b", "c"}, []string{"a"})
	a, b := c.node("a"), c.node("b")
	alice, bob, dan := a.client("alice@chat.test/1"), b.client("bob@chat.test/1"), b.client("dan@chat.test/1")
	alice.makes("r", "alice")
	bob.enter("r", "bob")
	dan.enter("r", "dan")
	c.quiet()
	goOn := b.hold()
	alice.shout("r", "first")
	c.mu.Lock()
	unacked := slices.DeleteFunc(slices.Clone(a.cast["b"]), func(f Frame) bool { return !strings.Contains(string(f.Payload), "first") })
	b.down = true
	c.mu.Unlock()
	goOn()
	alice.hears("")
	c.sees("a", []string{"a", "c"}, []string{"a"})
	c.sees("c", []string{"a", "c"}, []string{"a"})
	a.Down("b", true, unacked)
	a.Placed(context.Background())
	c.quiet()
	alice.shout("r", "second")
	c.quiet()
	bob = c.node("c").resumed("bob@chat.test/1")
	if got := texts(bob.await(2)); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("%d frames came back, and bob heard %q", len(unacked), got)
	}
	if got := alice.await(2); len(got) != 2 || !strings.Contains(got[1], "/dan'") || !strings.Contains(got[1], "333") {
		t.Errorf("dan is nowhere, and alice was told %q", got)
	}
}

// TestMovesWithRoom has a session go to where the room is about to come, which its old home has not told that node.
func TestMovesWithRoom(t *testing.T) {
	for _, resumed := range []bool{true, false} {
		c := newFakeCluster(t, "a", "b", "c")
		c.place([]string{"a", "b", "c"}, []string{"a"})
		alice, bob := c.node("a").client("alice@chat.test/1"), c.node("b").client("bob@chat.test/1")
		alice.makes("r", "alice")
		bob.enter("r", "bob")
		c.quiet()
		alice.hears("")
		c.node("b").table.Unbind(bob)
		bob = &fakeClient{n: c.node("c"), jid: bob.jid, done: make(chan struct{}), state: router.State{Begun: time.Unix(1, 0)}}
		bob.n.table.Bind(bob, false)
		if resumed {
			bob.n.table.SetFlags(bob, router.Resumed, 0)
		}
		c.place([]string{"a", "b", "c"}, []string{"c"})
		c.quiet()
		if got := alice.hears("unavailable"); len(got) > 0 == resumed {
			t.Errorf("resumed %v: alice was told %q", resumed, got)
		}
		alice.shout("r", "on")
		c.quiet()
		if got := texts(bob.hears("<body>")); len(got) > 0 != resumed {
			t.Errorf("resumed %v: bob heard %q", resumed, got)
		}
	}
}

// TestLogsInAnew has the node of a session die, which may be the room's home, and its user come to the room's next home or to another node: only who enters the
// room again is in it, and nobody is put out.
func TestLogsInAnew(t *testing.T) {
	for _, home := range []string{"a", "b", "c"} {
		for _, enters := range []bool{true, false} {
			for _, to := range []string{"a", "c"} {
				t.Run(fmt.Sprint(home, enters, to), func(t *testing.T) { logsInAnew(t, home, enters, to) })
			}
		}
	}
}

func logsInAnew(t *testing.T, home string, enters bool, to string) {
	c := newFakeCluster(t, "a", "b", "c")
	room := "r0"
	for i := 0; c.node("a").Home(room) != home; i++ {
		room = fmt.Sprint("r", i)
	}
	alice, bob := c.node("a").client("alice@chat.test/1"), c.node("b").client("bob@chat.test/1")
	alice.makes(room, "alice")
	bob.enter(room, "bob")
	c.quiet()
	alice.hears("")
	c.mu.Lock()
	c.node("b").down = true
	c.mu.Unlock()
	bob = &fakeClient{n: c.node(to), jid: bob.jid, done: make(chan struct{}), state: router.State{Begun: time.Unix(1, 0)}}
	bob.n.table.Bind(bob, false)
	bob.n.table.SetPresence(bob, true, 0)
	alice.shout(room, "meanwhile")
	if enters {
		bob.enter(room, "bob")
	}
	c.place([]string{"a", "c"}, []string{"a", "c"})
	c.quiet()
	if got := bob.hears("unavailable"); len(got) > 0 {
		t.Errorf("bob was told %q", got)
	}
	alice.shout(room, "on")
	c.quiet()
	if got := texts(bob.hears("<body>on")); len(got) > 0 != enters {
		t.Errorf("bob heard %q", got)
	}
	sees := true
	for _, p := range alice.hears("<presence") {
		if strings.Contains(p, "/bob") {
			sees = !strings.Contains(p, "unavailable")
		}
	}
	if sees != enters {
		t.Errorf("alice sees bob: %v", sees)
	}
}
