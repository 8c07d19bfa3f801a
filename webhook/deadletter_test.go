package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"chatd/stanza"
	"chatd/store/memory"
)

func allDead(t *testing.T, s *Service, limit int) (all []DeadLetter) {
	t.Helper()
	for cursor := ""; ; {
		page, next, err := s.DeadLetters(t.Context(), cursor, limit)
		if err != nil || len(page) > limit {
			t.Fatal(len(page), err)
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		cursor = next
	}
}

func TestDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, rcv := memory.New(), &receiver{t: t}
		poison := true
		rcv.answer = func(_ context.Context, d delivery) (int, error) {
			rcv.mu.Lock()
			defer rcv.mu.Unlock()
			if poison && strings.HasPrefix(d.player(), "bad") {
				return 422, nil
			}
			return 200, nil
		}
		second := hook
		second.Name = "a-second"
		second.Retry = 10 * time.Minute
		s := newService(t, db, rcv, hook, second)
		makeAccounts(t, db, "anna", "bad1", "bad2", "bad3")
		time.Sleep(time.Hour)
		if dead := allDead(t, s, 2); len(dead) != 3 || dead[0].Webhook != "a-second" {
			t.Fatalf("after an hour: %+v", dead)
		}
		time.Sleep(2 * time.Hour)
		dead := allDead(t, s, 4)
		if len(dead) != 6 || count(t, db, "shop") != 0 {
			t.Fatalf("%d dead letters, %d wait", len(dead), count(t, db, "shop"))
		}
		last := dead[5]
		if last.Webhook != "shop" || last.Type != AccountMade || last.Why != `answered "Unprocessable Entity"` ||
			!strings.Contains(string(last.Body), last.Event) || time.Since(last.Died) > time.Hour {
			t.Errorf("%+v", last)
		}
		if n := testutil.ToFloat64(s.Metrics.dead.WithLabelValues("shop")); n != 3 {
			t.Errorf("gauge is %v", n)
		}

		rcv.mu.Lock()
		poison, rcv.got = false, nil
		rcv.mu.Unlock()
		if err := s.Redeliver(t.Context(), last.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteDeadLetter(t.Context(), dead[4].ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := rcv.deliveries(); len(got) != 1 || got[0].id != last.Event || got[0].raw != string(last.Body) {
			t.Errorf("delivered again: %+v", got)
		}
		if left := allDead(t, s, 1); len(left) != 4 || slices.ContainsFunc(left, func(d DeadLetter) bool { return d.ID == last.ID || d.ID == dead[4].ID }) {
			t.Errorf("left: %+v", left)
		}
		for _, id := range []string{last.ID, dead[4].ID, "", "shop", "shop.", "shop.0", "shop.-1", "shop.x", "nobody.1", "shop.9223372036854775807", "shop.99999999999999999999"} {
			if err := s.Redeliver(t.Context(), id); !errors.Is(err, ErrNoDeadLetter) {
				t.Errorf("redeliver %q: %v", id, err)
			}
			if err := s.DeleteDeadLetter(t.Context(), id); !errors.Is(err, ErrNoDeadLetter) {
				t.Errorf("delete %q: %v", id, err)
			}
		}
		if _, _, err := s.DeadLetters(t.Context(), "?", 1); !errors.Is(err, ErrCursor) {
			t.Errorf("bad cursor: %v", err)
		}
	})
}

// TestRedeliveredIsNew: a dead letter that fails again has the whole time to be retried.
func TestRedeliveredIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, rcv := memory.New(), &receiver{t: t}
		rcv.answer = func(context.Context, delivery) (int, error) { return 0, errDown }
		s := newService(t, db, rcv, hook)
		makeAccounts(t, db, "anna")
		time.Sleep(3 * time.Hour)
		before := len(rcv.deliveries())
		if err := s.Redeliver(t.Context(), allDead(t, s, 10)[0].ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		if again := len(rcv.deliveries()) - before; again < before*3/4 || len(allDead(t, s, 10)) != 1 {
			t.Errorf("%d attempts at first, %d later", before, again)
		}
	})
}

// TestDeadLettersAreBounded: the oldest makes room.
func TestDeadLettersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, rcv := memory.New(), &receiver{t: t}
		rcv.answer = func(context.Context, delivery) (int, error) { return 500, nil }
		impatient := hook
		impatient.Retry = 0
		s := newService(t, db, rcv, impatient)
		for i := range MaxDeadLetters + 5 {
			s.Presence(stanza.MustJID(fmt.Sprintf("p%d@chat.test", i)), true)
		}
		time.Sleep(time.Hour)
		dead := allDead(t, s, 100)
		if len(dead) != MaxDeadLetters {
			t.Errorf("%d dead letters", len(dead))
		}
		if n := testutil.ToFloat64(s.Metrics.lost.WithLabelValues("shop", lostDeadLetter)); n != 5 {
			t.Errorf("%v lost", n)
		}
	})
}
