package riak

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"chatd/store"
)

func (s *state) privateElements() (all []store.PrivateElement, err error) {
	for _, key := range s.keys("") {
		e, _ := s.get(key)
		d := decoder{rest: []byte(key)}
		element := store.PrivateElement{Space: d.text()}
		element.Local, element.XML = string(d.rest), slices.Clone(e.value)
		all, err = append(all, element), cmp.Or(err, d.err())
	}
	slices.SortFunc(all, func(a, b store.PrivateElement) int {
		return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.Local, b.Local))
	})
	return all, err
}

// Notes implements store.Notes.
func (s *Store) Notes(ctx context.Context, user string) ([]store.Note, error) {
	v, err := s.fetchFor(ctx, profileRef(user))
	if err != nil {
		return nil, err
	}
	return v.notes()
}

func (s *state) notes() (notes []store.Note, err error) {
	for _, jid := range s.keys(note) {
		e, _ := s.get(note + jid)
		d := decoder{rest: e.value}
		notes = append(notes, store.Note{JID: jid, Text: d.text(), Created: d.time(), Modified: d.time()})
		err = cmp.Or(err, d.err())
	}
	return notes, err
}

// setNotes writes those that differ, so that of two nodes' changes only those of the same note are one another's.
func (s *state) setNotes(at stamp, notes []store.Note) (changed bool) {
	keep := make(map[string]bool, len(notes))
	for _, n := range notes {
		keep[n.JID] = true
		var e encoder
		e.text(n.Text)
		e.time(n.Created)
		e.time(n.Modified)
		if old, ok := s.get(note + n.JID); !ok || !bytes.Equal(old.value, e) {
			s.set(note+n.JID, at, e)
			changed = true
		}
	}
	for _, jid := range s.keys(note) {
		if !keep[jid] {
			s.remove(note+jid, at)
			changed = true
		}
	}
	return changed
}

// UpdateNotes implements store.Notes. update runs when nothing is locked; if the notes have changed meanwhile it runs again.
func (s *Store) UpdateNotes(ctx context.Context, user string, update func([]store.Note) ([]store.Note, error)) error {
	for {
		before, err := s.Notes(ctx, user)
		if err != nil {
			return err
		}
		after, err := update(slices.Clone(before))
		if err != nil {
			return err
		}
		raced := false
		err = s.change(ctx, user, profileRef(user), func(v *value, at stamp) error {
			now, err := v.notes()
			if err != nil {
				return err
			}
			if raced = !slices.Equal(now, before); raced || !v.setNotes(at, after) {
				return errUnchanged
			}
			return nil
		})
		if err != nil || !raced {
			return err
		}
	}
}
