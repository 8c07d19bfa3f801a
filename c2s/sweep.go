package c2s

import (
	"errors"
	"time"
)

// sweepInterval is how long a session is quiet before its goroutine ends, or is made small again.
// Not all sessions are looked at in the same moment but in so many slices, lest all their
// clients are asked at once.
const (
	sweepInterval = 15 * time.Second
	sweepSlices   = 15
)

// When a client says nothing for quietSweeps of them it is asked whether it is there; an inactive
// one, which a question would wake from its sleep, for twice as long. One that says nothing
// for answerSweeps after it was asked, for whatever reason, is given up.
const (
	quietSweeps  = 10
	answerSweeps = 3
)

var errSilent = errors.New("c2s: client is silent")

// sweep makes sessions that have gone quiet wait without a goroutine, or at least
// without the stack that work on input grew, and finds clients that are gone. It ends with Shutdown.
func (s *Server) sweep() {
	tick := time.NewTicker(sweepInterval / sweepSlices)
	defer tick.Stop()
	for slice := uint64(0); ; slice = (slice + 1) % sweepSlices {
		select {
		case <-s.open.Done():
			return
		case <-tick.C:
			s.sweepSlice(slice)
		}
	}
}

func (s *Server) sweepSlice(slice uint64) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	for _, session := range s.sliceOf(slice) {
		if session.active.Swap(false) {
			session.silence = silence{}
			session.askAgain()
			continue
		}
		if session.grown.Swap(false) {
			session.wire.wake()
		}
		session.sweepQuiet()
	}
}

// sliceOf is every so many-th session.
func (s *Server) sliceOf(slice uint64) []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	sessions := make([]*Session, 0, len(s.conns)/sweepSlices+1)
	for t, session := range s.conns {
		if session != nil && t.peer().id%sweepSlices == slice {
			sessions = append(sessions, session)
		}
	}
	return sessions
}

// A silence is for how many sweeps a client has said nothing, and has owed an answer. Whoever
// sweeps owns it.
type silence struct {
	quiet, owing uint16
	pinged       bool
}

// sweepQuiet deals with a client that has said nothing since the last sweep.
func (s *Session) sweepQuiet() {
	s.quiet++
	asked, inactive := s.askAgain()
	if asked || s.pinged {
		s.owing++
	}
	ask := quietSweeps + uint16(s.wire.peer().id/sweepSlices%4) // spread
	if inactive {
		ask *= 2
	}
	switch {
	case s.owing > answerSweeps:
		s.srv.Metrics.Silent.Inc()
		s.fail(errSilent)
	case s.quiet == ask:
		s.areYouThere()
		s.pinged = true
	}
}
