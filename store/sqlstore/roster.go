package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
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

const (
	selectRoster = `SELECT r.version, i.contact, i.name, i.in_groups, i.sub, i.flags, i.request, i.message, i.created
		FROM roster r LEFT JOIN roster_item i ON i.user = r.user WHERE r.user = ?`
	selectItem = `SELECT r.version, i.contact, i.name, i.in_groups, i.sub, i.flags, i.request, i.message, i.created
		FROM roster r LEFT JOIN roster_item i ON i.user = r.user AND i.digest = ? WHERE r.user = ?`
)

// An itemRow is a row of selectRoster or selectItem. One is used for all rows
// of a query.
type itemRow struct {
	version             int64
	contact             sql.NullString // NULL, like all that follow: no item
	name, message       sql.NullString
	groups, request     []byte
	sub, flags, created sql.NullInt64
}

func (r *itemRow) dest() []any {
	return []any{&r.version, &r.contact, &r.name, &r.groups, &r.sub, &r.flags, &r.request, &r.message, &r.created}
}

// item returns what was scanned, if there is an item.
func (r *itemRow) item() (item store.RosterItem, exists bool, err error) {
	if !r.contact.Valid {
		return item, false, nil
	}
	flags := r.flags.Int64
	item = store.RosterItem{
		JID:       r.contact.String,
		Name:      r.name.String,
		Sub:       store.Subscription(r.sub.Int64 & 3),
		Ask:       flags&flagAsk != 0,
		PendingIn: flags&flagPendingIn != 0,
		Approved:  flags&flagApproved != 0,
		Hidden:    flags&flagHidden != 0,
		Request:   r.request,
		Message:   r.message.String,
		Created:   time.Unix(r.created.Int64, 0).UTC(),
	}
	item.Groups, err = splitTexts(r.groups)
	return item, true, err
}

// Roster implements store.Rosters.
func (s *Store) Roster(ctx context.Context, user string) (store.Roster, error) {
	var row itemRow
	var items []store.RosterItem
	dest := row.dest()
	err := s.query(ctx, func(rows *sql.Rows) error {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		item, exists, err := row.item()
		if exists {
			items = append(items, item)
		}
		return err
	}, selectRoster, user)
	if err != nil {
		return store.Roster{}, err
	}
	// The rows come in the order of the digests.
	slices.SortFunc(items, func(a, b store.RosterItem) int { return cmp.Compare(a.JID, b.JID) })
	return store.Roster{Version: row.version, Items: items}, nil
}

// Mutual implements store.Rosters.
func (s *Store) Mutual(ctx context.Context, user string) ([]string, error) {
	var jids []string
	err := s.query(ctx, func(rows *sql.Rows) error {
		var joined sql.NullString
		err := rows.Scan(&joined)
		if joined.Valid {
			jids = append(jids, strings.Split(joined.String, separator)...)
		}
		return err
	}, s.dialect.selectMutual, user)
	slices.Sort(jids)
	return jids, err
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
		var row itemRow
		err := s.queryRow(ctx, row.dest(), selectItem, key, user)
		if err != nil && err != store.ErrNotFound {
			return 0, err
		}
		change := itemChange{user: user, key: key, maxItems: int64(maxItems)}
		if change.before, change.existed, err = row.item(); err != nil {
			return 0, wrap(err)
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
			return row.version, nil
		}
		item.JID = contact
		item.Request = bytes.Clone(item.Request)
		change.after, change.keep, change.groups = item, verdict == store.Keep, joinTexts(item.Groups)
		err = s.write(ctx, user, func(tx *tx) error {
			if err := change.apply(tx); err != nil {
				return err
			}
			return s.announce(tx, change.announced)
		})
		if err == nil {
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

// announced is what a is to say of the change.
func (c *itemChange) announced(a store.Announcer) []store.Posting {
	before, after := c.before, c.after
	before.JID = after.JID
	if !c.keep {
		after = store.RosterItem{JID: after.JID}
	}
	return a.ItemChanged(c.user, &before, &after)
}

// check reads the version, and makes sure that nothing came between and that
// there is room.
func (c *itemChange) check(tx *tx) error {
	var row itemRow
	err := tx.queryRow(row.dest(), selectItem, c.key, c.user)
	if err == store.ErrNotFound { // the user's first item
		_, err = tx.exec("INSERT INTO roster (user, version) VALUES (?, 0)", c.user)
	}
	if err != nil {
		return err
	}
	now, exists, err := row.item()
	if err != nil {
		return err
	}
	if exists != c.existed || !now.Equal(c.before) {
		return errConflict
	}
	c.version = row.version
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
	put := replaceItem(c.user, c.key, &c.after, c.groups)
	_, err := tx.exec(put.text, put.args...)
	return err
}

// replaceItem writes an item whose key and groups are encoded already.
func replaceItem(user string, key []byte, i *store.RosterItem, groups []byte) statement {
	return statement{`REPLACE INTO roster_item (user, digest, contact, name, in_groups, sub, flags, request, message, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		[]any{user, key, i.JID, i.Name, groups, int64(i.Sub), flagsOf(i), i.Request, i.Message, i.Created.Unix()}}
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
