package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"chatd/store"
)

const (
	maxQueued = 1024 // writes waiting; more wait to be queued
	maxBatch  = 512  // writes in one commit

	// lockPatience is how long to wait for other processes that write, and
	// lockPoll how often to look. It is often, because under load this
	// process lets go of the lock only for a moment.
	lockPatience = 10 * time.Second
	lockPoll     = time.Millisecond
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
	return w.tx.conn.Close()
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

// A tx is what a write may do with its transaction. Only the writer's
// goroutine uses it. Statements are prepared once; texts must be constants.
type tx struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func (t *tx) begin() error {
	return retryBusy(context.Background(), func() error {
		_, err := t.exec(beginBatch)
		return err
	})
}

// exec returns how many rows the statement changed.
func (t *tx) exec(text string, args ...any) (int64, error) {
	stmt, err := t.prepared(text)
	if err != nil {
		return 0, err
	}
	// Not the caller's context: a statement broken off might take the
	// neighbours' transaction with it.
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// queryRow returns store.ErrNotFound if there is no row.
func (t *tx) queryRow(dest []any, text string, args ...any) error {
	stmt, err := t.prepared(text)
	if err != nil {
		return err
	}
	err = stmt.QueryRowContext(context.Background(), args...).Scan(dest...)
	if err == sql.ErrNoRows {
		return store.ErrNotFound
	}
	return err
}

// count is queryRow for one number.
func (t *tx) count(text string, args ...any) (n int64, err error) {
	err = t.queryRow([]any{&n}, text, args...)
	return n, err
}

func (t *tx) prepared(text string) (*sql.Stmt, error) {
	if stmt := t.stmts[text]; stmt != nil {
		return stmt, nil
	}
	stmt, err := t.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	t.stmts[text] = stmt
	return stmt, nil
}

// retryBusy repeats try while another process holds the write lock.
func retryBusy(ctx context.Context, try func() error) error {
	deadline := time.Now().Add(lockPatience)
	for {
		err := try()
		if !isBusy(err) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("another process holds the lock: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}
