package c2s

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"chatd/stanza"
)

// drainPace is the slowest at which clients are sent away: few of them need no long time.
const drainPace = 10 * time.Millisecond

// Shutdown closes the listeners, those of HTTP last, sends the clients away, spread over Config.DrainTime, and waits
// until all have left or ctx ends. Each client is told of another node if there is one
// (RFC 6120 §4.9.3.19) and else that the system shuts down (§4.9.3.20). Those that are not sent away
// yet go on as before. Then the sessions that can be resumed are given to other nodes by HandOver, or to Keep; what the clients of all
// others were not sent is stored.
func (s *Server) Shutdown(ctx context.Context) error {
	sessions, first := s.shutDoors()
	if !first {
		return nil
	}
	defer s.cancel()
	s.log.Info("closing sessions", "sessions", len(sessions))
	for _, session := range sessions {
		session.askAgain() // what is acknowledged by then needs not be stored
	}
	s.sendAway(ctx, sessions)
	err := s.web.shutdown(ctx)
	select {
	case <-s.idle:
	case <-ctx.Done():
	}
	s.keep(ctx) // last: nobody is there any more who could send them anything
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return fmt.Errorf("c2s: shutdown: %w", err)
	}
	return nil
}

// shutDoors lets nobody in any more, and returns the sessions that have a connection. first
// is false if somebody has done so before.
func (s *Server) shutDoors() (sessions []*Session, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, false
	}
	s.closing = true
	s.shut()
	s.closeListenersLocked(false) // clients of BOSH need new connections until they are told
	if len(s.conns) == 0 {
		close(s.idle)
	}
	for t, session := range s.conns {
		if session != nil {
			sessions = append(sessions, session)
		} else {
			t.deadline(past) // negotiation reads an error and says why
		}
	}
	return sessions, true
}

func (s *Server) closeListenersLocked(http bool) {
	for l, of := range s.listeners {
		if of == http {
			_ = l.Close()
		}
	}
}

// sendAway tells the clients to go, one after the other, until ctx ends.
func (s *Server) sendAway(ctx context.Context, sessions []*Session) {
	cfg := s.cfg.Load()
	pace := min(cfg.DrainTime/time.Duration(max(1, len(sessions))), drainPace)
	start := time.Now()
	for i, session := range sessions {
		session.sendAway(cfg.farewell(session, i))
		if ahead := time.Duration(i+1)*pace - time.Since(start); ahead > 0 && i+1 < len(sessions) {
			select {
			case <-time.After(ahead):
			case <-ctx.Done():
			}
		}
	}
}

// farewell is what the i-th client is told. Those that came by HTTP find another node by its
// address on the web, which is the balancer's or DNS's.
func (cfg *Config) farewell(s *Session, i int) *stanza.StreamError {
	if len(cfg.DrainTo) == 0 || !s.overTCP() {
		return stanza.StreamSystemShutdown
	}
	return &stanza.StreamError{Condition: "see-other-host", Content: cfg.DrainTo[i%len(cfg.DrainTo)]}
}

// overTCP reports whether the stream has a TCP connection of its own, without HTTP.
func (s *Session) overTCP() bool {
	w, ok := s.wire.(*wire)
	return ok && w.ws == nil
}

// What is kept at most. Sessions beyond that end.
const (
	keptSessions = 1 << 20
	keptBytes    = 1 << 30 // of stanzas that were not acknowledged, all sessions together
	// KeptBytes is the same for one session.
	KeptBytes = 16 << 20
)

// handOvers is how many sessions are given to other nodes at the same time.
const handOvers = 32

// handOverAll gives sessions to other nodes, and returns those that nobody is there for. What another node refuses, such as a session
// whose resource is bound there by now, ends.
func (s *Server) handOverAll(ctx context.Context, sessions []*Session) (rest []*Session) {
	if s.HandOver == nil {
		return sessions
	}
	var mu sync.Mutex
	var work sync.WaitGroup
	free := make(chan struct{}, handOvers)
	for _, session := range sessions {
		free <- struct{}{}
		work.Go(func() {
			defer func() { <-free }()
			if !s.handOver(ctx, session) {
				mu.Lock()
				rest = append(rest, session)
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return rest
}

// handOver gives away one session that the caller has claimed. False: it was left as it is.
func (s *Server) handOver(ctx context.Context, session *Session) bool {
	var x *Suspended
	err := s.HandOver(ctx, session.smID, func() *Suspended {
		x = session.export()
		x.Storing = true // what comes while the session is nowhere is in the store
		session.depart()
		return x
	})
	if x == nil {
		return false
	}
	if err != nil {
		s.log.Info("session ends: it was not taken over by another node", "jid", x.JID, "err", err)
		s.endImported(ctx, x)
	}
	return true
}

// keep gives the sessions that wait for resumption to other nodes or else to Keep, and ends them if that does not take them.
func (s *Server) keep(ctx context.Context) {
	var keep, end []*Session
	left := keptBytes
	for _, session := range s.handOverAll(ctx, s.waiting(ctx)) {
		size := session.kept()
		if s.Keep != nil && len(keep) < keptSessions && size <= min(left, KeptBytes) {
			left -= size
			keep = append(keep, session)
		} else {
			end = append(end, session)
		}
	}
	endAll(ctx, end) // first: their contacts, of which some are kept, are told
	if len(keep) == 0 {
		return
	}
	if err := s.Keep(exports(keep)); err != nil {
		s.log.Error("sessions not kept", "sessions", len(keep), "err", err)
		endAll(ctx, keep)
		return
	}
	for _, session := range keep {
		session.depart()
	}
	s.log.Info("sessions kept", "sessions", len(keep))
}

// waiting claims all sessions that wait for resumption. Those that end just now have ended
// when it returns.
func (s *Server) waiting(ctx context.Context) (claimed []*Session) {
	s.mu.Lock()
	s.kept = true
	all := make([]*Session, 0, len(s.byID))
	for _, session := range s.byID {
		all = append(all, session)
	}
	s.mu.Unlock()
	for _, session := range all {
		if session.claim() {
			claimed = append(claimed, session)
			continue
		}
		select {
		case <-session.Done():
		case <-ctx.Done(): // perhaps it is still connected
		}
	}
	return claimed
}

// kept is how many bytes of stanzas are to be kept with a session.
func (s *Session) kept() int {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.queueLocked()) + len(o.managed.unacked) - o.managed.from
	if o.inactive != nil {
		for _, p := range o.inactive.order {
			n += len(p)
		}
	}
	return n
}

func exports(sessions []*Session) iter.Seq[*Suspended] {
	return func(yield func(*Suspended) bool) {
		for _, session := range sessions {
			if !yield(session.export()) {
				return
			}
		}
	}
}

// endAll ends sessions that were claimed.
func endAll(ctx context.Context, sessions []*Session) {
	for _, session := range sessions {
		go session.end()
	}
	for _, session := range sessions {
		select {
		case <-session.Done():
		case <-ctx.Done():
			return
		}
	}
}
