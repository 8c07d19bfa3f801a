package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatd/store"
)

const (
	// batchPatience is how long a batch is tried again while the server is gone or others are in its way; once the server is known to be
	// gone, the next ones find out whether it is back, and do not wait.
	batchPatience = 3 * time.Second
	// retryPause is how long to wait between two tries, at most, for the first of them.
	retryPause    = 5 * time.Millisecond
	maxRetryPause = 100 * time.Millisecond
)

var (
	// errConnect is wrapped by what comes of connecting: whatever the reason, the server cannot be asked.
	errConnect = errors.New("cannot connect")
	// errUndo: a write failed after it had changed something, and the batch has nothing to undo it with.
	errUndo = errors.New("a write has to be undone")
)

// mysqlBatches are applied on a connection of their own, which is made anew when it breaks. Round trips are what
// writes cost, so that a batch locks what it needs in one statement and appends all its messages in three, and has no savepoints unless it turns
// out to need them.
//
// When the answer to a COMMIT does not come, the row of this writer tells what has become of it: the batch has put its number
// there. Nobody can read the row before the transaction is over.
type mysqlBatches struct {
	db     *sql.DB
	id     []byte // of this writer's row
	tx     tx     // conn is nil: not connected
	since  time.Time
	thread int64 // the server's number of the connection
	former int64 // of the one before
	number int64 // of the last batch
	gone   bool  // the server was not reachable for the last batch
}

// A batchState is what the tries of one batch have in common.
type batchState struct {
	batch   []write
	answers []error
	careful bool // each write has a savepoint and locks by itself
	inDoubt bool // a COMMIT was sent and not answered
}

// commit implements batches. A failed commit is everybody's.
func (b *mysqlBatches) commit(batch []write, closing <-chan struct{}) {
	s := &batchState{batch: batch, answers: make([]error, len(batch))}
	b.number++
	err := b.insist(s, closing)
	for i, job := range batch {
		if err != nil {
			s.answers[i] = err
		}
		job.done <- s.answers[i]
	}
}

// insist tries until the batch is committed, or cannot be, or its time is over.
func (b *mysqlBatches) insist(s *batchState, closing <-chan struct{}) error {
	deadline := time.Now().Add(batchPatience)
	pause := retryPause
	for tries := 1; ; tries++ {
		err := b.try(s)
		// A server that was silent until now may answer on another connection.
		late := tries > 1 && time.Now().After(deadline)
		switch {
		case err == nil:
			b.gone = false
			return nil
		case err == errUndo:
			s.careful = true
			b.rollback()
			continue
		case isLost(err):
			b.drop()
			if b.gone || late {
				b.gone = true
				return unavailable(s, err)
			}
		case isConflict(err):
			// Those that are in nobody's way need not wait for the others.
			s.careful = s.careful || isLockTimeout(err)
			b.rollback()
			if late {
				return unavailable(s, err)
			}
		default:
			b.rollback()
			return err
		}
		select {
		case <-closing:
			return unavailable(s, err)
		case <-time.After(rand.N(pause)):
		}
		pause = min(2*pause, maxRetryPause)
	}
}

// unavailable says whether the batch may have been committed.
func unavailable(s *batchState, err error) error {
	if s.inDoubt {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", store.ErrNotTried, err)
}

func (b *mysqlBatches) try(s *batchState) error {
	if err := b.connect(); err != nil {
		return err
	}
	if s.inDoubt {
		last, err := b.tx.count("SELECT batch FROM writer WHERE id = ? FOR UPDATE", b.id)
		if err != nil && err != store.ErrNotFound {
			return b.blocked(err)
		}
		s.inDoubt = false
		if last == b.number {
			b.rollback()
			return nil // with the answers of then
		}
	}
	if err := b.claim(); err != nil {
		return b.blocked(err)
	}
	clear(s.answers)
	apply := b.applyTogether
	if s.careful {
		apply = b.applyEach
	}
	if err := apply(s); err != nil {
		return err
	}
	s.inDoubt = true
	_, err := b.tx.exec("COMMIT")
	s.inDoubt = isLost(err)
	return err
}

// claim begins the transaction, after whatever an earlier connection of this writer has left to be ended.
func (b *mysqlBatches) claim() error {
	now := time.Now().Unix()
	n, err := b.tx.exec("UPDATE writer SET batch = ?, seen = ? WHERE id = ?", b.number, now, b.id)
	if err == nil && n == 0 {
		_, err = b.tx.exec("INSERT INTO writer (id, batch, seen) VALUES (?, ?, ?)", b.id, b.number, now)
	}
	return err
}

// blocked ends an earlier connection of this writer that the server has not noticed to be dead, if it holds the writer's row.
func (b *mysqlBatches) blocked(err error) error {
	if isLockTimeout(err) && b.former != 0 {
		// It may be gone by now, or not be this user's.
		_, _ = b.tx.exec("KILL " + strconv.FormatInt(b.former, 10))
	}
	return err
}

// applyTogether returns an error if the transaction is lost.
func (b *mysqlBatches) applyTogether(s *batchState) error {
	var names [][]byte
	var appends []*appending
	for i, job := range s.batch {
		s.answers[i] = job.ctx.Err() // its caller has left
		switch {
		case s.answers[i] != nil:
		case job.append != nil && !job.append.again:
			appends = append(appends, job.append)
		default:
			names = append(names, digest(job.name))
		}
	}
	if err := lockNames(&b.tx, names); err != nil {
		return err
	}
	if err := appendAll(&b.tx, appends); err != nil {
		if isLost(err) || isConflict(err) {
			return err
		}
		return errUndo
	}
	for i, job := range s.batch {
		switch {
		case s.answers[i] != nil:
			continue
		case job.append != nil && !job.append.again:
			s.answers[i] = job.append.err
			continue
		}
		b.tx.changed = 0
		err := job.apply(&b.tx)
		if isLost(err) || isConflict(err) {
			return err
		}
		if err != nil && b.tx.changed > 0 {
			return errUndo
		}
		s.answers[i] = err
	}
	return nil
}

// applyEach is applyTogether with one write after the other, each of which is undone alone.
func (b *mysqlBatches) applyEach(s *batchState) error {
	for i, job := range s.batch {
		if s.answers[i] = job.ctx.Err(); s.answers[i] != nil {
			continue
		}
		if _, err := b.tx.exec("SAVEPOINT one"); err != nil {
			return err
		}
		err := lockNames(&b.tx, [][]byte{digest(job.name)})
		if err == nil {
			err = job.apply(&b.tx)
		}
		if isLost(err) || isConflict(err) && !isLockTimeout(err) {
			return err
		}
		if err != nil {
			if _, err := b.tx.exec("ROLLBACK TO one"); err != nil {
				return err
			}
		}
		s.answers[i] = err
	}
	return nil
}

// lockNames makes others wait who write under these names.
func lockNames(tx *tx, names [][]byte) error {
	if len(names) == 0 {
		return nil
	}
	slices.SortFunc(names, bytes.Compare) // in one order, lest two wait for each other
	names = slices.CompactFunc(names, bytes.Equal)
	args := make([]any, len(names))
	for i, name := range names {
		args[i] = name
	}
	_, err := tx.exec("INSERT INTO name_lock (digest) VALUES "+rows(len(names), "(?)")+" ON DUPLICATE KEY UPDATE digest = digest", args...)
	return err
}

// rows is n placeholders for rows.
func rows(n int, row string) string { return strings.Repeat(row+",", n-1) + row }

func (b *mysqlBatches) connect() error {
	if b.tx.conn != nil && time.Since(b.since) > connectionLife {
		b.drop()
	}
	if b.tx.conn != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	conn, err := b.db.Conn(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errConnect, err)
	} else if err != nil {
		return err
	}
	b.tx.conn, b.since, b.former = conn, time.Now(), b.thread
	// Reads see what was committed before them, and nothing between two keys is locked: what has to be is locked by name.
	_, err = b.tx.exec("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
	if err == nil {
		b.thread, err = b.tx.count("SELECT CONNECTION_ID()")
	}
	return err
}

func (b *mysqlBatches) rollback() {
	if b.tx.conn == nil {
		return
	}
	if _, err := b.tx.exec("ROLLBACK"); err != nil {
		b.drop()
	}
}

// drop gives up a connection whose state is not known.
func (b *mysqlBatches) drop() {
	if b.tx.conn == nil {
		return
	}
	_ = b.tx.conn.Raw(func(any) error { return driver.ErrBadConn }) // so that it is not used again
	_ = b.tx.conn.Close()
	b.tx.conn = nil
}

func (b *mysqlBatches) close() error {
	if b.tx.conn == nil {
		return nil
	}
	_, err := b.tx.exec("DELETE FROM writer WHERE id = ?", b.id)
	if err == nil {
		_, err = b.tx.exec("COMMIT")
	}
	b.drop()
	if isLost(err) {
		return nil // the row goes some day
	}
	return err
}
