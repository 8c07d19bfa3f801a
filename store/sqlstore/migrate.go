package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
)

// The migrations, each named by the schema version it leads to. One that was
// released is never changed.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate applies what is missing, each in a transaction of its own. The
// version is read under the write lock, so that of two processes that start at
// once one migrates and the other finds it done.
func migrate(ctx context.Context, conn *sql.Conn, log *slog.Logger) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for {
		version, err := migrateOne(ctx, conn, names)
		if err != nil {
			return err
		}
		if version == len(names) {
			return nil
		}
		log.Info("schema migrated", "file", names[version], "version", version+1)
	}
}

// migrateOne returns the version that it found; if that is not the newest it
// applied the next.
func migrateOne(ctx context.Context, conn *sql.Conn, names []string) (version int, err error) {
	if err := retryBusy(ctx, func() error { return run(ctx, conn, beginBatch) }); err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, run(context.WithoutCancel(ctx), conn, rollbackBatch))
		}
	}()
	if version, err = schemaVersion(ctx, conn); err != nil {
		return 0, err
	}
	if version > len(names) {
		return 0, fmt.Errorf("schema version %d is newer than the newest that this program knows, %d", version, len(names))
	}
	if version < len(names) {
		text, err := migrations.ReadFile(names[version])
		if err != nil {
			return 0, err
		}
		if err := run(ctx, conn, schemaWords.Replace(string(text))); err != nil {
			return 0, fmt.Errorf("%s: %w", names[version], err)
		}
		if err := run(ctx, conn, "UPDATE schema_version SET version = ?", version+1); err != nil {
			return 0, err
		}
	}
	return version, run(ctx, conn, commitBatch)
}

// schemaVersion is 0 for an empty database.
func schemaVersion(ctx context.Context, conn *sql.Conn) (version int, err error) {
	if err := run(ctx, conn, schemaWords.Replace("CREATE TABLE IF NOT EXISTS schema_version (version {int} NOT NULL)")); err != nil {
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
