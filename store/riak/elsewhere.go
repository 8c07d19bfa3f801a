package riak

import (
	"context"
	"crypto/rand"
)

// removalsRef is a value that says, by process, when accounts were last removed or disabled.
func removalsRef() ref { return ref{"removals", ""} }

// A process tells its own removals from others'.
func newProcess() string { return rand.Text() }

// noteRemoval tells the other processes that sessions of an account may have to end.
func (s *Store) noteRemoval(ctx context.Context) error {
	return s.update(ctx, removalsRef(), func(v *value, at stamp) error {
		for _, process := range v.keys("") {
			if e, _ := v.get(process); s.clock.now().Sub(e.at.time()) > tombstoneLife {
				v.remove(process, at)
			}
		}
		v.set(s.process, at, nil)
		return nil
	})
}

// ChangedElsewhere reports whether another process has removed or disabled an account since the last call, or since the store was opened.
// One goroutine may call it.
func (s *Store) ChangedElsewhere(ctx context.Context) (bool, error) {
	v, err := s.fetchFor(ctx, removalsRef())
	if err != nil {
		return false, err
	}
	last := s.lastRemoval
	for _, process := range v.keys("") {
		if e, _ := v.get(process); process != s.process {
			s.lastRemoval = max(s.lastRemoval, e.at)
		}
	}
	return s.lastRemoval != last, nil
}

// Waiting is how many changes are on their way to Riak. Any goroutine may ask.
func (s *Store) Waiting() int { return int(s.pool.puts.Load()) }
