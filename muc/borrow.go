package muc

import (
	"context"
	"time"
)

// borrowed is for how long a room stays that a service has asked for on a node that is not its home: it may ask for more.
const borrowed = 100 * time.Millisecond

// borrow moves a room here whose home is elsewhere, for what a service does to it: services talk to any node. It goes back by
// itself. Its occupants see nothing of it.
func (s *Service) borrow(ctx context.Context, name string) error {
	if s.Place == nil || s.find(name) != nil {
		return nil
	}
	sh := s.laneShard(name)
	sh.mu.Lock()
	if s.where(sh, name, origin{node: s.Place.Node()}) == s.Place.Node() {
		sh.mu.Unlock()
		return nil
	}
	ln := sh.lane(name)
	asked := ln.moving != nil || s.claim(name, ln)
	if asked {
		ln.moving.borrowed = true
	}
	sh.tidy(name, ln)
	sh.mu.Unlock()
	if !asked {
		return nil // all others are gone
	}
	time.AfterFunc(borrowed, func() { s.Place.Send(s.Place.Node(), frameCheck, name) })
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.movesNow(sh, name) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *Service) movesNow(sh *laneShard, name string) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[name]
	return ln != nil && ln.moving != nil
}
