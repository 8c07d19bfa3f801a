package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatd/store"
)

// A Faulty is a store whose backend can be made to fail.
type Faulty struct {
	Store store.Store
	Cut   func() // every connection ends now, in the middle of what it does; new ones are refused until Mend
	Stall func() // connections stay open and answer nothing until Mend
	Mend  func()
}

const (
	faultRounds  = 5                     // outages in one test
	verbTime     = time.Second           // what a verb is given by its caller
	hangs        = 20 * time.Second      // more than any verb may need beyond that
	recoveryTime = 4 * time.Minute       // until each writer has written again after Mend
	respite      = 20 * time.Millisecond // after a failure: a refused connection is refused at once
)

// RunFaults works with every domain of a store while its backend fails at random moments. open returns a new empty store
// that, by t.Cleanup, is closed. Shown is that an error says that the backend is not to be reached, or is that of the context; that no
// verb hangs; that nothing is written by half; that what was answered is there once, and what was repeated as
// documented likewise; and that the same store works again afterwards. The kinds of failure are tested at the same time, each with a store from open.
func RunFaults(t *testing.T, open func(t *testing.T) Faulty) {
	for _, test := range []struct {
		name string
		fail func(Faulty)
	}{
		{"Cut", func(f Faulty) { f.Cut() }},
		{"Stall", func(f Faulty) { f.Stall() }},
		{"StallThenCut", func(f Faulty) {
			f.Stall()
			pause(100 * time.Millisecond)
			f.Cut()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // most of an outage is waiting
			newOutages(t, open(t)).run(test.fail)
		})
	}
}

// pause lasts up to most: faults come at any moment.
func pause(most time.Duration) { time.Sleep(rand.N(most)) }

// outages is one test: writers, and what they write to.
type outages struct {
	*testing.T
	faulty   Faulty
	store    store.Store
	stopping atomic.Bool
	writers  []*faultWriter
	failures atomic.Int64 // of verbs
	repeated sync.Map     // IDs of messages that were appended more than once
}

// A faultWriter calls verbs in one goroutine until the test stops.
type faultWriter struct {
	*outages
	name string
	step func() // one change and its answer, however often it has to be tried
	done atomic.Int64
}

func newOutages(t *testing.T, f Faulty) *outages {
	o := &outages{T: t, faulty: f, store: f.Store}
	o.addWriters()
	return o
}

func (o *outages) add(name string, step func(w *faultWriter) func()) {
	w := &faultWriter{outages: o, name: name}
	w.step = step(w)
	o.writers = append(o.writers, w)
}

func (o *outages) run(fail func(Faulty)) {
	var wg sync.WaitGroup
	for _, w := range o.writers {
		wg.Go(func() {
			for !o.stopping.Load() && !o.Failed() {
				w.step()
				w.done.Add(1)
			}
		})
	}
	for round := range faultRounds {
		pause(50 * time.Millisecond)
		fail(o.faulty)
		if round%2 == 0 {
			time.Sleep(verbTime) // longer than callers wait
		}
		pause(verbTime / 2)
		o.faulty.Mend()
		o.awaitProgress()
	}
	o.stopping.Store(true)
	wg.Wait()
	if o.failures.Load() == 0 {
		o.Error("no verb failed: nothing was tested")
	}
	o.Logf("%d calls failed", o.failures.Load())
}

// awaitProgress waits until each writer has ended two steps: one may have begun before.
func (o *outages) awaitProgress() {
	o.Helper()
	deadline := time.Now().Add(recoveryTime)
	for _, w := range o.writers {
		for before := w.done.Load(); w.done.Load() < before+2 && !o.Failed(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				o.Errorf("%s does not go on after the backend is mended", w.name)
			}
		}
	}
	if o.Failed() {
		o.faulty.Mend()
	}
}

// call calls a verb with a context of its own. An error that callers tell apart, which is expected there, goes back as it is.
func (w *faultWriter) call(verb string, call func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), verbTime)
	defer cancel()
	begun := time.Now()
	err := call(ctx)
	if took := time.Since(begun); took > verbTime+hangs {
		w.Errorf("%s: %s hung for %v: %v", w.name, verb, took, err)
	}
	switch {
	case err == nil, err == store.ErrNotFound, err == store.ErrExists, err == store.ErrFull:
	case leftOpen(err):
		w.failures.Add(1)
		time.Sleep(respite)
	default:
		w.failures.Add(1)
		w.Errorf("%s: %s: %v", w.name, verb, err)
	}
	return err
}

// leftOpen reports whether the error leaves open what has become of a write.
func leftOpen(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// untilKnown repeats a call that may be repeated until its answer comes. again is true from the second time on.
func (w *faultWriter) untilKnown(verb string, call func(ctx context.Context, again bool) error) error {
	for again := false; ; again = true {
		err := w.call(verb, func(ctx context.Context) error { return call(ctx, again) })
		if !leftOpen(err) || w.Failed() {
			return err
		}
	}
}

// ok is untilKnown for what must succeed in the end.
func (w *faultWriter) ok(verb string, call func(ctx context.Context) error) {
	err := w.untilKnown(verb, func(ctx context.Context, _ bool) error { return call(ctx) })
	if err != nil {
		w.Errorf("%s: %s: %v", w.name, verb, err)
	}
}

// A possible is what a value may be while the answer to its last changes is not known.
type possible[V comparable] struct {
	values map[V]bool
}

// wrote takes note of a change and its answer.
func (p *possible[V]) wrote(v V, err error) {
	if err == nil || p.values == nil {
		p.values = map[V]bool{}
	}
	p.values[v] = true
}

// read takes note of what was found, which must be possible. The others stay so: a write whose answer did not come may
// still be on its way.
func (p *possible[V]) read(w *faultWriter, what string, v V) {
	if !p.values[v] {
		w.Errorf("%s: %s is %v, and may be only one of %v", w.name, what, v, p.values)
	}
}

// text is a value that shows if it is torn.
func text(i int) string { return fmt.Sprintf("%d %0500d %[1]d", i, i) }
