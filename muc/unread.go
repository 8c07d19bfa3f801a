package muc

import (
	"context"
	"errors"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// A room whose home and copy are gone is asked for in the store. If that cannot be reached, as on an island that is cut off from it too, the room is there as
// those know it who are in it: they go on talking and see who is left, while nobody else gets in and nothing of it is changed but what is said. It
// becomes what the store has when that is back, or what another half of it is when that is met.

// homeless is how long the store may take to tell of a room before that.
const homeless = time.Second

// revive locks a room of which nothing is known here but that it has been there.
func (s *Service) revive(ctx context.Context, b *router.Batch, name string) (*room, error) {
	ctx, cancel := context.WithTimeout(ctx, homeless)
	defer cancel()
	r, err := s.load(ctx, b, name, s.blank)
	if err == nil || !stanza.Passing(err) {
		return r, err
	}
	if r, err = s.insertBlank(b, name, true); err == nil && r.unread {
		s.tryLater(r)
	}
	return r, err
}

// insertBlank locks a room that is here, or a new one.
func (s *Service) insertBlank(b *router.Batch, name string, unread bool) (*room, error) {
	for {
		if r := s.lock(b, name); r != nil {
			return r, nil
		}
		r := &room{at: s.address(name), unread: unread}
		r.mu.Lock()
		if s.insert(name, r) {
			return r, s.blank(r)
		}
		r.mu.Unlock()
	}
}

// blank makes a room of which nothing is known but that it has been there. Whatever becomes known of it counts more.
func (s *Service) blank(r *room) error {
	r.cfg, r.secret, r.created, r.phase = s.defaults.Load(), newSecret(), now().Unix(), open
	r.rep.asStored(r)
	r.rep.configured = 0
	return nil
}

// readWhole makes a room what the store has of it, with who is in it and what they have said meanwhile.
func (s *Service) readWhole(r *room) {
	name := r.at.Local()
	if !s.stays(name) {
		s.keepLater(r, false) // by its new home, if it goes
		return
	}
	defer s.leaveLane(name)
	var b router.Batch
	defer b.Flush()
	r.admin.Lock()
	defer r.admin.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, storeTimeout)
	defer cancel()
	kept := &room{at: r.at, crowd: crowd{rep: newReplication(r.rep.self)}}
	var x *State
	err := s.fill(ctx, name, kept)
	if err == nil {
		x, err = kept.state()
	}
	r.mu.Lock()
	defer s.unlock(&b, r)
	switch {
	case r.phase == gone || !r.unread: // the other half is here
	case err == nil:
		x.Unkept = true
		s.join(&b, r, x)
	case errors.Is(err, store.ErrNotFound): // it was a temporary one
		r.unread = false
	default:
		s.tryLater(r)
	}
}
