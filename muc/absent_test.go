package muc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// roomAt is the name of a room whose home is one node, and another one without that.
func (c *fakeCluster) roomAt(home, second string) string {
	for i := 0; ; i++ {
		if name, n := fmt.Sprint("r", i), c.node(home); n.Home(name) == home && n.Second(name) == second {
			return name
		}
	}
}

// sees gives one node the placement of some, as the only one that knows it yet.
func (c *fakeCluster) sees(name string, token Token, nodes ...string) {
	c.mu.Lock()
	n := c.node(name)
	was := n.view.nodes
	n.view = view{token, nodes, nodes}
	c.mu.Unlock()
	for _, old := range was {
		if !slices.Contains(nodes, old) {
			n.Down(old, false, nil)
		}
	}
	n.Placed(context.Background())
	c.quiet()
}

// TestHomeDiesNoticedLate: a node that has not noticed yet that a room's home is gone keeps what the next one says.
func TestHomeDiesNoticedLate(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	room := c.roomAt("a", "b")
	ann, bob, cat := c.node("a").client("ann@chat.test/1"), c.node("b").client("bob@chat.test/1"), c.node("c").client("cat@chat.test/1")
	for _, u := range []*fakeClient{ann, bob, cat} {
		u.enter(room, u.jid.Local())
		c.quiet()
		if u == ann {
			ann.says("<iq type='set' id='u' to='%s@%s'><query xmlns='%s'><x xmlns='%s' type='submit'/></query></iq>", room, fakeHost, nsOwner, nsForms)
			c.quiet()
		}
	}
	cat.hears("")
	c.mu.Lock()
	c.node("a").down = true
	c.epoch++
	token := Token{c.epoch, 0}
	c.mu.Unlock()
	c.sees("b", token, "b", "c")
	bob.shout(room, "now")
	c.quiet()
	c.sees("c", token, "b", "c")
	bob.shout(room, "then")
	heard := strings.Join(cat.await(3), "\n")
	for _, what := range []string{"/ann' type='unavailable'", "<body>now", "<body>then"} {
		if strings.Count(heard, what) != 1 {
			t.Errorf("%d times %s: %s", strings.Count(heard, what), what, heard)
		}
	}
	if strings.Index(heard, "now") > strings.Index(heard, "then") {
		t.Error("out of order: ", heard)
	}
}

// TestSessionChangesNodes: what a room says while a session is on its way from one node to another waits for it, and nobody sees it leave.
func TestSessionChangesNodes(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	for _, from := range []string{"a", "c"} {
		room := c.roomAt("a", "b")
		ann, cat := c.node("a").client("ann@chat.test/"+from), c.node(from).client("cat@chat.test/"+from)
		for _, u := range []*fakeClient{ann, cat} {
			u.enter(room, u.jid.Local()+from)
			c.quiet()
			u.says("<iq type='set' id='u' to='%s@%s'><query xmlns='%s'><x xmlns='%s' type='submit'/></query></iq>", room, fakeHost, nsOwner, nsForms)
			c.quiet()
		}
		ann.hears("")
		c.node(from).table.Unbind(cat)
		cat.gone.Store(true)
		var want []string
		for i := range 5 {
			ann.shout(room, fmt.Sprint("one ", i))
			want = append(want, fmt.Sprint("one ", i))
		}
		c.quiet()
		again := c.node("b").client("cat@chat.test/" + from)
		for i := range 5 {
			ann.shout(room, fmt.Sprint("two ", i))
			want = append(want, fmt.Sprint("two ", i))
		}
		var got []string
		for _, text := range again.await(len(want)) {
			if _, body, ok := strings.Cut(text, "<body>"); ok {
				body, _, _ = strings.Cut(body, "</body>")
				got = append(got, body)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("from %s: %q, not %q", from, got, want)
		}
		if left := ann.hears("unavailable"); len(left) > 0 {
			t.Errorf("from %s: seen to leave: %q", from, left)
		}
	}
}

// TestSessionNowhere: a session that does not turn up has left.
func TestSessionNowhere(t *testing.T) {
	c := newFakeCluster(t, "a", "b")
	room := c.roomAt("a", "b")
	ann, bob := c.node("a").client("ann@chat.test/1"), c.node("b").client("bob@chat.test/1")
	for _, u := range []*fakeClient{ann, bob} {
		u.enter(room, u.jid.Local())
		c.quiet()
		u.says("<iq type='set' id='u' to='%s@%s'><query xmlns='%s'><x xmlns='%s' type='submit'/></query></iq>", room, fakeHost, nsOwner, nsForms)
		c.quiet()
	}
	ann.hears("")
	c.node("b").table.Unbind(bob)
	begun := time.Now()
	ann.shout(room, "anybody?")
	if heard := strings.Join(ann.await(2), "\n"); !strings.Contains(heard, "/bob' type='unavailable'") {
		t.Errorf("after %v: %s", time.Since(begun), heard)
	}
}
