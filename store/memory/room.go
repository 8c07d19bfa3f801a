package memory

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sort"
	"time"

	"chatd/store"
)

// A room is all that is kept under one room's name. Its number outlives it.
type room struct {
	kept         *store.Room // nil: none
	affiliations map[string]store.Affiliation
	lastSeq      int64
	history      []store.HistoryMessage // by Seq
}

// lockRoom is lock for a verb about a room that is to be there; when it returns no error the caller holds s.mu.
func (s *Store) lockRoom(ctx context.Context, name string) (*room, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	if r := s.rooms[name]; r != nil && r.kept != nil {
		return r, nil
	}
	s.mu.Unlock()
	return nil, store.ErrNotFound
}

// copyRoom is a room as it is kept, which nobody else can write over.
func copyRoom(r store.Room) store.Room {
	r.Config, r.Subject, r.Created = bytes.Clone(r.Config), bytes.Clone(r.Subject), r.Created.UTC().Truncate(time.Second)
	return r
}

// Room implements store.Rooms.
func (s *Store) Room(ctx context.Context, name string) (store.Room, error) {
	r, err := s.lockRoom(ctx, name)
	if err != nil {
		return store.Room{}, err
	}
	defer s.mu.Unlock()
	return copyRoom(*r.kept), nil
}

// CreateRoom implements store.Rooms.
func (s *Store) CreateRoom(ctx context.Context, kept store.Room, affiliations []store.Affiliation) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	r := s.rooms[kept.Name]
	if r == nil {
		r = new(room)
		s.rooms[kept.Name] = r
	}
	if r.kept != nil {
		return store.ErrExists
	}
	kept = copyRoom(kept)
	r.kept, r.affiliations = &kept, make(map[string]store.Affiliation)
	r.setAffiliations(affiliations)
	return nil
}

// UpdateRoom implements store.Rooms.
func (s *Store) UpdateRoom(ctx context.Context, name string, update func(*store.Room) error) error {
	r, err := s.lockRoom(ctx, name)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	changed := copyRoom(*r.kept)
	if err := update(&changed); err != nil {
		return err
	}
	changed.Name = name
	changed = copyRoom(changed)
	r.kept = &changed
	return nil
}

// DeleteRoom implements store.Rooms.
func (s *Store) DeleteRoom(ctx context.Context, name string) error {
	r, err := s.lockRoom(ctx, name)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.rooms[name] = &room{lastSeq: r.lastSeq}
	return nil
}

// ListRooms implements store.Rooms.
func (s *Store) ListRooms(ctx context.Context, after string, limit int) ([]string, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var names []string
	for name, r := range s.rooms {
		if name > after && r.kept != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:max(0, min(limit, len(names)))], nil
}

// ListRoomsBefore implements store.Rooms.
func (s *Store) ListRoomsBefore(ctx context.Context, before string, limit int) ([]string, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var names []string
	for name, r := range s.rooms {
		if (before == "" || name < before) && r.kept != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[len(names)-max(0, min(limit, len(names))):], nil
}

// Affiliations implements store.Rooms.
func (s *Store) Affiliations(ctx context.Context, name string) ([]store.Affiliation, error) {
	r, err := s.lockRoom(ctx, name)
	if err == store.ErrNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.affiliations), func(a, b store.Affiliation) int { return cmp.Compare(a.JID, b.JID) }), nil
}

// SetAffiliations implements store.Rooms.
func (s *Store) SetAffiliations(ctx context.Context, name string, affiliations []store.Affiliation) error {
	r, err := s.lockRoom(ctx, name)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	r.setAffiliations(affiliations)
	return nil
}

func (r *room) setAffiliations(affiliations []store.Affiliation) {
	for _, a := range affiliations {
		if a.As == "none" {
			delete(r.affiliations, a.JID)
		} else {
			r.affiliations[a.JID] = a
		}
	}
}

// AppendHistory implements store.Rooms.
func (s *Store) AppendHistory(ctx context.Context, name string, m store.HistoryMessage, max int) (int64, error) {
	r, err := s.lockRoom(ctx, name)
	if err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if kept := r.message(m.ID); kept != nil {
		return kept.Seq, nil
	}
	r.lastSeq++
	m.Seq, m.Stored, m.Stanza = r.lastSeq, m.Stored.UTC().Truncate(time.Millisecond), bytes.Clone(m.Stanza)
	r.history = append(r.history, m)
	if over := len(r.history) - max; max > 0 && over > 0 {
		r.history = slices.Delete(r.history, 0, over)
	}
	return m.Seq, nil
}

// message is the one with this id, nil if it is not there.
func (r *room) message(id string) *store.HistoryMessage {
	for i := range r.history {
		if r.history[i].ID == id {
			return &r.history[i]
		}
	}
	return nil
}

// HistoryPage implements store.Rooms.
func (s *Store) HistoryPage(ctx context.Context, name string, before int64, limit int) ([]store.HistoryMessage, error) {
	r, err := s.lockRoom(ctx, name)
	if err == store.ErrNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	end := len(r.history)
	if before != 0 {
		end = sort.Search(end, func(i int) bool { return r.history[i].Seq >= before })
	}
	page := slices.Clone(r.history[end-max(0, min(limit, end)) : end])
	for i := range page {
		page[i].Stanza = bytes.Clone(page[i].Stanza)
	}
	return page, nil
}

// HistoryMessage implements store.Rooms.
func (s *Store) HistoryMessage(ctx context.Context, name, id string) (store.HistoryMessage, error) {
	r, err := s.lockRoom(ctx, name)
	if err != nil {
		return store.HistoryMessage{}, err
	}
	defer s.mu.Unlock()
	kept := r.message(id)
	if kept == nil {
		return store.HistoryMessage{}, store.ErrNotFound
	}
	m := *kept
	m.Stanza = bytes.Clone(m.Stanza)
	return m, nil
}

// ReplaceHistory implements store.Rooms.
func (s *Store) ReplaceHistory(ctx context.Context, name, id string, stanza []byte) error {
	r, err := s.lockRoom(ctx, name)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	m := r.message(id)
	if m == nil {
		return store.ErrNotFound
	}
	m.Stanza = bytes.Clone(stanza)
	return nil
}
