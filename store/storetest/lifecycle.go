package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatd/store"
)

// verbs calls every verb once and returns the errors by name.
func verbs(ctx context.Context, s store.Store) map[string]error {
	errs := make(map[string]error)
	errs["CreateAccount"] = s.CreateAccount(ctx, account("new"))
	_, errs["Account"] = s.Account(ctx, "anna")
	errs["SetCredentials"] = s.SetCredentials(ctx, "anna", nil)
	errs["UpdateTokens"] = s.UpdateTokens(ctx, "anna", func(store.Account) ([]store.LoginToken, error) { return nil, nil })
	errs["DeleteAccount"] = s.DeleteAccount(ctx, "anna")
	_, errs["ListAccounts"] = s.ListAccounts(ctx, "", 1)
	_, errs["Roster"] = s.Roster(ctx, "anna")
	_, errs["Mutual"] = s.Mutual(ctx, "anna")
	_, errs["UpdateItem"] = s.UpdateItem(ctx, "anna", "bob@x", 0, always(store.Remove))
	_, errs["Blocklist"] = s.Blocklist(ctx, "anna")
	errs["Block"] = s.Block(ctx, "anna", []string{"new@x"}, 0)
	errs["Unblock"] = s.Unblock(ctx, "anna", nil)
	_, errs["Notes"] = s.Notes(ctx, "anna")
	errs["UpdateNotes"] = s.UpdateNotes(ctx, "anna", func([]store.Note) ([]store.Note, error) { return nil, nil })
	_, errs["Privacy"] = s.Privacy(ctx, "anna")
	errs["SetPrivacy"] = s.SetPrivacy(ctx, "anna", store.Privacy{})
	_, errs["PrivateElements"] = s.PrivateElements(ctx, "anna")
	errs["AppendOffline"] = appendOffline(s, ctx, "anna", store.OfflineMessage{}, 0)
	_, errs["OfflinePage"] = s.OfflinePage(ctx, "anna", 0, 1)
	errs["RemoveOffline"] = s.RemoveOffline(ctx, "anna", []int64{1, 2, 3})
	errs["RemoveOffline of none"] = s.RemoveOffline(ctx, "anna", nil)
	_, errs["CountOffline"] = s.CountOffline(ctx, "anna")
	_, errs["PrivateXML"] = s.PrivateXML(ctx, "anna", "ns", "notes")
	errs["SetPrivateXML"] = s.SetPrivateXML(ctx, "anna", "ns", "new", nil, 0)
	_, errs["VCard"] = s.VCard(ctx, "anna")
	errs["SetVCard"] = s.SetVCard(ctx, "anna", nil)
	_, errs["LastActivity"] = s.LastActivity(ctx, "anna")
	errs["SetLastActivity"] = s.SetLastActivity(ctx, "anna", store.LastActivity{})
	_, errs["Player"] = s.Player(ctx, "anna")
	_, errs["Post"] = s.Post(ctx, []store.Posting{{Queue: "q"}})
	_, errs["Events"] = s.Events(ctx, "q", 0, 1)
	errs["RemoveEvents"] = s.RemoveEvents(ctx, "q", []int64{1})
	_, errs["CountEvents"] = s.CountEvents(ctx, "q")
	_, errs["LeaseQueue"] = s.LeaseQueue(ctx, "q", "a", time.Now(), time.Now())
	errs["CreateRoom"] = s.CreateRoom(ctx, store.Room{Name: "new"}, nil)
	_, errs["Room"] = s.Room(ctx, "lobby")
	errs["UpdateRoom"] = s.UpdateRoom(ctx, "lobby", func(*store.Room) error { return nil })
	errs["DeleteRoom"] = s.DeleteRoom(ctx, "lobby")
	_, errs["ListRooms"] = s.ListRooms(ctx, "", 1)
	_, errs["ListRoomsBefore"] = s.ListRoomsBefore(ctx, "", 1)
	_, errs["HistoryMessage"] = s.HistoryMessage(ctx, "lobby", "1")
	_, errs["Affiliations"] = s.Affiliations(ctx, "lobby")
	errs["SetAffiliations"] = s.SetAffiliations(ctx, "lobby", nil)
	errs["AppendHistory"] = appendHistoryErr(s, ctx, "lobby", store.HistoryMessage{}, 0)
	_, errs["HistoryPage"] = s.HistoryPage(ctx, "lobby", 0, 1)
	errs["ReplaceHistory"] = s.ReplaceHistory(ctx, "lobby", "1", nil)
	_, errs["Names"] = s.Names(ctx, "", 1)
	_, errs["Record"] = s.Record(ctx, "anna")
	errs["PutRecord"] = s.PutRecord(ctx, store.Record{User: "new", VCard: []byte("<vCard/>"), LastSeq: 1})
	errs["PutOffline"] = s.PutOffline(ctx, "new", []store.OfflineMessage{{Seq: 1}})
	errs["PutOffline of none"] = s.PutOffline(ctx, "new", nil)
	_, errs["Queues"] = s.Queues(ctx)
	errs["PutEvents"] = s.PutEvents(ctx, store.Queue{Name: "new", LastSeq: 1}, []store.Event{{Seq: 1}})
	return errs
}

func testContextEnded(t *testing.T, s store.Store) {
	must(t, s.CreateAccount(t.Context(), account("anna")))
	fill(t, s, "anna")
	createRoom(t, s, "lobby")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for _, ctx := range []context.Context{canceled, late} {
		for verb, err := range verbs(ctx, s) {
			if !errors.Is(err, ctx.Err()) {
				t.Errorf("%s: %v, want %v", verb, err, ctx.Err())
			}
		}
	}
	expectFilled(t, s, "anna", true)
	expectRooms(t, s, "", 10, "lobby")
	if _, err := s.Account(t.Context(), "new"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("account made with an ended context: %v", err)
	}
}

// testContextEndsMeanwhile: of writes whose callers leave at any moment, those
// that were answered are there, each is whole, and the store goes on.
func testContextEndsMeanwhile(t *testing.T, s store.Store) {
	const writers, each = 8, 30
	var answered [writers][each]atomic.Bool
	inParallel(writers, func(w int) {
		for i := range each {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(w*i)*10*time.Microsecond)
			err := appendOffline(s, ctx, "anna", store.OfflineMessage{Stanza: fmt.Appendf(nil, "%d %d", w, i)}, 0)
			cancel()
			if err == nil {
				answered[w][i].Store(true)
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
	})
	appendText(t, s, "anna", "0 0", 0) // what was queued before it is done
	all := page(t, s, "anna", 0, 1000)
	n, err := s.CountOffline(t.Context(), "anna")
	must(t, err)
	equal(t, "count", n, len(all))
	for _, m := range all {
		var w, i int
		if _, err := fmt.Sscan(string(m.Stanza), &w, &i); err != nil {
			t.Fatal(err)
		}
		answered[w][i].Store(false)
	}
	for w := range answered {
		for i := range answered[w] {
			if answered[w][i].Load() {
				t.Errorf("message %d of writer %d was answered and is missing", i, w)
			}
		}
	}
}

// testReadsMeanwhile: a read whose caller leaves returns all or the context's
// error, never a part.
func testReadsMeanwhile(t *testing.T, s store.Store) {
	const items = 100
	for i := range items {
		keepItem(t, s, "anna", store.RosterItem{JID: fmt.Sprint(i)})
		appendText(t, s, "anna", "x", 0)
	}
	inParallel(4, func(w int) {
		for i := range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(w*i)*10*time.Microsecond)
			r, err := s.Roster(ctx, "anna")
			if err == nil && len(r.Items) != items || err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d items, %v", len(r.Items), err)
			}
			p, err := s.OfflinePage(ctx, "anna", 0, items)
			if err == nil && len(p) != items || err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d messages, %v", len(p), err)
			}
			cancel()
		}
	})
	equal(t, "items", len(roster(t, s, "anna").Items), items)
}

func testClosed(t *testing.T, s store.Store) {
	fill(t, s, "anna")
	must(t, s.Close())
	for verb, err := range verbs(t.Context(), s) {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after Close: %v", verb, err)
		}
	}
	must(t, s.Close())
}

// testCloseMeanwhile: callers at work while the store closes get their answer
// or ErrClosed, and nobody hangs.
func testCloseMeanwhile(t *testing.T, s store.Store) {
	const callers = 16
	var atWork, closed sync.WaitGroup
	atWork.Add(callers)
	closed.Go(func() {
		atWork.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	inParallel(callers, func(int) {
		begun := sync.OnceFunc(atWork.Done)
		defer begun()
		for {
			err := appendOffline(s, t.Context(), "anna", store.OfflineMessage{Stanza: []byte("x")}, 0)
			if err == nil {
				_, err = s.OfflinePage(t.Context(), "anna", 0, 1)
			}
			if errors.Is(err, store.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			begun()
		}
	})
	closed.Wait()
}
