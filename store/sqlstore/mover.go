package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"chatd/store"
)

// selectNames takes no more names from each table than are asked for. roster and offline_queue have a row for everybody
// who is in roster_item or offline_message, and more.
const selectNames = `SELECT user FROM (SELECT user FROM account WHERE user > ? ORDER BY user LIMIT ?) AS a
	UNION SELECT user FROM (SELECT user FROM roster WHERE user > ? ORDER BY user LIMIT ?) AS b
	UNION SELECT user FROM (SELECT user FROM offline_queue WHERE user > ? ORDER BY user LIMIT ?) AS c
	UNION SELECT user FROM (SELECT DISTINCT user FROM blocked WHERE user > ? ORDER BY user LIMIT ?) AS d
	UNION SELECT user FROM (SELECT user FROM roster_note WHERE user > ? ORDER BY user LIMIT ?) AS e
	UNION SELECT user FROM (SELECT user FROM privacy WHERE user > ? ORDER BY user LIMIT ?) AS f
	UNION SELECT user FROM (SELECT DISTINCT user FROM private_xml WHERE user > ? ORDER BY user LIMIT ?) AS g
	UNION SELECT user FROM (SELECT user FROM vcard WHERE user > ? ORDER BY user LIMIT ?) AS h
	UNION SELECT user FROM (SELECT user FROM last_activity WHERE user > ? ORDER BY user LIMIT ?) AS i
	ORDER BY user LIMIT ?`

// Names implements store.Mover.
func (s *Store) Names(ctx context.Context, after string, limit int) ([]string, error) {
	const tables = 9
	limit = max(0, limit)
	args := make([]any, 0, 2*tables+1)
	for range tables {
		args = append(args, after, limit)
	}
	var names []string
	err := s.query(ctx, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	}, selectNames, append(args, limit)...)
	return names, err
}

// Record implements store.Mover.
func (s *Store) Record(ctx context.Context, user string) (store.Record, error) {
	r := store.Record{User: user}
	a, err := s.Account(ctx, user)
	if err == nil {
		r.Account = &a
	}
	last, errLast := s.LastActivity(ctx, user)
	if errLast == nil {
		r.LastActivity = &last
	}
	var errs [6]error
	r.Roster, errs[0] = s.Roster(ctx, user)
	r.Blocked, errs[1] = s.Blocklist(ctx, user)
	r.Notes, errs[2] = s.Notes(ctx, user)
	r.Privacy, errs[3] = s.Privacy(ctx, user)
	r.Private, errs[4] = s.PrivateElements(ctx, user)
	r.VCard, errs[5] = s.VCard(ctx, user)
	errSeq := s.queryRow(ctx, []any{&r.LastSeq}, "SELECT last_seq FROM offline_queue WHERE user = ?", user)
	for _, err := range append(errs[:], err, errLast, errSeq) {
		if err != nil && err != store.ErrNotFound {
			return store.Record{}, err
		}
	}
	return r, nil
}

// A statement owns its arguments.
type statement struct {
	text string
	args []any
}

// PutRecord implements store.Mover.
func (s *Store) PutRecord(ctx context.Context, r store.Record) error {
	statements := clearRecord(r.User)
	if r.Account != nil {
		account, err := insertAccount(r.Account)
		if err != nil {
			return err
		}
		account.args[0] = r.User
		statements = append(statements, account)
	}
	statements = append(statements, insertRoster(r.User, &r.Roster)...)
	statements = append(statements, insertRest(&r)...)
	return s.write(ctx, r.User, func(tx *tx) error {
		for _, st := range statements {
			if _, err := tx.exec(st.text, st.args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// clearRecord leaves nothing under the name, other than purge.
func clearRecord(user string) (all []statement) {
	for _, text := range [...]string{
		"DELETE FROM account WHERE user = ?",
		"DELETE FROM roster WHERE user = ?",
		"DELETE FROM roster_item WHERE user = ?",
		"DELETE FROM blocked WHERE user = ?",
		"DELETE FROM offline_queue WHERE user = ?",
		"DELETE FROM offline_message WHERE user = ?",
		"DELETE FROM roster_note WHERE user = ?",
		"DELETE FROM privacy WHERE user = ?",
		"DELETE FROM private_xml WHERE user = ?",
		"DELETE FROM vcard WHERE user = ?",
		"DELETE FROM last_activity WHERE user = ?",
	} {
		all = append(all, statement{text, []any{user}})
	}
	return all
}

func insertRoster(user string, r *store.Roster) (all []statement) {
	if r.Version == 0 && len(r.Items) == 0 {
		return nil
	}
	all = append(all, statement{"INSERT INTO roster (user, version) VALUES (?, ?)", []any{user, r.Version}})
	for i := range r.Items {
		item := r.Items[i]
		item.Request = bytes.Clone(item.Request)
		all = append(all, replaceItem(user, digest(item.JID), &item, joinTexts(item.Groups)))
	}
	return all
}

// insertRest is for all but account and roster.
func insertRest(r *store.Record) (all []statement) {
	add := func(text string, args ...any) { all = append(all, statement{text, append([]any{r.User}, args...)}) }
	for _, jid := range r.Blocked {
		add("INSERT INTO blocked (user, digest, jid) VALUES (?, ?, ?)", digest(jid), jid)
	}
	if len(r.Notes) > 0 {
		add("INSERT INTO roster_note (user, notes) VALUES (?, ?)", joinNotes(r.Notes))
	}
	if r.Privacy != (store.Privacy{}) {
		add("INSERT INTO privacy (user, messages, requests) VALUES (?, ?, ?)", int64(r.Privacy.Messages), int64(r.Privacy.Requests))
	}
	for _, e := range r.Private {
		add("INSERT INTO private_xml (user, digest, space, local, xml) VALUES (?, ?, ?, ?, ?)",
			digest(e.Local, e.Space), e.Space, e.Local, append([]byte{}, e.XML...))
	}
	if len(r.VCard) > 0 {
		add("INSERT INTO vcard (user, xml) VALUES (?, ?)", bytes.Clone(r.VCard))
	}
	if l := r.LastActivity; l != nil {
		add("INSERT INTO last_activity (user, seen, status) VALUES (?, ?, ?)", l.At.Unix(), l.Status)
	}
	if r.LastSeq > 0 {
		add("INSERT INTO offline_queue (user, last_seq, waiting) VALUES (?, ?, 0)", r.LastSeq)
	}
	return all
}

// insertAccount is for an account that is not there.
func insertAccount(a *store.Account) (statement, error) {
	creds, err := json.Marshal(a.Credentials)
	if err != nil {
		return statement{}, fmt.Errorf("sqlstore: credentials: %w", err)
	}
	tokens, err := encodeTokens(a.Tokens)
	if err != nil {
		return statement{}, fmt.Errorf("sqlstore: tokens: %w", err)
	}
	return statement{"INSERT INTO account (user, credentials, tokens, created, disabled) VALUES (?, ?, ?, ?, ?)",
		[]any{a.User, string(creds), tokens, a.Created.Unix(), a.Disabled}}, nil
}

// PutOffline implements store.Mover.
func (s *Store) PutOffline(ctx context.Context, user string, messages []store.OfflineMessage) error {
	if len(messages) == 0 {
		return s.write(ctx, user, func(*tx) error { return nil })
	}
	numbers, rows := make([]int64, len(messages)), make([]statement, len(messages))
	for i, m := range messages {
		numbers[i] = m.Seq
		rows[i] = statement{"REPLACE INTO offline_message (user, seq, stored, stanza, id) VALUES (?, ?, ?, ?, ?)",
			[]any{user, m.Seq, m.Stored.UnixMilli(), append([]byte{}, m.Stanza...), sql.NullString{String: m.ID, Valid: m.ID != ""}}}
	}
	return s.write(ctx, user, func(tx *tx) error {
		added, err := replaceNumbered(tx, "SELECT COUNT(*) FROM offline_message WHERE user = ? AND seq BETWEEN ? AND ?", user, numbers, rows)
		if err != nil {
			return err
		}
		n, err := tx.exec("UPDATE offline_queue SET waiting = waiting + ? WHERE user = ?", added, user)
		if err == nil && n == 0 && added > 0 {
			err = errNoRecord
		}
		return err
	})
}

// errNoRecord: the messages of a record come after it.
var errNoRecord = errors.New("sqlstore: messages without the record that says which number is the last one")

// replaceNumbered writes rows with these numbers and returns how many were not there before.
func replaceNumbered(tx *tx, count, key string, numbers []int64, rows []statement) (added int64, err error) {
	first, last := slices.Min(numbers), slices.Max(numbers)
	before, err := tx.count(count, key, first, last)
	if err != nil {
		return 0, err
	}
	for _, row := range rows {
		if _, err := tx.exec(row.text, row.args...); err != nil {
			return 0, err
		}
	}
	after, err := tx.count(count, key, first, last)
	return after - before, err
}

// Queues implements store.Mover.
func (s *Store) Queues(ctx context.Context) ([]store.Queue, error) {
	var queues []store.Queue
	err := s.query(ctx, func(rows *sql.Rows) error {
		var q store.Queue
		err := rows.Scan(&q.Name, &q.LastSeq)
		queues = append(queues, q)
		return err
	}, "SELECT queue, last_seq FROM outbox_queue ORDER BY queue")
	return queues, err
}

// PutEvents implements store.Mover.
func (s *Store) PutEvents(ctx context.Context, q store.Queue, events []store.Event) error {
	numbers, rows := make([]int64, len(events)), make([]statement, len(events))
	for i, e := range events {
		numbers[i] = e.Seq
		rows[i] = statement{"REPLACE INTO outbox_event (queue, seq, event, type, about, queued, fault, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			[]any{q.Name, e.Seq, e.ID, e.Type, e.Key, e.Queued.UnixMilli(), e.Fault, append([]byte{}, e.Body...)}}
	}
	return s.write(ctx, q.Name, func(tx *tx) error {
		n, err := tx.count("SELECT COUNT(*) FROM outbox_queue WHERE queue = ?", q.Name)
		if err == nil && n == 0 {
			_, err = tx.exec("INSERT INTO outbox_queue (queue, last_seq, waiting, holder, held_until) VALUES (?, ?, 0, '', 0)", q.Name, q.LastSeq)
		} else if err == nil {
			_, err = tx.exec("UPDATE outbox_queue SET last_seq = ? WHERE queue = ?", q.LastSeq, q.Name)
		}
		if err != nil || len(rows) == 0 {
			return err
		}
		added, err := replaceNumbered(tx, "SELECT COUNT(*) FROM outbox_event WHERE queue = ? AND seq BETWEEN ? AND ?", q.Name, numbers, rows)
		if err != nil || added == 0 {
			return err
		}
		_, err = tx.exec("UPDATE outbox_queue SET waiting = waiting + ? WHERE queue = ?", added, q.Name)
		return err
	})
}
