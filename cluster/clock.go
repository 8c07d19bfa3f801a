package cluster

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	pulse = 100 * time.Millisecond
	// stalled is how late a pulse comes if the process did not run: stopped, swapped out,
	// starved. Then it is not others who were silent.
	stalled = 300 * time.Millisecond
)

// A clock counts the time in which the process ran.
type clock struct {
	start time.Time
	last  atomic.Pointer[reading]
}

// A reading is how much the process had run at a time.
type reading struct {
	at  time.Duration // since start
	ran int64
}

func newClock() *clock {
	c := &clock{start: time.Now()}
	c.last.Store(&reading{})
	return c
}

// now is nanoseconds, more than 0.
func (c *clock) now() int64 {
	r := c.last.Load()
	return r.ran + int64(min(time.Since(c.start)-r.at, stalled)) + 1
}

// run keeps the clock until ctx ends.
func (c *clock) run(ctx context.Context) {
	t := time.NewTicker(pulse)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			c.last.Store(&reading{time.Since(c.start), c.now() - 1})
		case <-ctx.Done():
			return
		}
	}
}
