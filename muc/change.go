package muc

import (
	"context"

	"chatd/router"
)

// A plan is a change of a room that has been found to be right. store, if not nil, is what has to be stored before it is
// in force; it runs without the room's lock, and returns what nothing has changed after, if it is an error. apply puts it in force, under the lock.
type plan struct {
	store func(context.Context) error
	apply func()
}

// change makes one change of what is kept of a room: there is one at a time. decide looks at the room, under its lock, and
// says what is to be done.
func (s *Service) change(ctx context.Context, b *router.Batch, name string, decide func(*room) (plan, error)) error {
	for {
		r, err := s.load(ctx, b, name, nil)
		if err != nil {
			return err
		}
		s.unlock(b, r)
		b.Flush()
		r.admin.Lock()
		r.mu.Lock()
		if r.phase == gone {
			r.mu.Unlock()
			r.admin.Unlock()
			continue
		}
		err = s.changeLocked(ctx, b, r, decide)
		r.admin.Unlock()
		s.settle(r)
		return err
	}
}

// changeLocked does it. It unlocks r.mu.
func (s *Service) changeLocked(ctx context.Context, b *router.Batch, r *room, decide func(*room) (plan, error)) error {
	p, err := decide(r)
	if err == nil && p.store != nil {
		s.unlock(b, r)
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		err = p.store(ctx)
		cancel()
		r.mu.Lock()
	}
	if err == nil && r.phase != gone && p.apply != nil {
		p.apply()
	}
	s.unlock(b, r)
	return err
}
