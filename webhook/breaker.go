package webhook

import (
	"sync"
	"time"
)

const (
	// breakAfter is how many calls in a row must fail for the filter to be left alone,
	breakAfter = 5
	// breakTime for so long; then one call tries it.
	breakTime = 5 * time.Second
)

// A breaker keeps a filter that does not answer from costing every message its whole timeout.
type breaker struct {
	mu     sync.Mutex
	failed int       // calls in a row
	until  time.Time // no call before; then each that is let through moves it
}

// allow reports whether to call.
func (b *breaker) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed < breakAfter {
		return true
	}
	if now.Before(b.until) {
		return false
	}
	b.until = now.Add(breakTime)
	return true
}

// heard takes note of a call's outcome, and reports whether it is the one that broke the circuit.
func (b *breaker) heard(ok bool, now time.Time) (broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ok {
		b.failed = 0
		return false
	}
	b.failed++
	if b.failed >= breakAfter {
		b.until = now.Add(breakTime)
	}
	return b.failed == breakAfter
}
