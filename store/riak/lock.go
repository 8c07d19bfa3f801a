package riak

import (
	"context"
	"sync"
)

// A ref names one value.
type ref struct{ bucket, key string }

// locks is one lock for each value that somebody here wants to change. Changes of one value by one process follow one
// another, so that what races is the other nodes' only; and what is promised of limits and order on one node is exact.
type locks struct {
	mu   sync.Mutex
	held map[ref]*lock
}

// A lock lives while somebody holds on to it.
type lock struct {
	turn chan struct{}
	refs int // guarded by locks.mu
	// writes counts what was written, or may have been, while anybody held on. Guarded by turn.
	writes int
}

// hold keeps the lock of a value alive until let. It does not lock.
func (l *locks) hold(r ref) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.held[r]
	if k == nil {
		k = &lock{turn: make(chan struct{}, 1)}
		l.held[r] = k
	}
	k.refs++
	return k
}

func (l *locks) let(r ref, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.refs--; k.refs == 0 {
		delete(l.held, r)
	}
}

func (k *lock) lock(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *lock) unlock() { <-k.turn }

// with runs change while no other change of the value is under way here.
func (l *locks) with(ctx context.Context, r ref, change func() error) error {
	k := l.hold(r)
	defer l.let(r, k)
	if err := k.lock(ctx); err != nil {
		return err
	}
	defer k.unlock()
	k.writes++
	return change()
}
