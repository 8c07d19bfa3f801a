package muc

import (
	"fmt"
	"slices"
	"testing"
)

// TestTurn has a room be sent what it has had, and what comes too early: it deals with all in order, and once.
func TestTurn(t *testing.T) {
	c := newFakeCluster(t, "a", "b")
	home := c.node("a")
	room := "r0"
	for i := 0; home.Home(room) != "a"; i++ {
		room = fmt.Sprint("r", i)
	}
	ann := c.node("b").client("ann@chat.test/1")
	ann.enter(room, "Ann")
	c.quiet()
	ann.says("<iq type='set' id='u' to='%s@%s'><query xmlns='%s'><x xmlns='%s' type='submit'/></query></iq>", room, fakeHost, nsOwner, nsForms)
	c.quiet()
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
	before := refused()
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
	if got := texts(ann.hears("<body>")); !slices.Equal(got, []string{"10", "12", "14", "20"}) {
		t.Errorf("heard %v", got)
	}
}
