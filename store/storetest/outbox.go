package storetest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/store"
)

func posting(queue, id string, max int) store.Posting {
	return store.Posting{Queue: queue, Max: max, Event: store.Event{ID: id, Type: "t", Key: "k", Queued: created, Body: []byte(id)}}
}

func post(t *testing.T, s store.Store, postings ...store.Posting) (dropped int) {
	t.Helper()
	full, err := s.Post(t.Context(), postings)
	must(t, err)
	for _, queue := range full {
		equal(t, "full queue", queue, "a")
	}
	return len(full)
}

// expectEvents compares a queue's ids, and that it is in order and counted.
func expectEvents(t *testing.T, s store.Store, queue string, want ...string) []store.Event {
	t.Helper()
	all, err := s.Events(t.Context(), queue, 0, math.MaxInt32)
	must(t, err)
	var got []string
	for i, e := range all {
		got = append(got, e.ID)
		if i > 0 && e.Seq <= all[i-1].Seq {
			t.Fatalf("seq %d behind %d", e.Seq, all[i-1].Seq)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s has %q, want %q", queue, got, want)
	}
	n, err := s.CountEvents(t.Context(), queue)
	must(t, err)
	equal(t, "count", n, len(want))
	return all
}

func testOutbox(t *testing.T, s store.Store) {
	ctx := t.Context()
	expectEvents(t, s, "a")
	body := []byte("body\x00")
	full := store.Event{Seq: 99, ID: "1", Type: "type", Key: "key", Queued: created, Fault: "fault", Body: body}
	equal(t, "dropped", post(t, s, store.Posting{Queue: "a", Event: full}, posting("b", "1", 0), posting("a", "2", 0)), 0)
	body[0] = 'B'
	post(t, s, posting("a", "3", 0), store.Posting{Queue: "b"})
	post(t, s)

	all := expectEvents(t, s, "a", "1", "2", "3")
	got := all[0]
	if got.Type != "type" || got.Key != "key" || got.Fault != "fault" || string(got.Body) != "body\x00" ||
		got.Queued != created.UTC().Truncate(time.Millisecond) {
		t.Fatalf("got %+v", got)
	}
	expectEvents(t, s, "b", "1", "")

	after, err := s.Events(ctx, "a", all[0].Seq, 1)
	must(t, err)
	if len(after) != 1 || after[0].ID != "2" {
		t.Fatalf("after the first: %+v", after)
	}
	none, err := s.Events(ctx, "a", 0, 0)
	must(t, err)
	equal(t, "events of limit 0", len(none), 0)

	must(t, s.RemoveEvents(ctx, "a", []int64{all[2].Seq, all[0].Seq, 1 << 40}))
	must(t, s.RemoveEvents(ctx, "a", []int64{all[0].Seq}))
	must(t, s.RemoveEvents(ctx, "nowhere", []int64{1}))
	expectEvents(t, s, "a", "2")
	post(t, s, posting("a", "4", 0))
	if last := expectEvents(t, s, "a", "2", "4")[1].Seq; last <= all[2].Seq {
		t.Fatalf("seq %d is used again", last)
	}
}

func testOutboxLimit(t *testing.T, s store.Store) {
	equal(t, "dropped", post(t, s, posting("a", "1", 2), posting("a", "2", 2), posting("a", "3", 2), posting("b", "1", 2)), 1)
	equal(t, "dropped", post(t, s, posting("a", "4", 2), posting("a", "5", 3)), 1)
	all := expectEvents(t, s, "a", "1", "2", "5")
	must(t, s.RemoveEvents(t.Context(), "a", []int64{all[0].Seq, all[1].Seq}))
	equal(t, "dropped", post(t, s, posting("a", "6", 2)), 0)
	expectEvents(t, s, "a", "5", "6")
	expectEvents(t, s, "b", "1")
}

// testOutboxOrderRace: who reads on behind the last event that was seen misses none.
func testOutboxOrderRace(t *testing.T, s store.Store) {
	const writers, each = 4, 40
	var seen []string
	inParallel(writers+1, func(w int) {
		if w < writers {
			for i := range each {
				if _, err := s.Post(t.Context(), []store.Posting{posting("q", fmt.Sprintf("%d %d", w, i), 0)}); err != nil {
					t.Error(err)
				}
			}
			return
		}
		last := int64(0)
		for deadline := time.Now().Add(time.Minute); len(seen) < writers*each && time.Now().Before(deadline); {
			page, err := s.Events(t.Context(), "q", last, 7)
			if err != nil {
				t.Error(err)
				return
			}
			for _, e := range page {
				seen, last = append(seen, e.ID), e.Seq
			}
		}
	})
	equal(t, "events seen", len(seen), writers*each)
	expectEvents(t, s, "q", seen...)
}

func testOutboxLease(t *testing.T, s store.Store) {
	start := time.UnixMilli(1_700_000_000_000)
	for _, step := range []struct {
		queue, holder string
		now, until    time.Duration
		held          bool
	}{
		{"q", "a", 0, 10 * time.Second, true},
		{"q", "b", time.Second, 20 * time.Second, false},
		{"other", "b", time.Second, 20 * time.Second, true},
		{"q", "a", 2 * time.Second, 12 * time.Second, true},
		{"q", "a", 2 * time.Second, 12 * time.Second, true},
		{"q", "b", 11 * time.Second, 20 * time.Second, false},
		{"q", "b", 12 * time.Second, 20 * time.Second, true},
		{"q", "a", 13 * time.Second, 30 * time.Second, false},
		{"q", "b", 14 * time.Second, 14 * time.Second, true}, // given up
		{"q", "a", 14 * time.Second, 30 * time.Second, true},
	} {
		held, err := s.LeaseQueue(t.Context(), step.queue, step.holder, start.Add(step.now), start.Add(step.until))
		must(t, err)
		if held != step.held {
			t.Fatalf("%+v: held %v", step, held)
		}
	}
	post(t, s, posting("q", "1", 1)) // a lease takes no room
	expectEvents(t, s, "q", "1")
}

// An announcer says what it was asked.
type announcer struct {
	max int

	mu      sync.Mutex
	dropped int
}

func (a *announcer) AccountMade(acc *store.Account) []store.Posting {
	return []store.Posting{posting("q", "made "+acc.User, a.max)}
}

func (a *announcer) ItemChanged(user string, before, after *store.RosterItem) []store.Posting {
	if after.Name == "silent" {
		return nil
	}
	return []store.Posting{posting("q", strings.Join([]string{user, before.JID, before.Sub.String(), after.JID, after.Sub.String()}, " "), a.max)}
}

func (a *announcer) Dropped(string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropped++
}

func testAnnounce(t *testing.T, s store.Store) {
	keepItem(t, s, "anna", store.RosterItem{JID: "bob@x", Sub: store.SubTo}) // to nobody
	s.Announce(&announcer{})
	must(t, s.CreateAccount(t.Context(), account("anna")))
	if err := s.CreateAccount(t.Context(), account("anna")); err != store.ErrExists {
		t.Fatal(err)
	}
	keepItem(t, s, "anna", store.RosterItem{JID: "bob@x", Sub: store.SubTo})
	keepItem(t, s, "anna", store.RosterItem{JID: "bob@x", Sub: store.SubBoth})
	keepItem(t, s, "anna", store.RosterItem{JID: "carl@x", Name: "silent"})
	_, err := s.UpdateItem(t.Context(), "anna", "dora@x", 0, always(store.Leave))
	must(t, err)
	_, err = s.UpdateItem(t.Context(), "anna", "emil@x", 1, always(store.Keep))
	equal(t, "error", err, store.ErrFull)
	_, err = s.UpdateItem(t.Context(), "anna", "bob@x", 0, always(store.Remove))
	must(t, err)
	expectEvents(t, s, "q", "made anna", "anna bob@x none bob@x to", "anna bob@x to bob@x both", "anna bob@x both bob@x none")
	s.Announce(nil)
	must(t, s.CreateAccount(t.Context(), account("bob")))
	_, err = s.CountEvents(t.Context(), "q")
	must(t, err)
	expectEvents(t, s, "q", "made anna", "anna bob@x none bob@x to", "anna bob@x to bob@x both", "anna bob@x both bob@x none")
}

// testAnnounceFull: a full outbox is no reason not to do what is to be announced.
func testAnnounceFull(t *testing.T, s store.Store) {
	a := &announcer{max: 1}
	s.Announce(a)
	must(t, s.CreateAccount(t.Context(), account("anna")))
	must(t, s.CreateAccount(t.Context(), account("bob")))
	keepItem(t, s, "anna", store.RosterItem{JID: "bob@x"})
	expectEvents(t, s, "q", "made anna")
	equal(t, "items", len(roster(t, s, "anna").Items), 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	equal(t, "dropped", a.dropped, 2)
}
