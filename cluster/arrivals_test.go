package cluster

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatd/stanza"
)

// A notebook is a dealer and a settler that remember what they were given. A frame of kindLook waits for go.
type notebook struct {
	mu      sync.Mutex
	dealt   []string
	settled []uint64
	free    chan struct{}
	slow    chan struct{} // what was dealt with is certain when it is closed; nil: at once
}

func (n *notebook) deal(j job, payload []byte) (wait func(), again bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, text, _ := cutTo(payload)
	n.dealt = append(n.dealt, string(text))
	if j.kind == kindLook {
		return func() { <-n.free }, false
	}
	return nil, false
}

func (n *notebook) flush() (wait func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.slow == nil || len(n.dealt) == 0 {
		return nil
	}
	return func() { <-n.slow }
}

func (n *notebook) overflow(byte, []byte) {}

func (n *notebook) Settled(seq uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settled = append(n.settled, seq)
}

func (n *notebook) all() (dealt []string, settled []uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	settled = slices.Clone(n.settled)
	slices.Sort(settled)
	return slices.Clone(n.dealt), settled
}

// TestArrivalsWait: what comes for a user for whom the store is looked into waits, and is not acknowledged; what comes for others does not
// wait.
func TestArrivalsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notebook{free: make(chan struct{})}
		var a arrivals
		a.start(func() dealer { return n })
		seq := uint64(0)
		put := func(user string, kind byte, text string) {
			t.Helper()
			seq++
			payload := append(appendTo(nil, stanza.MustJID(user+"@chat.test")), text...)
			if !a.put([]byte(user+"@chat.test"), job{kind: kind, peer: n, seq: seq}, payload) {
				t.Error("no room")
			}
		}
		put("romeo", kindLook, "look")
		synctest.Wait()
		put("romeo", kindStanza, "1")
		put("romeo", kindStanza, "2")
		put("juliet", kindStanza, "hers")
		synctest.Wait()
		dealt, settled := n.all()
		if !slices.Equal(dealt, []string{"look", "hers"}) || !slices.Equal(settled, []uint64{1, 4}) {
			t.Errorf("dealt with %q, settled %d", dealt, settled)
		}
		close(n.free)
		synctest.Wait()
		dealt, settled = n.all()
		if !slices.Equal(dealt, []string{"look", "hers", "1", "2"}) || !slices.Equal(settled, []uint64{1, 2, 3, 4}) {
			t.Errorf("then dealt with %q, settled %d", dealt, settled)
		}
		a.stop()
	})
}

// TestArrivalsUnsure: what clients are slow to take is not acknowledged before it is certain, and what comes behind is dealt with
// meanwhile; only so much of it is waited for.
func TestArrivalsUnsure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notebook{slow: make(chan struct{})}
		var a arrivals
		a.start(func() dealer { return n })
		for seq := range uint64(maxUnsure + 2) {
			payload := append(appendTo(nil, stanza.MustJID("romeo@chat.test")), '.')
			if !a.put([]byte("romeo@chat.test"), job{kind: kindStanza, peer: n, seq: seq}, payload) {
				t.Error("no room")
			}
			synctest.Wait()
		}
		if dealt, settled := n.all(); len(dealt) != maxUnsure+2 || !slices.Equal(settled, []uint64{maxUnsure, maxUnsure + 1}) {
			t.Errorf("dealt with %d, settled %d", len(dealt), settled)
		}
		close(n.slow)
		a.stop()
		if _, settled := n.all(); len(settled) != maxUnsure+2 {
			t.Errorf("in the end %d are settled", len(settled))
		}
	})
}

func TestSettling(t *testing.T) {
	p := &Peer{wake: make(chan struct{}, 1)}
	p.dealt.Store(5)
	for _, seq := range []uint64{2, 3, 5} {
		p.Later(seq)
	}
	for _, c := range []struct{ settle, want uint64 }{{0, 1}, {3, 1}, {2, 4}, {5, 5}} {
		if c.settle != 0 {
			p.Settled(c.settle)
		}
		if got := p.settled(); got != c.want {
			t.Errorf("after %d: all up to %d, want %d", c.settle, got, c.want)
		}
	}
}

// TestHeldLook: each node is told once of a user for whom something was stored, and again after more was.
func TestHeldLook(t *testing.T) {
	var h held
	a, b := new(Peer), new(Peer)
	now := time.Now()
	told := func(bare string, p *Peer) (did bool) {
		h.look(bare, p, func() bool { did = true; return true })
		return did
	}
	if told("romeo@chat.test", a) {
		t.Error("told of nobody")
	}
	h.add("romeo@chat.test", now, false)
	if !told("romeo@chat.test", a) || told("romeo@chat.test", a) || !told("romeo@chat.test", b) {
		t.Error("not once each")
	}
	h.add("romeo@chat.test", now, false)
	if !told("romeo@chat.test", a) {
		t.Error("not told of what was stored since")
	}
	h.add("juliet@chat.test", now.Add(2*heldTime), true)
	if !told("romeo@chat.test", b) {
		t.Error("forgotten during a split")
	}
	h.add("nurse@chat.test", now.Add(2*heldTime), false)
	h.add("romeo@chat.test", now.Add(2*heldTime), false)
	h.add("nurse@chat.test", now.Add(4*heldTime), false)
	if told("romeo@chat.test", a) || len(h.all()) != 1 {
		t.Errorf("%q are remembered for too long", h.all())
	}
}

// TestMoving: a user's messages are moved until the last who moves some has ended.
func TestMoving(t *testing.T) {
	var m moving
	romeo := stanza.MustJID("romeo@chat.test/orchard")
	users := map[string]bool{"romeo@chat.test": true}
	if m.of(romeo) != nil {
		t.Error("moving from the start")
	}
	m.begin(users)
	m.begin(users)
	done := m.of(romeo)
	m.end(users)
	select {
	case <-done:
		t.Error("ended with the first")
	default:
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if m.wait(ctx); ctx.Err() == nil {
		t.Error("nobody waits for the second")
	}
	m.end(users)
	<-done
	m.wait(t.Context())
	if m.of(romeo) != nil {
		t.Error("moving for ever")
	}
}
