package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"chatd/store"
)

const (
	maxQueued = 1024 // writes waiting; more wait to be queued
	maxBatch  = 512  // writes in one commit
)

// A write is one verb's change, waiting to be applied and committed.
type write struct {
	ctx   context.Context
	apply func(*tx) error
	done  chan error // buffered: the caller may have left
}

// A writer owns the connection that writes. Its goroutine runs from
// startWriter to stop.
type writer struct {
	tx      tx
	queue   chan write
	closing chan struct{} // closed by stop
	stopped chan struct{} // closed when the goroutine has ended
}

func startWriter(conn *sql.Conn) *writer {
	w := &writer{
		tx:      tx{conn: conn, stmts: make(map[string]*sql.Stmt)},
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
	return errors.Join(w.tx.close(), w.tx.conn.Close())
}

func (w *writer) stopping() bool {
	select {
	case <-w.closing:
		return true
	default:
		return false
	}
}

// Waiting is how many changes are queued for the disk. Any goroutine may ask.
func (s *Store) Waiting() int { return len(s.writer.queue) }

// do queues a write and waits until it is committed or has failed.
func (w *writer) do(ctx context.Context, apply func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.stopping() {
		return store.ErrClosed
	}
	job := write{ctx, apply, make(chan error, 1)}
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
		w.commit(batch)
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

// commit applies a batch in one transaction and then answers everybody. An
// answer, also that of a write that failed alone, rests on what the others
// wrote before it, so that a failed commit is everybody's.
func (w *writer) commit(batch []write) {
	answers := make([]error, len(batch))
	err := w.tx.begin()
	if err == nil {
		err = w.applyAll(batch, answers)
		if err == nil {
			_, err = w.tx.exec(commitBatch)
		}
		if err != nil {
			// Fails if the database gave the transaction up by itself: then
			// there is nothing to roll back.
			_, _ = w.tx.exec(rollbackBatch)
		}
	}
	for i, job := range batch {
		if err != nil {
			answers[i] = err
		}
		job.done <- answers[i]
	}
}

// applyAll returns an error if the transaction is lost.
func (w *writer) applyAll(batch []write, answers []error) error {
	for i, job := range batch {
		if answers[i] = job.ctx.Err(); answers[i] != nil {
			continue // its caller has left
		}
		if _, err := w.tx.exec(beginOne); err != nil {
			return err
		}
		if answers[i] = job.apply(&w.tx); answers[i] != nil {
			if _, err := w.tx.exec(undoOne); err != nil {
				return fmt.Errorf("transaction lost: %w", answers[i])
			}
		}
		if _, err := w.tx.exec(keepOne); err != nil {
			return err
		}
	}
	return nil
}
