package memory

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"chatd/store"
)

// Names implements store.Mover.
func (s *Store) Names(ctx context.Context, after string, limit int) ([]string, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	names := slices.Sorted(maps.Keys(s.users))
	names = slices.DeleteFunc(names, func(name string) bool { return name <= after })
	return names[:max(0, min(limit, len(names)))], nil
}

// Record implements store.Mover.
func (s *Store) Record(ctx context.Context, name string) (store.Record, error) {
	r := store.Record{User: name}
	a, err := s.Account(ctx, name)
	if err == nil {
		r.Account = &a
	}
	last, errLast := s.LastActivity(ctx, name)
	if errLast == nil {
		r.LastActivity = &last
	}
	var errs [6]error
	r.Roster, errs[0] = s.Roster(ctx, name)
	r.Blocked, errs[1] = s.Blocklist(ctx, name)
	r.Notes, errs[2] = s.Notes(ctx, name)
	r.Privacy, errs[3] = s.Privacy(ctx, name)
	r.Private, errs[4] = s.PrivateElements(ctx, name)
	r.VCard, errs[5] = s.VCard(ctx, name)
	for _, err := range append(errs[:], err, errLast) {
		if err != nil && err != store.ErrNotFound {
			return store.Record{}, err
		}
	}
	if err := s.lock(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.mu.Unlock()
	r.LastSeq = s.userLocked(name).lastSeq
	return r, nil
}

// PutRecord implements store.Mover.
func (s *Store) PutRecord(ctx context.Context, r store.Record) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.users, r.User)
	if r.Empty() {
		return nil
	}
	u := s.makeUserLocked(r.User)
	if r.Account != nil {
		a := cloneAccount(*r.Account)
		a.User = r.User
		u.account = &a
	}
	u.rosterVersion = r.Roster.Version
	for _, item := range r.Roster.Items {
		u.roster[item.JID] = cloneItem(item)
	}
	for _, jid := range r.Blocked {
		u.blocked[jid] = struct{}{}
	}
	u.notes, u.privacy, u.lastSeq = sortedNotes(r.Notes), r.Privacy, r.LastSeq
	for _, e := range r.Private {
		u.private[privateName{e.Space, e.Local}] = append([]byte{}, e.XML...)
	}
	if len(r.VCard) > 0 {
		u.vcard = bytes.Clone(r.VCard)
	}
	if r.LastActivity != nil {
		u.last = &store.LastActivity{At: r.LastActivity.At.UTC().Truncate(time.Second), Status: r.LastActivity.Status}
	}
	return nil
}

// PutOffline implements store.Mover.
func (s *Store) PutOffline(ctx context.Context, name string, messages []store.OfflineMessage) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	u := s.makeUserLocked(name)
	for _, m := range messages {
		m.Again = false
		m.Stored, m.Stanza = m.Stored.UTC().Truncate(time.Millisecond), bytes.Clone(m.Stanza)
		u.offline = putNumbered(u.offline, m, func(m store.OfflineMessage) int64 { return m.Seq })
	}
	return nil
}

// putNumbered puts v in its place among those that are there in the order of their numbers.
func putNumbered[T any](there []T, v T, number func(T) int64) []T {
	i, found := slices.BinarySearchFunc(there, number(v), func(t T, n int64) int { return cmp.Compare(number(t), n) })
	if found {
		there[i] = v
		return there
	}
	return slices.Insert(there, i, v)
}

// Queues implements store.Mover.
func (s *Store) Queues(ctx context.Context) ([]store.Queue, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var queues []store.Queue
	for _, name := range slices.Sorted(maps.Keys(s.queues)) {
		queues = append(queues, store.Queue{Name: name, LastSeq: s.queues[name].lastSeq})
	}
	return queues, nil
}

// PutEvents implements store.Mover.
func (s *Store) PutEvents(ctx context.Context, q store.Queue, events []store.Event) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	there := s.queues[q.Name]
	if there == nil {
		there = new(queue)
		s.queues[q.Name] = there
	}
	there.lastSeq = q.LastSeq
	for _, e := range events {
		e.Queued, e.Body = e.Queued.UTC().Truncate(time.Millisecond), bytes.Clone(e.Body)
		there.events = putNumbered(there.events, e, func(e store.Event) int64 { return e.Seq })
	}
	return nil
}
