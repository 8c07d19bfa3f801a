package guard

import (
	"context"
	"errors"
	"time"

	"chatd/store"
)

// repeatPause is between two attempts to keep the same message.
const repeatPause = 50 * time.Millisecond

// AppendOffline implements store.Offline. When the store leaves open whether it has kept a message that has an ID, it is asked
// again for as long as patience lasts and the store is not known to fail: a connection that is lost costs the sender no
// message, and the recipient sees none twice.
func (s *Store) AppendOffline(ctx context.Context, user string, m store.OfflineMessage, max int) (int64, error) {
	return ask(ctx, s, s.writes, "AppendOffline", func(ctx context.Context) (int64, error) {
		for {
			seq, err := s.Store.AppendOffline(ctx, user, m, max)
			if m.ID == "" || !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotTried) {
				return seq, err
			}
			s.suspect(s.writes, err)
			m.Again = true
			select {
			case <-time.After(repeatPause):
			case <-ctx.Done():
				return 0, err
			}
			if s.writes.open.Load() {
				return 0, err
			}
		}
	})
}
