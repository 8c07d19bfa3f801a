package guard

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"chatd/store"
)

// maxOwed bounds the writes that wait for the store to work again, in message numbers and users; those over it fail.
const maxOwed = 1 << 18

// owed is the writes that have failed and will be made up for: those that may be repeated at any time, and of whose failure
// nobody can be told. They live as long as the process.
type owed struct {
	mu      sync.Mutex
	removed map[string]map[int64]struct{} // offline messages that were handed over, by user, none of whom has an empty set
	seen    map[string]store.LastActivity // by user
	size    int
}

func (o *owed) init() {
	o.removed, o.seen = make(map[string]map[int64]struct{}), make(map[string]store.LastActivity)
}

func (o *owed) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size
}

// RemoveOffline implements store.Offline. When the store cannot be reached the messages are gone for all who
// ask this node, and from the store when it can be.
func (s *Store) RemoveOffline(ctx context.Context, user string, seqs []int64) error {
	err := s.run(ctx, s.writes, "RemoveOffline", func(ctx context.Context) error { return s.Store.RemoveOffline(ctx, user, seqs) })
	if errors.Is(err, store.ErrUnavailable) && s.owed.remove(user, seqs) {
		s.suspect(s.writes, err) // the one that err began may have ended already
		return nil
	}
	return err
}

func (o *owed) remove(user string, seqs []int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.size+len(seqs) > maxOwed {
		return false
	}
	for _, seq := range seqs {
		of := o.removed[user]
		if of == nil {
			of = make(map[int64]struct{})
			o.removed[user] = of
		}
		if _, known := of[seq]; !known {
			of[seq] = struct{}{}
			o.size++
		}
	}
	return true
}

// SetLastActivity implements store.LastActivities. When the store cannot be reached it is written later, unless
// something newer was meanwhile.
func (s *Store) SetLastActivity(ctx context.Context, user string, a store.LastActivity) error {
	err := s.run(ctx, s.writes, "SetLastActivity", func(ctx context.Context) error { return s.Store.SetLastActivity(ctx, user, a) })
	if err == nil {
		s.owed.forget(user)
	}
	if errors.Is(err, store.ErrUnavailable) && s.owed.see(user, a) {
		s.suspect(s.writes, err)
		return nil
	}
	return err
}

func (o *owed) see(user string, a store.LastActivity) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.seen[user]; !known {
		if o.size >= maxOwed {
			return false
		}
		o.size++
	}
	o.seen[user] = a
	return true
}

// forget is for a user whose last activity has been written since.
func (o *owed) forget(user string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.seen[user]; known {
		delete(o.seen, user)
		o.size--
	}
}

// OfflinePage implements store.Offline.
func (s *Store) OfflinePage(ctx context.Context, user string, after int64, limit int) ([]store.OfflineMessage, error) {
	for {
		page, err := ask(ctx, s, s.reads, "OfflinePage", func(ctx context.Context) ([]store.OfflineMessage, error) {
			return s.Store.OfflinePage(ctx, user, after, limit)
		})
		if err != nil || len(page) == 0 {
			return page, err
		}
		after = page[len(page)-1].Seq
		if page = s.owed.without(user, page); len(page) > 0 {
			return page, nil
		}
	}
}

// without leaves out of a page what is to be removed.
func (o *owed) without(user string, page []store.OfflineMessage) []store.OfflineMessage {
	o.mu.Lock()
	defer o.mu.Unlock()
	gone := o.removed[user]
	if len(gone) == 0 {
		return page
	}
	return slices.DeleteFunc(page, func(m store.OfflineMessage) bool {
		_, is := gone[m.Seq]
		return is
	})
}

// next is one user to whom something is owed.
func (o *owed) next() (user string, seqs []int64, seen *store.LastActivity, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for user, of := range o.removed {
		return user, slices.Collect(maps.Keys(of)), nil, true
	}
	for user, a := range o.seen {
		return user, nil, &a, true
	}
	return "", nil, nil, false
}

// paid takes off what has been made up for. Somebody else may have done so at the same time.
func (o *owed) paid(user string, seqs []int64, seen *store.LastActivity) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if seen != nil && o.seen[user] == *seen {
		delete(o.seen, user)
		o.size--
	}
	of := o.removed[user]
	for _, seq := range seqs {
		if _, known := of[seq]; known {
			delete(of, seq)
			o.size--
		}
	}
	if len(of) == 0 {
		delete(o.removed, user)
	}
}

// repay makes up for what is owed, until the store fails again, and returns how much is left.
func (s *Store) repay(ctx context.Context) (left int) {
	for {
		user, seqs, seen, ok := s.owed.next()
		if !ok {
			return 0
		}
		bounded, cancel := context.WithTimeout(ctx, s.cfg.Patience)
		var err error
		if seen != nil {
			err = s.Store.SetLastActivity(bounded, user, *seen)
		} else {
			err = s.Store.RemoveOffline(bounded, user, seqs)
		}
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				s.suspect(s.writes, err)
			}
			return s.owed.count()
		}
		s.owed.paid(user, seqs, seen)
	}
}
