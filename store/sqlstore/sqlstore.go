// Package sqlstore keeps everything in an SQL database: SQLite in one file,
// with the SQL written so that MySQL can serve the same statements.
//
// Writes go through one goroutine that owns the only writing connection and
// commits what is queued together, so that one fsync serves many of them.
// Reads use a small pool of connections of their own, and see every write that
// was answered before they began. Other processes may have the same file open.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"chatd/store"
)

var _ store.Store = (*Store)(nil)

// readers is how many reads may run at once; more wait for their turn.
const readers = 8

// Config says where the database is. The zero Durability and Log are usable.
type Config struct {
	// Path names the database file, which is made, readable by its owner only,
	// if it is not there. Its folder must exist. SQLite puts two more files
	// beside it, Path-wal and Path-shm, that belong to it.
	Path string
	// Durability is "full" (default): an answered write survives a power cut; or
	// "normal": it survives the end of the process, and a power cut may take
	// the writes since the last checkpoint but leaves the database whole.
	Durability string
	Log        *slog.Logger
}

// Store is an open database.
type Store struct {
	path    string
	reads   *sql.DB
	queries sync.Map // SQL text to *sql.Stmt of reads
	writer  *writer
	close   func() error

	announcer atomic.Pointer[announced] // nil: nobody

	dataVersion int64 // of the last ChangedElsewhere; 0: none yet
}

// Open opens the database, makes it if it is not there, and brings its
// schema up to date. It waits for other processes that do the same.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("sqlstore: open %s: %w", cfg.Path, marked(err))
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Durability == "" {
		cfg.Durability = "full"
	}
	if cfg.Durability != "full" && cfg.Durability != "normal" {
		return nil, fmt.Errorf(`durability %q is neither "full" nor "normal"`, cfg.Durability)
	}
	if err := createFile(cfg.Path); err != nil {
		return nil, err
	}
	// No busy_timeout for the writer: retryBusy looks more often. Without fullfsync macOS leaves what it was told to sync in the
	// disk's cache; other systems do not know it.
	writes, err := connect(cfg.Path, 1, "synchronous("+cfg.Durability+")", "fullfsync("+strconv.FormatBool(cfg.Durability == "full")+")")
	if err != nil {
		return nil, err
	}
	conn, err := prepareDatabase(ctx, writes, cfg.Log)
	if err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	// What a reader does not find in its few pages the operating system has: eight times the
	// usual 2 MB would be more than a thousand sessions need.
	reads, err := connect(cfg.Path, readers, "query_only(1)", "busy_timeout(10000)", "cache_size(-256)")
	if err != nil {
		return nil, errors.Join(err, conn.Close(), writes.Close())
	}
	s := &Store{path: cfg.Path, reads: reads, writer: startWriter(conn)}
	if _, err := s.ChangedElsewhere(ctx); err != nil {
		return nil, errors.Join(err, s.writer.stop(), writes.Close(), reads.Close())
	}
	s.close = sync.OnceValue(func() error {
		return errors.Join(s.writer.stop(), writes.Close(), reads.Close())
	})
	return s, nil
}

// createFile makes an empty database, which SQLite would make readable by
// all; the files beside it take over its permissions.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// connect opens nothing yet: each connection does when it is first needed,
// with these pragmas.
func connect(path string, connections int, pragmas ...string) (*sql.DB, error) {
	dsn := "file:" + url.PathEscape(path) + "?_pragma=" + strings.Join(pragmas, "&_pragma=")
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// prepareDatabase returns the connection that writes.
func prepareDatabase(ctx context.Context, db *sql.DB, log *slog.Logger) (*sql.Conn, error) {
	var conn *sql.Conn
	err := retryBusy(ctx, func() (err error) {
		conn, err = db.Conn(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := useWAL(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := migrate(ctx, conn, log); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// useWAL lets readers and the writer go on beside each other, and makes a
// commit one append and one fsync.
func useWAL(ctx context.Context, conn *sql.Conn) error {
	return retryBusy(ctx, func() error {
		var mode string
		if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
			return err
		}
		if mode != "wal" {
			return fmt.Errorf("no write-ahead log here, only journal mode %q: is the folder on a network?", mode)
		}
		return nil
	})
}

// ChangedElsewhere reports whether another process has written to the database since the last call, or since it was
// opened. One goroutine may call it.
func (s *Store) ChangedElsewhere(ctx context.Context) (bool, error) {
	var version int64
	err := s.write(ctx, func(tx *tx) (err error) {
		version, err = tx.count(dataVersion)
		return err
	})
	if err != nil {
		return false, err
	}
	changed := s.dataVersion != 0 && version != s.dataVersion
	s.dataVersion = version
	return changed, nil
}

// Close answers the writes that are queued, and releases the file.
func (s *Store) Close() error { return s.close() }

// write runs one write in a transaction that it may share with others: apply
// is undone alone if it returns an error. It runs on the writer's goroutine,
// perhaps after the caller left because ctx ended, so it must own what it
// uses; what it leaves may be read once write returned nil.
func (s *Store) write(ctx context.Context, apply func(*tx) error) error {
	return wrap(s.writer.do(ctx, apply))
}

// query runs a statement that reads, and scan for each row. Statements are
// prepared once per connection; text must be a constant.
func (s *Store) query(ctx context.Context, scan func(*sql.Rows) error, text string, args ...any) error {
	err := s.queryRows(ctx, scan, text, args)
	if err != nil && s.writer.stopping() {
		return store.ErrClosed
	}
	return wrap(err)
}

func (s *Store) queryRows(ctx context.Context, scan func(*sql.Rows) error, text string, args []any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stmt, err := s.prepared(ctx, text)
	if err != nil {
		return err
	}
	// A read is short. To be able to break it off costs two goroutines each time.
	rows, err := stmt.QueryContext(context.WithoutCancel(ctx), args...)
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
