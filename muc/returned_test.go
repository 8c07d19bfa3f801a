package muc

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// TestCopyWaits has the home of a temporary room die while the node with its copy does not reach where its occupants are: the room is there for them when it does, with what was said in it.
func TestCopyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, "a", "b", "c")
		home := c.node(c.node("a").Home("r0"))
		second := home.Second("r0")
		i := slices.IndexFunc(c.nodes, func(n *fakeNode) bool { return n != home && n.name != second })
		third := c.nodes[i]
		ann := third.client("ann@chat.test/1")
		ann.makes("r0", "Ann")
		ann.shout("r0", "before")
		c.quiet()
		time.Sleep(2 * recently) // nobody else remembers it
		c.mu.Lock()
		home.down = true
		c.mu.Unlock()
		c.place([]string{second}, []string{second})
		c.place([]string{third.name}, []string{third.name})
		time.Sleep(overdue)
		both := []string{second, third.name}
		c.place(both, both)
		c.quiet()
		time.Sleep(overdue)
		ben := third.client("ben@chat.test/1")
		ben.enter("r0", "Ben")
		c.quiet()
		if got := texts(ben.hears("<body>")); !slices.Equal(got, []string{"before"}) {
			t.Errorf("the room's history is %v", got)
		}
	})
}

// TestLossOfAnother has a session take nothing whose user comes back with its address at that moment: who has come stays in the room.
func TestLossOfAnother(t *testing.T) {
	c := newFakeCluster(t, "a", "b")
	home := c.node(c.node("a").Home("r0"))
	ann := home.client("ann@chat.test/1")
	ann.makes("r0", "Ann")
	var b router.Batch
	defer b.Flush()
	r := home.lock(&b, "r0")
	to := &r.all[0].seats[0]
	r.lose(to.jid, to.session)
	to.session = home.node(home.Second("r0"))
	home.unlock(&b, r)
	if len(r.all) != 1 {
		t.Error("who has come has left")
	}
}

// TestHeardOutOfTurn has a node hear of another than the home what was said here behind something else: that has yet to be answered.
func TestHeardOutOfTurn(t *testing.T) {
	c := newFakeCluster(t, "a", "b")
	other := c.node(c.node("a").Home("r0")).Second("r0")
	s := c.node(other).Service
	sh := s.laneShard("r0")
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := sh.line("r0")
	for n := range uint64(3) {
		st := &stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat}
		st.StanzaID = stanza.NewID()
		l.said = append(l.said, saying{number: n + 1, st: st, at: time.Now()})
	}
	l.home, l.sent, l.rests = "elsewhere", 2, true
	s.heardOf(sh, "r0", l.said[1].st.StanzaID)
	if len(l.said) != 2 || l.said[0].number != 1 || l.said[1].number != 3 || l.sent != 1 {
		t.Errorf("%d have no answer, and %d are on their way", len(l.said), l.sent)
	}
	sh.lines = nil
}
