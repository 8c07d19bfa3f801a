package muc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// crowds has a node have no room for anything about rooms of other nodes, or have it again.
func (n *fakeNode) crowds(crowded bool) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.crowded = crowded
}

// TestBehindOfMoved has a room go from one node to another while a third has no room for what either tells: that is told all by the new home.
func TestBehindOfMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, all := newFakeCluster(t, "a", "b", "c"), []string{"a", "b", "c"}
		c.place(all, []string{"a"})
		ann, ben := c.node("a").client("ann@chat.test/1"), c.node("c").client("ben@chat.test/1")
		ann.makes("r", "Ann")
		ben.enter("r", "Ben")
		c.quiet()
		ben.hears("")
		c.node("c").crowds(true)
		ann.shout("r", "one")
		synctest.Wait()
		c.place(all, []string{"b"})
		time.Sleep(overdue + backlog)
		if c.node("b").find("r") == nil {
			t.Fatal("the room has not moved")
		}
		c.node("c").crowds(false)
		time.Sleep(2 * backlog)
		ann.shout("r", "two")
		synctest.Wait()
		if got := texts(ben.hears("<body>")); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("ben heard %q", got)
		}
	})
}

// TestBehindOfAnother has a node have no room for the word of another that a room is elsewhere, which it does not know yet: who enters there is in the room.
func TestBehindOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, all := newFakeCluster(t, "a", "b", "c"), []string{"a", "b", "c"}
		c.place(all, []string{"b"})
		ann, ben := c.node("a").client("ann@chat.test/1"), c.node("c").client("ben@chat.test/1")
		ann.makes("r", "Ann")
		c.sees("c", all, []string{"a"})
		c.node("c").crowds(true)
		ben.enter("r", "Ben")
		synctest.Wait()
		c.node("c").crowds(false)
		time.Sleep(2 * backlog)
		c.sees("c", all, []string{"b"})
		c.node("c").Placed(t.Context())
		time.Sleep(2 * backlog)
		ann.shout("r", "one")
		synctest.Wait()
		if got := ben.hears(""); !strings.Contains(strings.Join(got, ""), "code='110'") || !strings.Contains(strings.Join(got, ""), "<body>one<") {
			t.Errorf("ben, who has entered, was told %q", got)
		}
	})
}

// TestBehindAtOnce has nothing be said between the answer to a node that is behind and what that has missed.
func TestBehindAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, "a", "b")
		c.place([]string{"a", "b"}, []string{"a"})
		ann, ben := c.node("a").client("ann@chat.test/1"), c.node("b").client("ben@chat.test/1")
		ann.makes("r", "Ann")
		ben.enter("r", "Ben")
		c.quiet()
		c.node("b").crowds(true)
		ann.shout("r", "one")
		synctest.Wait()
		c.node("b").crowds(false)
		var did []string
		c.mu.Lock()
		c.node("a").watched = func(what string) { did = append(did, what) }
		c.mu.Unlock()
		time.Sleep(2 * backlog)
		synctest.Wait()
		c.mu.Lock()
		if want := []string{fmt.Sprint(frameSeats), fmt.Sprint(frameCast), "unlock"}; len(did) < 3 || !slices.Equal(did[:3], want) {
			t.Errorf("the home does %v, not %v", did, want)
		}
		c.mu.Unlock()
		if got := texts(ben.hears("<body>")); !slices.Equal(got, []string{"one"}) {
			t.Errorf("ben heard %q", got)
		}
	})
}

// TestBehindOfEnded has a room be destroyed, and a session be put out of another, while their node has no room for what they tell: it is told that they are in neither, what they have
// said has an answer, and others may enter.
func TestBehindOfEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, "a", "b")
		c.place([]string{"a", "b"}, []string{"a"})
		ann, ben, cat := c.node("a").client("ann@chat.test/1"), c.node("b").client("ben@chat.test/1"), c.node("b").client("cat@chat.test/1")
		for _, room := range []string{"ends", "stays"} {
			ann.makes(room, "Ann")
			ben.enter(room, "Ben")
			c.quiet()
		}
		ben.hears("")
		c.node("b").crowds(true)
		ben.shout("ends", "said")
		ben.shout("stays", "said")
		synctest.Wait()
		ann.says("<iq type='set' id='d' to='ends@%s'><query xmlns='%s'><destroy/></query></iq>", fakeHost, nsOwner)
		ann.says("<iq type='set' id='o' to='stays@%s'><query xmlns='%s'><item affiliation='outcast' jid='ben@chat.test'/></query></iq>", fakeHost, nsAdmin)
		synctest.Wait()
		c.node("b").crowds(false)
		time.Sleep(3 * backlog)
		synctest.Wait()
		if got := ben.hears("type='unavailable'"); len(got) != 2 || !strings.Contains(strings.Join(got, ""), "ends@"+fakeHost+"/Ben'") || !strings.Contains(strings.Join(got, ""), "stays@"+fakeHost+"/Ben'") {
			t.Errorf("ben was told %q", got)
		}
		if c.node("a").find("ends") != nil {
			t.Error("the room has come back")
		}
		if moves := c.node("b").moves(); len(moves) > 0 {
			t.Errorf("what was said has no answer in %v", moves)
		}
		ann.hears("")
		cat.enter("ends", "Cat")
		cat.enter("stays", "Cat")
		synctest.Wait()
		if got := cat.hears("code='110'"); len(got) != 2 || !strings.Contains(strings.Join(got, ""), "code='201'") {
			t.Errorf("cat, who has entered, was told %q", got)
		}
		cat.shout("stays", "after")
		synctest.Wait()
		if got := ben.hears(""); len(got) > 0 {
			t.Errorf("ben, who is in neither, was told %q", got)
		}
		if got := ann.hears("/Ben'"); len(got) > 0 {
			t.Errorf("ann was told %q", got)
		}
	})
}
