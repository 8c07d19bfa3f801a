package memory

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"chatd/store"
)

// Player implements store.Players.
func (s *Store) Player(ctx context.Context, user string) (store.Player, error) {
	if err := s.lock(ctx); err != nil {
		return store.Player{}, err
	}
	defer s.mu.Unlock()
	u := s.userLocked(user)
	if u.account == nil {
		return store.Player{}, store.ErrNotFound
	}
	p := store.Player{
		Account: cloneAccount(*u.account), Blocked: slices.Sorted(maps.Keys(u.blocked)),
		Privacy: u.privacy, Roster: u.rosterLocked(), Waiting: len(u.offline),
	}
	if len(u.vcard) > 0 {
		p.VCard = bytes.Clone(u.vcard)
	}
	return p, nil
}
