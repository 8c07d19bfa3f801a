package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"chatd/store"
)

// PrivateXML implements store.Private.
func (s *Store) PrivateXML(ctx context.Context, user, space, local string) (xml []byte, err error) {
	err = s.queryRow(ctx, []any{&xml},
		"SELECT xml FROM private_xml WHERE user = ? AND digest = ?", user, digest(local, space))
	return xml, err
}

// SetPrivateXML implements store.Private.
func (s *Store) SetPrivateXML(ctx context.Context, user, space, local string, xml []byte, max int) error {
	key, xml := digest(local, space), append([]byte{}, xml...) // never nil, which is NULL
	return s.write(ctx, user, func(tx *tx) error {
		if err := checkPrivateRoom(tx, user, key, max); err != nil {
			return err
		}
		_, err := tx.exec("REPLACE INTO private_xml (user, digest, space, local, xml) VALUES (?, ?, ?, ?, ?)",
			user, key, space, local, xml)
		return err
	})
}

// checkPrivateRoom is for one more element, unless that of key is there already.
func checkPrivateRoom(tx *tx, user string, key []byte, max int) error {
	if max <= 0 {
		return nil
	}
	n, err := tx.count("SELECT COUNT(*) FROM private_xml WHERE user = ? AND digest = ?", user, key)
	if n > 0 || err != nil {
		return err
	}
	n, err = tx.count("SELECT COUNT(*) FROM private_xml WHERE user = ?", user)
	if err == nil && n >= int64(max) {
		err = store.ErrFull
	}
	return err
}

// PrivateElements implements store.Private.
func (s *Store) PrivateElements(ctx context.Context, user string) ([]store.PrivateElement, error) {
	var all []store.PrivateElement
	err := s.query(ctx, func(rows *sql.Rows) error {
		var e store.PrivateElement
		err := rows.Scan(&e.Space, &e.Local, &e.XML)
		all = append(all, e)
		return err
	}, "SELECT space, local, xml FROM private_xml WHERE user = ?", user)
	slices.SortFunc(all, func(a, b store.PrivateElement) int {
		return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.Local, b.Local))
	})
	return all, err
}

// VCard implements store.VCards.
func (s *Store) VCard(ctx context.Context, user string) (xml []byte, err error) {
	err = s.queryRow(ctx, []any{&xml}, "SELECT xml FROM vcard WHERE user = ?", user)
	return xml, err
}

// SetVCard implements store.VCards.
func (s *Store) SetVCard(ctx context.Context, user string, xml []byte) error {
	xml = bytes.Clone(xml)
	return s.write(ctx, user, func(tx *tx) (err error) {
		if len(xml) == 0 {
			_, err = tx.exec("DELETE FROM vcard WHERE user = ?", user)
		} else {
			_, err = tx.exec("REPLACE INTO vcard (user, xml) VALUES (?, ?)", user, xml)
		}
		return err
	})
}

// LastActivity implements store.LastActivities.
func (s *Store) LastActivity(ctx context.Context, user string) (store.LastActivity, error) {
	var a store.LastActivity
	var seen int64
	err := s.queryRow(ctx, []any{&seen, &a.Status}, "SELECT seen, status FROM last_activity WHERE user = ?", user)
	if err == nil {
		a.At = time.Unix(seen, 0).UTC()
	}
	return a, err
}

// SetLastActivity implements store.LastActivities.
func (s *Store) SetLastActivity(ctx context.Context, user string, a store.LastActivity) error {
	return s.write(ctx, user, func(tx *tx) error {
		_, err := tx.exec("REPLACE INTO last_activity (user, seen, status) VALUES (?, ?, ?)", user, a.At.Unix(), a.Status)
		return err
	})
}
