package cluster

import (
	"sort"
	"sync"
	"time"
)

// settleDelay is how long an acknowledgement that nobody waits for waits for others when frames are dealt with after they were taken.
const settleDelay = 2 * time.Millisecond

// Settling is which of a peer's frames have been taken and not been dealt with.
type settling struct {
	mu    sync.Mutex
	later []laterFrame // by number; the first is not settled
}

type laterFrame struct {
	seq     uint64
	settled bool
}

// Later says, during the Handler's Frame, that the frame is dealt with when Settled is called. Until then neither it nor any
// later one is acknowledged; if this process dies the peer has them back.
func (p *Peer) Later(seq uint64) {
	p.settle.mu.Lock()
	defer p.settle.mu.Unlock()
	p.settle.later = append(p.settle.later, laterFrame{seq: seq})
}

// Settled says that a frame of Later has been dealt with. Any goroutine may call it, once a frame.
func (p *Peer) Settled(seq uint64) {
	t := &p.settle
	t.mu.Lock()
	i := sort.Search(len(t.later), func(i int) bool { return t.later[i].seq >= seq })
	t.later[i].settled = true
	n := 0
	for n < len(t.later) && t.later[n].settled {
		n++
	}
	if t.later = t.later[n:]; len(t.later) == 0 {
		t.later = nil
	}
	t.mu.Unlock()
	if n > 0 && !p.satisfy() && !p.ackWait.Swap(true) {
		time.AfterFunc(settleDelay, func() {
			p.ackWait.Store(false)
			p.ackDue.Store(true)
			p.poke()
		})
	}
}

// settled is up to which number everything of the peer has been dealt with.
func (p *Peer) settled() uint64 {
	dealt := p.dealt.Load() // before the others: these only grow
	p.settle.mu.Lock()
	defer p.settle.mu.Unlock()
	if len(p.settle.later) > 0 {
		return min(dealt, p.settle.later[0].seq-1)
	}
	return dealt
}
