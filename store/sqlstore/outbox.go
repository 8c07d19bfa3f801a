package sqlstore

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"chatd/store"
)

// An announced is the store.Announcer in force, in a type that can be nil.
type announced struct{ store.Announcer }

// Announce implements store.Outbox.
func (s *Store) Announce(a store.Announcer) {
	if a == nil {
		s.announcer.Store(nil)
		return
	}
	s.announcer.Store(&announced{a})
}

// Post implements store.Outbox.
func (s *Store) Post(ctx context.Context, postings []store.Posting) ([]string, error) {
	postings = slices.Clone(postings)
	for i := range postings {
		postings[i].Event.Body = append([]byte{}, postings[i].Event.Body...) // never nil, which is NULL
	}
	var full []string // read only when the write was not abandoned
	err := s.write(ctx, "", func(tx *tx) (err error) {
		full, err = post(tx, postings)
		return err
	})
	if err != nil {
		return nil, err
	}
	return full, nil
}

// post puts events into their queues and returns the queues of those that found no room.
func post(tx *tx, postings []store.Posting) (full []string, err error) {
	for i := range postings {
		p := &postings[i]
		seq, err := reserveEvent(tx, p.Queue, p.Max)
		if err == store.ErrFull {
			full = append(full, p.Queue)
			continue
		}
		if err != nil {
			return nil, err
		}
		e := &p.Event
		_, err = tx.exec("INSERT INTO outbox_event (queue, seq, event, type, about, queued, fault, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			p.Queue, seq, e.ID, e.Type, e.Key, e.Queued.UnixMilli(), e.Fault, e.Body)
		if err != nil {
			return nil, err
		}
	}
	return full, nil
}

// reserveEvent is the seq of a queue's next event.
func reserveEvent(tx *tx, queue string, max int) (int64, error) {
	if max <= 0 {
		max = math.MaxInt
	}
	n, err := tx.exec("UPDATE outbox_queue SET last_seq = last_seq + 1, waiting = waiting + 1 WHERE queue = ? AND waiting < ?", queue, max)
	if err != nil {
		return 0, err
	}
	seq, err := tx.count("SELECT last_seq FROM outbox_queue WHERE queue = ?", queue)
	switch {
	case err == store.ErrNotFound:
		_, err = tx.exec("INSERT INTO outbox_queue (queue, last_seq, waiting, holder, held_until) VALUES (?, 1, 1, '', 0)", queue)
		return 1, err
	case err == nil && n == 0:
		err = store.ErrFull
	}
	return seq, err
}

// announce puts the events of a change into their queues.
func (s *Store) announce(tx *tx, events func(store.Announcer) []store.Posting) error {
	a := s.announcer.Load()
	if a == nil {
		return nil
	}
	full, err := post(tx, events(a))
	for _, queue := range full {
		a.Dropped(queue)
	}
	return err
}

// Events implements store.Outbox.
func (s *Store) Events(ctx context.Context, queue string, after int64, limit int) ([]store.Event, error) {
	var page []store.Event
	err := s.query(ctx, func(rows *sql.Rows) error {
		var e store.Event
		var queued int64
		err := rows.Scan(&e.Seq, &e.ID, &e.Type, &e.Key, &queued, &e.Fault, &e.Body)
		e.Queued = time.UnixMilli(queued).UTC()
		page = append(page, e)
		return err
	}, "SELECT seq, event, type, about, queued, fault, body FROM outbox_event WHERE queue = ? AND seq > ? ORDER BY seq LIMIT ?",
		queue, after, max(0, limit))
	return page, err
}

// RemoveEvents implements store.Outbox.
func (s *Store) RemoveEvents(ctx context.Context, queue string, seqs []int64) error {
	seqs = slices.Clone(seqs)
	return s.write(ctx, queue, func(tx *tx) error {
		var removed int64
		for _, seq := range seqs {
			n, err := tx.exec("DELETE FROM outbox_event WHERE queue = ? AND seq = ?", queue, seq)
			if err != nil {
				return err
			}
			removed += n
		}
		if removed == 0 {
			return nil
		}
		_, err := tx.exec("UPDATE outbox_queue SET waiting = waiting - ? WHERE queue = ?", removed, queue)
		return err
	})
}

// CountEvents implements store.Outbox.
func (s *Store) CountEvents(ctx context.Context, queue string) (n int, err error) {
	err = s.queryRow(ctx, []any{&n}, "SELECT waiting FROM outbox_queue WHERE queue = ?", queue)
	if err == store.ErrNotFound {
		return 0, nil
	}
	return n, err
}

// LeaseQueue implements store.Outbox.
func (s *Store) LeaseQueue(ctx context.Context, queue, holder string, now, until time.Time) (bool, error) {
	held := false // read only when the write was not abandoned
	err := s.write(ctx, queue, func(tx *tx) error {
		n, err := tx.count("SELECT COUNT(*) FROM outbox_queue WHERE queue = ?", queue)
		if err == nil && n == 0 {
			_, err = tx.exec("INSERT INTO outbox_queue (queue, last_seq, waiting, holder, held_until) VALUES (?, 0, 0, '', 0)", queue)
		}
		if err != nil {
			return err
		}
		n, err = tx.exec("UPDATE outbox_queue SET holder = ?, held_until = ? WHERE queue = ? AND (holder = ? OR held_until <= ?)",
			holder, until.UnixMilli(), queue, holder, now.UnixMilli())
		held = n > 0
		return err
	})
	return err == nil && held, err
}
