package sqlstore

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"chatd/store"
)

// AppendOffline implements store.Offline. What it costs does not depend on
// how many messages wait: the queue's row has their number.
func (s *Store) AppendOffline(ctx context.Context, user string, m store.OfflineMessage, max int) (int64, error) {
	stored := m.Stored.UnixMilli()
	stanza := append([]byte{}, m.Stanza...) // never nil, which is NULL
	var seq int64                           // read only when the write was not abandoned
	err := s.write(ctx, func(tx *tx) error {
		if m.Again && m.ID != "" {
			kept, err := keptBefore(tx, user, m.ID)
			if kept != 0 || err != nil {
				seq = kept
				return err
			}
		}
		if err := reserveSeq(tx, user, max); err != nil {
			return err
		}
		given, err := tx.count("SELECT last_seq FROM offline_queue WHERE user = ?", user)
		if err != nil {
			return err
		}
		_, err = tx.exec("INSERT INTO offline_message (user, seq, stored, stanza, id) VALUES (?, ?, ?, ?, ?)",
			user, given, stored, stanza, sql.NullString{String: m.ID, Valid: m.ID != ""})
		seq = given
		return err
	})
	if err != nil {
		return 0, err
	}
	return seq, nil
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
func reserveSeq(tx *tx, user string, max int) error {
	if max <= 0 {
		max = math.MaxInt
	}
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

// OfflinePage implements store.Offline.
func (s *Store) OfflinePage(ctx context.Context, user string, after int64, limit int) ([]store.OfflineMessage, error) {
	var page []store.OfflineMessage
	err := s.query(ctx, func(rows *sql.Rows) error {
		var m store.OfflineMessage
		var stored int64
		var id sql.NullString
		err := rows.Scan(&m.Seq, &stored, &m.Stanza, &id)
		m.Stored, m.ID = time.UnixMilli(stored).UTC(), id.String
		page = append(page, m)
		return err
	}, "SELECT seq, stored, stanza, id FROM offline_message WHERE user = ? AND seq > ? ORDER BY seq LIMIT ?",
		user, after, max(0, limit))
	return page, err
}

// RemoveOffline implements store.Offline.
func (s *Store) RemoveOffline(ctx context.Context, user string, seqs []int64) error {
	seqs = slices.Clone(seqs)
	slices.Sort(seqs)
	return s.write(ctx, func(tx *tx) error {
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
