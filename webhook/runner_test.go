package webhook

import (
	"context"
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

func TestDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, rcv := memory.New(), &receiver{t: t}
		s := newService(t, db, rcv, hook)
		makeAccounts(t, db, "anna", "bob")
		time.Sleep(time.Second)
		got := rcv.players()
		slices.Sort(got)
		if !slices.Equal(got, []string{"anna", "bob"}) {
			t.Fatalf("delivered %q", got)
		}
		if n := count(t, db, "shop"); n != 0 {
			t.Errorf("%d events still wait", n)
		}
		if n := testutil.ToFloat64(s.Metrics.deliveries.WithLabelValues("shop", delivered)); n != 2 {
			t.Errorf("%v counted", n)
		}
		first := rcv.deliveries()[0]
		if first.typ != AccountMade || first.body.Time.IsZero() {
			t.Errorf("%+v", first)
		}
	})
}

// TestRetry: an event that fails comes again with the same id and the same body, at growing distances.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, rcv := memory.New(), &receiver{t: t}
		left := 8
		rcv.answer = func(ctx context.Context, _ delivery) (int, error) {
			left--
			switch {
			case left < 0:
				return 200, nil
			case left%4 == 0:
				<-ctx.Done() // hangs
				return 0, ctx.Err()
			case left%4 == 1:
				return 0, errDown
			case left%4 == 2:
				return 302, nil
			}
			return 500, nil
		}
		s := newService(t, db, rcv, hook)
		makeAccounts(t, db, "anna")
		time.Sleep(time.Hour)
		got := rcv.deliveries()
		if len(got) != 9 {
			t.Fatalf("%d attempts", len(got))
		}
		for i, d := range got[1:] {
			if d.raw != got[0].raw {
				t.Errorf("attempt %d is another: %s", i+2, d.raw)
			}
			full := min(firstPause<<i, maxPause)
			if gap := d.at.Sub(got[i].at); gap < full/2 || gap > full+hook.Timeout+time.Second {
				t.Errorf("attempt %d came after %v, want about %v", i+2, gap, full)
			}
		}
		for label, want := range map[string]float64{delivered: 1, refused: 4, timedOut: 2, unreachable: 2} {
			if n := testutil.ToFloat64(s.Metrics.deliveries.WithLabelValues("shop", label)); n != want {
				t.Errorf("%s: %v, want %v", label, n, want)
			}
		}
		if n := count(t, db, "shop"); n != 0 {
			t.Errorf("%d events still wait", n)
		}
	})
}

func TestPause(t *testing.T) {
	for failures := 1; failures < 100; failures++ {
		full := maxPause
		if failures < 11 {
			full = min(maxPause, time.Second<<(failures-1))
		}
		seen := make(map[time.Duration]bool)
		for range 50 {
			p := pause(failures)
			if p < full/2 || p > full {
				t.Fatalf("%v after %d failures, want %v to %v", p, failures, full/2, full)
			}
			seen[p] = true
		}
		if len(seen) < 10 {
			t.Errorf("no jitter after %d failures", failures)
		}
	}
}

// TestOrder: one player's events come in their order, whatever fails; other players' pass by.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, rcv := memory.New(), &receiver{t: t}
		failed := make(map[string]int)
		rcv.answer = func(_ context.Context, d delivery) (int, error) {
			time.Sleep(10 * time.Millisecond)
			rcv.mu.Lock()
			defer rcv.mu.Unlock()
			if strings.HasPrefix(d.player(), "bad") && failed[d.id] < 3 {
				failed[d.id]++
				return 503, nil
			}
			return 200, nil
		}
		s := newService(t, db, rcv, hook)
		const rounds, players = 20, 12
		var names []string
		for i := range players {
			names = append(names, fmt.Sprintf("player%d", i))
		}
		names = append(names, "bad1", "bad2")
		for i := range rounds {
			for _, name := range names {
				s.Presence(stanza.MustJID(name+"@chat.test"), i%2 == 0)
			}
		}
		time.Sleep(3 * time.Second)
		good := 0
		for _, p := range rcv.players() {
			if strings.HasPrefix(p, "player") {
				good++
			}
		}
		if good != rounds*players {
			t.Errorf("%d of %d events came past those that fail", good, rounds*players)
		}
		time.Sleep(time.Hour)
		last := make(map[string]delivery)
		next := make(map[string]int)
		for _, d := range rcv.deliveries() {
			p := d.player()
			if d.id == last[p].id {
				continue // again
			}
			if want := []string{PlayerOnline, PlayerOffline}[next[p]%2]; d.typ != want {
				t.Fatalf("%s: event %d is %s", p, next[p], d.typ)
			}
			next[p]++
			last[p] = d
		}
		for _, name := range names {
			if next[name] != rounds {
				t.Errorf("%s: %d events", name, next[name])
			}
		}
		if rcv.most > concurrency || rcv.most < 2 {
			t.Errorf("%d under way at once", rcv.most)
		}
	})
}

// TestDownAndBack: a receiver that is down is not hammered, and soon has all when it is back.
func TestDownAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, rcv := memory.New(), &receiver{t: t}
		down := true
		rcv.answer = func(context.Context, delivery) (int, error) {
			rcv.mu.Lock()
			defer rcv.mu.Unlock()
			if down {
				return 0, errDown
			}
			return 200, nil
		}
		s := newService(t, db, rcv, hook)
		const events = 600 // more than the window
		for i := range events {
			s.Presence(stanza.MustJID(fmt.Sprintf("p%d@chat.test", i)), true)
		}
		time.Sleep(time.Hour)
		if n := len(rcv.deliveries()); n > 20*window {
			t.Errorf("%d attempts in an hour", n)
		}
		if n := count(t, db, "shop"); n != events {
			t.Fatalf("%d events wait", n)
		}
		if age := testutil.ToFloat64(s.Metrics.oldest.WithLabelValues("shop")); age < 3500 {
			t.Errorf("oldest is %v s", age)
		}
		if n := testutil.ToFloat64(s.Metrics.queue.WithLabelValues("shop")); n != events {
			t.Errorf("gauge is %v", n)
		}
		rcv.mu.Lock()
		down = false
		rcv.got = nil
		rcv.mu.Unlock()
		time.Sleep(maxPause)
		ids := make(map[string]bool)
		for _, d := range rcv.deliveries() {
			ids[d.id] = true
		}
		if len(ids) != events || count(t, db, "shop") != 0 {
			t.Errorf("%d of %d events came, %d wait", len(ids), events, count(t, db, "shop"))
		}
	})
}

// TestEndKeepsWhatWaits: what was not delivered is delivered by the next process.
func TestEndKeepsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, slow := memory.New(), &receiver{t: t}
		slow.answer = func(ctx context.Context, _ delivery) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		s := newService(t, db, slow, hook)
		makeAccounts(t, db, "anna", "bob")
		s.Presence(stanza.MustJID("carl@chat.test"), true)
		time.Sleep(time.Second)
		s.Presence(stanza.MustJID("dora@chat.test"), true) // still in the buffer
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := count(t, db, "shop"); n != 4 {
			t.Fatalf("%d wait", n)
		}
		rcv := &receiver{t: t}
		newService(t, db, rcv, hook)
		time.Sleep(time.Second) // the lease was given up
		if got := rcv.players(); len(got) != 4 {
			t.Errorf("delivered %q", got)
		}
	})
}

// TestLease: of two nodes with one store only one delivers, and the other takes over when it is gone.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, one, two := memory.New(), &receiver{t: t}, &receiver{t: t}
		a := newService(t, db, one, hook)
		time.Sleep(time.Second)
		b := New(stanza.MustJID("chat.test"), "other", db, a.log)
		b.client.Transport = two
		b.Reload([]Hook{hook})
		b.Start()
		defer b.Close(context.Background())
		for i := range 100 {
			makeAccounts(t, db, fmt.Sprintf("p%d", i))
			time.Sleep(5 * time.Second)
		}
		if len(one.deliveries()) != 100 || len(two.deliveries()) != 0 {
			t.Fatalf("%d and %d deliveries", len(one.deliveries()), len(two.deliveries()))
		}
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		makeAccounts(t, db, "later")
		time.Sleep(5 * time.Second)
		if got := two.players(); !slices.Equal(got, []string{"later"}) {
			t.Errorf("the other delivered %q", got)
		}
	})
}

// TestLeaseOfTheDead: a node that was killed has its queues for a minute at most.
func TestLeaseOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, rcv := memory.New(), &receiver{t: t}
		if ok, err := db.LeaseQueue(t.Context(), "shop", "dead", time.Now(), time.Now().Add(leaseTime)); !ok || err != nil {
			t.Fatal(ok, err)
		}
		newService(t, db, rcv, hook)
		makeAccounts(t, db, "anna")
		time.Sleep(leaseTime - time.Second)
		if n := len(rcv.deliveries()); n != 0 {
			t.Fatalf("%d deliveries", n)
		}
		time.Sleep(3 * time.Second)
		if n := len(rcv.deliveries()); n != 1 {
			t.Errorf("%d deliveries", n)
		}
	})
}

// TestStoreDown: events that are made while the store fails wait for it, within the bound.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, rcv := memory.New(), &receiver{t: t}
		outbox := &brittleOutbox{Outbox: db}
		s := newService(t, outbox, rcv, hook)
		makeAccounts(t, db, "anna")
		time.Sleep(time.Second)
		outbox.set(true)
		const more = 100
		for i := range maxBuffered + maxWritten + more {
			s.Presence(stanza.MustJID(fmt.Sprintf("p%d@chat.test", i)), true)
			if i == 0 {
				time.Sleep(time.Second) // one batch of one is being written
			}
		}
		time.Sleep(3 * time.Minute)
		if n := len(rcv.deliveries()); n != 1 {
			t.Fatalf("%d deliveries", n)
		}
		outbox.set(false)
		time.Sleep(10 * time.Minute)
		lost := testutil.ToFloat64(s.Metrics.lost.WithLabelValues("shop", lostBufferFull))
		if want := float64(maxWritten + more - 1); lost != want {
			t.Errorf("%v lost, want %v", lost, want)
		}
		if got := len(rcv.deliveries()); got != 1+maxBuffered+1 {
			t.Errorf("%d delivered", got)
		}
	})
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, rcv := memory.New(), &receiver{t: t}
		other := hook
		other.Name, other.Events = "other", []string{FriendshipMade}
		s := newService(t, db, rcv, other)
		makeAccounts(t, db, "anna") // wanted by nobody
		s.Reload([]Hook{hook, other})
		makeAccounts(t, db, "bob")
		time.Sleep(time.Second)
		s.Reload(nil)
		makeAccounts(t, db, "carl")
		time.Sleep(time.Second)
		if got := rcv.players(); !slices.Equal(got, []string{"bob"}) {
			t.Errorf("delivered %q", got)
		}
		if n := testutil.CollectAndCount(s.Metrics.deliveries); n != 0 {
			t.Errorf("%d series of webhooks that are gone", n)
		}
	})
}

// TestQueueFull: presence takes half of a queue at most; friendships and accounts have the rest.
func TestQueueFull(t *testing.T) {
	db := memory.New()
	s := New(stanza.MustJID("chat.test"), "node", db, newService(t, memory.New(), &receiver{t: t}).log)
	s.Reload([]Hook{hook})
	db.Announce(s)
	anna := stanza.MustJID("anna@chat.test")
	for range maxVolatile/maxWritten + 1 {
		for range maxWritten {
			s.Presence(anna, true)
		}
		if err := s.buffer.write(t.Context(), s.buffer.take()); err != nil {
			t.Fatal(err)
		}
	}
	makeAccounts(t, db, "bob")
	if n := count(t, db, "shop"); n != maxVolatile+1 {
		t.Errorf("%d wait", n)
	}
	dropped := float64((maxVolatile/maxWritten+1)*maxWritten - maxVolatile)
	if n := testutil.ToFloat64(s.Metrics.lost.WithLabelValues("shop", lostQueueFull)); n != dropped {
		t.Errorf("%v lost, want %v", n, dropped)
	}
}
