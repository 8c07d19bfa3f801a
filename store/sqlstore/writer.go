package sqlstore

import (
	"context"

	"chatd/store"
)

const (
	maxQueued = 1024 // writes waiting; more wait to be queued
	maxBatch  = 512  // writes in one commit
)

// A write is one verb's change, waiting to be applied and committed.
type write struct {
	ctx    context.Context
	name   string // what it changes is kept under
	apply  func(*tx) error
	append *appending // what apply does, if it is that
	done   chan error // buffered: the caller may have left
}

// batches is how one kind of database commits writes together.
type batches interface {
	// commit applies a batch in one transaction and then answers everybody. It runs on the writer's goroutine; closing is
	// closed when it should not wait for what may take long.
	commit(batch []write, closing <-chan struct{})
	close() error
}

// A writer owns a connection that writes. Its goroutine runs from
// startWriter to stop.
type writer struct {
	batches batches
	queue   chan write
	closing chan struct{} // closed by stop
	stopped chan struct{} // closed when the goroutine has ended
}

func startWriter(b batches) *writer {
	w := &writer{
		batches: b,
		queue:   make(chan write, maxQueued),
		closing: make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go w.run()
	return w
}

// stop commits what is queued and must be called once.
func (w *writer) stop() error {
	close(w.closing)
	<-w.stopped
	return w.batches.close()
}

func (w *writer) stopping() bool {
	select {
	case <-w.closing:
		return true
	default:
		return false
	}
}

// do queues a write and waits until it is committed or has failed.
func (w *writer) do(ctx context.Context, job write) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.stopping() {
		return store.ErrClosed
	}
	job.ctx, job.done = ctx, make(chan error, 1)
	select {
	case w.queue <- job:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closing:
		return store.ErrClosed
	}
	select {
	case err := <-job.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stopped:
	}
	select {
	case err := <-job.done:
		return err
	default: // queued behind the writer's last look
		return store.ErrClosed
	}
}

func (w *writer) run() {
	defer close(w.stopped)
	batch := make([]write, 0, maxBatch)
	for {
		select {
		case job := <-w.queue:
			batch = append(batch, job)
		case <-w.closing:
			batch = w.collect(batch)
			if len(batch) == 0 {
				return
			}
		}
		batch = w.collect(batch)
		w.batches.commit(batch, w.closing)
		clear(batch)
		batch = batch[:0]
	}
}

// collect adds what is queued now to the batch, without waiting.
func (w *writer) collect(batch []write) []write {
	for len(batch) < maxBatch {
		select {
		case job := <-w.queue:
			batch = append(batch, job)
		default:
			return batch
		}
	}
	return batch
}
