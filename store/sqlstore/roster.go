package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"chatd/store"
)

// errConflict: the item changed between its reading and its writing.
var errConflict = errors.New("sqlstore: item changed meanwhile")

// Bits of roster_item.flags.
const (
	flagAsk = 1 << iota
	flagPendingIn
	flagApproved
	flagHidden
)

// Roster implements store.Rosters.
func (s *Store) Roster(ctx context.Context, user string) (store.Roster, error) {
	var r store.Roster
	err := s.query(ctx, func(rows *sql.Rows) error {
		version, item, exists, err := scanItem(rows.Scan)
		r.Version = version
		if exists {
			r.Items = append(r.Items, item)
		}
		return err
	}, `SELECT r.version, i.contact, i.name, i.in_groups, i.sub, i.flags, i.request, i.created
		FROM roster r LEFT JOIN roster_item i ON i.user = r.user WHERE r.user = ?`, user)
	// The rows come in the order of the digests.
	slices.SortFunc(r.Items, func(a, b store.RosterItem) int { return cmp.Compare(a.JID, b.JID) })
	return r, err
}

const selectItem = `SELECT r.version, i.contact, i.name, i.in_groups, i.sub, i.flags, i.request, i.created
	FROM roster r LEFT JOIN roster_item i ON i.user = r.user AND i.digest = ? WHERE r.user = ?`

// scanItem reads a row that begins with the roster's version. Without an
// item the rest is NULL.
func scanItem(scan func(...any) error) (version int64, item store.RosterItem, exists bool, err error) {
	var contact, name sql.NullString
	var groups []byte
	var sub, flags, created sql.NullInt64
	err = scan(&version, &contact, &name, &groups, &sub, &flags, &item.Request, &created)
	if err != nil || !contact.Valid {
		return version, store.RosterItem{}, false, err
	}
	item.JID, item.Name = contact.String, name.String
	item.Sub = store.Subscription(sub.Int64 & 3)
	item.Ask = flags.Int64&flagAsk != 0
	item.PendingIn = flags.Int64&flagPendingIn != 0
	item.Approved = flags.Int64&flagApproved != 0
	item.Hidden = flags.Int64&flagHidden != 0
	item.Created = time.Unix(created.Int64, 0).UTC()
	item.Groups, err = splitGroups(groups)
	return version, item, true, err
}

func flagsOf(item *store.RosterItem) (flags int64) {
	for _, f := range [...]struct {
		set bool
		bit int64
	}{{item.Ask, flagAsk}, {item.PendingIn, flagPendingIn}, {item.Approved, flagApproved}, {item.Hidden, flagHidden}} {
		if f.set {
			flags |= f.bit
		}
	}
	return flags
}

// UpdateItem implements store.Rosters. update runs on the caller's goroutine
// with the item as it was committed last, not inside a transaction: it may
// take its time and may use the store. If another write comes between, it
// runs again.
func (s *Store) UpdateItem(ctx context.Context, user, contact string, maxItems int, update func(*store.RosterItem, bool) (store.Verdict, error)) (int64, error) {
	key := digest(contact)
	for {
		change := itemChange{user: user, key: key, maxItems: int64(maxItems)}
		var version int64
		err := s.query(ctx, func(rows *sql.Rows) (err error) {
			version, change.before, change.existed, err = scanItem(rows.Scan)
			return err
		}, selectItem, key, user)
		if err != nil {
			return 0, err
		}
		item := change.before
		item.JID = contact
		item.Groups = slices.Clone(item.Groups)
		item.Request = bytes.Clone(item.Request)
		verdict, err := update(&item, change.existed)
		if err != nil {
			return 0, err
		}
		switch {
		case verdict > store.Remove:
			return 0, fmt.Errorf("sqlstore: unknown verdict %d", verdict)
		case verdict == store.Leave, verdict == store.Remove && !change.existed:
			return version, nil
		}
		item.JID = contact
		item.Request = bytes.Clone(item.Request)
		change.after, change.keep, change.groups = item, verdict == store.Keep, joinGroups(item.Groups)
		if err = s.write(ctx, change.apply); err == nil {
			return change.version, nil
		}
		if err != errConflict {
			return 0, err
		}
	}
}

// An itemChange puts after in the place of before.
type itemChange struct {
	user     string
	key      []byte
	maxItems int64
	before   store.RosterItem
	existed  bool
	after    store.RosterItem
	groups   []byte // of after
	keep     bool   // false: remove the item
	version  int64  // the outcome
}

func (c *itemChange) apply(tx *tx) error {
	if err := c.check(tx); err != nil {
		return err
	}
	if err := c.write(tx); err != nil {
		return err
	}
	if c.existed && !c.before.Hidden || c.keep && !c.after.Hidden {
		var err error
		c.version, err = growVersion(tx, c.user)
		return err
	}
	return nil
}

// check reads the version, and makes sure that nothing came between and that
// there is room.
func (c *itemChange) check(tx *tx) error {
	row := func(dest ...any) error { return tx.queryRow(dest, selectItem, c.key, c.user) }
	version, now, exists, err := scanItem(row)
	switch {
	case err == store.ErrNotFound: // the user's first item
		if _, err := tx.exec("INSERT INTO roster (user, version) VALUES (?, 0)", c.user); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if exists != c.existed || !now.Equal(c.before) {
		return errConflict
	}
	c.version = version
	if !c.keep || c.maxItems <= 0 || exists && now.Hidden == c.after.Hidden {
		return nil
	}
	n, err := tx.count("SELECT COUNT(*) FROM roster_item WHERE user = ? AND flags & 8 = ?",
		c.user, flagsOf(&c.after)&flagHidden)
	if err == nil && n >= c.maxItems {
		err = store.ErrFull
	}
	return err
}

func (c *itemChange) write(tx *tx) error {
	if !c.keep {
		_, err := tx.exec("DELETE FROM roster_item WHERE user = ? AND digest = ?", c.user, c.key)
		return err
	}
	i := &c.after
	_, err := tx.exec(`REPLACE INTO roster_item (user, digest, contact, name, in_groups, sub, flags, request, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.user, c.key, i.JID, i.Name, c.groups, int64(i.Sub), flagsOf(i), i.Request, i.Created.Unix())
	return err
}

// growVersion gives the roster its next version; store.ErrNotFound if there
// never was one. Clock and counter together make a version new even to
// clients who saw a database that was lost since.
func growVersion(tx *tx, user string) (int64, error) {
	version, err := tx.count("SELECT version FROM roster WHERE user = ?", user)
	if err != nil {
		return 0, err
	}
	version = max(version+1, time.Now().UnixMicro())
	_, err = tx.exec("UPDATE roster SET version = ? WHERE user = ?", version, user)
	return version, err
}
