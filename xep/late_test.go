package xep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatd/stanza"
	"chatd/store"
)

// doubtful keeps messages and does not say so, or refuses to be asked.
type doubtful struct {
	store.Offline
	fails atomic.Pointer[error]
	keeps atomic.Bool // what fails as well
}

func (d *doubtful) fail(err error, keeps bool) {
	d.keeps.Store(keeps)
	d.fails.Store(&err)
}

func (d *doubtful) AppendOffline(ctx context.Context, user string, m store.OfflineMessage, max int) (int64, error) {
	err := d.fails.Load()
	if *err != nil && !d.keeps.Load() {
		return 0, *err
	}
	seq, failed := d.Offline.AppendOffline(ctx, user, m, max)
	return seq, errors.Join(*err, failed)
}

// leftOver is a message that a session of juliet's took and could not send.
func leftOver(t *testing.T, i int) *stanza.Stanza {
	t.Helper()
	st, err := stanza.Parse(fmt.Appendf(nil, "<message from='romeo@chat.test/x' to='juliet@chat.test' type='chat' id='%d'>%s<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@chat.test' id='s%[1]d'/></message>", i, body(i)))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// ids is those of messages, in their order.
func ids(stanzas []string) (all []string) {
	for _, text := range stanzas {
		_, rest, _ := strings.Cut(text, " id='")
		id, _, _ := strings.Cut(rest, "'")
		all = append(all, id)
	}
	return all
}

// A server that stops waits for a store that comes back in time, and no longer than it may.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o, db := f.Spool.(*Offline), &doubtful{Offline: f.db}
		o.messages = db
		defer o.Close(t.Context())
		db.fail(store.ErrNotTried, false)
		f.Reroute(t.Context(), leftOver(t, 0))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if o.Settle(ctx); ctx.Err() == nil || o.Late() != 1 {
			t.Fatalf("%d wait, %v", o.Late(), ctx.Err())
		}
		db.fail(nil, false)
		if o.Settle(t.Context()); o.Late() != 0 {
			t.Fatalf("%d wait", o.Late())
		}
		if n, err := f.db.CountOffline(t.Context(), "juliet"); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	})
}

// What a session leaves over while the store fails is stored when it works again: once, in order, and before what comes later.
func TestHoldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o, db := f.Spool.(*Offline), &doubtful{Offline: f.db}
		o.messages = db
		defer o.Close(t.Context())
		db.fail(store.ErrUnavailable, true) // the first is kept, and nobody knows
		f.Reroute(t.Context(), leftOver(t, 0))
		db.fail(store.ErrNotTried, false)
		for i := 1; i < 5; i++ {
			f.Reroute(t.Context(), leftOver(t, i))
		}
		if n := o.Late(); n != 5 {
			t.Fatalf("%d wait", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait() // it is tried in this moment, too
		romeo := f.online("romeo@chat.test/orchard", 0)
		db.fail(nil, false)
		f.send(romeo, "<message to='juliet@chat.test' id='early'>"+body(5)+"</message>")
		f.refused(strings.Join(romeo.take(), ""), "resource-constraint")
		f.Reroute(t.Context(), leftOver(t, 5))
		time.Sleep(2 * latePause)
		synctest.Wait()
		f.send(romeo, "<message to='juliet@chat.test' id='6'>"+body(6)+"</message>")
		if got := fmt.Sprint(ids(f.waiting("juliet"))); got != "[0 1 2 3 4 5 6]" {
			t.Errorf("stored %s", got)
		}
		if o.Late() != 0 || o.late.bytes != 0 || o.late.serving {
			t.Error("still at it")
		}
	})
}

// Who has come meanwhile is handed it once the store has it.
func TestHoldLaterHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o, db := f.Spool.(*Offline), &doubtful{Offline: f.db}
		o.messages = db
		db.fail(store.ErrUnavailable, true)
		f.Reroute(t.Context(), leftOver(t, 0))
		db.fail(store.ErrNotTried, false)
		f.Reroute(t.Context(), leftOver(t, 1))
		f.online("juliet@chat.test/phone", 0)
		juliet := f.online("juliet@chat.test/balcony", 1)
		db.fail(nil, false)
		time.Sleep(2*latePause + 2*arrearsPause)
		synctest.Wait()
		if got := fmt.Sprint(ids(juliet.take()), len(f.waiting("juliet"))); got != "[0 1] 0" {
			t.Errorf("got %s", got)
		}
		o.Close(t.Context())
		synctest.Wait()
	})
}

// What can wait is bounded, and nothing is taken after Close, which says what is lost.
func TestHoldLaterBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o, db := f.Spool.(*Offline), &doubtful{Offline: f.db}
		o.messages = db
		db.fail(store.ErrNotTried, false)
		if o.HoldLater(leftOver(t, 0), errors.New("a fault")) {
			t.Error("a fault that does not pass is waited for")
		}
		big := leftOver(t, 0)
		big.Inner = append(big.Inner, "<x xmlns='"+strings.Repeat("y", 8<<20)+"'/>"...)
		taken := 0
		for o.HoldLater(big, store.ErrNotTried) {
			taken++
		}
		if taken != lateBytes/big.Size() {
			t.Errorf("%d of %d bytes are taken", taken, big.Size())
		}
		if lost := o.Close(t.Context()); lost != taken {
			t.Errorf("%d are lost", lost)
		}
		if o.HoldLater(leftOver(t, 0), store.ErrNotTried) {
			t.Error("taken after the end")
		}
	})
}

// A stop of the server is the last occasion.
func TestHoldLaterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o := f.Spool.(*Offline)
		if !o.HoldLater(leftOver(t, 0), store.ErrNotTried) {
			t.Fatal("not taken")
		}
		if lost := o.Close(t.Context()); lost != 0 || len(f.waiting("juliet")) != 1 {
			t.Errorf("%d are lost, %d stored", lost, len(f.waiting("juliet")))
		}
	})
}

// What a sender was told is not stored is not there later, although nobody knew whether it was kept.
func TestWithdraw(t *testing.T) {
	for _, kept := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			o, db := f.Spool.(*Offline), &doubtful{Offline: f.db}
			o.messages = db
			defer o.Close(t.Context())
			romeo := f.online("romeo@chat.test/orchard", 0)
			db.fail(store.ErrUnavailable, kept)
			f.send(romeo, "<message to='juliet@chat.test' type='chat' id='1'>"+body(1)+"</message>")
			f.refused(strings.Join(romeo.take(), ""), "resource-constraint")
			db.fail(store.ErrNotTried, false)
			f.send(romeo, "<message to='juliet@chat.test' type='chat' id='2'>"+body(2)+"</message>")
			f.refused(strings.Join(romeo.take(), ""), "resource-constraint")
			time.Sleep(time.Minute)
			if n := len(f.waiting("juliet")); (n > 0) != kept {
				t.Errorf("%d are stored", n)
			}
			db.fail(nil, false)
			time.Sleep(2 * latePause)
			synctest.Wait()
			f.send(romeo, "<message to='juliet@chat.test' type='chat' id='3'>"+body(3)+"</message>")
			if got := fmt.Sprint(ids(f.waiting("juliet"))); got != "[3]" {
				t.Errorf("stored %s", got)
			}
			page, err := f.db.OfflinePage(t.Context(), "juliet", 0, 1)
			if err != nil || !kept && page[0].Seq != 1 {
				t.Errorf("stored, if only for a moment: %d, %v", page[0].Seq, err)
			}
			if o.late.bytes != 0 || o.late.serving || o.Late() != 0 {
				t.Error("still at it")
			}
		})
	}
}

// What comes back from a link is there once, although nobody knew whether it was kept.
func TestReturnedInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o, db := f.Spool.(*Offline), &doubtful{Offline: f.db}
		o.messages = db
		defer o.Close(t.Context())
		db.fail(store.ErrUnavailable, true)
		for _, err := f.Returned(t.Context(), leftOver(t, 0)); err != nil; _, err = f.Returned(t.Context(), leftOver(t, 0)) {
			db.fail(nil, false)
		}
		db.fail(nil, false)
		time.Sleep(2 * latePause)
		synctest.Wait()
		if got := fmt.Sprint(ids(f.waiting("juliet"))); got != "[0]" {
			t.Errorf("stored %s", got)
		}
	})
}
