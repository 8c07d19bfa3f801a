package sqlstore

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"chatd/store"
)

// An appending is a message on its way to those that wait.
type appending struct {
	user   string
	stored int64 // Unix milliseconds
	stanza []byte
	id     string
	again  bool
	max    int64
	seq    int64 // the outcome
	err    error // likewise, of appendAll
}

// AppendOffline implements store.Offline. What it costs does not depend on
// how many messages wait: the queue's row has their number.
func (s *Store) AppendOffline(ctx context.Context, user string, m store.OfflineMessage, max int) (int64, error) {
	a := &appending{user: user, stored: m.Stored.UnixMilli(), id: m.ID, again: m.Again && m.ID != "", max: int64(max)}
	a.stanza = append([]byte{}, m.Stanza...) // never nil, which is NULL
	switch {
	case max == 0:
		a.max = math.MaxInt64
	case max < 0 && !a.again:
		return 0, store.ErrFull
	}
	if err := s.queue(ctx, write{name: user, apply: a.apply, append: a}); err != nil {
		return 0, err
	}
	return a.seq, nil
}

func (a *appending) apply(tx *tx) error {
	if a.again {
		kept, err := keptBefore(tx, a.user, a.id)
		if kept != 0 || err != nil {
			a.seq = kept
			return err
		}
	}
	if a.max < 0 {
		return store.ErrFull
	}
	if err := reserveSeq(tx, a.user, a.max); err != nil {
		return err
	}
	seq, err := tx.count("SELECT last_seq FROM offline_queue WHERE user = ?", a.user)
	if err != nil {
		return err
	}
	a.seq = seq
	_, err = tx.exec("INSERT INTO offline_message (user, seq, stored, stanza, id) VALUES (?, ?, ?, ?, ?)", a.row()...)
	return err
}

// row is what is kept of it.
func (a *appending) row() []any {
	return []any{a.user, a.seq, a.stored, a.stanza, sql.NullString{String: a.id, Valid: a.id != ""}}
}

// keptBefore is the number of the message with this id among the newest 1,000; 0 if there is none.
func keptBefore(tx *tx, user, id string) (int64, error) {
	// The write in question may still be on its way: it has the queue's row locked until it is done.
	if _, err := tx.exec("UPDATE offline_queue SET last_seq = last_seq WHERE user = ?", user); err != nil {
		return 0, err
	}
	return tx.count(`SELECT COALESCE(MAX(seq), 0) FROM (
		SELECT seq, id FROM offline_message WHERE user = ? ORDER BY seq DESC LIMIT 1000) newest WHERE id = ?`, user, id)
}

// reserveSeq makes last_seq the next message's.
func reserveSeq(tx *tx, user string, max int64) error {
	n, err := tx.exec("UPDATE offline_queue SET last_seq = last_seq + 1, waiting = waiting + 1 WHERE user = ? AND waiting < ?", user, max)
	if n > 0 || err != nil {
		return err
	}
	n, err = tx.count("SELECT COUNT(*) FROM offline_queue WHERE user = ?", user)
	if err != nil {
		return err
	}
	if n > 0 {
		return store.ErrFull
	}
	_, err = tx.exec("INSERT INTO offline_queue (user, last_seq, waiting) VALUES (?, 1, 1)", user)
	return err
}

const (
	pageRoom  = 64      // messages for which a page has room from the start, if it may have as many
	pageBytes = 8 << 10 // of a page are allocated at once
)

// OfflinePage implements store.Offline.
func (s *Store) OfflinePage(ctx context.Context, user string, after int64, limit int) ([]store.OfflineMessage, error) {
	var page []store.OfflineMessage
	var text, id sql.RawBytes
	var room []byte // for texts
	err := s.query(ctx, func(rows *sql.Rows) error {
		var m store.OfflineMessage
		var stored int64
		if err := rows.Scan(&m.Seq, &stored, &text, &id); err != nil {
			return err
		}
		if page == nil {
			page = make([]store.OfflineMessage, 0, min(limit, pageRoom))
		}
		if cap(room)-len(room) < len(text) {
			room = make([]byte, 0, max(pageBytes, len(text)))
		}
		from := len(room)
		room = append(room, text...)
		m.Stanza = room[from:len(room):len(room)]
		m.Stored, m.ID = time.UnixMilli(stored).UTC(), string(id)
		page = append(page, m)
		return nil
	}, "SELECT seq, stored, stanza, id FROM offline_message WHERE user = ? AND seq > ? ORDER BY seq LIMIT ?",
		user, after, max(0, limit))
	return page, err
}

// RemoveOffline implements store.Offline.
func (s *Store) RemoveOffline(ctx context.Context, user string, seqs []int64) error {
	seqs = slices.Clone(seqs)
	slices.Sort(seqs)
	return s.write(ctx, user, func(tx *tx) error {
		var removed int64
		// A page that was handed over is one run of numbers: one statement.
		for i := 0; i < len(seqs); {
			first := i
			for i++; i < len(seqs) && seqs[i] <= seqs[i-1]+1; i++ {
			}
			n, err := tx.exec("DELETE FROM offline_message WHERE user = ? AND seq BETWEEN ? AND ?", user, seqs[first], seqs[i-1])
			if err != nil {
				return err
			}
			removed += n
		}
		if removed == 0 {
			return nil
		}
		_, err := tx.exec("UPDATE offline_queue SET waiting = waiting - ? WHERE user = ?", removed, user)
		return err
	})
}

// CountOffline implements store.Offline.
func (s *Store) CountOffline(ctx context.Context, user string) (n int, err error) {
	err = s.queryRow(ctx, []any{&n}, "SELECT waiting FROM offline_queue WHERE user = ?", user)
	if err == store.ErrNotFound {
		return 0, nil
	}
	return n, err
}
