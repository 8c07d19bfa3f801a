package riak

import (
	"context"
	"slices"

	"chatd/store"
)

func (s *Store) offline(user string) queue {
	return queue{s: s, kind: "offline", owner: user, index: userIndex}
}

// AppendOffline implements store.Offline. Across nodes the order is that of the calls too, when the second began after the first had returned.
func (s *Store) AppendOffline(ctx context.Context, user string, m store.OfflineMessage, max int) (int64, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.end()
	q := s.offline(user)
	messages := []message{encodeOffline(&m)}
	err := s.locks.with(ctx, q.head(), func() error {
		h, seg, err := q.readEnds(ctx)
		if err != nil {
			return err
		}
		if m.Again && m.ID != "" {
			if seq, err := q.already(ctx, h, m.ID); seq != 0 || err != nil {
				messages[0].seq = seq
				return err
			}
		}
		if max < 0 {
			return store.ErrFull
		}
		kept, err := h.room(1, max)
		if err != nil {
			return err
		}
		if kept == 0 {
			return store.ErrFull
		}
		return q.addLocked(ctx, h, seg, messages)
	})
	if err != nil {
		return 0, err
	}
	return messages[0].seq, nil
}

func encodeOffline(m *store.OfflineMessage) message {
	var e encoder
	e.number(m.Stored.UnixMilli())
	return message{seq: m.Seq, id: m.ID, again: m.Again && m.ID != "", body: append(e, m.Stanza...)}
}

// OfflinePage implements store.Offline.
func (s *Store) OfflinePage(ctx context.Context, user string, after int64, limit int) ([]store.OfflineMessage, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	found, err := s.offline(user).page(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	page := make([]store.OfflineMessage, len(found))
	for i, m := range found {
		d := decoder{rest: m.body}
		page[i] = store.OfflineMessage{Seq: m.seq, ID: m.id, Stored: millis(d.number()), Stanza: slices.Clone(d.rest)}
	}
	return page, nil
}

// RemoveOffline implements store.Offline.
func (s *Store) RemoveOffline(ctx context.Context, user string, seqs []int64) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	return s.offline(user).remove(ctx, seqs)
}

// CountOffline implements store.Offline.
func (s *Store) CountOffline(ctx context.Context, user string) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.end()
	return s.offline(user).count(ctx)
}
