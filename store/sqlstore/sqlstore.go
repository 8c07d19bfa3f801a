// Package sqlstore keeps everything in an SQL database, with the same statements: in SQLite, which is one file, or in
// MySQL or MariaDB, which other nodes may share.
//
// Writes go through goroutines that each own a writing connection and
// commit what is queued together, so that one fsync serves many of them. SQLite has one; with MySQL each user belongs to one of several.
// Reads use a small pool of connections of their own, and see every write that
// was answered before they began. Other processes may use the same database.
package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"chatd/store"
)

var _ store.Store = (*Store)(nil)

// Store is an open database.
type Store struct {
	dialect *dialect
	path    string // of SQLite's file
	reads   *sql.DB
	queries sync.Map // SQL text to *sql.Stmt of reads
	writers []*writer
	seed    maphash.Seed // chooses among them
	close   func() error

	announcer atomic.Pointer[announced] // nil: nobody

	version     func(context.Context) (int64, error) // changes when another process has changed what this one must heed
	lastVersion int64                                // of the last ChangedElsewhere
	ownChanges  atomic.Int64                         // of accounts
}

// ChangedElsewhere reports whether another process has written to the database since the last call, or since it was
// opened; with MySQL, where others write all the time, whether it has removed or disabled an account or changed a password. One goroutine may call it.
func (s *Store) ChangedElsewhere(ctx context.Context) (bool, error) {
	version, err := s.version(ctx)
	if err != nil {
		return false, err
	}
	changed := version != s.lastVersion
	s.lastVersion = version
	return changed, nil
}

// Close answers the writes that are queued, and releases the database.
func (s *Store) Close() error { return s.close() }

// write runs one write in a transaction that it may share with others: apply
// is undone alone if it returns an error. It runs on the writer's goroutine,
// perhaps more than once, and perhaps after the caller left because ctx ended, so it must own what it
// uses; what it leaves may be read once write returned nil. While it runs nobody else writes what is kept
// under the name, and it may write nothing else.
func (s *Store) write(ctx context.Context, name string, apply func(*tx) error) error {
	return s.queue(ctx, write{name: name, apply: apply})
}

func (s *Store) queue(ctx context.Context, job write) error {
	w := s.writers[0]
	if len(s.writers) > 1 {
		w = s.writers[maphash.String(s.seed, job.name)%uint64(len(s.writers))]
	}
	return wrap(w.do(ctx, job))
}

// Waiting is how many changes are queued for the database. Any goroutine may ask.
func (s *Store) Waiting() (n int) {
	for _, w := range s.writers {
		n += len(w.queue)
	}
	return n
}

// query runs a statement that reads, and scan for each row; text must be a constant.
func (s *Store) query(ctx context.Context, scan func(*sql.Rows) error, text string, args ...any) error {
	seen, err := s.queryRows(ctx, scan, text, args)
	if isLost(err) && !seen && ctx.Err() == nil {
		// The connection may have been dead for long.
		_, err = s.queryRows(ctx, scan, text, args)
	}
	if err != nil && s.writers[0].stopping() {
		return store.ErrClosed
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return wrap(err)
}

// queryRows reports also whether a row was seen.
func (s *Store) queryRows(ctx context.Context, scan func(*sql.Rows) error, text string, args []any) (seen bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	rows, err := s.start(ctx, text, args)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		seen = true
		if err := scan(rows); err != nil {
			return seen, err
		}
	}
	return seen, rows.Err()
}

func (s *Store) start(ctx context.Context, text string, args []any) (*sql.Rows, error) {
	if !s.dialect.prepares {
		return s.reads.QueryContext(ctx, text, args...)
	}
	stmt, err := s.prepared(ctx, text)
	if err != nil {
		return nil, err
	}
	// A read from a file is short. To be able to break it off costs two goroutines each time.
	return stmt.QueryContext(context.WithoutCancel(ctx), args...)
}

func (s *Store) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt, ok := s.queries.Load(text); ok {
		return stmt.(*sql.Stmt), nil
	}
	stmt, err := s.reads.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if first, raced := s.queries.LoadOrStore(text, stmt); raced {
		stmt.Close()
		return first.(*sql.Stmt), nil
	}
	return stmt, nil
}

// queryRow is query for at most one row; without one it returns
// store.ErrNotFound.
func (s *Store) queryRow(ctx context.Context, dest []any, text string, args ...any) error {
	found := false
	err := s.query(ctx, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(dest...)
	}, text, args...)
	if err == nil && !found {
		return store.ErrNotFound
	}
	return err
}

// wrap marks the faults of the database, and those that may pass as store.ErrUnavailable; the errors that callers tell
// apart stay as they are.
func wrap(err error) error {
	switch err {
	case nil, store.ErrNotFound, store.ErrExists, store.ErrFull, store.ErrClosed, errConflict, errKept,
		context.Canceled, context.DeadlineExceeded:
		return err
	}
	return fmt.Errorf("sqlstore: %w", marked(err))
}
