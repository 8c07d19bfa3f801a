package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"time"

	"chatd/store"
)

// errKept undoes a write that turns out to have been done before.
var errKept = errors.New("kept already")

// AppendHistory implements store.Rooms.
func (s *Store) AppendHistory(ctx context.Context, room string, m store.HistoryMessage, max int) (int64, error) {
	stored := m.Stored.UnixMilli()
	stanza := append([]byte{}, m.Stanza...) // never nil, which is NULL
	var seq int64                           // read only when the write was not abandoned
	err := s.write(ctx, room, func(tx *tx) error {
		given, err := reserveHistory(tx, room, m.ID)
		seq = given
		if err != nil {
			return err
		}
		_, err = tx.exec("INSERT INTO room_history (room, seq, digest, id, stored, stanza) VALUES (?, ?, ?, ?, ?, ?)",
			room, given, digest(m.ID), m.ID, stored, stanza)
		if err != nil || max <= 0 || given <= int64(max) {
			return err
		}
		_, err = tx.exec("DELETE FROM room_history WHERE room = ? AND seq <= ?", room, given-int64(max))
		return err
	})
	if err != nil && err != errKept {
		return 0, err
	}
	return seq, nil
}

// reserveHistory is the seq of a room's next message. If there is one with this id it returns that one's, and errKept.
func reserveHistory(tx *tx, room, id string) (seq int64, err error) {
	if _, err := tx.exec("UPDATE room_counter SET last_seq = last_seq + 1 WHERE room = ?", room); err != nil {
		return 0, err
	}
	var kept sql.NullInt64
	err = tx.queryRow([]any{&seq, &kept}, `SELECT c.last_seq, h.seq FROM room r JOIN room_counter c ON c.room = r.room
		LEFT JOIN room_history h ON h.room = r.room AND h.digest = ? WHERE r.room = ?`, digest(id), room)
	if err == nil && kept.Valid {
		return kept.Int64, errKept
	}
	return seq, err
}

// HistoryPage implements store.Rooms.
func (s *Store) HistoryPage(ctx context.Context, room string, before int64, limit int) ([]store.HistoryMessage, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	var page []store.HistoryMessage
	err := s.query(ctx, func(rows *sql.Rows) error {
		var m store.HistoryMessage
		var stored int64
		err := rows.Scan(&m.Seq, &m.ID, &stored, &m.Stanza)
		m.Stored = time.UnixMilli(stored).UTC()
		page = append(page, m)
		return err
	}, "SELECT seq, id, stored, stanza FROM room_history WHERE room = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
		room, before, max(0, limit))
	slices.Reverse(page)
	return page, err
}

// HistoryMessage implements store.Rooms.
func (s *Store) HistoryMessage(ctx context.Context, room, id string) (store.HistoryMessage, error) {
	m := store.HistoryMessage{ID: id}
	var stored int64
	err := s.queryRow(ctx, []any{&m.Seq, &stored, &m.Stanza}, "SELECT seq, stored, stanza FROM room_history WHERE room = ? AND digest = ?", room, digest(id))
	if err != nil {
		return store.HistoryMessage{}, err
	}
	m.Stored = time.UnixMilli(stored).UTC()
	return m, nil
}

// ReplaceHistory implements store.Rooms.
func (s *Store) ReplaceHistory(ctx context.Context, room, id string, stanza []byte) error {
	stanza = append([]byte{}, stanza...)
	return s.write(ctx, room, func(tx *tx) error {
		if err := lockRoom(tx, room); err != nil {
			return err
		}
		n, err := tx.exec("UPDATE room_history SET stanza = ? WHERE room = ? AND digest = ?", stanza, room, digest(id))
		if err == nil && n == 0 {
			err = store.ErrNotFound
		}
		return err
	})
}
