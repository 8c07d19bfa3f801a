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

func appendText(t *testing.T, s store.Store, user, text string, max int) {
	t.Helper()
	must(t, appendOffline(s, t.Context(), user, store.OfflineMessage{Stored: created, Stanza: []byte(text)}, max))
}

func page(t *testing.T, s store.Store, user string, after int64, limit int) []store.OfflineMessage {
	t.Helper()
	page, err := s.OfflinePage(t.Context(), user, after, limit)
	must(t, err)
	return page
}

func expectWaiting(t *testing.T, s store.Store, user string, want ...string) []store.OfflineMessage {
	t.Helper()
	all := page(t, s, user, 0, math.MaxInt32)
	var got []string
	for _, m := range all {
		got = append(got, string(m.Stanza))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("waiting for %s: %q, want %q", user, got, want)
	}
	n, err := s.CountOffline(t.Context(), user)
	must(t, err)
	equal(t, "count", n, len(want))
	return all
}

func testOffline(t *testing.T, s store.Store) {
	expectWaiting(t, s, "anna")
	before := created
	must(t, appendOffline(s, t.Context(), "anna", store.OfflineMessage{Seq: 77, Stored: before, Stanza: []byte("one")}, 0))
	appendText(t, s, "bob", "for bob", 0)
	// The order is that of the calls, whatever the clock said.
	must(t, appendOffline(s, t.Context(), "anna", store.OfflineMessage{Stored: before.Add(-time.Hour), Stanza: []byte("two")}, 0))
	must(t, appendOffline(s, t.Context(), "anna", store.OfflineMessage{}, 0))
	all := expectWaiting(t, s, "anna", "one", "two", "")
	for i, want := range []time.Time{before, before.Add(-time.Hour), {}} {
		if want = want.UTC().Truncate(time.Millisecond); all[i].Stored != want {
			t.Fatalf("message %d stored at %v, want %v", i, all[i].Stored, want)
		}
	}
	expectWaiting(t, s, "bob", "for bob")
}

func testOfflinePages(t *testing.T, s store.Store) {
	const n = 23
	for i := range n {
		appendText(t, s, "anna", fmt.Sprint(i), 0)
		appendText(t, s, "bob", "between", 0)
	}
	after, next := int64(0), 0
	for {
		p := page(t, s, "anna", after, 5)
		if len(p) == 0 {
			break
		}
		equal(t, "length of a page", len(p), min(5, n-next))
		for _, m := range p {
			equal(t, "message", string(m.Stanza), fmt.Sprint(next))
			if m.Seq <= after {
				t.Fatalf("seq %d after %d", m.Seq, after)
			}
			after = m.Seq
			next++
		}
	}
	equal(t, "messages", next, n)
	equal(t, "page of 0", len(page(t, s, "anna", 0, 0)), 0)
	equal(t, "page of -1", len(page(t, s, "anna", 0, -1)), 0)
	equal(t, "page after the end", len(page(t, s, "anna", math.MaxInt64, 5)), 0)
}

func testOfflineRemove(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, text := range []string{"a", "b", "c", "d", "e", "f"} {
		appendText(t, s, "anna", text, 0)
		appendText(t, s, "bob", text, 0)
	}
	all := page(t, s, "anna", 0, 10)
	remove := func(seqs ...int64) { t.Helper(); must(t, s.RemoveOffline(ctx, "anna", seqs)) }
	remove(all[4].Seq, all[0].Seq, all[1].Seq, all[4].Seq)
	expectWaiting(t, s, "anna", "c", "d", "f")
	// Unknown ones do no harm, and nothing between two of them goes.
	remove(all[0].Seq, math.MinInt64, -1, 0, math.MaxInt64)
	remove()
	expectWaiting(t, s, "anna", "c", "d", "f")
	remove(all[3].Seq)
	expectWaiting(t, s, "anna", "c", "f")
	remove(all[2].Seq, all[3].Seq, all[5].Seq, all[5].Seq+1)
	expectWaiting(t, s, "anna")
	must(t, s.RemoveOffline(ctx, "nobody", []int64{1, 2}))
	expectWaiting(t, s, "nobody")
	expectWaiting(t, s, "bob", "a", "b", "c", "d", "e", "f")
}

func testOfflineLimit(t *testing.T, s store.Store) {
	ctx := t.Context()
	appendText(t, s, "anna", "a", 2)
	appendText(t, s, "anna", "b", 2)
	for range 3 {
		err := appendOffline(s, ctx, "anna", store.OfflineMessage{Stanza: []byte("c")}, 2)
		if !errors.Is(err, store.ErrFull) {
			t.Fatalf("third of two: %v", err)
		}
	}
	all := expectWaiting(t, s, "anna", "a", "b")
	appendText(t, s, "anna", "c", 3)
	must(t, s.RemoveOffline(ctx, "anna", []int64{all[0].Seq, all[1].Seq}))
	appendText(t, s, "anna", "d", 2)
	appendText(t, s, "anna", "e", 0)
	expectWaiting(t, s, "anna", "c", "d", "e")
}

func testOfflineLimitRace(t *testing.T, s store.Store) {
	const max = 20
	var kept atomic.Int32
	inParallel(max+20, func(int) {
		err := appendOffline(s, t.Context(), "anna", store.OfflineMessage{Stanza: []byte("x")}, max)
		if err == nil {
			kept.Add(1)
		} else if !errors.Is(err, store.ErrFull) {
			t.Error(err)
		}
	})
	equal(t, "messages let in", kept.Load(), max)
	equal(t, "messages there", len(page(t, s, "anna", 0, 100)), max)
}

func testOfflineSeqNeverReused(t *testing.T, s store.Store) {
	ctx, last := t.Context(), int64(0)
	one := func(when string) {
		t.Helper()
		appendText(t, s, "anna", "x", 0)
		p := page(t, s, "anna", 0, 2)
		equal(t, "messages", len(p), 1)
		if p[0].Seq <= last {
			t.Fatalf("%s: seq %d after %d", when, p[0].Seq, last)
		}
		last = p[0].Seq
	}
	must(t, s.CreateAccount(ctx, account("anna")))
	one("first")
	must(t, s.RemoveOffline(ctx, "anna", []int64{last}))
	one("after removal")
	must(t, s.DeleteAccount(ctx, "anna"))
	must(t, s.CreateAccount(ctx, account("anna")))
	one("after the account was made anew")
}

// testOfflineOrderRace: many write to two users at once; each writer's
// messages keep their order, and a reader who pages along misses none.
func testOfflineOrderRace(t *testing.T, s store.Store) {
	const writers, each = 8, 40
	users := []string{"anna", "bob"}
	written := make(chan struct{})
	read := make(chan []store.OfflineMessage)
	go func() {
		var seen []store.OfflineMessage
		defer func() { read <- seen }()
		for last := false; ; {
			after := int64(0)
			if len(seen) > 0 {
				after = seen[len(seen)-1].Seq
			}
			p, err := s.OfflinePage(t.Context(), "anna", after, 7)
			if err != nil {
				t.Error(err)
				return
			}
			if len(p) == 0 && last {
				return
			}
			seen = append(seen, p...)
			select {
			case <-written:
				last = true
			default:
			}
		}
	}()
	inParallel(writers, func(w int) {
		for i := range each {
			for _, user := range users {
				m := store.OfflineMessage{Stored: created, Stanza: fmt.Appendf(nil, "%d %d", w, i)}
				if err := appendOffline(s, t.Context(), user, m, 0); err != nil {
					t.Error(err)
				}
			}
		}
	})
	close(written)
	expectOrder(t, "read along", <-read, writers, each)
	for _, user := range users {
		expectOrder(t, user, page(t, s, user, 0, 1000), writers, each)
	}
}

func expectOrder(t *testing.T, what string, all []store.OfflineMessage, writers, each int) {
	t.Helper()
	equal(t, "messages "+what, len(all), writers*each)
	next := make([]int, writers)
	for _, m := range all {
		var w, i int
		if _, err := fmt.Sscan(string(m.Stanza), &w, &i); err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprintf("%s: next of writer %d", what, w), i, next[w])
		next[w]++
	}
}

// appendOffline is for those who do not care for the number.
func appendOffline(s store.Store, ctx context.Context, user string, m store.OfflineMessage, max int) error {
	_, err := s.AppendOffline(ctx, user, m, max)
	return err
}

// testOfflineSeq: the number that a message is given is the one that it has.
func testOfflineSeq(t *testing.T, s store.Store) {
	for range 3 {
		seq, err := s.AppendOffline(t.Context(), "anna", store.OfflineMessage{Stanza: []byte("x")}, 0)
		must(t, err)
		page, err := s.OfflinePage(t.Context(), "anna", seq-1, 2)
		must(t, err)
		if len(page) != 1 || page[0].Seq != seq {
			t.Errorf("given %d, has %v", seq, page)
		}
	}
}

// appendID appends a message that has an id.
func appendID(s store.Store, ctx context.Context, user, id string, again bool, max int) (int64, error) {
	return s.AppendOffline(ctx, user, store.OfflineMessage{ID: id, Again: again, Stored: created, Stanza: []byte(id)}, max)
}

// testOfflineID: ids are kept as they are, and alone do not keep a message from coming twice.
func testOfflineID(t *testing.T, s store.Store) {
	ids := append([]string{"", "same", "same", ""}, oddTexts()...)
	for _, id := range ids {
		_, err := appendID(s, t.Context(), "anna", id, false, 0)
		must(t, err)
	}
	for i, m := range expectWaiting(t, s, "anna", ids...) {
		equal(t, "id", m.ID, ids[i])
		equal(t, "again", m.Again, false)
	}
}

func testOfflineAgain(t *testing.T, s store.Store) {
	ctx := t.Context()
	again := func(user, id string, max int) int64 {
		t.Helper()
		seq, err := appendID(s, ctx, user, id, true, max)
		must(t, err)
		return seq
	}
	var seqs []int64
	for _, id := range []string{"a", "b", "c"} {
		seqs = append(seqs, again("anna", id, 3))
	}
	// Also where there is no room any more.
	for i, id := range []string{"a", "b", "c"} {
		equal(t, "number of "+id, again("anna", id, 3), seqs[i])
	}
	if _, err := appendID(s, ctx, "anna", "d", true, 3); !errors.Is(err, store.ErrFull) {
		t.Fatalf("fourth of three: %v", err)
	}
	// Nothing is kept of what is only asked for.
	equal(t, "number of b", again("anna", "b", -1), seqs[1])
	for _, user := range []string{"anna", "bob"} {
		for _, id := range []string{"d", ""} {
			if _, err := appendID(s, ctx, user, id, true, -1); !errors.Is(err, store.ErrFull) {
				t.Fatalf("%q of %s, which is not there: %v", id, user, err)
			}
		}
	}
	expectWaiting(t, s, "bob")
	again("bob", "a", 0)
	expectWaiting(t, s, "anna", "a", "b", "c")
	expectWaiting(t, s, "bob", "a")

	seq, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{ID: "b", Again: true, Stanza: []byte("changed")}, 0)
	must(t, err)
	equal(t, "number", seq, seqs[1])
	if next := again("anna", "d", 0); next <= seqs[2] {
		t.Fatalf("seq %d behind %d", next, seqs[2])
	}
	expectWaiting(t, s, "anna", "a", "b", "c", "d")
	// One that was removed is not there, and those without an id are all different.
	must(t, s.RemoveOffline(ctx, "anna", seqs))
	again("anna", "b", 0)
	again("anna", "", 0)
	again("anna", "", 0)
	expectWaiting(t, s, "anna", "d", "b", "", "")
}

// testOfflineAgainNewest: a message is found again behind 999 others.
func testOfflineAgainNewest(t *testing.T, s store.Store) {
	first, err := appendID(s, t.Context(), "anna", "first", false, 0)
	must(t, err)
	inParallel(9, func(int) {
		for range 111 {
			if err := appendOffline(s, t.Context(), "anna", store.OfflineMessage{}, 0); err != nil {
				t.Error(err)
			}
		}
	})
	seq, err := appendID(s, t.Context(), "anna", "first", true, 0)
	must(t, err)
	equal(t, "number", seq, first)
	n, err := s.CountOffline(t.Context(), "anna")
	must(t, err)
	equal(t, "count", n, 1000)
}

// testOfflineAgainRace: of many attempts to keep the same messages each succeeds, and each message is there once.
func testOfflineAgainRace(t *testing.T, s store.Store) {
	const attempts, messages = 8, 10
	var given [messages]atomic.Int64
	inParallel(attempts, func(int) {
		for i := range messages {
			seq, err := appendID(s, t.Context(), "anna", fmt.Sprint(i), true, messages)
			if err != nil {
				t.Error(err)
			}
			if old := given[i].Swap(seq); old != 0 && old != seq {
				t.Errorf("message %d was given %d and %d", i, old, seq)
			}
		}
	})
	for i, m := range expectWaiting(t, s, "anna", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9") {
		equal(t, "seq", m.Seq, given[i].Load())
	}
}
