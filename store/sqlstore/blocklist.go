package sqlstore

import (
	"context"
	"database/sql"
	"slices"

	"chatd/store"
)

// Blocklist implements store.Blocklists.
func (s *Store) Blocklist(ctx context.Context, user string) ([]string, error) {
	var jids []string
	err := s.query(ctx, func(rows *sql.Rows) error {
		var jid string
		err := rows.Scan(&jid)
		jids = append(jids, jid)
		return err
	}, "SELECT jid FROM blocked WHERE user = ?", user)
	slices.Sort(jids)
	return jids, err
}

const countBlocked = "SELECT COUNT(*) FROM blocked WHERE user = ?"

// Block implements store.Blocklists.
func (s *Store) Block(ctx context.Context, user string, jids []string, max int) error {
	jids = slices.Clone(jids)
	return s.write(ctx, user, func(tx *tx) error {
		before, err := tx.count(countBlocked, user)
		if err != nil {
			return err
		}
		for _, jid := range jids {
			if _, err := tx.exec("REPLACE INTO blocked (user, digest, jid) VALUES (?, ?, ?)", user, digest(jid), jid); err != nil {
				return err
			}
		}
		after, err := tx.count(countBlocked, user)
		if err == nil && max > 0 && after > before && after > int64(max) {
			err = store.ErrFull // and the rows go again
		}
		return err
	})
}

// Unblock implements store.Blocklists.
func (s *Store) Unblock(ctx context.Context, user string, jids []string) error {
	all := jids == nil
	jids = slices.Clone(jids)
	return s.write(ctx, user, func(tx *tx) error {
		if all {
			_, err := tx.exec("DELETE FROM blocked WHERE user = ?", user)
			return err
		}
		for _, jid := range jids {
			if _, err := tx.exec("DELETE FROM blocked WHERE user = ? AND digest = ?", user, digest(jid)); err != nil {
				return err
			}
		}
		return nil
	})
}
