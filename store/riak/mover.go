package riak

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"chatd/store"
)

// Player implements store.Players: everything is read at the same time.
func (s *Store) Player(ctx context.Context, user string) (store.Player, error) {
	if err := s.begin(ctx); err != nil {
		return store.Player{}, err
	}
	defer s.end()
	p, err := s.readRecord(ctx, user)
	if err != nil {
		return store.Player{}, err
	}
	if p.Account == nil {
		return store.Player{}, store.ErrNotFound
	}
	return store.Player{
		Account: *p.Account, Blocked: p.Blocked, Privacy: p.Privacy, Roster: p.Roster, VCard: p.VCard, Waiting: p.waiting,
	}, nil
}

// Record implements store.Mover.
func (s *Store) Record(ctx context.Context, user string) (store.Record, error) {
	if err := s.begin(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.end()
	r, err := s.readRecord(ctx, user)
	if err != nil {
		return store.Record{}, err
	}
	v, err := s.fetch(ctx, privateRef(user))
	if err == nil {
		r.Private, err = v.privateElements()
	}
	return r.Record, err
}

// A record is a store.Record without the private XML, and what a login wants to know besides.
type record struct {
	store.Record
	waiting int
}

func (s *Store) readRecord(ctx context.Context, user string) (r record, err error) {
	r.User = user
	parts := [...]func(ctx context.Context) error{
		func(ctx context.Context) error {
			v, err := s.fetch(ctx, accountRef(user))
			if err != nil {
				return err
			}
			a, err := v.account(user)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			r.Account = &a
			return err
		},
		func(ctx context.Context) (err error) {
			r.Roster, err = s.roster(ctx, user)
			return err
		},
		func(ctx context.Context) error { return s.readProfile(ctx, &r.Record) },
		func(ctx context.Context) error {
			v, err := s.fetch(ctx, vcardRef(user))
			if err == nil {
				e, _ := v.get("")
				r.VCard = e.value
			}
			return err
		},
		func(ctx context.Context) error {
			h, err := s.fetch(ctx, s.offline(user).head())
			if err == nil {
				r.LastSeq = h.high
				r.waiting, err = h.count()
			}
			return err
		},
	}
	err = inParallel(ctx, len(parts), func(ctx context.Context, i int) error { return parts[i](ctx) })
	return r, err
}

func (s *Store) readProfile(ctx context.Context, r *store.Record) error {
	v, err := s.fetch(ctx, profileRef(r.User))
	if err != nil {
		return err
	}
	r.Blocked = v.keys(blocked)
	notes, err1 := v.notes()
	settings, err2 := v.privacy()
	last, ok, err3 := v.lastActivity()
	if r.Notes, r.Privacy = notes, settings; ok {
		r.LastActivity = &last
	}
	return cmp.Or(err1, err2, err3)
}

// Names implements store.Mover.
func (s *Store) Names(ctx context.Context, after string, limit int) ([]string, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	return s.list(ctx, userIndex, after, limit)
}

// PutRecord implements store.Mover.
func (s *Store) PutRecord(ctx context.Context, r store.Record) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	if !r.Empty() {
		if err := s.enlist(ctx, userIndex, r.User); err != nil {
			return err
		}
	}
	for _, part := range [...]struct {
		of  ref
		set func(v *value, at stamp)
	}{
		{rosterRef(r.User), func(v *value, at stamp) { v.setRoster(at, &r.Roster) }},
		{profileRef(r.User), func(v *value, at stamp) { v.setProfile(at, &r) }},
		{vcardRef(r.User), func(v *value, at stamp) {
			if len(r.VCard) > 0 {
				v.set("", at, r.VCard)
			}
		}},
		{privateRef(r.User), func(v *value, at stamp) {
			for _, p := range r.Private {
				v.set(privateKey(p.Space, p.Local), at, p.XML)
			}
		}},
		{accountRef(r.User), func(v *value, at stamp) {
			if r.Account != nil {
				v.setAccount(at, r.Account)
			}
		}},
	} {
		if err := s.replace(ctx, part.of, part.set); err != nil {
			return err
		}
	}
	if err := s.offline(r.User).replace(ctx, r.LastSeq, r.LastSeq > 0); err != nil {
		return err
	}
	if r.Empty() {
		return s.delist(ctx, userIndex, r.User)
	}
	return nil
}

// replace takes back all that is in a value before set writes it anew. Nothing is written for nothing.
func (s *Store) replace(ctx context.Context, r ref, set func(v *value, at stamp)) error {
	return s.update(ctx, r, func(v *value, at stamp) error {
		had := len(v.entries) > 0 || v.high != 0
		v.purge(at)
		v.high = 0
		set(v, s.clock.next(at))
		if !had && len(v.entries) == 0 && v.high == 0 {
			return errUnchanged
		}
		v.era = at
		return nil
	})
}

func (s *state) setRoster(at stamp, r *store.Roster) {
	s.high = r.Version
	for i := range r.Items {
		var e encoder
		e.item(&r.Items[i])
		s.set(r.Items[i].JID, at, e)
	}
}

func (s *state) setProfile(at stamp, r *store.Record) {
	for _, jid := range r.Blocked {
		s.set(blocked+jid, at, nil)
	}
	s.setNotes(at, r.Notes)
	if r.Privacy != (store.Privacy{}) {
		s.setPrivacy(at, r.Privacy)
	}
	if r.LastActivity != nil {
		s.setLastActivity(at, *r.LastActivity)
	}
}

// replace empties the queue and sets its last number.
func (q queue) replace(ctx context.Context, last int64, make bool) error {
	if err := q.purge(ctx, q.s.clock.next(0)); err != nil {
		return err
	}
	return q.s.update(ctx, q.head(), func(h *value, at stamp) error {
		if h.high == last && !(make && len(h.context) == 0) {
			return errUnchanged
		}
		h.high, h.era = last, at
		return nil
	})
}

// PutOffline implements store.Mover.
func (s *Store) PutOffline(ctx context.Context, user string, messages []store.OfflineMessage) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	encoded := make([]message, len(messages))
	for i := range messages {
		encoded[i] = encodeOffline(&messages[i])
	}
	return s.offline(user).put(ctx, encoded, nil)
}

// put adds messages with the numbers that they have, and sets the last number if there is one.
func (q queue) put(ctx context.Context, messages []message, last *int64) error {
	if len(messages) == 0 && last == nil {
		return nil
	}
	messages = slices.Clone(messages)
	slices.Reverse(messages) // of one number the last counts
	messages = sortMessages(messages)
	if err := q.s.enlist(ctx, q.index, q.owner); err != nil {
		return err
	}
	return q.s.locks.with(ctx, q.head(), func() error {
		h, err := q.s.read(ctx, q.head(), q.s.quorums.lasting)
		if err != nil {
			return err
		}
		rest, err := q.overwrite(ctx, h, messages)
		for len(rest) > 0 && err == nil {
			rest, err = q.fill(ctx, h, nil, rest)
		}
		if err != nil {
			return err
		}
		if last != nil {
			h.high, h.era = *last, q.s.clock.next(h.top())
		}
		return q.writeHead(ctx, h)
	})
}

// overwrite writes those messages whose numbers are there already, and returns the others.
func (q queue) overwrite(ctx context.Context, h *value, messages []message) (rest []message, err error) {
	all, err := h.segments()
	if err != nil {
		return nil, err
	}
	rest = messages
	for i := range all {
		if len(rest) == 0 || rest[0].seq > all[i].last || rest[len(rest)-1].seq < all[i].first {
			continue
		}
		r := q.segment(all[i].id)
		v, err := q.s.read(ctx, r, q.s.quorums.lasting)
		if err != nil {
			return nil, err
		}
		at, others := q.s.clock.next(v.top()), []message(nil)
		for _, m := range rest {
			if _, ok := v.get(stamp(m.seq).key()); ok {
				v.setMessage(&m, at)
			} else {
				others = append(others, m)
			}
		}
		if len(others) < len(rest) {
			if err := q.s.store(ctx, r, v, q.s.quorums.lasting); err != nil {
				return nil, err
			}
		}
		rest = others
	}
	return rest, nil
}

// Queues implements store.Mover.
func (s *Store) Queues(ctx context.Context) ([]store.Queue, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	names, err := s.list(ctx, queueIndex, "", 1<<20)
	queues := make([]store.Queue, len(names))
	for i, name := range names {
		if err != nil {
			break
		}
		var h *value
		if h, err = s.fetch(ctx, s.events(name).head()); err == nil {
			queues[i] = store.Queue{Name: name, LastSeq: h.high}
		}
	}
	return queues, err
}

// PutEvents implements store.Mover.
func (s *Store) PutEvents(ctx context.Context, q store.Queue, events []store.Event) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	encoded := make([]message, len(events))
	for i := range events {
		encoded[i] = encodeEvent(&events[i])
	}
	return s.events(q.Name).put(ctx, encoded, &q.LastSeq)
}
