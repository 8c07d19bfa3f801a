package c2s

import (
	"context"
	"fmt"
	"time"

	"chatd/stanza"
)

// drainPace is the slowest at which clients are sent away: few of them need no long time.
const drainPace = 10 * time.Millisecond

// Shutdown closes the listeners, sends the clients away, spread over Config.DrainTime, and waits
// until all have left or ctx ends. Each client is told of another node if there is one
// (RFC 6120 §4.9.3.19) and else that the system shuts down (§4.9.3.20); what it was not sent is
// stored. Those that are not sent away yet go on as before.
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
	for _, session := range sessions {
		select {
		case <-session.Done():
		case <-ctx.Done():
			return fmt.Errorf("c2s: shutdown: %w", ctx.Err())
		}
	}
	if err := s.web.shutdown(ctx); err != nil {
		return fmt.Errorf("c2s: shutdown: %w", err)
	}
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("c2s: shutdown: %w", ctx.Err())
	}
}

// shutDoors lets nobody in any more, and returns the sessions that are to end, those without
// a connection first. first is false if somebody has done so before.
func (s *Server) shutDoors() (sessions []*Session, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, false
	}
	s.closing = true
	s.shut()
	for l := range s.listeners {
		_ = l.Close()
	}
	if len(s.conns) == 0 {
		close(s.idle)
	}
	for _, session := range s.byID {
		if _, connected := s.conns[session.wire]; !connected {
			sessions = append(sessions, session)
		}
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

// sendAway closes the sessions one after the other, until ctx ends.
func (s *Server) sendAway(ctx context.Context, sessions []*Session) {
	cfg := s.cfg.Load()
	pace := min(cfg.DrainTime/time.Duration(max(1, len(sessions))), drainPace)
	start := time.Now()
	for i, session := range sessions {
		session.Close(cfg.farewell(i))
		if ahead := time.Duration(i+1)*pace - time.Since(start); ahead > 0 && i+1 < len(sessions) {
			select {
			case <-time.After(ahead):
			case <-ctx.Done():
			}
		}
	}
}

// farewell is what the i-th client is told.
func (cfg *Config) farewell(i int) *stanza.StreamError {
	if len(cfg.DrainTo) == 0 {
		return stanza.StreamSystemShutdown
	}
	return &stanza.StreamError{Condition: "see-other-host", Content: cfg.DrainTo[i%len(cfg.DrainTo)]}
}
