package xep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// come is what roster does when a resource sends its initial presence.
func (f *fixture) come(o *Offline, s *fakeSession) {
	f.Table.SetPresence(s, true, -1)
	o.HandOver(f.t.Context(), s, func() { f.Table.SetPresence(s, true, 0) })
}

func (f *fixture) reachable(s *fakeSession) {
	f.t.Helper()
	if row, _ := f.Table.Row(s.jid); !row.Reachable() {
		f.t.Errorf("%s is not reachable", s.jid)
	}
}

func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o := f.Spool.(*Offline)
		romeo := f.online("romeo@chat.test/orchard", 0)
		time.Sleep(1234567 * time.Microsecond)
		const n = 2*offlinePage + 7
		var want []string
		for i := range n {
			f.send(romeo, "<message to='juliet@chat.test' type='chat' id='"+fmt.Sprint(i)+"'>"+body(i)+"</message>")
			want = append(want, "<message from='romeo@chat.test/orchard' to='juliet@chat.test' id='"+fmt.Sprint(i)+"' type='chat'>"+body(i)+
				"<delay xmlns='urn:xmpp:delay' from='chat.test' stamp='2000-01-01T00:00:01.234Z'/></message>")
		}
		time.Sleep(time.Hour)
		juliet := f.connect("juliet@chat.test/balcony")
		pages := 0
		juliet.sendNow = func(sts []*stanza.Stanza) error {
			pages++
			if len(sts) > offlinePage {
				t.Errorf("%d at once", len(sts))
			}
			if row, _ := f.Table.Row(juliet.jid); row.Reachable() {
				t.Error("reachable too early")
			}
			return nil
		}
		f.come(o, juliet)
		f.equal("handed over", juliet.take(), want...)
		f.equal("left", f.waiting("juliet"))
		f.reachable(juliet)
		if pages != 3 {
			t.Errorf("%d pages", pages)
		}
		f.come(o, juliet)
		f.equal("again", juliet.take())
	})
}

// A session whose client acknowledges what it gets removes it itself.
func TestHandOverKept(t *testing.T) {
	f := newFixture(t)
	o := f.Spool.(*Offline)
	romeo := f.online("romeo@chat.test/orchard", 0)
	f.send(romeo, "<message to='juliet@chat.test' type='chat'>"+body(1)+"</message>")
	juliet := f.connect("juliet@chat.test/balcony")
	juliet.keeps = true
	f.come(o, juliet)
	f.reachable(juliet)
	if got := juliet.take(); len(got) != 1 {
		t.Errorf("handed over %q", got)
	}
	page, err := f.db.OfflinePage(t.Context(), "juliet", 0, 2)
	if err != nil || len(page) != 1 {
		t.Fatalf("stored %v, %v", page, err)
	}
	if err := o.Forget(t.Context(), "juliet", []int64{page[0].Seq}); err != nil {
		t.Fatal(err)
	}
	f.equal("left", f.waiting("juliet"))
}

// What arrives during the hand-over comes after what waited, and nothing twice.
func TestHandOverRace(t *testing.T) {
	f := newFixture(t)
	o := f.Spool.(*Offline)
	const n = 500
	juliet := f.connect("juliet@chat.test/balcony")
	started := make(chan struct{})
	var once sync.Once
	juliet.sendNow = func([]*stanza.Stanza) error { return nil }
	var wg sync.WaitGroup
	romeo := f.online("romeo@chat.test/orchard", 0)
	wg.Go(func() {
		for i := range n {
			f.send(romeo, "<message to='juliet@chat.test' id='"+fmt.Sprint(i)+"'>"+body(i)+"</message>")
			if i == 100 {
				once.Do(func() { close(started) })
			}
		}
	})
	<-started
	f.come(o, juliet)
	wg.Wait()
	f.equal("errors", romeo.take())
	f.equal("left", f.waiting("juliet"))
	got := juliet.take()
	if len(got) != n {
		t.Fatalf("%d messages, want %d", len(got), n)
	}
	for i, m := range got {
		if !strings.Contains(m, body(i)) {
			t.Fatalf("message %d is %s", i, m)
		}
	}
}

func TestHandOverToTwo(t *testing.T) {
	f := newFixture(t)
	o := f.Spool.(*Offline)
	romeo := f.online("romeo@chat.test/orchard", 0)
	const n = 4 * offlinePage
	for i := range n {
		f.send(romeo, "<message to='juliet@chat.test'>"+body(i)+"</message>")
	}
	one, two := f.connect("juliet@chat.test/one"), f.connect("juliet@chat.test/two")
	var wg sync.WaitGroup
	for _, s := range []*fakeSession{one, two} {
		wg.Go(func() { f.come(o, s) })
	}
	wg.Wait()
	got := append(one.take(), two.take()...)
	if len(got) != n {
		t.Errorf("%d messages, want %d", len(got), n)
	}
	for i, m := range got {
		if !strings.Contains(m, body(i)) {
			t.Fatalf("message %d is %s", i, m)
		}
	}
	f.reachable(one)
	f.reachable(two)
	if len(o.busy) != 0 {
		t.Error("a turn was not given back")
	}
}

// A resource does not wait for ever for another one that does not read.
func TestHandOverToSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o := f.Spool.(*Offline)
		f.send(f.online("romeo@chat.test/orchard", 0), "<message to='juliet@chat.test'>"+body(0)+"</message>")
		slow, quick := f.connect("juliet@chat.test/slow"), f.connect("juliet@chat.test/quick")
		release := make(chan struct{})
		slow.sendNow = func([]*stanza.Stanza) error { <-release; return nil }
		var wg sync.WaitGroup
		wg.Go(func() { f.come(o, slow) })
		synctest.Wait()
		start := time.Now()
		f.come(o, quick)
		if waited := time.Since(start); waited != handOverWait {
			t.Errorf("waited %s", waited)
		}
		f.reachable(quick)
		f.equal("quick", quick.take())
		close(release)
		wg.Wait()
		if n := len(slow.take()); n != 1 {
			t.Errorf("slow got %d", n)
		}
		f.reachable(slow)
	})
}

func TestHandOverFails(t *testing.T) {
	fault := errors.New("fault")
	for name, c := range map[string]struct {
		page, remove, send error
		left, got          int
	}{
		"read":   {page: fault, left: 3},
		"send":   {send: fault, left: 3},
		"remove": {remove: fault, left: 3, got: 3}, // not twice to the same session at least
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			for i := range 3 {
				f.send(f.connect("romeo@chat.test/"+fmt.Sprint(i)), "<message to='juliet@chat.test'>"+body(i)+"</message>")
			}
			o := NewOffline(f.Router, &failing{f.db, c.page, c.remove}, 0)
			juliet := f.connect("juliet@chat.test/balcony")
			juliet.sendNow = func([]*stanza.Stanza) error { return c.send }
			f.come(o, juliet)
			f.reachable(juliet)
			if left, got := len(f.waiting("juliet")), len(juliet.take()); left != c.left || got != c.got {
				t.Errorf("%d left, %d handed over", left, got)
			}
			if len(o.busy) != 0 {
				t.Error("the turn was not given back")
			}
		})
	}
}

func TestHandOverSkipsUnreadable(t *testing.T) {
	f := newFixture(t)
	o := f.Spool.(*Offline)
	for _, m := range []string{"<message from='a@chat.test' to='juliet@chat.test'/>", "<mess", "<a/>", "<message from='b@chat.test' to='juliet@chat.test'/>"} {
		if _, err := f.db.AppendOffline(t.Context(), "juliet", store.OfflineMessage{Stored: time.Unix(0, 0), Stanza: []byte(m)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	juliet := f.connect("juliet@chat.test/balcony")
	f.come(o, juliet)
	delay := "<delay xmlns='urn:xmpp:delay' from='chat.test' stamp='1970-01-01T00:00:00.000Z'/></message>"
	f.equal("handed over", juliet.take(), "<message from='a@chat.test' to='juliet@chat.test'>"+delay, "<message from='b@chat.test' to='juliet@chat.test'>"+delay)
	f.equal("left", f.waiting("juliet"), "<mess", "<a/>")
	f.reachable(juliet)
}

// A session whose context ends as it is handed messages does not get them again.
func TestHandOverCancelled(t *testing.T) {
	f := newFixture(t)
	o := f.Spool.(*Offline)
	f.send(f.online("romeo@chat.test/orchard", 0), "<message to='juliet@chat.test'>"+body(0)+"</message>")
	ctx, cancel := context.WithCancel(t.Context())
	juliet := f.connect("juliet@chat.test/balcony")
	o.messages = cancelling{f.db, cancel}
	calls := 0
	o.HandOver(ctx, juliet, func() { calls++ })
	if calls != 1 {
		t.Errorf("reachable was called %d times", calls)
	}
	f.equal("left", f.waiting("juliet"))
	var _ router.Spool = o
}

// cancelling ends a context just before messages are removed.
type cancelling struct {
	store.Offline
	cancel func()
}

func (s cancelling) RemoveOffline(ctx context.Context, user string, seqs []int64) error {
	s.cancel()
	return s.Offline.RemoveOffline(ctx, user, seqs)
}

// unreachable is a store that is, now.
type unreachable struct {
	store.Offline
	now, was atomic.Bool
}

func (s *unreachable) OfflinePage(ctx context.Context, user string, after int64, limit int) ([]store.OfflineMessage, error) {
	if s.now.Load() {
		return nil, store.ErrNotTried
	}
	return s.Offline.OfflinePage(ctx, user, after, limit)
}

// Who comes while the store fails gets what waits when it works again, without coming again, and nothing twice.
func TestHandOverCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		romeo := f.online("romeo@chat.test/orchard", 0)
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		db := &unreachable{Offline: f.db}
		o := f.Spool.(*Offline)
		o.messages = db
		const n = offlinePage + 7
		var want []string
		for i := range n {
			f.send(romeo, "<message to='juliet@chat.test' type='chat' id='"+fmt.Sprint(i)+"'>"+body(i)+"</message>")
			want = append(want, "id='"+fmt.Sprint(i)+"'")
		}
		juliet := f.connect("juliet@chat.test/balcony")
		juliet.keeps = true // as with stream management: nothing leaves the store yet
		juliet.sendNow = func([]*stanza.Stanza) error {
			db.now.Store(!db.was.Swap(true)) // after the first page
			return nil
		}
		f.Table.SetPresence(juliet, true, -1)
		o.HandOver(ctx, juliet, func() { f.Table.SetPresence(juliet, true, 0) })
		f.reachable(juliet)
		time.Sleep(time.Minute)
		synctest.Wait()
		f.send(romeo, "<message to='juliet@chat.test' id='new'><body/></message>")
		if got := juliet.take(); len(got) != offlinePage+1 {
			t.Fatalf("%d during the outage", len(got))
		}
		db.now.Store(false)
		time.Sleep(2 * arrearsPause)
		synctest.Wait()
		got := juliet.take()
		if len(got) != n-offlinePage {
			t.Fatalf("%d handed over afterwards", len(got))
		}
		for i, st := range got {
			if !strings.Contains(st, want[offlinePage+i]) {
				t.Errorf("%d is %s", i, st)
			}
		}
		time.Sleep(2 * arrearsPause)
		synctest.Wait()
		if len(o.arrears) != 0 || o.serving {
			t.Error("still at it")
		}
	})
}

// TestLookDuringHandOver: what another node stores when a session has just read the last of what waits is found by who is told to look for it
// then, before the session can be reached.
func TestLookDuringHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o := f.Spool.(*Offline)
		s := f.connect("juliet@chat.test/balcony")
		o.HandOver(t.Context(), s, func() {
			m, err := o.message(parse(t, "<message from='romeo@chat.test/orchard' to='juliet@chat.test' type='chat'><body>late</body></message>"))
			if err == nil {
				_, err = o.messages.AppendOffline(t.Context(), "juliet", m, 0)
			}
			if err != nil {
				t.Error(err)
			}
			go o.Look(t.Context(), s.JID())
			synctest.Wait()
			f.Table.SetPresence(s, true, 0)
		})
		synctest.Wait()
		if got := s.take(); len(got) != 1 || !strings.Contains(got[0], "late") {
			t.Errorf("handed over: %q", got)
		}
	})
}
