package riak_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/riak"
	"chatd/store/riak/riaktest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keepItem writes an item whatever was there.
func keepItem(t testing.TB, s store.Store, user string, item store.RosterItem) int64 {
	t.Helper()
	version, err := s.UpdateItem(context.Background(), user, item.JID, 0, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
		*i = item
		return store.Keep, nil
	})
	must(t, err)
	return version
}

func removeItem(t testing.TB, s store.Store, user, jid string) {
	t.Helper()
	_, err := s.UpdateItem(context.Background(), user, jid, 0, func(*store.RosterItem, bool) (store.Verdict, error) { return store.Remove, nil })
	must(t, err)
}

func friends(t testing.TB, s store.Store, user string) []string {
	t.Helper()
	r, err := s.Roster(context.Background(), user)
	must(t, err)
	var names []string
	for _, item := range r.Items {
		names = append(names, item.JID+"="+item.Name)
	}
	return names
}

func expect(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %q, want %q", what, got, want)
	}
}

func appendText(t testing.TB, s store.Store, user, text string) int64 {
	t.Helper()
	seq, err := s.AppendOffline(context.Background(), user, store.OfflineMessage{ID: text, Stanza: []byte(text)}, 0)
	must(t, err)
	return seq
}

func waiting(t testing.TB, s store.Store, user string) (texts []string, seqs []int64) {
	t.Helper()
	page, err := s.OfflinePage(context.Background(), user, 0, 1<<20)
	must(t, err)
	for _, m := range page {
		texts, seqs = append(texts, string(m.Stanza)), append(seqs, m.Seq)
	}
	return texts, seqs
}

// A split is two chatd, each on its side of a Riak that is cut in two.
type split struct {
	*riaktest.Cluster
	small, large *riak.Store
}

func newSplit(t *testing.T) split {
	double := cluster(t)
	addrs := double.Addrs()
	return split{double, open(t, "", addrs[0]), open(t, "", addrs[1:]...)}
}

func (s split) part() { s.Partition([]int{0}, []int{1, 2}) }

func (s split) both() [2]*riak.Store { return [2]*riak.Store{s.small, s.large} }

// TestPartition: both sides go on, and afterwards nothing that was added is lost, nothing that was removed is back,
// and messages are there once and in order.
func TestPartition(t *testing.T) {
	ctx, s := t.Context(), newSplit(t)
	must(t, s.small.CreateAccount(ctx, store.Account{User: "anna"}))
	for _, name := range []string{"both@x", "gone@x", "old@x"} {
		keepItem(t, s.small, "anna", store.RosterItem{JID: name, Name: "before"})
	}
	must(t, s.small.Block(ctx, "anna", []string{"a@x", "b@x"}, 0))
	must(t, s.small.CreateRoom(ctx, store.Room{Name: "hall", Config: []byte("c")}, []store.Affiliation{{JID: "a@x", As: "owner"}, {JID: "b@x", As: "member"}}))
	for i := range 4 {
		appendText(t, s.large, "anna", fmt.Sprint("before ", i))
	}
	_, seqs := waiting(t, s.large, "anna")

	s.part()
	removeItem(t, s.small, "anna", "gone@x")
	keepItem(t, s.small, "anna", store.RosterItem{JID: "both@x", Name: "small"})
	small := keepItem(t, s.small, "anna", store.RosterItem{JID: "small@x"})
	keepItem(t, s.large, "anna", store.RosterItem{JID: "both@x", Name: "large"}) // later
	large := keepItem(t, s.large, "anna", store.RosterItem{JID: "large@x"})
	must(t, s.small.Unblock(ctx, "anna", []string{"a@x"}))
	must(t, s.large.Block(ctx, "anna", []string{"c@x"}, 0))
	must(t, s.small.SetAffiliations(ctx, "hall", []store.Affiliation{{JID: "b@x", As: "none"}}))
	must(t, s.large.SetAffiliations(ctx, "hall", []store.Affiliation{{JID: "c@x", As: "admin"}}))
	must(t, s.large.UpdateRoom(ctx, "hall", func(r *store.Room) error { r.Subject = []byte("s"); return nil }))
	must(t, s.small.UpdateRoom(ctx, "hall", func(r *store.Room) error { r.Config = []byte("d"); return nil }))
	must(t, s.small.RemoveOffline(ctx, "anna", seqs[:2]))
	must(t, s.large.RemoveOffline(ctx, "anna", seqs[1:3]))
	var during []string
	for i := range 3 {
		appendText(t, s.small, "anna", fmt.Sprint("small ", i))
		appendText(t, s.large, "anna", fmt.Sprint("large ", i))
		during = append(during, fmt.Sprint("small ", i), fmt.Sprint("large ", i))
	}
	for name, side := range map[string]*riak.Store{"small": s.small, "large": s.large} {
		texts, _ := waiting(t, side, "anna")
		if n := len(slices.DeleteFunc(texts, func(text string) bool { return !strings.HasPrefix(text, name) })); n != 3 {
			t.Fatalf("the %s side reads %d of what it wrote", name, n)
		}
	}

	s.Heal()
	for range 4 { // what siblings become stays so
		for _, side := range s.both() {
			expect(t, "friends", friends(t, side, "anna"), []string{"both@x=large", "large@x=", "old@x=before", "small@x="})
			blocked, err := side.Blocklist(ctx, "anna")
			must(t, err)
			expect(t, "blocked", blocked, []string{"b@x", "c@x"})
			r, err := side.Room(ctx, "hall")
			must(t, err)
			if string(r.Config) != "d" || string(r.Subject) != "s" {
				t.Fatalf("room %+v", r)
			}
			all, err := side.Affiliations(ctx, "hall")
			must(t, err)
			if len(all) != 2 || all[0].JID != "a@x" || all[1].JID != "c@x" {
				t.Fatalf("affiliations %+v", all)
			}
			texts, _ := waiting(t, side, "anna")
			expect(t, "messages", texts, append([]string{"before 3"}, during...))
			if n, err := side.CountOffline(ctx, "anna"); n != 7 || err != nil {
				t.Fatalf("%d messages are counted, %v", n, err)
			}
		}
	}
	if v := keepItem(t, s.small, "anna", store.RosterItem{JID: "new@x"}); v <= max(small, large) {
		t.Fatalf("version %d after %d and %d", v, small, large)
	}
	_, seqs = waiting(t, s.small, "anna")
	must(t, s.small.RemoveOffline(ctx, "anna", seqs))
	for _, side := range s.both() {
		texts, _ := waiting(t, side, "anna")
		expect(t, "messages at the end", texts, nil)
	}
}

// TestRepeatedElsewhere: a message that another node added again, because it could not know of the first attempt, comes once.
func TestRepeatedElsewhere(t *testing.T) {
	ctx, s := t.Context(), newSplit(t)
	appendText(t, s.large, "anna", "before")
	s.part()
	for _, text := range []string{"x", "y"} {
		appendText(t, s.small, "anna", text) // and its node dies
		_, err := s.large.AppendOffline(ctx, "anna", store.OfflineMessage{ID: text, Again: true, Stanza: []byte(text)}, 0)
		must(t, err)
	}
	s.Heal()
	for _, side := range s.both() {
		page, err := side.OfflinePage(ctx, "anna", 0, 3)
		must(t, err)
		var texts []string
		for _, m := range page {
			texts = append(texts, string(m.Stanza))
		}
		expect(t, "messages", texts, []string{"before", "x", "y"})
		if n, err := side.CountOffline(ctx, "anna"); n != 3 || err != nil {
			t.Errorf("%d are counted, %v", n, err)
		}
	}
}

// A client that has the roster of one side must not be told that it has that of both.
func TestVersionAfterPartition(t *testing.T) {
	s := newSplit(t)
	keepItem(t, s.small, "anna", store.RosterItem{JID: "old@x"})
	s.part()
	seen := []int64{keepItem(t, s.small, "anna", store.RosterItem{JID: "a@x"}), keepItem(t, s.large, "anna", store.RosterItem{JID: "b@x"})}
	s.Heal()
	for _, side := range s.both() {
		r, err := side.Roster(t.Context(), "anna")
		must(t, err)
		if len(r.Items) != 3 || slices.Contains(seen, r.Version) {
			t.Fatalf("version %d of %d items; the sides had %d", r.Version, len(r.Items), seen)
		}
	}
}

// TestDeletedInPartition: an account that one side has deleted is gone, with what the other side wrote before it.
func TestDeletedInPartition(t *testing.T) {
	ctx, s := t.Context(), newSplit(t)
	must(t, s.small.CreateAccount(ctx, store.Account{User: "anna"}))
	keepItem(t, s.small, "anna", store.RosterItem{JID: "old@x"})
	appendText(t, s.small, "anna", "old")
	s.part()
	must(t, s.large.SetDisabled(ctx, "anna", true))
	keepItem(t, s.large, "anna", store.RosterItem{JID: "new@x"})
	appendText(t, s.large, "anna", "new")
	must(t, s.small.DeleteAccount(ctx, "anna"))
	s.Heal()
	for _, side := range s.both() {
		if _, err := side.Account(ctx, "anna"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("deleted account: %v", err)
		}
		expect(t, "friends", friends(t, side, "anna"), nil)
		texts, _ := waiting(t, side, "anna")
		expect(t, "messages", texts, nil)
	}
	must(t, s.large.CreateAccount(ctx, store.Account{User: "anna"}))
	expect(t, "friends of the new account", friends(t, s.small, "anna"), nil)
}

// TestStrictInPartition: nobody gets what only one may have on the smaller side.
func TestStrictInPartition(t *testing.T) {
	ctx, s := t.Context(), newSplit(t)
	s.part()
	if err := s.small.CreateAccount(ctx, store.Account{User: "anna"}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("made on the smaller side: %v", err)
	}
	must(t, s.large.CreateAccount(ctx, store.Account{User: "anna"}))
	now := time.Now()
	if held, err := s.small.LeaseQueue(ctx, "q", "small", now, now.Add(time.Minute)); held || !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("leased on the smaller side: %v %v", held, err)
	}
	if held, err := s.large.LeaseQueue(ctx, "q", "large", now, now.Add(time.Minute)); !held || err != nil {
		t.Fatalf("not leased on the larger side: %v %v", held, err)
	}
	s.Heal()
	if held, err := s.small.LeaseQueue(ctx, "q", "small", now, now.Add(time.Minute)); held || err != nil {
		t.Fatalf("leased twice: %v %v", held, err)
	}
	if err := s.small.CreateAccount(ctx, store.Account{User: "anna"}); !errors.Is(err, store.ErrExists) {
		t.Fatalf("made twice: %v", err)
	}
}

// TestTwoNodesRace: of many chatd that make the same thing at the same time one does.
func TestTwoNodesRace(t *testing.T) { twoNodesRace(t, several(t, cluster(t))) }

// several are chatd each with a node of its own.
func several(t *testing.T, double *riaktest.Cluster) (stores []*riak.Store) {
	for i := range 4 {
		stores = append(stores, open(t, "", double.Addrs()[i%3]))
	}
	return stores
}

func twoNodesRace(t *testing.T, stores []*riak.Store) {
	race := func(call func(s *riak.Store, i int) bool) (won int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i, s := range stores {
			wg.Go(func() {
				if call(s, i) {
					mu.Lock()
					won++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return won
	}
	now := time.Now()
	for round := range 15 {
		user := fmt.Sprint("user", round)
		if n := race(func(s *riak.Store, i int) bool {
			err := s.CreateAccount(t.Context(), store.Account{User: user, Created: time.Unix(int64(i), 0)})
			if err != nil && !errors.Is(err, store.ErrExists) {
				t.Error(err)
			}
			return err == nil
		}); n != 1 {
			t.Errorf("%d made %s", n, user)
		}
		if n := race(func(s *riak.Store, i int) bool {
			held, err := s.LeaseQueue(t.Context(), user, fmt.Sprint(i), now, now.Add(time.Minute))
			if err != nil {
				t.Error(err)
			}
			return held
		}); n > 1 {
			t.Errorf("%d have the lease of %s", n, user)
		}
	}
}

// TestTwoNodesWrite: what many chatd write at the same time is all there, once, and in the order of each.
func TestTwoNodesWrite(t *testing.T) { twoNodesWrite(t, several(t, cluster(t))[:3]) }

func twoNodesWrite(t *testing.T, stores []*riak.Store) {
	const each = 15
	writers := 2 * len(stores)
	var wg sync.WaitGroup
	for i, s := range stores {
		for w := range 2 {
			wg.Go(func() {
				for n := range each {
					_, err := s.AppendOffline(t.Context(), "anna", store.OfflineMessage{Stanza: fmt.Appendf(nil, "%d %d", 2*i+w, n)}, 0)
					if err != nil {
						t.Error(err)
					}
					_, err = s.UpdateItem(t.Context(), "anna", fmt.Sprint(i, w, n), 0, func(*store.RosterItem, bool) (store.Verdict, error) { return store.Keep, nil })
					if err != nil {
						t.Error(err)
					}
					_, err = s.UpdateItem(t.Context(), "anna", "shared", 0, func(item *store.RosterItem, _ bool) (store.Verdict, error) {
						item.Groups = append(item.Groups, fmt.Sprint(i, w, n))
						return store.Keep, nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, s := range stores {
		texts, _ := waiting(t, s, "anna")
		next := make([]int, writers)
		for _, text := range texts {
			var w, n int
			if _, err := fmt.Sscan(text, &w, &n); err != nil || n != next[w] {
				t.Fatalf("%q of a writer whose next is %d", text, next[w])
			}
			next[w]++
		}
		if len(texts) != writers*each {
			t.Fatalf("%d messages of %d", len(texts), writers*each)
		}
		r, err := s.Roster(t.Context(), "anna")
		must(t, err)
		if len(r.Items) != writers*each+1 {
			t.Fatalf("%d items of %d", len(r.Items), writers*each+1)
		}
		t.Logf("%d of %d changes of one item are there", len(r.Items[len(r.Items)-1].Groups), writers*each)
	}
}
