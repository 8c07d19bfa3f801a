package riak

import (
	"cmp"
	"context"
	"slices"

	"chatd/store"
)

// A room is one value, laid out as an account is:
//
//	a: that it was made, and when
//	g: its configuration
//	s: its subject
//	f: an affiliation, by the JID
//	k: which making counts
//
// so that two nodes' changes of different things both stay. Its history is a queue.
func roomRef(name string) ref { return ref{"room", name} }

const (
	roomConfig  = "g"
	roomSubject = "s"
	affiliation = "f"
)

func (s *Store) history(room string) queue {
	return queue{s: s, kind: "history", owner: room, index: roomIndex, hashed: true}
}

func (s *state) keptRoom(name string) (r store.Room, made string, err error) {
	made, ok := s.claim()
	if !ok {
		return r, "", store.ErrNotFound
	}
	e, _ := s.get(claimed + made)
	d := decoder{rest: e.value}
	config, _ := s.get(roomConfig + made)
	r = store.Room{Name: name, Config: slices.Clone(config.value), Created: d.time()}
	if subject, ok := s.get(roomSubject + made); ok {
		r.Subject = append([]byte{}, subject.value...)
	}
	return r, made, d.err()
}

// Room implements store.Rooms.
func (s *Store) Room(ctx context.Context, name string) (store.Room, error) {
	v, err := s.fetchFor(ctx, roomRef(name))
	if err != nil {
		return store.Room{}, err
	}
	r, _, err := v.keptRoom(name)
	return r, err
}

// CreateRoom implements store.Rooms. What is promised of accounts that are made at the same time holds for rooms too.
func (s *Store) CreateRoom(ctx context.Context, room store.Room, affiliations []store.Affiliation) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	r := roomRef(room.Name)
	return s.locks.with(ctx, r, func() error {
		v, err := s.read(ctx, r, s.quorums.strict)
		if err != nil {
			return err
		}
		if _, exists := v.claim(); exists {
			return store.ErrExists
		}
		if err := s.enlist(ctx, roomIndex, room.Name); err != nil {
			return err
		}
		if err := s.history(room.Name).purge(ctx, s.clock.next(v.top())); err != nil {
			return err
		}
		at := s.clock.next(v.top())
		var claim encoder
		claim.time(room.Created)
		v.set(claimed+at.key(), at, claim)
		v.setRoom(at.key(), at, &room)
		v.setAffiliations(at.key(), at, affiliations)
		v.prune(s.clock.now())
		return s.stake(ctx, r, v, at)
	})
}

// setRoom writes what differs.
func (s *state) setRoom(made string, at stamp, r *store.Room) {
	if old, ok := s.get(roomConfig + made); !ok || !slices.Equal(old.value, r.Config) {
		s.set(roomConfig+made, at, slices.Clone(r.Config))
	}
	old, ok := s.get(roomSubject + made)
	switch {
	case r.Subject == nil:
		s.remove(roomSubject+made, at)
	case !ok || !slices.Equal(old.value, r.Subject):
		s.set(roomSubject+made, at, slices.Clone(r.Subject))
	}
}

func (s *state) setAffiliations(made string, at stamp, affiliations []store.Affiliation) {
	for i := range affiliations {
		a := &affiliations[i]
		key := affiliation + made + a.JID
		if a.As == "none" {
			s.remove(key, at)
			continue
		}
		var e encoder
		e.text(a.As)
		e.text(a.Nick)
		e.text(a.Reason)
		s.set(key, at, e)
	}
}

// changeRoom is a read-modify-write of a room that exists.
func (s *Store) changeRoom(ctx context.Context, name string, change func(v *value, made string, at stamp) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	return s.update(ctx, roomRef(name), func(v *value, at stamp) error {
		made, ok := v.claim()
		if !ok {
			return store.ErrNotFound
		}
		v.keep(made, at)
		return change(v, made, at)
	})
}

// UpdateRoom implements store.Rooms.
func (s *Store) UpdateRoom(ctx context.Context, name string, update func(*store.Room) error) error {
	return s.changeRoom(ctx, name, func(v *value, made string, at stamp) error {
		r, _, err := v.keptRoom(name)
		if err != nil {
			return err
		}
		if err := update(&r); err != nil {
			return err
		}
		v.setRoom(made, at, &r)
		return nil
	})
}

// DeleteRoom implements store.Rooms. As with an account the room goes first, and it may be called again.
func (s *Store) DeleteRoom(ctx context.Context, name string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	r := roomRef(name)
	return s.locks.with(ctx, r, func() error {
		v, err := s.read(ctx, r, s.quorums.lasting)
		if err != nil {
			return err
		}
		_, there := v.claim()
		if there {
			v.purge(s.clock.next(v.top()))
			if err := s.store(ctx, r, v, s.quorums.lasting); err != nil {
				return err
			}
		}
		if v.purged > 0 {
			if err := s.history(name).purge(ctx, v.purged); err != nil {
				return err
			}
		}
		if !there {
			return store.ErrNotFound
		}
		return nil
	})
}

// ListRooms implements store.Rooms.
func (s *Store) ListRooms(ctx context.Context, after string, limit int) ([]string, error) {
	return s.listRooms(ctx, after, limit, false)
}

// ListRoomsBefore implements store.Rooms.
func (s *Store) ListRoomsBefore(ctx context.Context, before string, limit int) ([]string, error) {
	return s.listRooms(ctx, before, limit, true)
}

func (s *Store) listRooms(ctx context.Context, beyond string, limit int, back bool) ([]string, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	return s.listThose(ctx, roomIndex, beyond, limit, back, func(ctx context.Context, name string) (bool, error) {
		v, err := s.fetch(ctx, roomRef(name))
		if err != nil {
			return false, err
		}
		_, exists := v.claim()
		return exists, nil
	})
}

// Affiliations implements store.Rooms.
func (s *Store) Affiliations(ctx context.Context, room string) ([]store.Affiliation, error) {
	v, err := s.fetchFor(ctx, roomRef(room))
	if err != nil {
		return nil, err
	}
	made, ok := v.claim()
	if !ok {
		return nil, nil
	}
	var all []store.Affiliation
	for _, jid := range v.keys(affiliation + made) {
		e, _ := v.get(affiliation + made + jid)
		d := decoder{rest: e.value}
		all = append(all, store.Affiliation{JID: jid, As: d.text(), Nick: d.text(), Reason: d.text()})
		err = cmp.Or(err, d.err())
	}
	return all, err
}

// SetAffiliations implements store.Rooms.
func (s *Store) SetAffiliations(ctx context.Context, room string, affiliations []store.Affiliation) error {
	return s.changeRoom(ctx, room, func(v *value, made string, at stamp) error {
		if len(affiliations) == 0 {
			return errUnchanged
		}
		v.setAffiliations(made, at, affiliations)
		return nil
	})
}
