package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"chatd/store"
)

// Account implements store.Accounts.
func (s *Store) Account(ctx context.Context, user string) (store.Account, error) {
	var r accountRow
	if err := s.queryRow(ctx, r.dest(), selectAccount, user); err != nil {
		return store.Account{}, err
	}
	return r.account(user)
}

const selectAccount = "SELECT credentials, tokens, created, disabled FROM account WHERE user = ?"

// An accountRow is what selectAccount finds.
type accountRow struct {
	creds, tokens []byte // JSON; tokens may be nil
	created       int64
	disabled      bool
}

func (r *accountRow) dest() []any { return []any{&r.creds, &r.tokens, &r.created, &r.disabled} }

func (r *accountRow) account(user string) (store.Account, error) {
	a := store.Account{User: user, Created: time.Unix(r.created, 0).UTC(), Disabled: r.disabled}
	err := json.Unmarshal(r.creds, &a.Credentials)
	if err == nil && r.tokens != nil {
		err = json.Unmarshal(r.tokens, &a.Tokens)
	}
	if err != nil {
		return store.Account{}, fmt.Errorf("sqlstore: account of %q: %w", user, err)
	}
	return a, nil
}

// CreateAccount implements store.Accounts.
func (s *Store) CreateAccount(ctx context.Context, a store.Account) error {
	insert, err := insertAccount(&a)
	if err != nil {
		return err
	}
	return s.write(ctx, a.User, func(tx *tx) error {
		n, err := tx.count("SELECT COUNT(*) FROM account WHERE user = ?", a.User)
		if err != nil {
			return err
		}
		if n > 0 {
			return store.ErrExists
		}
		if err := purge(tx, a.User); err != nil {
			return err
		}
		if _, err := tx.exec(insert.text, insert.args...); err != nil {
			return err
		}
		return s.announce(tx, func(to store.Announcer) []store.Posting { return to.AccountMade(&a) })
	})
}

// SetCredentials implements store.Accounts.
func (s *Store) SetCredentials(ctx context.Context, user string, creds []store.Credential) error {
	text, err := json.Marshal(creds)
	if err != nil {
		return fmt.Errorf("sqlstore: credentials: %w", err)
	}
	return s.ownChange(s.write(ctx, user, func(tx *tx) error {
		n, err := tx.exec("UPDATE account SET credentials = ?, tokens = NULL WHERE user = ?", string(text), user)
		if err == nil && n == 0 {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		return s.noteAccountChange(tx)
	}))
}

// SetDisabled implements store.Accounts.
func (s *Store) SetDisabled(ctx context.Context, user string, disabled bool) error {
	return s.ownChange(s.write(ctx, user, func(tx *tx) error {
		n, err := tx.exec("UPDATE account SET disabled = ? WHERE user = ?", disabled, user)
		if err == nil && n == 0 {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		return s.noteAccountChange(tx)
	}))
}

// UpdateTokens implements store.Accounts.
func (s *Store) UpdateTokens(ctx context.Context, user string, update func(store.Account) ([]store.LoginToken, error)) error {
	err := s.write(ctx, user, func(tx *tx) error {
		var r accountRow
		if err := tx.queryRow(r.dest(), selectAccount, user); err != nil {
			return err
		}
		a, err := r.account(user)
		if err != nil {
			return err
		}
		tokens, err := update(a)
		if err != nil {
			return refusal{err}
		}
		text, err := encodeTokens(tokens)
		if err != nil {
			return err
		}
		_, err = tx.exec("UPDATE account SET tokens = ? WHERE user = ?", text, user)
		return err
	})
	if r, ok := errors.AsType[refusal](err); ok {
		return r.error
	}
	return err
}

// A refusal is a caller's own error, which goes back as it is.
type refusal struct{ error }

// encodeTokens is NULL for none.
func encodeTokens(tokens []store.LoginToken) (any, error) {
	if len(tokens) == 0 {
		return nil, nil
	}
	tokens = slices.Clone(tokens)
	for i := range tokens {
		t := &tokens[i]
		t.Issued, t.Expires = t.Issued.UTC().Truncate(time.Second), t.Expires.UTC().Truncate(time.Second)
	}
	text, err := json.Marshal(tokens)
	return string(text), err
}

// DeleteAccount implements store.Accounts.
func (s *Store) DeleteAccount(ctx context.Context, user string) error {
	return s.ownChange(s.write(ctx, user, func(tx *tx) error {
		n, err := tx.exec("DELETE FROM account WHERE user = ?", user)
		if err != nil {
			return err
		}
		if n == 0 {
			return store.ErrNotFound
		}
		if err := purge(tx, user); err != nil {
			return err
		}
		return s.noteAccountChange(tx)
	}))
}

// noteAccountChange lets other processes know, where the database does not tell them by itself.
func (s *Store) noteAccountChange(tx *tx) (err error) {
	if s.dialect.noteAccountChange != "" {
		_, err = tx.exec(s.dialect.noteAccountChange)
	}
	return err
}

// ownChange leaves a change of an account by this process, with the outcome err, out of what others have done.
func (s *Store) ownChange(err error) error {
	if err == nil {
		s.ownChanges.Add(1)
	}
	return err
}

// purge removes all but the account itself, and what keeps numbers from
// repeating.
func purge(tx *tx, user string) error {
	if _, err := growVersion(tx, user); err != nil && err != store.ErrNotFound {
		return err
	}
	for _, text := range [...]string{
		"DELETE FROM roster_item WHERE user = ?",
		"DELETE FROM blocked WHERE user = ?",
		"UPDATE offline_queue SET waiting = 0 WHERE user = ?", // and nobody appends until this is committed
		"DELETE FROM offline_message WHERE user = ?",
		"DELETE FROM roster_note WHERE user = ?",
		"DELETE FROM privacy WHERE user = ?",
		"DELETE FROM private_xml WHERE user = ?",
		"DELETE FROM vcard WHERE user = ?",
		"DELETE FROM last_activity WHERE user = ?",
	} {
		if _, err := tx.exec(text, user); err != nil {
			return err
		}
	}
	return nil
}

// ListAccounts implements store.Accounts.
func (s *Store) ListAccounts(ctx context.Context, after string, limit int) ([]string, error) {
	var names []string
	err := s.query(ctx, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	}, "SELECT user FROM account WHERE user > ? ORDER BY user LIMIT ?", after, max(0, limit))
	return names, err
}
