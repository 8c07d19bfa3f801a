package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatd/store"
)

// setNotes replaces all notes whatever there was.
func setNotes(t *testing.T, s store.Store, user string, notes ...store.Note) {
	t.Helper()
	must(t, s.UpdateNotes(t.Context(), user, func([]store.Note) ([]store.Note, error) { return notes, nil }))
}

func expectNotes(t *testing.T, s store.Store, user string, want ...store.Note) {
	t.Helper()
	got, err := s.Notes(t.Context(), user)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("notes of %s %+v\nwant %+v", user, got, want)
	}
}

func testNotes(t *testing.T, s store.Store) {
	expectNotes(t, s, "anna")
	a := store.Note{JID: "a@x", Text: "mid lane", Created: created, Modified: created.Add(time.Hour)}
	b := store.Note{JID: "b@x", Text: "4:a@x"}
	setNotes(t, s, "anna", b, a)
	a.Created, a.Modified = createdKept, createdKept.Add(time.Hour)
	expectNotes(t, s, "anna", a, b)
	setNotes(t, s, "anna", a)
	expectNotes(t, s, "anna", a)
	setNotes(t, s, "anna")
	expectNotes(t, s, "anna")
	expectNotes(t, s, "bob")
}

func testUpdateNotesError(t *testing.T, s store.Store) {
	note := store.Note{JID: "a@x", Text: "kept"}
	setNotes(t, s, "anna", note)
	mine := errors.New("mine")
	err := s.UpdateNotes(t.Context(), "anna", func(notes []store.Note) ([]store.Note, error) {
		notes[0].Text = "changed"
		return notes, mine
	})
	if err != mine {
		t.Fatalf("error comes back as %v", err)
	}
	expectNotes(t, s, "anna", note)
}

// testUpdateNotesRace: of many that each add a note none gets lost.
func testUpdateNotesRace(t *testing.T, s store.Store) {
	const n = 20
	inParallel(n, func(i int) {
		if err := s.UpdateNotes(t.Context(), "anna", func(notes []store.Note) ([]store.Note, error) {
			return append(notes, store.Note{JID: fmt.Sprintf("%02d@x", i)}), nil
		}); err != nil {
			t.Error(err)
		}
	})
	notes, err := s.Notes(t.Context(), "anna")
	must(t, err)
	equal(t, "notes", len(notes), n)
}

func testPrivacy(t *testing.T, s store.Store) {
	ctx := t.Context()
	expect := func(user string, want store.Privacy) {
		t.Helper()
		got, err := s.Privacy(ctx, user)
		must(t, err)
		equal(t, "privacy of "+user, got, want)
	}
	expect("anna", store.Privacy{})
	for _, p := range []store.Privacy{
		{Messages: store.Nobody, Requests: store.FriendsOfFriends}, {Messages: store.Friends, Requests: store.Nobody}, {},
	} {
		must(t, s.SetPrivacy(ctx, "anna", p))
		expect("anna", p)
		expect("bob", store.Privacy{})
	}
}

func testPrivateElements(t *testing.T, s store.Store) {
	ctx := t.Context()
	all, err := s.PrivateElements(ctx, "anna")
	must(t, err)
	equal(t, "elements of a user without any", len(all), 0)
	for _, e := range []store.PrivateElement{
		{Space: "b", Local: "y", XML: []byte("1")}, {Space: "a", Local: "z", XML: []byte("2")}, {Space: "b", Local: "x", XML: []byte("3")},
	} {
		must(t, s.SetPrivateXML(ctx, "anna", e.Space, e.Local, e.XML, 0))
	}
	must(t, s.SetPrivateXML(ctx, "bob", "c", "c", nil, 0))
	all, err = s.PrivateElements(ctx, "anna")
	must(t, err)
	var got []string
	for _, e := range all {
		got = append(got, e.Space+" "+e.Local+" "+string(e.XML))
	}
	if !slices.Equal(got, []string{"a z 2", "b x 3", "b y 1"}) {
		t.Fatalf("elements %q", got)
	}
}
