package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strconv"
	"strings"
)

// The migrations, in files named by the schema version that each leads to: 0001_start.sql.
// One that was released is never changed.
//
//go:embed migrations/*.sql
var migrations embed.FS

// A migration is one file.
type migration struct {
	name    string
	version int
}

// migrationFiles is all of them, in order.
func migrationFiles() ([]migration, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	files := make([]migration, len(names))
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.Atoi(number)
		if err != nil || i > 0 && version <= files[i-1].version {
			return nil, fmt.Errorf("migration %s has no version of its own", name)
		}
		files[i] = migration{name, version}
	}
	return files, nil
}

// migrate applies what is missing, each in a transaction of its own. The
// version is read under the write lock, so that of two processes that start at
// once one migrates and the other finds it done.
func migrate(ctx context.Context, conn *sql.Conn, log *slog.Logger) error {
	files, err := migrationFiles()
	if err != nil {
		return err
	}
	for {
		applied, err := migrateOne(ctx, conn, files)
		if err != nil {
			return err
		}
		if applied == nil {
			return nil
		}
		log.Info("schema migrated", "file", applied.name, "version", applied.version)
	}
}

// migrateOne applies the next migration and returns it; nil if there is none to apply.
func migrateOne(ctx context.Context, conn *sql.Conn, files []migration) (applied *migration, err error) {
	if err := retryBusy(ctx, func() error { return run(ctx, conn, beginBatch) }); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, run(context.WithoutCancel(ctx), conn, rollbackBatch))
		}
	}()
	version, err := schemaVersion(ctx, conn)
	if err != nil {
		return nil, err
	}
	if newest := files[len(files)-1].version; version > newest {
		return nil, newerSchema(version, newest)
	}
	for i := range files {
		if files[i].version > version {
			applied = &files[i]
			break
		}
	}
	if applied != nil {
		if err := applied.run(ctx, conn); err != nil {
			return nil, fmt.Errorf("%s: %w", applied.name, err)
		}
	}
	return applied, run(ctx, conn, commitBatch)
}

func newerSchema(version, newest int) error {
	return fmt.Errorf("schema version %d is newer than the newest that this program knows, %d", version, newest)
}

func (m *migration) run(ctx context.Context, conn *sql.Conn) error {
	text, err := migrations.ReadFile(m.name)
	if err != nil {
		return err
	}
	if err := run(ctx, conn, sqliteDialect.words.Replace(string(text))); err != nil {
		return err
	}
	if m.version == notesVersion {
		if err := moveNotes(ctx, conn); err != nil {
			return err
		}
	}
	return run(ctx, conn, "UPDATE schema_version SET version = ?", m.version)
}

// schemaVersion is 0 for an empty database.
func schemaVersion(ctx context.Context, conn *sql.Conn) (version int, err error) {
	if err := run(ctx, conn, sqliteDialect.words.Replace("CREATE TABLE IF NOT EXISTS schema_version (version {int} NOT NULL)")); err != nil {
		return 0, err
	}
	err = conn.QueryRowContext(ctx, "SELECT version FROM schema_version").Scan(&version)
	if err == sql.ErrNoRows {
		return 0, run(ctx, conn, "INSERT INTO schema_version (version) VALUES (0)")
	}
	return version, err
}

func run(ctx context.Context, conn *sql.Conn, text string, args ...any) error {
	_, err := conn.ExecContext(ctx, text, args...)
	return err
}
