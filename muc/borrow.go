package muc

import (
	"context"
	"time"
)

// borrowed is for how long a room stays that a service has asked for on a node that is not its home: it may ask for more.
const borrowed = 100 * time.Millisecond

// borrow has a room be here for what a service does to it, wherever its home is: services talk to any node. It stays until giveBack is called, and goes
// back by itself then. Its occupants see nothing of it.
func (s *Service) borrow(ctx context.Context, name string) (giveBack func(), err error) {
	if s.Place == nil {
		return func() {}, nil
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for asked := false; !s.takeHere(name, &asked); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.checkSoon(name)
			return nil, ctx.Err()
		}
	}
	return func() {
		s.leaveLane(name)
		s.checkSoon(name)
	}, nil
}

// takeHere enters the lane of a room that is here, or asks the other nodes for it, once.
func (s *Service) takeHere(name string, asked *bool) bool {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := s.lane(sh, name)
	if ln.moving == nil && !*asked && s.where(sh, name, true) != s.Place.Node() {
		*asked = true
		s.claim(name, ln) // false: all others are gone
	}
	if ln.moving != nil {
		ln.moving.borrowed = true
		return false
	}
	ln.active++
	return true
}

// checkSoon has a room go home, if that is elsewhere.
func (s *Service) checkSoon(name string) {
	time.AfterFunc(borrowed, func() { s.Place.Send(s.Place.Node(), frameCheck, name) })
}
