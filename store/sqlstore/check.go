package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
)

// A Report is what is in a database, and what is wrong with it.
type Report struct {
	Schema   int // version
	Accounts int
	Messages int // that wait
	Rooms    int
	Bytes    int64 // of the file
	// Faults are in words, one each; none if the database is whole. Only the first ones are told.
	Faults []string
}

const maxFaults = 20

// Check reads a whole database file, also while chatd uses it, and looks for damage: to the file's structure, and of what must
// be true of its content. It changes nothing. An error says why that could not be done.
func Check(ctx context.Context, path string) (Report, error) {
	r, err := check(ctx, path, "mode=rw&_pragma=query_only(1)")
	if err != nil {
		return Report{}, fmt.Errorf("sqlstore: check %s: %w", path, err)
	}
	return r, nil
}

// check opens the file with these parameters of SQLite's URIs.
func check(ctx context.Context, path, parameters string) (r Report, err error) {
	conn, done, err := openToRead(ctx, path, parameters)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, done()) }()
	info, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	r.Bytes = info.Size()
	// In one transaction all questions are about one state, whatever is written meanwhile.
	if err := run(ctx, conn, "BEGIN"); err != nil {
		return r, asFault(&r, err)
	}
	return r, asFault(&r, r.read(ctx, conn))
}

// openToRead opens a database that is there, as it is.
func openToRead(ctx context.Context, path, parameters string) (*sql.Conn, func() error, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, nil, err
	}
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?"+parameters+"&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return conn, func() error { return errors.Join(conn.Close(), db.Close()) }, nil
}

// asFault counts an error that tells of damage among the faults.
func asFault(r *Report, err error) error {
	if isDamage(err) {
		r.Faults = append(r.Faults, err.Error())
		return nil
	}
	return err
}

func (r *Report) read(ctx context.Context, conn *sql.Conn) error {
	if err := r.query(ctx, conn, func(rows *sql.Rows) (string, error) {
		var fault string
		err := rows.Scan(&fault)
		if fault == "ok" {
			fault = ""
		}
		return fault, err
	}, fmt.Sprintf("PRAGMA integrity_check(%d)", maxFaults)); err != nil || len(r.Faults) > 0 {
		return err
	}
	if err := conn.QueryRowContext(ctx, "SELECT version FROM schema_version").Scan(&r.Schema); err != nil {
		return fmt.Errorf("not chatd's: %w", err)
	}
	files, err := migrationFiles()
	if err != nil {
		return err
	}
	if newest := files[len(files)-1].version; r.Schema < newest {
		return r.count(ctx, conn, "SELECT (SELECT COUNT(*) FROM account), (SELECT COUNT(*) FROM offline_message), 0")
	} else if r.Schema > newest {
		return fmt.Errorf("schema version %d is newer than the newest that this program knows, %d", r.Schema, newest)
	}
	if err := r.count(ctx, conn, "SELECT (SELECT COUNT(*) FROM account), (SELECT COUNT(*) FROM offline_message), (SELECT COUNT(*) FROM room)"); err != nil {
		return err
	}
	for _, look := range []func(context.Context, *sql.Conn) error{r.readCounters, r.readDigests, r.readValues} {
		if err := look(ctx, conn); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) count(ctx context.Context, conn *sql.Conn, text string) error {
	return conn.QueryRowContext(ctx, text).Scan(&r.Accounts, &r.Messages, &r.Rooms)
}

// query has fault say for each row what is wrong with it, "" for nothing.
func (r *Report) query(ctx context.Context, conn *sql.Conn, fault func(*sql.Rows) (string, error), text string) error {
	rows, err := conn.QueryContext(ctx, text)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() && len(r.Faults) < maxFaults {
		what, err := fault(rows)
		if err != nil {
			return err
		}
		if what != "" {
			r.Faults = append(r.Faults, what)
		}
	}
	return rows.Err()
}

// invariants finds the keys for which something is not as it must be.
var invariants = []struct{ what, text string }{
	{"offline_queue: wrong count of messages that wait for", `SELECT user FROM offline_queue q
		WHERE waiting <> (SELECT COUNT(*) FROM offline_message m WHERE m.user = q.user)`},
	{"offline_message: a number that was not given yet, of", `SELECT user FROM offline_message m GROUP BY user
		HAVING MAX(seq) > COALESCE((SELECT last_seq FROM offline_queue q WHERE q.user = m.user), 0)`},
	{"outbox_queue: wrong count of events that wait in", `SELECT queue FROM outbox_queue q
		WHERE waiting <> (SELECT COUNT(*) FROM outbox_event e WHERE e.queue = q.queue)`},
	{"outbox_event: a number that was not given yet, in", `SELECT queue FROM outbox_event e GROUP BY queue
		HAVING MAX(seq) > COALESCE((SELECT last_seq FROM outbox_queue q WHERE q.queue = e.queue), 0)`},
	{"roster_item: contacts without a version of", `SELECT DISTINCT user FROM roster_item WHERE user NOT IN (SELECT user FROM roster)`},
	{"room: no counter for", "SELECT room FROM room WHERE room NOT IN (SELECT room FROM room_counter)"},
	{"room_affiliation: affiliations without the room", "SELECT DISTINCT room FROM room_affiliation WHERE room NOT IN (SELECT room FROM room)"},
	{"room_history: messages without the room", "SELECT DISTINCT room FROM room_history WHERE room NOT IN (SELECT room FROM room)"},
	{"room_history: a number that was not given yet, in", `SELECT room FROM room_history h GROUP BY room
		HAVING MAX(seq) > COALESCE((SELECT last_seq FROM room_counter c WHERE c.room = h.room), 0)`},
	{"room_history: messages are missing in", "SELECT room FROM room_history GROUP BY room HAVING COUNT(*) <> MAX(seq) - MIN(seq) + 1"},
}

func (r *Report) readCounters(ctx context.Context, conn *sql.Conn) error {
	for _, i := range invariants {
		if err := r.query(ctx, conn, func(rows *sql.Rows) (string, error) {
			var key string
			err := rows.Scan(&key)
			return fmt.Sprintf("%s %q", i.what, key), err
		}, i.text); err != nil {
			return err
		}
	}
	return nil
}

// readDigests looks for rows that nobody would find by what they are about.
func (r *Report) readDigests(ctx context.Context, conn *sql.Conn) error {
	for table, text := range map[string]string{
		"roster_item":      "SELECT user, digest, contact FROM roster_item",
		"blocked":          "SELECT user, digest, jid FROM blocked",
		"room_affiliation": "SELECT room, digest, jid FROM room_affiliation",
		"room_history":     "SELECT room, digest, id FROM room_history",
	} {
		if err := r.query(ctx, conn, func(rows *sql.Rows) (string, error) {
			var key, of string
			var is []byte
			err := rows.Scan(&key, &is, &of)
			if err == nil && !bytes.Equal(is, digest(of)) {
				return fmt.Sprintf("%s: wrong digest of %q, of %q", table, of, key), nil
			}
			return "", err
		}, text); err != nil {
			return err
		}
	}
	return r.query(ctx, conn, func(rows *sql.Rows) (string, error) {
		var user, local, space string
		var is []byte
		err := rows.Scan(&user, &is, &local, &space)
		if err == nil && !bytes.Equal(is, digest(local, space)) {
			return fmt.Sprintf("private_xml: wrong digest of %q, of %q", local, user), nil
		}
		return "", err
	}, "SELECT user, digest, local, space FROM private_xml")
}

// readValues looks for values that cannot be read.
func (r *Report) readValues(ctx context.Context, conn *sql.Conn) error {
	if err := r.query(ctx, conn, func(rows *sql.Rows) (string, error) {
		var user string
		var row accountRow
		if err := rows.Scan(append([]any{&user}, row.dest()...)...); err != nil {
			return "", err
		}
		if _, err := row.account(user); err != nil {
			return err.Error(), nil
		}
		return "", nil
	}, "SELECT user, credentials, tokens, created, disabled FROM account"); err != nil {
		return err
	}
	for table, text := range map[string]string{
		"roster_item": "SELECT user, in_groups FROM roster_item",
		"roster_note": "SELECT user, notes FROM roster_note",
	} {
		if err := r.query(ctx, conn, func(rows *sql.Rows) (string, error) {
			var user string
			var joined []byte
			if err := rows.Scan(&user, &joined); err != nil {
				return "", err
			}
			_, err := splitTexts(joined)
			if err == nil && table == "roster_note" {
				_, err = splitNotes(joined)
			}
			if err != nil {
				return fmt.Sprintf("%s: %v, of %q", table, err, user), nil
			}
			return "", nil
		}, text); err != nil {
			return err
		}
	}
	return nil
}
