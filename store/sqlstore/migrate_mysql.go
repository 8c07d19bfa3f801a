package sqlstore

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// migratePatience is how long to wait for another node that migrates.
const migratePatience = 10 * time.Minute

// prepareMySQL brings the schema up to date, and reports whether the server is MariaDB.
func prepareMySQL(ctx context.Context, cfg *mysql.Config, log *slog.Logger) (maria bool, err error) {
	cfg = cfg.Clone()
	cfg.ReadTimeout = 0 // to change a large table takes time; ctx bounds it
	db, err := openPool(cfg, 1)
	if err != nil {
		return false, err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil && ctx.Err() != nil {
		return false, fmt.Errorf("%w: %w", errConnect, err)
	} else if err != nil {
		return false, err
	}
	defer conn.Close()
	var version string
	var flush int
	if err := conn.QueryRowContext(ctx, "SELECT VERSION(), @@innodb_flush_log_at_trx_commit").Scan(&version, &flush); err != nil {
		return false, err
	}
	if flush != 1 {
		log.Warn("a power cut at the database may take what was acknowledged", "innodb_flush_log_at_trx_commit", flush)
	}
	return strings.Contains(version, "MariaDB"), migrateMySQL(ctx, conn, cfg.DBName, log)
}

// migrateMySQL applies what is missing. The lock is the connection's, so that it goes with it: of several nodes that start at
// once one migrates and the others find it done.
func migrateMySQL(ctx context.Context, conn *sql.Conn, database string, log *slog.Logger) error {
	lock := "chatd schema " + hex.EncodeToString(digest(database))
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", lock, int(migratePatience.Seconds())).Scan(&got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return errors.New("another node has been migrating the schema for too long")
	}
	err := migrateLocked(ctx, conn, log)
	return errors.Join(err, run(context.WithoutCancel(ctx), conn, "DO RELEASE_LOCK(?)", lock))
}

func migrateLocked(ctx context.Context, conn *sql.Conn, log *slog.Logger) error {
	files, err := migrationFiles()
	if err != nil {
		return err
	}
	at, err := readProgress(ctx, conn)
	if err != nil {
		return err
	}
	if newest := files[len(files)-1].version; at.version > newest {
		return newerSchema(at.version, newest)
	}
	for i := range files {
		if files[i].version <= at.version {
			continue
		}
		if err := at.apply(ctx, conn, &files[i]); err != nil {
			return fmt.Errorf("%s: %w", files[i].name, err)
		}
		log.Info("schema migrated", "file", files[i].name, "version", files[i].version)
	}
	for _, text := range mysqlTables {
		if err := run(ctx, conn, text); err != nil {
			return err
		}
	}
	return run(ctx, conn, "DELETE FROM writer WHERE seen < ?", time.Now().Add(-forgetWriters).Unix())
}

// progress is how far the schema is. A statement that changes it commits by itself and cannot be undone, so each is
// taken note of before and after.
type progress struct {
	version int
	step    int  // statements of the next migration that are done
	begun   bool // the next one may be done too
}

func readProgress(ctx context.Context, conn *sql.Conn) (p progress, err error) {
	err = run(ctx, conn, "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL, step BIGINT NOT NULL, begun BIGINT NOT NULL) ENGINE=InnoDB")
	if err != nil {
		return p, err
	}
	err = conn.QueryRowContext(ctx, "SELECT version, step, begun FROM schema_version").Scan(&p.version, &p.step, &p.begun)
	if err == sql.ErrNoRows {
		err = run(ctx, conn, "INSERT INTO schema_version (version, step, begun) VALUES (0, 0, 0)")
	}
	return p, err
}

func (p *progress) write(ctx context.Context, conn *sql.Conn) error {
	return run(ctx, conn, "UPDATE schema_version SET version = ?, step = ?, begun = ?", p.version, p.step, p.begun)
}

// apply goes on with a migration where it stopped.
func (p *progress) apply(ctx context.Context, conn *sql.Conn, m *migration) error {
	text, err := migrations.ReadFile(m.name)
	if err != nil {
		return err
	}
	statements := splitStatements(mysqlDialect.words.Replace(string(text)))
	for p.step < len(statements) {
		if err := p.runStep(ctx, conn, statements[p.step]); err != nil {
			return err
		}
	}
	if m.version == notesVersion {
		if err := moveNotes(ctx, conn); err != nil {
			return err
		}
	}
	*p = progress{version: m.version}
	return p.write(ctx, conn)
}

func (p *progress) runStep(ctx context.Context, conn *sql.Conn, text string) error {
	maybeDone := p.begun
	p.begun = true
	if err := p.write(ctx, conn); err != nil {
		return err
	}
	err := run(ctx, conn, text)
	if err != nil && !(maybeDone && isDone(err)) {
		if _, refused := errors.AsType[*mysql.MySQLError](err); refused && !isLost(err) {
			p.begun = maybeDone
			err = errors.Join(err, p.write(context.WithoutCancel(ctx), conn))
		}
		return err
	}
	p.step, p.begun = p.step+1, false
	return p.write(ctx, conn)
}

// isDone reports whether a change of the schema was refused because it has been made already.
func isDone(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (e.Number == 1050 || e.Number == 1060 || e.Number == 1061) // table, column, key exists
}

// splitStatements is for migrations, which have no semicolon but at the ends of statements and in comments.
func splitStatements(text string) (statements []string) {
	var plain strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "--")
		plain.WriteString(line)
		plain.WriteByte('\n')
	}
	for statement := range strings.SplitSeq(plain.String(), ";") {
		if statement = strings.TrimSpace(statement); statement != "" {
			statements = append(statements, statement)
		}
	}
	return statements
}
