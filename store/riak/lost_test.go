package riak_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/riak"
	"chatd/store/riak/riaktest"
)

// again calls a verb with little patience until it is known to have worked.
func again(t testing.TB, call func(ctx context.Context, again bool) error) {
	for i := range 1000 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := call(ctx, i > 0)
		cancel()
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
			return
		}
	}
	t.Error("it never works")
}

// TestLateWrite: what a caller has given up arrives in the database after it was done again, and the message is there once.
func TestLateWrite(t *testing.T) {
	for _, what := range []string{"offline", "offline.segment"} {
		for _, waits := range []int{0, 1} {
			t.Run(fmt.Sprint(what, " behind ", waits), func(t *testing.T) { lateWrite(t, what, waits) })
		}
	}
}

func lateWrite(t *testing.T, bucket string, before int) {
	double := cluster(t)
	s := open(t, "", double.Addrs()...)
	want := []string{}
	for i := range before {
		appendText(t, s, "anna", fmt.Sprint("before ", i))
		want = append(want, fmt.Sprint("before ", i))
	}
	late := double.Fault(riaktest.Fault{Do: riaktest.Delay, Op: riaktest.Put, For: time.Second, Times: 1,
		Match: func(b, _ string) bool { return b == bucket }})
	m := store.OfflineMessage{ID: "late", Stanza: []byte("late")}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.AppendOffline(ctx, "anna", m, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("append that waits: %v", err)
	}
	puts := double.Counts().Requests[riaktest.Put]
	m.Again = true
	if _, err := s.AppendOffline(t.Context(), "anna", m, 0); err != nil {
		t.Fatal(err)
	}
	want = append(want, "late")
	if late.Hits() != 1 || double.Counts().Requests[riaktest.Put] == puts {
		t.Fatal("nothing was late, or nothing was written again")
	}
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		texts, _ := waiting(t, s, "anna")
		expect(t, "messages", texts, want)
	}
	appendText(t, s, "anna", "after")
	texts, seqs := waiting(t, s, "anna")
	expect(t, "messages", texts, append(want, "after"))
	if n, err := s.CountOffline(t.Context(), "anna"); n != len(texts) || err != nil {
		t.Fatalf("%d are counted, %v", n, err)
	}
	if err := s.RemoveOffline(t.Context(), "anna", seqs); err != nil {
		t.Fatal(err)
	}
	texts, _ = waiting(t, s, "anna")
	expect(t, "messages at the end", texts, nil)
}

// TestLostAnswers: requests fail in every way while two chatd write to the same things, and repeat what failed.
func TestLostAnswers(t *testing.T) {
	double := cluster(t)
	stores := []*riak.Store{open(t, "", double.Addrs()[:2]...), open(t, "", double.Addrs()[1:]...)}
	for action, chance := range map[riaktest.Action]float64{
		riaktest.LoseAnswer: 0.04, riaktest.CutMiddle: 0.04, riaktest.CutBefore: 0.04, riaktest.FailAfter: 0.04,
		riaktest.HalfWrite: 0.04, riaktest.Refuse: 0.02, riaktest.Reorder: 0.02,
	} {
		double.Fault(riaktest.Fault{Do: action, Chance: chance, Match: func(b, _ string) bool { return b != "" }})
	}
	const each = 25
	var wg sync.WaitGroup
	for i, s := range stores {
		for w := range 2 {
			name := fmt.Sprintf("%d.%d", i, w)
			wg.Go(func() {
				for n := range each {
					text := fmt.Sprint(name, " ", n)
					again(t, func(ctx context.Context, again bool) error {
						_, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{ID: text, Again: again, Stanza: []byte(text)}, 0)
						return err
					})
					change := func(jid string, verdict store.Verdict) {
						again(t, func(ctx context.Context, _ bool) error {
							_, err := s.UpdateItem(ctx, "anna", jid, 0, func(*store.RosterItem, bool) (store.Verdict, error) { return verdict, nil })
							return err
						})
					}
					change(text, store.Keep)
					change("gone "+text, store.Keep)
					change("gone "+text, store.Remove)
				}
			})
		}
	}
	wg.Wait()
	double.Mend()
	for _, s := range stores {
		texts, _ := waiting(t, s, "anna")
		seen := make(map[string]int)
		for _, text := range texts {
			if seen[text]++; seen[text] > 1 {
				t.Errorf("%q came twice", text)
			}
		}
		if len(texts) != 4*each {
			t.Errorf("%d messages of %d", len(texts), 4*each)
		}
		next := make(map[string]int)
		for _, text := range texts {
			name, n, _ := strings.Cut(text, " ")
			if n != fmt.Sprint(next[name]) {
				t.Errorf("%q, but the next is %d", text, next[name])
			}
			next[name]++
		}
		if all := friends(t, s, "anna"); len(all) != 4*each {
			t.Errorf("%d friends of %d: %q", len(all), 4*each, all)
		}
	}
}

// TestNodesDown: with any one node of three slow, or dead, nothing fails.
func TestNodesDown(t *testing.T) {
	double := cluster(t)
	s := open(t, "", double.Addrs()...)
	var want []string
	work := func(what string) {
		t.Helper()
		for i := range 5 {
			text := fmt.Sprint(what, i)
			appendText(t, s, "anna", text)
			want = append(want, text)
			if err := s.CreateAccount(t.Context(), store.Account{User: text}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Player(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		texts, _ := waiting(t, s, "anna")
		expect(t, "messages", texts, want)
	}
	work("at first ")
	for i := range 3 {
		double.Slow(i, 10*time.Millisecond)
		work(fmt.Sprint("waiting for ", i, " "))
		double.Slow(i, 0)
		double.Kill(i)
		work(fmt.Sprint("without ", i, " "))
		double.Restart(i)
		double.Handoff()
		work(fmt.Sprint("with ", i, " "))
	}
	names, err := s.ListAccounts(t.Context(), "", 1000)
	if err != nil || len(names) != len(want) {
		t.Fatalf("%d accounts of %d, %v", len(names), len(want), err)
	}
}

// TestBacklog: what waits does not make a page, or one more message, cost more requests.
func TestBacklog(t *testing.T) {
	double := cluster(t)
	s := open(t, "", double.Addrs()...)
	const n = 20_000
	must(t, s.PutRecord(t.Context(), store.Record{User: "anna", LastSeq: n}))
	var messages []store.OfflineMessage
	for i := range n {
		messages = append(messages, store.OfflineMessage{Seq: int64(i + 1), Stanza: []byte("<message/>")})
	}
	must(t, s.PutOffline(t.Context(), "anna", messages))
	appendText(t, s, "anna", "first")

	cost := func(what string, puts, gets int, call func()) {
		t.Helper()
		before := double.Counts().Requests
		call()
		after := double.Counts().Requests
		if p, g := after[riaktest.Put]-before[riaktest.Put], after[riaktest.Get]-before[riaktest.Get]; p > puts || g > gets {
			t.Errorf("%s: %d puts and %d gets, want %d and %d", what, p, g, puts, gets)
		}
	}
	cost("append", 2, 2, func() { appendText(t, s, "anna", "second") })
	cost("count", 0, 1, func() {
		if got, err := s.CountOffline(t.Context(), "anna"); got != n+2 || err != nil {
			t.Errorf("%d wait, %v", got, err)
		}
	})
	var page []store.OfflineMessage
	cost("page", 0, 3, func() {
		var err error
		page, err = s.OfflinePage(t.Context(), "anna", n/2, 50)
		must(t, err)
	})
	if len(page) != 50 || page[0].Seq != n/2+1 {
		t.Fatalf("page of %d from %d", len(page), page[0].Seq)
	}
	cost("remove a page", 3, 3, func() {
		var seqs []int64
		for _, m := range page {
			seqs = append(seqs, m.Seq)
		}
		must(t, s.RemoveOffline(t.Context(), "anna", seqs))
	})
	next, err := s.OfflinePage(t.Context(), "anna", n/2, 1)
	must(t, err)
	if next[0].Seq != n/2+51 {
		t.Fatalf("behind those that were removed is %d", next[0].Seq)
	}
}
