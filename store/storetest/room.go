package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"chatd/store"
)

func createRoom(t *testing.T, s store.Store, name string, affiliations ...store.Affiliation) {
	t.Helper()
	must(t, s.CreateRoom(t.Context(), store.Room{Name: name, Created: created}, affiliations))
}

func expectRoom(t *testing.T, s store.Store, want store.Room) {
	t.Helper()
	got, err := s.Room(t.Context(), want.Name)
	must(t, err)
	if got.Name != want.Name || !bytes.Equal(got.Config, want.Config) || !bytes.Equal(got.Subject, want.Subject) ||
		(got.Subject == nil) != (want.Subject == nil) || got.Created != want.Created {
		t.Fatalf("room %+v\nwant %+v", got, want)
	}
}

func expectRooms(t *testing.T, s store.Store, after string, limit int, want ...string) {
	t.Helper()
	got, err := s.ListRooms(t.Context(), after, limit)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("%d rooms after %q: %q, want %q", limit, after, got, want)
	}
}

func expectAffiliations(t *testing.T, s store.Store, room string, want ...store.Affiliation) {
	t.Helper()
	got, err := s.Affiliations(t.Context(), room)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("affiliations of %q: %+v\nwant %+v", room, got, want)
	}
}

func testRoom(t *testing.T, s store.Store) {
	ctx := t.Context()
	if _, err := s.Room(ctx, "lobby"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a room that nobody made: %v", err)
	}
	expectAffiliations(t, s, "lobby")
	owner := store.Affiliation{JID: "anna@x", As: "owner", Nick: "Anna", Reason: "made it"}
	room := store.Room{Name: "lobby", Config: []byte("{\"x\":1}\x00"), Subject: []byte("<message/>"), Created: created}
	must(t, s.CreateRoom(ctx, room, []store.Affiliation{{JID: "bob@x", As: "outcast"}, {JID: "anna@x", As: "admin"}, owner, {JID: "carl@x", As: "none"}}))
	if err := s.CreateRoom(ctx, store.Room{Name: "lobby"}, []store.Affiliation{{JID: "troll@x", As: "owner"}}); !errors.Is(err, store.ErrExists) {
		t.Fatalf("made twice: %v", err)
	}
	room.Created = createdKept
	expectRoom(t, s, room)
	expectAffiliations(t, s, "lobby", owner, store.Affiliation{JID: "bob@x", As: "outcast"})
	createRoom(t, s, "empty")
	expectRoom(t, s, store.Room{Name: "empty", Created: createdKept})
	expectAffiliations(t, s, "empty")
	expectHistory(t, s, "empty")
	expectRoom(t, s, room)
}

// testRoomMissing: nothing can be written to a room that is not kept, and it holds nothing.
func testRoomMissing(t *testing.T, s store.Store) {
	ctx := t.Context()
	createRoom(t, s, "other", store.Affiliation{JID: "anna@x", As: "owner"})
	appendHistory(t, s, "other", "1", 0)
	for verb, err := range map[string]error{
		"UpdateRoom":      s.UpdateRoom(ctx, "none", func(*store.Room) error { t.Error("update called"); return nil }),
		"DeleteRoom":      s.DeleteRoom(ctx, "none"),
		"SetAffiliations": s.SetAffiliations(ctx, "none", []store.Affiliation{{JID: "anna@x", As: "owner"}}),
		"ReplaceHistory":  s.ReplaceHistory(ctx, "none", "1", nil),
		"of no message":   s.ReplaceHistory(ctx, "other", "2", nil),
		"AppendHistory":   appendHistoryErr(s, ctx, "none", store.HistoryMessage{ID: "1"}, 0),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", verb, err)
		}
	}
	expectAffiliations(t, s, "none")
	expectHistory(t, s, "none")
	expectRooms(t, s, "", 10, "other")
	expectHistory(t, s, "other", "1")
}

func testUpdateRoom(t *testing.T, s store.Store) {
	ctx := t.Context()
	must(t, s.CreateRoom(ctx, store.Room{Name: "lobby", Config: []byte("one"), Created: created}, nil))
	var seen store.Room
	subject := []byte("<message/>")
	must(t, s.UpdateRoom(ctx, "lobby", func(r *store.Room) error {
		seen = *r
		r.Name, r.Config, r.Subject = "renamed", append(r.Config, " two"...), subject
		return nil
	}))
	equal(t, "config before", string(seen.Config[:3]), "one")
	equal(t, "name before", seen.Name, "lobby")
	spoil(subject)
	want := store.Room{Name: "lobby", Config: []byte("one two"), Subject: []byte("<message/>"), Created: createdKept}
	expectRoom(t, s, want)
	expectRooms(t, s, "", 10, "lobby")
	mine := errors.New("mine")
	if err := s.UpdateRoom(ctx, "lobby", func(r *store.Room) error {
		spoil(r.Config)
		r.Subject = nil
		return mine
	}); err != mine {
		t.Fatalf("error comes back as %v", err)
	}
	expectRoom(t, s, want)
	must(t, s.UpdateRoom(ctx, "lobby", func(r *store.Room) error { r.Subject = nil; return nil }))
	want.Subject = nil
	expectRoom(t, s, want)
}

// testUpdateRoomRace: of many that each add something none gets lost.
func testUpdateRoomRace(t *testing.T, s store.Store) {
	const n = 20
	createRoom(t, s, "lobby")
	inParallel(n, func(i int) {
		if err := s.UpdateRoom(t.Context(), "lobby", func(r *store.Room) error {
			r.Config = append(r.Config, byte('a'+i))
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	r, err := s.Room(t.Context(), "lobby")
	must(t, err)
	slices.Sort(r.Config)
	equal(t, "config", string(r.Config), "abcdefghijklmnopqrst")
}

// testRoomRace: of many that make a room one succeeds, and of many that delete it one.
func testRoomRace(t *testing.T, s store.Store) {
	for range 3 {
		var made, gone atomic.Int32
		inParallel(12, func(i int) {
			switch err := s.CreateRoom(t.Context(), store.Room{Name: "lobby"}, []store.Affiliation{{JID: fmt.Sprint(i), As: "owner"}}); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, store.ErrExists):
				t.Error(err)
			}
		})
		equal(t, "rooms made", made.Load(), 1)
		owners, err := s.Affiliations(t.Context(), "lobby")
		must(t, err)
		equal(t, "owners", len(owners), 1)
		inParallel(12, func(int) {
			switch err := s.DeleteRoom(t.Context(), "lobby"); {
			case err == nil:
				gone.Add(1)
			case !errors.Is(err, store.ErrNotFound):
				t.Error(err)
			}
		})
		equal(t, "rooms deleted", gone.Load(), 1)
	}
}

func testListRooms(t *testing.T, s store.Store) {
	names := []string{"a", "B", "ab", "é", "b"}
	for _, name := range names {
		createRoom(t, s, name)
	}
	slices.Sort(names)
	expectRooms(t, s, "", 10, names...)
	expectRooms(t, s, "", 2, names[:2]...)
	expectRooms(t, s, names[1], 2, names[2:4]...)
	expectRooms(t, s, names[4], 2)
	expectRooms(t, s, "aa", 1, "ab")
	expectRooms(t, s, "", 0)
	expectRooms(t, s, "", -1)
	for _, c := range []struct {
		before string
		limit  int
		want   []string
	}{{"", 10, names}, {"", 2, names[3:]}, {names[3], 2, names[1:3]}, {"aa", 1, names[1:2]}, {names[0], 3, nil}, {"", 0, nil}, {"", -1, nil}} {
		got, err := s.ListRoomsBefore(t.Context(), c.before, c.limit)
		must(t, err)
		if !slices.Equal(got, c.want) {
			t.Fatalf("%d rooms before %q: %q, want %q", c.limit, c.before, got, c.want)
		}
	}
}

func testAffiliations(t *testing.T, s store.Store) {
	set := func(all ...store.Affiliation) { t.Helper(); must(t, s.SetAffiliations(t.Context(), "lobby", all)) }
	createRoom(t, s, "lobby")
	createRoom(t, s, "other", store.Affiliation{JID: "a@x", As: "owner"})
	a := store.Affiliation{JID: "a@x", As: "owner", Nick: "A", Reason: "why"}
	b, domain := store.Affiliation{JID: "b@x", As: "member", Nick: "B"}, store.Affiliation{JID: "evil.test", As: "outcast"}
	set(domain, b, a)
	expectAffiliations(t, s, "lobby", a, b, domain)
	b.As, b.Nick = "admin", ""
	set(b, store.Affiliation{JID: "nobody@x", As: "none"})
	expectAffiliations(t, s, "lobby", a, b, domain)
	set(store.Affiliation{JID: "a@x", As: "none"}, store.Affiliation{JID: "evil.test", As: "none"}, domain)
	expectAffiliations(t, s, "lobby", b, domain)
	set()
	expectAffiliations(t, s, "lobby", b, domain)
	set(store.Affiliation{JID: "b@x", As: "none"}, store.Affiliation{JID: "evil.test", As: "none"})
	expectAffiliations(t, s, "lobby")
	expectAffiliations(t, s, "other", store.Affiliation{JID: "a@x", As: "owner"})
}

// testAffiliationsRace: who sets those of different users does not disturb others, and one call's are set together.
func testAffiliationsRace(t *testing.T, s store.Store) {
	const n, times = 10, 5
	createRoom(t, s, "lobby")
	inParallel(n, func(i int) {
		for k := range times {
			err := s.SetAffiliations(t.Context(), "lobby", []store.Affiliation{
				{JID: fmt.Sprintf("own%02d@x", i), As: "member", Nick: fmt.Sprint(k)},
				{JID: "shared1@x", As: "member", Nick: fmt.Sprint(i, k)},
				{JID: "shared2@x", As: "member", Nick: fmt.Sprint(i, k)},
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	all, err := s.Affiliations(t.Context(), "lobby")
	must(t, err)
	equal(t, "affiliations", len(all), n+2)
	for i := range n {
		equal(t, all[i].JID, all[i].Nick, fmt.Sprint(times-1))
	}
	equal(t, "nick of the second", all[n+1].Nick, all[n].Nick)
}

// testDeleteRoom: nothing is left, but numbers do not come again.
func testDeleteRoom(t *testing.T, s store.Store) {
	ctx, last := t.Context(), int64(0)
	for range 2 {
		must(t, s.CreateRoom(ctx, store.Room{Name: "lobby", Config: []byte("c"), Subject: []byte("s")}, []store.Affiliation{{JID: "a@x", As: "owner"}}))
		createRoom(t, s, "lobby2", store.Affiliation{JID: "a@x", As: "member"})
		appendHistory(t, s, "lobby2", "1", 0)
		for _, id := range []string{"1", "2"} {
			seq := appendHistory(t, s, "lobby", id, 0)
			if seq <= last {
				t.Fatalf("seq %d behind %d", seq, last)
			}
			last = seq
		}
		must(t, s.DeleteRoom(ctx, "lobby"))
		if _, err := s.Room(ctx, "lobby"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("deleted room: %v", err)
		}
		expectRooms(t, s, "", 10, "lobby2")
		for range 2 {
			expectAffiliations(t, s, "lobby")
			expectHistory(t, s, "lobby")
			createRoom(t, s, "lobby")
			expectRoom(t, s, store.Room{Name: "lobby", Created: createdKept})
			must(t, s.DeleteRoom(ctx, "lobby"))
		}
		expectAffiliations(t, s, "lobby2", store.Affiliation{JID: "a@x", As: "member"})
		expectHistory(t, s, "lobby2", "1")
		must(t, s.DeleteRoom(ctx, "lobby2"))
	}
}

// testRoomOddText uses odd texts as names and as values, and values as large as they come.
func testRoomOddText(t *testing.T, s store.Store) {
	ctx, texts := t.Context(), oddTexts()
	large := bytes.Repeat([]byte("0123456789abcde\x00"), 256<<10/16)
	var affiliations []store.Affiliation
	for _, text := range texts {
		affiliations = append(affiliations, store.Affiliation{JID: text, As: "member", Nick: text, Reason: text})
	}
	for i, text := range texts {
		must(t, s.CreateRoom(ctx, store.Room{Name: text, Config: []byte(text), Subject: fmt.Appendf(nil, "%d%s", i, text), Created: created}, affiliations[i:i+1]))
		appendHistory(t, s, text, text, 0)
	}
	must(t, s.CreateRoom(ctx, store.Room{Name: "large", Config: large, Subject: large, Created: created}, affiliations))
	for _, text := range append(texts, "large") {
		must(t, appendHistoryErr(s, ctx, "large", store.HistoryMessage{ID: text, Stored: created, Stanza: large}, 0))
	}
	for i, text := range texts {
		expectRoom(t, s, store.Room{Name: text, Config: []byte(text), Subject: fmt.Appendf(nil, "%d%s", i, text), Created: createdKept})
		expectAffiliations(t, s, text, affiliations[i])
		expectHistory(t, s, text, text)
	}
	expectRoom(t, s, store.Room{Name: "large", Config: large, Subject: large, Created: createdKept})
	for _, m := range expectHistory(t, s, "large", append(texts, "large")...) {
		if !bytes.Equal(m.Stanza, large) {
			t.Fatalf("stanza of %d bytes came back as other %d", len(large), len(m.Stanza))
		}
	}
	slices.SortFunc(affiliations, func(a, b store.Affiliation) int { return bytes.Compare([]byte(a.JID), []byte(b.JID)) })
	expectAffiliations(t, s, "large", affiliations...)
	var long []store.Affiliation
	for _, jid := range longJIDs(20) {
		long = append(long, store.Affiliation{JID: jid, As: "outcast"})
	}
	createRoom(t, s, "long", long...)
	expectAffiliations(t, s, "long", long...)
	slices.Sort(texts)
	rooms, err := s.ListRooms(ctx, "", math.MaxInt32)
	must(t, err)
	equal(t, "rooms", len(rooms), len(texts)+2)
	if !slices.IsSorted(rooms) {
		t.Fatalf("rooms %q", rooms)
	}
}

// testRoomValuesAreCopied: what was handed in or out is the caller's, who may write over it.
func testRoomValuesAreCopied(t *testing.T, s store.Store) {
	ctx, text := t.Context(), []byte("text")
	affiliations := []store.Affiliation{{JID: "a@x", As: "owner"}}
	must(t, s.CreateRoom(ctx, store.Room{Name: "lobby", Config: text, Subject: text, Created: time.Time{}}, affiliations))
	must(t, appendHistoryErr(s, ctx, "lobby", store.HistoryMessage{ID: "1", Stanza: text}, 0))
	must(t, appendHistoryErr(s, ctx, "lobby", store.HistoryMessage{ID: "2"}, 0))
	must(t, s.ReplaceHistory(ctx, "lobby", "2", text))
	spoil(text)
	affiliations[0].JID = "spoilt"
	for range 2 {
		r, err := s.Room(ctx, "lobby")
		must(t, err)
		all, err := s.Affiliations(ctx, "lobby")
		must(t, err)
		history := expectHistory(t, s, "lobby", "1", "2")
		for _, got := range [][]byte{r.Config, r.Subject, history[0].Stanza, history[1].Stanza} {
			equal(t, "value", string(got), "text")
			spoil(got)
		}
		equal(t, "jid", all[0].JID, "a@x")
		all[0].JID = "spoilt"
	}
}
