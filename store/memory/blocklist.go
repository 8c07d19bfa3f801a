package memory

import (
	"context"
	"maps"
	"slices"

	"chatd/store"
)

// Blocklist implements store.Blocklists.
func (s *Store) Blocklist(ctx context.Context, user string) ([]string, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.userLocked(user).blocked)), nil
}

// Block implements store.Blocklists.
func (s *Store) Block(ctx context.Context, user string, jids []string, max int) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	u := s.makeUserLocked(user)
	added := make(map[string]struct{})
	for _, jid := range jids {
		if _, ok := u.blocked[jid]; !ok {
			added[jid] = struct{}{}
		}
	}
	if max > 0 && len(added) > 0 && len(u.blocked)+len(added) > max {
		return store.ErrFull
	}
	maps.Copy(u.blocked, added)
	return nil
}

// Unblock implements store.Blocklists.
func (s *Store) Unblock(ctx context.Context, user string, jids []string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	u := s.makeUserLocked(user)
	if jids == nil {
		clear(u.blocked)
	}
	for _, jid := range jids {
		delete(u.blocked, jid)
	}
	return nil
}
