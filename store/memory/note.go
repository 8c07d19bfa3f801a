package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"chatd/store"
)

// Notes implements store.Notes.
func (s *Store) Notes(ctx context.Context, user string) ([]store.Note, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Clone(s.userLocked(user).notes), nil
}

// UpdateNotes implements store.Notes. As in UpdateItem the mutex is not held while update runs.
func (s *Store) UpdateNotes(ctx context.Context, user string, update func([]store.Note) ([]store.Note, error)) error {
	for {
		if err := s.lock(ctx); err != nil {
			return err
		}
		before := s.userLocked(user).notes
		s.mu.Unlock()

		after, err := update(slices.Clone(before))
		if err != nil {
			return err
		}
		written, err := s.writeNotes(ctx, user, before, sortedNotes(after))
		if written || err != nil {
			return err
		}
	}
}

// writeNotes reports false if before is no longer what is there.
func (s *Store) writeNotes(ctx context.Context, user string, before, after []store.Note) (written bool, err error) {
	if err := s.lock(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	u := s.makeUserLocked(user)
	if !slices.Equal(u.notes, before) {
		return false, nil
	}
	u.notes = after
	return true, nil
}

// sortedNotes is a copy as the store keeps it.
func sortedNotes(notes []store.Note) []store.Note {
	kept := make([]store.Note, 0, len(notes))
	for _, n := range notes {
		n.Created, n.Modified = n.Created.UTC().Truncate(time.Second), n.Modified.UTC().Truncate(time.Second)
		kept = append(kept, n)
	}
	slices.SortFunc(kept, func(a, b store.Note) int { return cmp.Compare(a.JID, b.JID) })
	return kept
}

// Privacy implements store.Privacies.
func (s *Store) Privacy(ctx context.Context, user string) (store.Privacy, error) {
	if err := s.lock(ctx); err != nil {
		return store.Privacy{}, err
	}
	defer s.mu.Unlock()
	return s.userLocked(user).privacy, nil
}

// SetPrivacy implements store.Privacies.
func (s *Store) SetPrivacy(ctx context.Context, user string, p store.Privacy) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.makeUserLocked(user).privacy = p
	return nil
}
