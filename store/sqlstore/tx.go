package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"chatd/store"
)

const (
	// lockPatience is how long to wait for other processes that write, and
	// lockPoll how often to look. It is often, because under load this
	// process lets go of the lock only for a moment.
	lockPatience = 10 * time.Second
	lockPoll     = time.Millisecond
)

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

// close releases the statements: SQLite folds its log into the database only when the
// last connection goes with none left.
func (t *tx) close() (err error) {
	for _, stmt := range t.stmts {
		err = errors.Join(err, stmt.Close())
	}
	return err
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
