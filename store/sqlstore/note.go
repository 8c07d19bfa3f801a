package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"chatd/store"
)

const selectNotes = "SELECT notes FROM roster_note WHERE user = ?"

// Notes implements store.Notes.
func (s *Store) Notes(ctx context.Context, user string) ([]store.Note, error) {
	var joined []byte
	if err := s.queryRow(ctx, []any{&joined}, selectNotes, user); err != nil && err != store.ErrNotFound {
		return nil, err
	}
	notes, err := splitNotes(joined)
	return notes, wrap(err)
}

// UpdateNotes implements store.Notes. As in UpdateItem update runs outside of a transaction, and again if
// another write comes between.
func (s *Store) UpdateNotes(ctx context.Context, user string, update func([]store.Note) ([]store.Note, error)) error {
	for {
		var before []byte
		err := s.queryRow(ctx, []any{&before}, selectNotes, user)
		if err != nil && err != store.ErrNotFound {
			return err
		}
		notes, err := splitNotes(before)
		if err != nil {
			return wrap(err)
		}
		if notes, err = update(notes); err != nil {
			return err
		}
		after := joinNotes(notes)
		err = s.write(ctx, user, func(tx *tx) error {
			var now []byte
			err := tx.queryRow([]any{&now}, selectNotes, user)
			if err != nil && err != store.ErrNotFound {
				return err
			}
			if !bytes.Equal(now, before) {
				return errConflict
			}
			_, err = tx.exec("REPLACE INTO roster_note (user, notes) VALUES (?, ?)", user, after)
			return err
		})
		if err != errConflict {
			return err
		}
	}
}

// noteTexts is how many texts make a note.
const noteTexts = 4

// joinNotes writes notes in the order of their JIDs, each as four texts.
func joinNotes(notes []store.Note) []byte {
	notes = slices.Clone(notes)
	slices.SortFunc(notes, func(a, b store.Note) int { return cmp.Compare(a.JID, b.JID) })
	var texts []string
	for _, n := range notes {
		texts = append(texts, n.JID, n.Text, joinTime(n.Created), joinTime(n.Modified))
	}
	return joinTexts(texts)
}

func splitNotes(joined []byte) (notes []store.Note, err error) {
	texts, err := splitTexts(joined)
	if err != nil {
		return nil, err
	}
	if len(texts)%noteTexts != 0 {
		return nil, fmt.Errorf("notes damaged: %d texts", len(texts))
	}
	for t := range slices.Chunk(texts, noteTexts) {
		n := store.Note{JID: t[0], Text: t[1]}
		if n.Created, err = splitTime(t[2]); err != nil {
			return nil, err
		}
		if n.Modified, err = splitTime(t[3]); err != nil {
			return nil, err
		}
		notes = append(notes, n)
	}
	return notes, nil
}

// joinTime is Unix seconds, "" for the zero time.
func joinTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.Unix(), 10)
}

func splitTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("time damaged: %w", err)
	}
	return time.Unix(n, 0).UTC(), nil
}

// Privacy implements store.Privacies.
func (s *Store) Privacy(ctx context.Context, user string) (store.Privacy, error) {
	var p store.Privacy
	err := s.queryRow(ctx, []any{&p.Messages, &p.Requests}, "SELECT messages, requests FROM privacy WHERE user = ?", user)
	if err == store.ErrNotFound {
		err = nil
	}
	return p, err
}

// SetPrivacy implements store.Privacies.
func (s *Store) SetPrivacy(ctx context.Context, user string, p store.Privacy) error {
	return s.write(ctx, user, func(tx *tx) error {
		_, err := tx.exec("REPLACE INTO privacy (user, messages, requests) VALUES (?, ?, ?)",
			user, int64(p.Messages), int64(p.Requests))
		return err
	})
}
