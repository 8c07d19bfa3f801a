package c2s

import (
	"runtime"
	"sync/atomic"
)

const (
	// maxGathered bounds the sessions that wait for others at once, each with a scratch.
	maxGathered = 256
	// aloneFor is how often a session does not wait after nobody else came.
	aloneFor = 4
)

// A gathering has sessions that write to several others, as those in one room do, wait until all that have input have handled it: what they
// have for the same client is then one write. They wait for nothing else, so that it costs next to nothing when there is no more input.
type gathering struct {
	here atomic.Int32  // who waits
	came atomic.Uint32 // how many ever have, modulo 2^32
}

// wait reports whether others came meanwhile.
func (g *gathering) wait() bool {
	defer g.here.Add(-1)
	if g.here.Add(1) > maxGathered {
		return true
	}
	number := g.came.Add(1)
	runtime.Gosched()
	return g.came.Load() != number
}

// gather waits for others, if it is of use, before the batch is flushed.
func (s *Session) gather() {
	switch {
	case !s.scratch.batch.Several():
	case s.alone > 0:
		s.alone--
	case !s.srv.gathering.wait():
		s.alone = aloneFor
	}
}
