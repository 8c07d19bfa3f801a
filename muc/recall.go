package muc

import (
	"context"
	"maps"
	"slices"

	"chatd/router"
)

// resurrect brings a room back of which there is a copy here, and whose home is gone. It reports whether what comes for the room has to wait.
func (s *Service) resurrect(ctx context.Context, b *router.Batch, room string) bool {
	c := s.takeCopy(room)
	if c == nil {
		return false
	}
	s.Metrics.moved.Inc()
	return s.holdFor(room, s.adopt(ctx, b, c.state, true, false))
}

// recall makes a room that should be here, and that no node has, of what is known of it here, before anybody makes a new one. It reports whether what
// comes for the room has to wait.
func (s *Service) recall(ctx context.Context, b *router.Batch, room string) bool {
	if s.find(room) != nil || s.Place.Home(room) != s.Place.Node() {
		return false
	}
	if s.resurrect(ctx, b, room) {
		return true
	}
	sh := s.laneShard(room)
	sh.mu.Lock()
	a := sh.away[room]
	lost := s.find(room) == nil && a != nil && !s.reaches(a.home) && sh.seats(room)
	sh.mu.Unlock()
	if lost {
		s.adopt(ctx, b, &State{Name: room, Whole: s.Place.Node()}, false, false)
	}
	return false
}

// orphaned are the rooms of which there is something here and whose home is gone, or may be another now.
func (s *Service) orphaned() []string {
	names := make(map[string]struct{})
	for i := range s.lanes {
		sh := &s.lanes[i]
		sh.mu.Lock()
		for name, c := range sh.copies {
			if !s.reaches(c.home) {
				names[name] = struct{}{}
			}
		}
		for name, a := range sh.away {
			if a.rejoins || a.strayed || a.lent || !s.reaches(a.home) {
				names[name] = struct{}{}
			}
		}
		sh.mu.Unlock()
	}
	return slices.Sorted(maps.Keys(names))
}

// takeOver sends what is here of a room that has lost its home to its new one, which may be this.
func (s *Service) takeOver(room, home string) {
	if c := s.takeCopy(room); c != nil {
		var of secret
		if _, key, err := decodeSettings(c.state.Config); err == nil {
			of = key
		}
		for _, part := range c.state.parts() {
			part.CopyOf, part.Secret = c.of, of[:]
			s.sendJSON(home, frameState, room, part)
		}
		s.Place.Send(home, frameArrived, room, []byte{1})
	}
	s.rejoin(room, home, 0)
}
