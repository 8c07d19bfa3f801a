package muc

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestRejoinReturned has a node have lent a room, or have a copy of one, that is not there any more, and of which it has not heard that. Who rejoins the room is in it at its home, and the two nodes
// do not send that to each other for ever.
func TestRejoinReturned(t *testing.T) {
	for _, lent := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c, all := newFakeCluster(t, "a", "b", "c"), []string{"a", "b", "c"}
			c.place(all, []string{"a"})
			time.Sleep(2 * settling)
			a, ben := c.node("a"), c.node("c").client("ben@chat.test/1")
			sh := a.laneShard("r")
			sh.mu.Lock()
			if lent {
				sh.putAway("r", &away{home: "b", lent: true})
			} else {
				sh.copies = map[string]*standby{"r": {home: "b", state: &State{Name: "r"}}}
			}
			sh.mu.Unlock()
			x := &State{Name: "r", Whole: "c", Occupants: []OccupantState{{Nick: "Ben", Role: "participant", Sessions: []SessionState{{JID: ben.jid.String(), Node: "c"}}}}}
			c.node("c").sendJSON("a", frameRejoin, "r", x)
			for range 50 { // each node in turn does what it has
				a.flushJobs()
				c.node("b").flushJobs()
			}
			c.mu.Lock()
			sent := a.sent[frameRejoin] + c.node("b").sent[frameRejoin]
			c.mu.Unlock()
			if sent != 2 {
				t.Fatalf("lent %v: sent on %d times", lent, sent)
			}
			synctest.Wait()
			if r := a.find("r"); r == nil || !slices.Equal(r.nodes(), []string{"c"}) {
				t.Errorf("lent %v: ben is not in the room", lent)
			}
		})
	}
}
