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
)

// readers is how many reads may run at once; more wait for their turn.
const readers = 8

// Config says where SQLite's database is. The zero Durability and Log are usable.
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

// Open opens a database of SQLite, makes it if it is not there, and brings its
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
	w := startWriter(&sqliteBatches{tx{conn: conn, stmts: make(map[string]*sql.Stmt)}})
	s := &Store{dialect: &sqliteDialect, path: cfg.Path, reads: reads, writers: []*writer{w}}
	s.version = s.dataVersion
	s.close = sync.OnceValue(func() error {
		return errors.Join(w.stop(), writes.Close(), reads.Close())
	})
	if _, err := s.ChangedElsewhere(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
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

// dataVersion asks the writing connection for a number that changes whenever another process has written.
func (s *Store) dataVersion(ctx context.Context) (int64, error) {
	var version int64 // touched only when the write was not abandoned
	err := s.write(ctx, "", func(tx *tx) (err error) {
		version, err = tx.count("PRAGMA data_version")
		return err
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}
