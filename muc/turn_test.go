package muc

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurn has a room be sent what it has had, and what comes too early: it deals with all in order, and once, and everybody hears it once.
func TestTurn(t *testing.T) {
	c := newFakeCluster(t, "a", "b")
	home := c.node("a")
	room := "r0"
	for i := 0; home.Home(room) != "a"; i++ {
		room = fmt.Sprint("r", i)
	}
	ann := c.node("b").client("ann@chat.test/1")
	ann.makes(room, "Ann")
	ann.hears("")
	says := func(number, after uint64) {
		payload := turn{of: 7, number: number, after: after, try: 9}.append(nil)
		payload = fmt.Appendf(append(payload, fmt.Sprintf("%020d", number)...), "<message from='ann@chat.test/1' to='%s@%s' type='groupchat'><body>%d</body></message>", room, fakeHost, number)
		home.Frame(t.Context(), nil, "b", frameStanza, room, payload)
	}
	refused := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return home.sent[frameElsewhere]
	}
	miss := func(misses bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.node("b").misses = misses
	}
	before := refused()
	miss(true)
	says(8, 0) // ann does not hear it
	miss(false)
	says(8, 0)
	says(10, 0)
	says(10, 0)  // its answer has been lost
	says(14, 12) // 12 has been lost
	if n := refused() - before; n != 1 {
		t.Errorf("%d were sent back", n)
	}
	says(12, 10)
	says(14, 12)
	says(12, 10)
	says(20, 0) // what was before it was dealt with elsewhere
	if n := refused() - before; n != 1 {
		t.Errorf("%d were sent back", n)
	}
	c.quiet()
	if got := texts(ann.hears("<body>")); !slices.Equal(got, []string{"8", "10", "12", "14", "20"}) {
		t.Errorf("heard %v", got)
	}
}

// TestOverflow has a room's home have no room for what is said on another node: it is said later, in order, or its sender is told.
func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, home, _, ann, ben := annAndBen(t)
		fill := func(full bool) {
			c.mu.Lock()
			home.full = full
			c.mu.Unlock()
		}
		ann.hears("")
		ben.hears("")
		fill(true)
		ben.shout("r0", "one")
		synctest.Wait()
		fill(false)
		ben.shout("r0", "two") // on its way, too
		time.Sleep(time.Second)
		for _, u := range []*fakeClient{ann, ben} {
			if got := texts(u.hears("<body>")); !slices.Equal(got, []string{"one", "two"}) {
				t.Errorf("%s heard %v", u.jid, got)
			}
		}
		fill(true)
		ben.shout("r0", "three")
		time.Sleep(patience + time.Second)
		fill(false)
		if got := ben.hears("type='error'"); len(got) != 1 || !strings.Contains(got[0], "three") {
			t.Errorf("ben was told %v", got)
		}
		time.Sleep(time.Second)
		if got := ann.hears("<body>"); len(got) > 0 {
			t.Errorf("ann heard %v", got)
		}
	})
}

// TestComesNevertheless has a node take itself for the home of a room that is on its way to another: it gets there.
func TestComesNevertheless(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	c.place([]string{"a", "b", "c"}, []string{"b"})
	ann := c.node("b").client("ann@chat.test/1")
	ann.enter("r", "Ann")
	c.quiet()
	r := c.node("b").find("r")
	r.mu.Lock()
	x, err := r.state()
	r.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	a := c.node("a")
	defer a.hold()()
	frame := func(node string, kind byte, payload []byte) { a.Frame(t.Context(), nil, node, kind, "r", payload) }
	frame("b", frameFlush, []byte("a"))
	for _, part := range x.parts() {
		raw, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		frame("b", frameState, append(a.Token().append(nil), raw...))
	}
	frame("c", frameMine, nil)
	frame("b", frameArrived, nil)
	if a.find("r") == nil {
		t.Error("the room is lost")
	}
}
