package memory

import (
	"bytes"
	"context"
	"slices"
	"sort"
	"time"

	"chatd/store"
)

// newest is among how many messages one that comes again is looked for.
const newest = 1000

// AppendOffline implements store.Offline.
func (s *Store) AppendOffline(ctx context.Context, user string, m store.OfflineMessage, max int) (int64, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	u := s.makeUserLocked(user)
	if m.Again && m.ID != "" {
		for _, kept := range slices.Backward(u.offline[len(u.offline)-min(newest, len(u.offline)):]) {
			if kept.ID == m.ID {
				return kept.Seq, nil
			}
		}
	}
	if max < 0 || max > 0 && len(u.offline) >= max {
		return 0, store.ErrFull
	}
	u.lastSeq++
	u.offline = append(u.offline, store.OfflineMessage{
		Seq:    u.lastSeq,
		Stored: m.Stored.UTC().Truncate(time.Millisecond),
		Stanza: bytes.Clone(m.Stanza),
		ID:     m.ID,
	})
	return u.lastSeq, nil
}

// OfflinePage implements store.Offline.
func (s *Store) OfflinePage(ctx context.Context, user string, after int64, limit int) ([]store.OfflineMessage, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	waiting := s.userLocked(user).offline
	first := sort.Search(len(waiting), func(i int) bool { return waiting[i].Seq > after })
	waiting = waiting[first:]
	page := slices.Clone(waiting[:max(0, min(limit, len(waiting)))])
	for i := range page {
		page[i].Stanza = bytes.Clone(page[i].Stanza)
	}
	return page, nil
}

// RemoveOffline implements store.Offline.
func (s *Store) RemoveOffline(ctx context.Context, user string, seqs []int64) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	gone := make(map[int64]bool, len(seqs))
	for _, seq := range seqs {
		gone[seq] = true
	}
	u := s.makeUserLocked(user)
	// The oldest go first, nearly always: do not move the others for them.
	for len(u.offline) > 0 && gone[u.offline[0].Seq] {
		delete(gone, u.offline[0].Seq)
		u.offline[0].Stanza = nil
		u.offline = u.offline[1:]
	}
	if len(gone) > 0 {
		u.offline = slices.DeleteFunc(u.offline, func(m store.OfflineMessage) bool { return gone[m.Seq] })
	}
	return nil
}

// CountOffline implements store.Offline.
func (s *Store) CountOffline(ctx context.Context, user string) (int, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return len(s.userLocked(user).offline), nil
}
