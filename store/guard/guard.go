// Package guard stands between a server and its store, and keeps a store that cannot be reached from stopping the server: no
// verb waits longer than a stated patience, only so many wait at once, and while the store is known to fail none waits at all.
// It finds out by itself when the store works again, and then makes up for those writes that nobody could be told had failed.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"chatd/store"
)

// maxWaiting bounds the verbs under way; those over it fail at once.
const maxWaiting = 8192

// Config is what an operator sets, and who is told.
type Config struct {
	// Patience is how long a verb may take; more than 0.
	Patience time.Duration
	Log      *slog.Logger
}

// A Store is another one behind a guard. Errors of verbs that it has refused wrap store.ErrNotTried, those of verbs that took too
// long store.ErrUnavailable. Its methods are safe for concurrent use.
type Store struct {
	store.Store
	cfg     Config
	metrics *metrics
	reads   *circuit
	writes  *circuit
	waiting atomic.Int64
	owed    owed

	mu      sync.Mutex // guards the start of probes against Close
	ctx     context.Context
	end     context.CancelFunc
	working sync.WaitGroup // probes
}

// New puts a guard before a store.
func New(s store.Store, cfg Config) *Store {
	g := &Store{Store: s, cfg: cfg, metrics: newMetrics()}
	g.ctx, g.end = context.WithCancel(context.Background())
	g.reads = &circuit{name: "reads", probe: g.probeRead}
	g.writes = &circuit{name: "writes", probe: g.probeWrite}
	g.owed.init()
	return g
}

// Close tries once more to make up for what has failed, and closes the other store.
func (s *Store) Close() error {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.working.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Patience)
	defer cancel()
	if n := s.repay(ctx); n > 0 {
		s.cfg.Log.Error("store writes not made up for", "writes", n)
	}
	return s.Store.Close()
}

// Failing is what cannot be done now, "reads" or "writes", and since when; "" if all works.
func (s *Store) Failing() (what string, since time.Time) {
	for _, c := range []*circuit{s.reads, s.writes} {
		if c.open.Load() {
			return c.name, c.failingSince()
		}
	}
	return "", time.Time{}
}

// Errors of verbs that are not begun.
var (
	errFailing = fmt.Errorf("guard: the store fails: %w", store.ErrNotTried)
	errCrowded = fmt.Errorf("guard: too many wait for the store: %w", store.ErrNotTried)
)

// run runs a verb if it may be, for as long as it may, and counts it.
func (s *Store) run(ctx context.Context, c *circuit, verb string, call func(context.Context) error) error {
	if c.open.Load() {
		s.metrics.refused.WithLabelValues("failing").Inc()
		return errFailing
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > maxWaiting {
		s.metrics.refused.WithLabelValues("crowded").Inc()
		return errCrowded
	}
	begun := time.Now()
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Patience)
	defer cancel()
	err := call(bounded)
	if err != nil {
		err = s.judge(ctx, c, err)
	}
	s.metrics.observe(verb, err, time.Since(begun))
	return err
}

// judge looks at what a verb returned for whether the store may be out of reach.
func (s *Store) judge(ctx context.Context, c *circuit, err error) error {
	switch {
	case errors.Is(err, store.ErrNotTried): // of a verb within this one
		return err
	case errors.Is(err, store.ErrUnavailable):
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	case ctx.Err() == nil:
		err = fmt.Errorf("guard: no answer in %v: %w", s.cfg.Patience, store.ErrUnavailable)
	}
	s.suspect(c, err)
	return err
}

// ask is run for a verb that returns something.
func ask[V any](ctx context.Context, s *Store, c *circuit, verb string, call func(context.Context) (V, error)) (v V, err error) {
	err = s.run(ctx, c, verb, func(ctx context.Context) (err error) {
		v, err = call(ctx)
		return err
	})
	return v, err
}
