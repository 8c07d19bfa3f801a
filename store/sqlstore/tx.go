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
// goroutine uses it. Statements are prepared once if stmts is not nil; then texts must be constants.
type tx struct {
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	changed int64 // rows, by exec

	returning bool // the database has INSERT ... RETURNING
}

func (t *tx) begin() error {
	return retryBusy(context.Background(), func() error {
		_, err := t.exec(beginBatch)
		return err
	})
}

// exec returns how many rows the statement changed, or found as they should be.
func (t *tx) exec(text string, args ...any) (int64, error) {
	result, err := t.run(text, args)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	t.changed += n
	return n, err
}

// run does not use the caller's context: a statement broken off might take the
// neighbours' transaction with it.
func (t *tx) run(text string, args []any) (sql.Result, error) {
	if t.stmts == nil {
		return t.conn.ExecContext(context.Background(), text, args...)
	}
	stmt, err := t.prepared(text)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(context.Background(), args...)
}

// query calls scan for each row.
func (t *tx) query(scan func(*sql.Rows) error, text string, args ...any) error {
	rows, err := t.start(text, args)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *tx) start(text string, args []any) (*sql.Rows, error) {
	if t.stmts == nil {
		return t.conn.QueryContext(context.Background(), text, args...)
	}
	stmt, err := t.prepared(text)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(context.Background(), args...)
}

// queryRow returns store.ErrNotFound if there is no row.
func (t *tx) queryRow(dest []any, text string, args ...any) error {
	found := false
	err := t.query(func(rows *sql.Rows) error {
		found = true
		return rows.Scan(dest...)
	}, text, args...)
	if err == nil && !found {
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
