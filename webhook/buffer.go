package webhook

import (
	"context"
	"sync"
	"time"

	"chatd/stanza"
	"chatd/store"
)

const (
	// maxBuffered bounds the events that wait for being written. More are dropped: who makes them never waits.
	maxBuffered = 16384
	// gatherTime is how long a batch waits for more, so that one commit serves many.
	gatherTime = 20 * time.Millisecond
	// maxWritten is how many are written at once.
	maxWritten = 512
	// storeTimeout bounds how long one call of the store may take.
	storeTimeout = 15 * time.Second
	// storePause is how long to leave a store alone that has failed.
	storePause = time.Second
)

// A buffer holds the events of which nothing else is stored, and writes them in batches. What it holds is lost if the
// process is killed: that of some 20 ms and a commit.
type buffer struct {
	s      *Service
	filled chan struct{} // of capacity 1
	stop   context.CancelFunc
	ended  chan struct{} // closed when the writing goroutine has ended

	mu      sync.Mutex
	waiting []store.Posting
}

func (b *buffer) init(s *Service) {
	b.s, b.filled = s, make(chan struct{}, 1)
}

func (b *buffer) start() {
	ctx, stop := context.WithCancel(context.Background())
	b.stop, b.ended = stop, make(chan struct{})
	go b.run(ctx)
}

// close writes what is left.
func (b *buffer) close(ctx context.Context) error {
	b.stop()
	<-b.ended
	for batch := b.take(); len(batch) > 0; batch = b.take() {
		if err := b.write(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// add never blocks.
func (b *buffer) add(postings []store.Posting) {
	b.mu.Lock()
	room := min(len(postings), maxBuffered-len(b.waiting))
	b.waiting = append(b.waiting, postings[:room]...)
	b.mu.Unlock()
	for _, p := range postings[room:] {
		b.s.lost(p.Queue, lostBufferFull)
	}
	select {
	case b.filled <- struct{}{}:
	default:
	}
}

// take removes the next batch from what waits.
func (b *buffer) take() []store.Posting {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.waiting), maxWritten)
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	if len(b.waiting) == 0 {
		b.waiting = nil
	}
	return batch
}

func (b *buffer) run(ctx context.Context) {
	defer close(b.ended)
	for {
		select {
		case <-b.filled:
		case <-ctx.Done():
			return
		}
		time.Sleep(gatherTime)
		for batch := b.take(); len(batch) > 0; batch = b.take() {
			if !b.insist(ctx, batch) {
				return
			}
		}
	}
}

// insist writes a batch, however often the store fails. It reports false when ctx ended first, and then the batch
// waits again.
func (b *buffer) insist(ctx context.Context, batch []store.Posting) bool {
	for {
		err := b.write(ctx, batch)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			b.s.log.Log(ctx, stanza.FaultLevel(err), "events not stored yet", "events", len(batch), "err", err)
		}
		select {
		case <-ctx.Done():
			b.mu.Lock()
			b.waiting = append(batch, b.waiting...)
			b.mu.Unlock()
			return false
		case <-time.After(storePause):
		}
	}
}

func (b *buffer) write(ctx context.Context, batch []store.Posting) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	full, err := b.s.outbox.Post(ctx, batch)
	for _, queue := range full {
		b.s.Dropped(queue)
	}
	return err
}
