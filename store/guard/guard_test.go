package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"chatd/store"
	"chatd/store/memory"
	"chatd/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s := New(memory.New(), Config{Patience: time.Minute, Log: slog.New(slog.DiscardHandler)})
		t.Cleanup(func() { s.Close() })
		return s
	})
}

// A backend can be made to fail at once, or to answer nothing. Of its verbs those that these tests call ask whether it does.
type backend struct {
	store.Store
	fault atomic.Pointer[error]
	full  atomic.Bool // nothing can be written
	stall atomic.Bool
	once  atomic.Bool  // the next call fails
	lost  atomic.Int32 // so many of the next messages are kept, and nobody is told
	calls atomic.Int64
}

func (b *backend) begin(ctx context.Context, write bool) error {
	b.calls.Add(1)
	if b.stall.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if f := b.fault.Load(); f != nil {
		return *f
	}
	if b.once.Swap(false) {
		return errLost
	}
	if write && b.full.Load() {
		return fmt.Errorf("disk full: %w", store.ErrUnavailable)
	}
	return nil
}

func (b *backend) fail(err error) {
	if err == nil {
		b.fault.Store(nil)
		return
	}
	b.fault.Store(&err)
}

func (b *backend) Account(ctx context.Context, user string) (store.Account, error) {
	if err := b.begin(ctx, false); err != nil {
		return store.Account{}, err
	}
	return b.Store.Account(ctx, user)
}

func (b *backend) SetVCard(ctx context.Context, user string, xml []byte) error {
	return errors.Join(b.begin(ctx, true), b.Store.SetVCard(ctx, user, xml))
}

func (b *backend) AppendOffline(ctx context.Context, user string, m store.OfflineMessage, max int) (int64, error) {
	if err := b.begin(ctx, true); err != nil {
		return 0, err
	}
	seq, err := b.Store.AppendOffline(ctx, user, m, max)
	if b.lost.Add(-1) >= 0 {
		return 0, errLost
	}
	return seq, err
}

func (b *backend) RemoveOffline(ctx context.Context, user string, seqs []int64) error {
	if err := b.begin(ctx, true); err != nil {
		return err
	}
	return b.Store.RemoveOffline(ctx, user, seqs)
}

func (b *backend) SetLastActivity(ctx context.Context, user string, a store.LastActivity) error {
	if err := b.begin(ctx, true); err != nil {
		return err
	}
	return b.Store.SetLastActivity(ctx, user, a)
}

const patience = 3 * time.Second

// A log may be written to by several goroutines.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.b.String()), "\n")
}

// open is called in a bubble.
func open(t *testing.T) (*Store, *backend, *logText) {
	b, log := &backend{Store: memory.New()}, new(logText)
	s := New(b, Config{Patience: patience, Log: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(func() { s.Close() })
	return s, b, log
}

var errLost = fmt.Errorf("connection refused: %w", store.ErrUnavailable)

// TestOutage: the first verb fails by itself, those after it at once, and the store is used again soon after it works.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, log := open(t)
		ctx := t.Context()
		b.fail(errLost)
		if _, err := s.Account(ctx, "anna"); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotTried) {
			t.Fatal("first:", err)
		}
		if _, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{}, 0); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal("first write:", err)
		}
		synctest.Wait() // for the probes
		before := b.calls.Load()
		for range 100 {
			if _, err := s.Account(ctx, "anna"); !errors.Is(err, store.ErrNotTried) {
				t.Fatal("while it fails:", err)
			}
		}
		if n := b.calls.Load() - before; n != 0 {
			t.Fatalf("asked %d times while it fails", n)
		}
		if what, since := s.Failing(); what != "reads" || time.Since(since) != 0 {
			t.Fatal(what, since)
		}
		time.Sleep(time.Minute)
		b.fail(nil)
		time.Sleep(2 * probeInterval)
		if what, _ := s.Failing(); what != "" {
			t.Fatal("still fails:", what)
		}
		if _, err := s.Account(ctx, "anna"); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		if lines := log.lines(); len(lines) != 4 {
			t.Fatalf("%d lines: %q", len(lines), lines)
		}
	})
}

// TestStall: nobody waits longer than the patience, nor at all once it is known.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := open(t)
		b.stall.Store(true)
		begun := time.Now()
		if _, err := s.Account(t.Context(), "anna"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != patience {
			t.Fatal("took", took)
		}
		time.Sleep(patience + time.Millisecond) // the probe's
		begun = time.Now()
		if _, err := s.Account(t.Context(), "anna"); !errors.Is(err, store.ErrNotTried) || time.Since(begun) != 0 {
			t.Fatal(err, time.Since(begun))
		}
		b.stall.Store(false)
		time.Sleep(patience + 2*probeInterval)
		if _, err := s.Account(t.Context(), "anna"); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	})
}

// TestOneFailure: a single connection that is lost stops nobody.
func TestOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, log := open(t)
		b.once.Store(true)
		if _, err := s.Account(t.Context(), "anna"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		if _, err := s.Account(t.Context(), "anna"); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		synctest.Wait()
		if lines := log.lines(); lines[0] != "" {
			t.Fatal(lines)
		}
	})
}

// TestLostAnswer: a message of which the store does not say that it has it is there once, and the caller is told so.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, log := open(t)
		b.lost.Store(3)
		for i := range 2 {
			seq, err := s.AppendOffline(t.Context(), "anna", store.OfflineMessage{ID: fmt.Sprint(i)}, 0)
			if err != nil || seq != int64(i+1) {
				t.Fatal(i, seq, err)
			}
		}
		b.once.Store(true) // not kept
		if seq, err := s.AppendOffline(t.Context(), "anna", store.OfflineMessage{ID: "2"}, 0); err != nil || seq != 3 {
			t.Fatal(seq, err)
		}
		if n, err := b.CountOffline(t.Context(), "anna"); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		b.lost.Store(1) // a message without an ID cannot be repeated
		if _, err := s.AppendOffline(t.Context(), "anna", store.OfflineMessage{}, 0); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		if n, err := b.CountOffline(t.Context(), "anna"); n != 4 || err != nil {
			t.Fatal(n, err)
		}
		synctest.Wait()
		if lines := log.lines(); lines[0] != "" {
			t.Fatal(lines)
		}
		b.fail(errLost)
		begun := time.Now()
		if _, err := s.AppendOffline(t.Context(), "anna", store.OfflineMessage{ID: "5"}, 0); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > repeatPause {
			t.Errorf("waited %v for a store that is known to fail", took)
		}
	})
}

// TestFullDisk: what can be read is.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := open(t)
		b.full.Store(true)
		_, _ = s.AppendOffline(t.Context(), "anna", store.OfflineMessage{}, 0)
		synctest.Wait()
		if what, _ := s.Failing(); what != "writes" {
			t.Fatal(what)
		}
		if _, err := s.Account(t.Context(), "anna"); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		if err := s.SetVCard(t.Context(), "anna", nil); !errors.Is(err, store.ErrNotTried) {
			t.Fatal(err)
		}
	})
}

// TestOwed: what was handed over is not handed over again, neither during the outage nor after it, and who was seen when is written
// in the end.
func TestOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := open(t)
		ctx := t.Context()
		for range 120 {
			if _, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{Stanza: []byte("<message/>")}, 0); err != nil {
				t.Fatal(err)
			}
		}
		var first []int64
		for i := range int64(100) {
			first = append(first, i+1)
		}
		b.full.Store(true)
		seen := store.LastActivity{At: time.Now().UTC().Truncate(time.Second), Status: "bye"}
		if err := errors.Join(s.RemoveOffline(ctx, "anna", first[:60]), s.RemoveOffline(ctx, "anna", first[60:]),
			s.RemoveOffline(ctx, "anna", first[50:]), s.RemoveOffline(ctx, "ben", nil),
			s.SetLastActivity(ctx, "anna", store.LastActivity{}), s.SetLastActivity(ctx, "anna", seen)); err != nil {
			t.Fatal(err)
		}
		expectPage := func(when string) {
			t.Helper()
			page, err := s.OfflinePage(ctx, "anna", 0, 50)
			if err != nil || len(page) != 20 || page[0].Seq != 101 {
				t.Fatal(when, len(page), err)
			}
		}
		expectPage("during the outage:")
		if n := s.owed.count(); n != 101 {
			t.Fatalf("%d owed", n)
		}
		b.full.Store(false)
		time.Sleep(2 * probeInterval)
		synctest.Wait()
		expectPage("afterwards:")
		if n, err := b.CountOffline(ctx, "anna"); n != 20 || err != nil {
			t.Fatal(n, err)
		}
		if a, err := b.LastActivity(ctx, "anna"); a != seen || err != nil {
			t.Fatal(a, err)
		}
		if n := s.owed.count(); n != 0 {
			t.Fatalf("%d owed", n)
		}
	})
}

// TestClose makes up for what it can.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{Store: memory.New()}
		var kept store.LastActivity
		before := func() { kept, _ = b.LastActivity(t.Context(), "anna") }
		s := New(closing{b, before}, Config{Patience: patience, Log: slog.New(slog.DiscardHandler)})
		b.fail(errLost)
		seen := store.LastActivity{At: time.Unix(1, 0).UTC()}
		if err := s.SetLastActivity(t.Context(), "anna", seen); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.fail(nil)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if kept != seen {
			t.Fatal(kept)
		}
	})
}

type closing struct {
	*backend
	before func()
}

func (c closing) Close() error {
	c.before()
	return c.backend.Close()
}

// TestCrowd: only so many wait.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := open(t)
		b.stall.Store(true)
		var refused atomic.Int64
		var wg sync.WaitGroup
		for range maxWaiting + 10 {
			wg.Go(func() {
				if _, err := s.Account(t.Context(), "anna"); errors.Is(err, store.ErrNotTried) {
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		if n := refused.Load(); n != 10 {
			t.Fatalf("%d refused", n)
		}
	})
}

// TestCallersOwnEnd: a caller that gives up says nothing about the store.
func TestCallersOwnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := open(t)
		b.stall.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := s.Account(ctx, "anna"); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		b.stall.Store(false)
		synctest.Wait()
		if what, _ := s.Failing(); what != "" {
			t.Fatal(what)
		}
	})
}

// TestEveryVerb: none goes past the guard.
func TestEveryVerb(t *testing.T) {
	s := New(nil, Config{Patience: patience, Log: slog.New(slog.DiscardHandler)})
	s.reads.open.Store(true)
	s.writes.open.Store(true)
	made, mover := reflect.TypeFor[store.Store](), reflect.TypeFor[store.Mover]()
	for i := range made.NumMethod() {
		name := made.Method(i).Name
		if name == "Announce" || name == "Close" || name == "RemoveOffline" || name == "SetLastActivity" { // the last two are owed
			continue
		}
		if _, ok := mover.MethodByName(name); ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			verb := reflect.ValueOf(s).MethodByName(name)
			args := []reflect.Value{reflect.ValueOf(t.Context())}
			for k := 1; k < verb.Type().NumIn(); k++ {
				args = append(args, reflect.Zero(verb.Type().In(k)))
			}
			results := verb.Call(args)
			if err, _ := results[len(results)-1].Interface().(error); !errors.Is(err, store.ErrNotTried) {
				t.Fatal(err)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := open(t)
		reg := prometheus.NewPedanticRegistry()
		s.Register(reg)
		b.fail(errLost)
		_, _ = s.Account(t.Context(), "anna")
		synctest.Wait()
		_, _ = s.Account(t.Context(), "anna")
		time.Sleep(10 * time.Second)
		want := `# HELP chatd_store_failing_seconds For how long the store has not worked.
# TYPE chatd_store_failing_seconds gauge
chatd_store_failing_seconds{for="reads"} 10
chatd_store_failing_seconds{for="writes"} 0
# HELP chatd_store_refused_total What was not asked of the store.
# TYPE chatd_store_refused_total counter
chatd_store_refused_total{reason="failing"} 1
# HELP chatd_store_up Whether the store works.
# TYPE chatd_store_up gauge
chatd_store_up{for="reads"} 0
chatd_store_up{for="writes"} 1
# HELP chatd_store_verbs_total What was asked of the store, and how it ended.
# TYPE chatd_store_verbs_total counter
chatd_store_verbs_total{result="unavailable",verb="Account"} 1
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want),
			"chatd_store_failing_seconds", "chatd_store_refused_total", "chatd_store_up", "chatd_store_verbs_total"); err != nil {
			t.Fatal(err)
		}
	})
}
