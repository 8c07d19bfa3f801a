package guard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"chatd/store"
)

const (
	// probeInterval is how often a store that fails is tried.
	probeInterval = 500 * time.Millisecond
	// nobody is a name that no user can have (RFC 7622 §3.3), under which writes are tried.
	nobody = "store probe"
)

// A circuit is one half of what a store can do: a full disk can still be read. It is closed while that works; one
// verb that fails makes the guard probe it, and when the probe fails too it opens until a probe succeeds.
type circuit struct {
	name  string
	probe func(context.Context) error
	open  atomic.Bool

	mu      sync.Mutex
	probing bool
	since   time.Time // when a verb first failed; for while it is open
}

func (c *circuit) failingSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since
}

// suspect starts a probe after a verb has failed, unless there is one.
func (s *Store) suspect(c *circuit, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.probing || s.ctx.Err() != nil {
		return
	}
	c.probing, c.since = true, time.Now()
	s.working.Go(func() { s.watch(c, err) })
}

// watch probes until the store works, which it may do at once.
func (s *Store) watch(c *circuit, cause error) {
	for s.fails(c) {
		if !c.open.Swap(true) {
			s.cfg.Log.Error("store out of reach", "for", c.name, "err", cause)
		}
		select {
		case <-time.After(probeInterval):
		case <-s.ctx.Done():
		}
		if s.ctx.Err() != nil {
			return
		}
	}
	c.mu.Lock()
	since := c.since
	c.probing = false // from here on what is owed anew starts a probe of its own
	c.mu.Unlock()
	if c.open.Swap(false) {
		s.cfg.Log.Info("store works again", "for", c.name, "seconds", int(time.Since(since).Seconds()))
	}
	if c == s.writes {
		s.repay(s.ctx)
	}
}

// fails reports whether a probe does.
func (s *Store) fails(c *circuit) bool {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Patience)
	defer cancel()
	return c.probe(ctx) != nil
}

func (s *Store) probeRead(ctx context.Context) error {
	_, err := s.Store.Account(ctx, nobody)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// probeWrite leaves nothing behind.
func (s *Store) probeWrite(ctx context.Context) error {
	return errors.Join(s.Store.SetVCard(ctx, nobody, []byte("<vCard/>")), s.Store.SetVCard(ctx, nobody, nil))
}
