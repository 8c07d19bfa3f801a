package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"chatd/store"
)

// appendHistoryErr is for those who do not care for the number.
func appendHistoryErr(s store.Store, ctx context.Context, room string, m store.HistoryMessage, max int) error {
	_, err := s.AppendHistory(ctx, room, m, max)
	return err
}

func appendHistory(t *testing.T, s store.Store, room, id string, max int) int64 {
	t.Helper()
	seq, err := s.AppendHistory(t.Context(), room, store.HistoryMessage{Seq: 77, ID: id, Stored: created, Stanza: []byte("<" + id + "/>")}, max)
	must(t, err)
	return seq
}

// expectHistory compares the ids of a whole history, and that it is in order.
func expectHistory(t *testing.T, s store.Store, room string, want ...string) []store.HistoryMessage {
	t.Helper()
	all := historyPage(t, s, room, 0, math.MaxInt32)
	expectIDs(t, all, want...)
	return all
}

func historyPage(t *testing.T, s store.Store, room string, before int64, limit int) []store.HistoryMessage {
	t.Helper()
	page, err := s.HistoryPage(t.Context(), room, before, limit)
	must(t, err)
	return page
}

func expectIDs(t *testing.T, page []store.HistoryMessage, want ...string) {
	t.Helper()
	var got []string
	for i, m := range page {
		got = append(got, m.ID)
		if i > 0 && m.Seq <= page[i-1].Seq {
			t.Fatalf("seq %d behind %d", m.Seq, page[i-1].Seq)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("history %q, want %q", got, want)
	}
}

func testHistory(t *testing.T, s store.Store) {
	createRoom(t, s, "lobby")
	createRoom(t, s, "other")
	expectHistory(t, s, "lobby")
	var seqs []int64
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		seqs = append(seqs, appendHistory(t, s, "lobby", id, 0))
	}
	appendHistory(t, s, "other", "1", 0)
	for i, m := range expectHistory(t, s, "lobby", "1", "2", "3", "4", "5") {
		equal(t, "seq", m.Seq, seqs[i])
		equal(t, "stanza", string(m.Stanza), "<"+m.ID+"/>")
		equal(t, "stored", m.Stored, created.UTC().Truncate(time.Millisecond))
	}
	expectIDs(t, historyPage(t, s, "lobby", 0, 2), "4", "5")
	expectIDs(t, historyPage(t, s, "lobby", seqs[3], 2), "2", "3")
	expectIDs(t, historyPage(t, s, "lobby", seqs[1], 2), "1")
	expectIDs(t, historyPage(t, s, "lobby", seqs[0], 2))
	expectIDs(t, historyPage(t, s, "lobby", seqs[4]+100, 1), "5")
	expectIDs(t, historyPage(t, s, "lobby", -1, 2))
	expectIDs(t, historyPage(t, s, "lobby", 0, 0))
	expectIDs(t, historyPage(t, s, "lobby", 0, -1))
	expectHistory(t, s, "other", "1")
}

func testHistoryLimit(t *testing.T, s store.Store) {
	createRoom(t, s, "lobby")
	createRoom(t, s, "other")
	appendHistory(t, s, "other", "1", 0)
	for i := range 5 {
		appendHistory(t, s, "lobby", fmt.Sprint(i), 3)
	}
	all := expectHistory(t, s, "lobby", "2", "3", "4")
	// What went is not known any more, and comes as something new.
	if seq := appendHistory(t, s, "lobby", "0", 3); seq <= all[2].Seq {
		t.Fatalf("seq %d is used again", seq)
	}
	expectHistory(t, s, "lobby", "3", "4", "0")
	appendHistory(t, s, "lobby", "5", 0)
	expectHistory(t, s, "lobby", "3", "4", "0", "5")
	appendHistory(t, s, "lobby", "6", 2)
	expectHistory(t, s, "lobby", "5", "6")
	appendHistory(t, s, "lobby", "7", 1)
	expectHistory(t, s, "lobby", "7")
	expectHistory(t, s, "other", "1")
}

// testHistoryAgain: a message that is there already is kept once, as it first was.
func testHistoryAgain(t *testing.T, s store.Store) {
	createRoom(t, s, "lobby")
	createRoom(t, s, "other")
	first := appendHistory(t, s, "lobby", "1", 2)
	second := appendHistory(t, s, "lobby", "2", 2)
	seq, err := s.AppendHistory(t.Context(), "lobby", store.HistoryMessage{ID: "1", Stanza: []byte("changed")}, 1)
	must(t, err)
	equal(t, "seq", seq, first)
	equal(t, "stanza", string(expectHistory(t, s, "lobby", "1", "2")[0].Stanza), "<1/>")
	appendHistory(t, s, "other", "1", 0)
	if third := appendHistory(t, s, "lobby", "3", 0); third <= second {
		t.Fatalf("seq %d behind %d", third, second)
	}
	expectHistory(t, s, "lobby", "1", "2", "3")
}

func testReplaceHistory(t *testing.T, s store.Store) {
	ctx := t.Context()
	createRoom(t, s, "lobby")
	createRoom(t, s, "other")
	for _, id := range []string{"1", "2", "3"} {
		appendHistory(t, s, "lobby", id, 3)
	}
	appendHistory(t, s, "other", "2", 0)
	before := expectHistory(t, s, "lobby", "1", "2", "3")
	for range 2 {
		must(t, s.ReplaceHistory(ctx, "lobby", "2", []byte("<retracted/>")))
	}
	must(t, s.ReplaceHistory(ctx, "lobby", "3", nil))
	for i, want := range []string{"<1/>", "<retracted/>", ""} {
		got := expectHistory(t, s, "lobby", "1", "2", "3")[i]
		equal(t, "stanza", string(got.Stanza), want)
		equal(t, "seq", got.Seq, before[i].Seq)
		equal(t, "stored", got.Stored, before[i].Stored)
	}
	m, err := s.HistoryMessage(ctx, "lobby", "2")
	must(t, err)
	equal(t, "stanza", string(m.Stanza), "<retracted/>")
	equal(t, "seq", m.Seq, before[1].Seq)
	equal(t, "id", m.ID, "2")
	equal(t, "stored", m.Stored, before[1].Stored)
	for _, of := range [][2]string{{"lobby", "4"}, {"other", "1"}, {"none", "1"}} {
		if _, err := s.HistoryMessage(ctx, of[0], of[1]); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("%s: %v", of, err)
		}
	}
	equal(t, "the other room's", string(expectHistory(t, s, "other", "2")[0].Stanza), "<2/>")
	appendHistory(t, s, "lobby", "4", 3)
	if err := s.ReplaceHistory(ctx, "lobby", "1", nil); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("what was dropped: %v", err)
	}
}

// testHistoryRace: many write to one room at once, each message twice; each is there once, every writer's keep their
// order, the limit holds, and the numbers that were given are those that they have.
func testHistoryRace(t *testing.T, s store.Store) {
	const writers, each = 6, 20
	createRoom(t, s, "all")
	createRoom(t, s, "few")
	var given [writers][each]atomic.Int64
	inParallel(2*writers, func(n int) {
		w := n % writers
		for i := range each {
			m := store.HistoryMessage{ID: fmt.Sprintf("%d %d", w, i)}
			seq, err := s.AppendHistory(t.Context(), "all", m, 0)
			if err != nil {
				t.Error(err)
			}
			if old := given[w][i].Swap(seq); old != 0 && old != seq {
				t.Errorf("%s was given %d and %d", m.ID, old, seq)
			}
			if err := appendHistoryErr(s, t.Context(), "few", m, 7); err != nil {
				t.Error(err)
			}
		}
	})
	all := historyPage(t, s, "all", 0, math.MaxInt32)
	equal(t, "messages", len(all), writers*each)
	next := make([]int, writers)
	for _, m := range all {
		var w, i int
		if _, err := fmt.Sscan(m.ID, &w, &i); err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprint("next of writer ", w), i, next[w])
		equal(t, "seq", m.Seq, given[w][i].Load())
		next[w]++
	}
	equal(t, "messages of few", len(historyPage(t, s, "few", 0, math.MaxInt32)), 7)
}

// testHistoryDeleteRace: no message comes behind the end of its room.
func testHistoryDeleteRace(t *testing.T, s store.Store) {
	for round := range 10 {
		createRoom(t, s, "lobby")
		inParallel(5, func(i int) {
			if i == 0 {
				if err := s.DeleteRoom(t.Context(), "lobby"); err != nil {
					t.Error(err)
				}
				return
			}
			err := appendHistoryErr(s, t.Context(), "lobby", store.HistoryMessage{ID: fmt.Sprint(round, i)}, 0)
			if err == nil {
				err = s.SetAffiliations(t.Context(), "lobby", []store.Affiliation{{JID: fmt.Sprint(i), As: "member"}})
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Error(err)
			}
		})
		expectHistory(t, s, "lobby")
		expectAffiliations(t, s, "lobby")
	}
	createRoom(t, s, "lobby")
	expectHistory(t, s, "lobby")
}
