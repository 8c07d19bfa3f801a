package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"chatd/store"
)

const selectRoom = "SELECT config, subject, created FROM room WHERE room = ?"

// A roomRow is what selectRoom finds.
type roomRow struct {
	config, subject []byte
	created         int64
}

func (r *roomRow) dest() []any { return []any{&r.config, &r.subject, &r.created} }

func (r *roomRow) room(name string) store.Room {
	return store.Room{Name: name, Config: r.config, Subject: r.subject, Created: time.Unix(r.created, 0).UTC()}
}

// Room implements store.Rooms.
func (s *Store) Room(ctx context.Context, name string) (store.Room, error) {
	var r roomRow
	if err := s.queryRow(ctx, r.dest(), selectRoom, name); err != nil {
		return store.Room{}, err
	}
	return r.room(name), nil
}

// CreateRoom implements store.Rooms.
func (s *Store) CreateRoom(ctx context.Context, r store.Room, affiliations []store.Affiliation) error {
	r.Config, r.Subject = bytes.Clone(r.Config), bytes.Clone(r.Subject)
	affiliations = slices.Clone(affiliations)
	return s.write(ctx, r.Name, func(tx *tx) error {
		err := lockRoom(tx, r.Name)
		if err == nil {
			return store.ErrExists
		}
		if err != store.ErrNotFound {
			return err
		}
		n, err := tx.count("SELECT COUNT(*) FROM room_counter WHERE room = ?", r.Name)
		if err == nil && n == 0 {
			_, err = tx.exec("INSERT INTO room_counter (room, last_seq) VALUES (?, 0)", r.Name)
		}
		if err != nil {
			return err
		}
		_, err = tx.exec("INSERT INTO room (room, config, subject, created) VALUES (?, ?, ?, ?)",
			r.Name, present(r.Config), r.Subject, r.Created.Unix())
		if err != nil {
			return err
		}
		return setAffiliations(tx, r.Name, affiliations)
	})
}

// present is never nil, which is NULL.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// lockRoom begins a change of a room that is to be there.
func lockRoom(tx *tx, name string) error {
	if _, err := tx.exec("UPDATE room_counter SET last_seq = last_seq WHERE room = ?", name); err != nil {
		return err
	}
	n, err := tx.count("SELECT COUNT(*) FROM room WHERE room = ?", name)
	if err == nil && n == 0 {
		err = store.ErrNotFound
	}
	return err
}

// UpdateRoom implements store.Rooms.
func (s *Store) UpdateRoom(ctx context.Context, name string, update func(*store.Room) error) error {
	err := s.write(ctx, name, func(tx *tx) error {
		if err := lockRoom(tx, name); err != nil {
			return err
		}
		var row roomRow
		if err := tx.queryRow(row.dest(), selectRoom, name); err != nil {
			return err
		}
		r := row.room(name)
		if err := update(&r); err != nil {
			return refusal{err}
		}
		_, err := tx.exec("UPDATE room SET config = ?, subject = ?, created = ? WHERE room = ?",
			present(r.Config), r.Subject, r.Created.Unix(), name)
		return err
	})
	if r, ok := errors.AsType[refusal](err); ok {
		return r.error
	}
	return err
}

// DeleteRoom implements store.Rooms.
func (s *Store) DeleteRoom(ctx context.Context, name string) error {
	return s.write(ctx, name, func(tx *tx) error {
		if err := lockRoom(tx, name); err != nil {
			return err
		}
		for _, text := range [...]string{
			"DELETE FROM room WHERE room = ?",
			"DELETE FROM room_affiliation WHERE room = ?",
			"DELETE FROM room_history WHERE room = ?",
		} {
			if _, err := tx.exec(text, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// ListRooms implements store.Rooms.
func (s *Store) ListRooms(ctx context.Context, after string, limit int) ([]string, error) {
	var names []string
	err := s.query(ctx, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	}, "SELECT room FROM room WHERE room > ? ORDER BY room LIMIT ?", after, max(0, limit))
	return names, err
}

// ListRoomsBefore implements store.Rooms.
func (s *Store) ListRoomsBefore(ctx context.Context, before string, limit int) ([]string, error) {
	where, args := "", []any{max(0, limit)}
	if before != "" {
		where, args = "WHERE room < ? ", []any{before, max(0, limit)}
	}
	var names []string
	err := s.query(ctx, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	}, "SELECT room FROM room "+where+"ORDER BY room DESC LIMIT ?", args...)
	slices.Reverse(names)
	return names, err
}

// Affiliations implements store.Rooms.
func (s *Store) Affiliations(ctx context.Context, room string) ([]store.Affiliation, error) {
	var all []store.Affiliation
	err := s.query(ctx, func(rows *sql.Rows) error {
		var a store.Affiliation
		err := rows.Scan(&a.JID, &a.As, &a.Nick, &a.Reason)
		all = append(all, a)
		return err
	}, "SELECT jid, affiliation, nick, reason FROM room_affiliation WHERE room = ?", room)
	// The rows come in the order of the digests.
	slices.SortFunc(all, func(a, b store.Affiliation) int { return cmp.Compare(a.JID, b.JID) })
	return all, err
}

// SetAffiliations implements store.Rooms.
func (s *Store) SetAffiliations(ctx context.Context, room string, affiliations []store.Affiliation) error {
	affiliations = slices.Clone(affiliations)
	return s.write(ctx, room, func(tx *tx) error {
		if err := lockRoom(tx, room); err != nil {
			return err
		}
		return setAffiliations(tx, room, affiliations)
	})
}

func setAffiliations(tx *tx, room string, affiliations []store.Affiliation) (err error) {
	for _, a := range affiliations {
		if a.As == "none" {
			_, err = tx.exec("DELETE FROM room_affiliation WHERE room = ? AND digest = ?", room, digest(a.JID))
		} else {
			_, err = tx.exec("REPLACE INTO room_affiliation (room, digest, jid, affiliation, nick, reason) VALUES (?, ?, ?, ?, ?, ?)",
				room, digest(a.JID), a.JID, a.As, a.Nick, a.Reason)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
