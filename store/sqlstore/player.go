package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"

	"chatd/store"
)

// Kinds of rows that selectPlayer finds.
const (
	playerSelf = iota
	playerItem
	playerBlocked
)

// selectPlayer is one statement, so that a database at the other end of a network is asked once. The columns of its
// parts are of the same types: a kind, three texts, two byte strings, five numbers.
const selectPlayer = `SELECT 0 AS kind, a.credentials AS t1, a.tokens AS t2, NULL AS t3, v.xml AS b1, NULL AS b2,
		a.created AS n1, a.disabled AS n2, r.version AS n3, q.waiting AS n4, p.messages * 4 + p.requests AS n5
		FROM account a LEFT JOIN vcard v ON v.user = a.user LEFT JOIN roster r ON r.user = a.user
		LEFT JOIN offline_queue q ON q.user = a.user LEFT JOIN privacy p ON p.user = a.user WHERE a.user = ?
	UNION ALL SELECT 1, contact, name, message, in_groups, request, created, sub, flags, 0, 0 FROM roster_item WHERE user = ?
	UNION ALL SELECT 2, jid, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0 FROM blocked WHERE user = ?`

// A playerRow is a row of selectPlayer. One is used for all rows.
type playerRow struct {
	kind  int
	text  [3]sql.NullString
	bytes [2][]byte
	n     [5]sql.NullInt64
}

func (r *playerRow) dest() []any {
	return []any{&r.kind, &r.text[0], &r.text[1], &r.text[2], &r.bytes[0], &r.bytes[1], &r.n[0], &r.n[1], &r.n[2], &r.n[3], &r.n[4]}
}

// Player implements store.Players.
func (s *Store) Player(ctx context.Context, user string) (store.Player, error) {
	var p store.Player
	var row playerRow
	dest, found := row.dest(), false
	err := s.query(ctx, func(rows *sql.Rows) error {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		found = found || row.kind == playerSelf
		return row.addTo(&p, user)
	}, selectPlayer, user, user, user)
	if err == nil && !found {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Player{}, err
	}
	// The rows come in the order of the digests.
	slices.SortFunc(p.Roster.Items, func(a, b store.RosterItem) int { return cmp.Compare(a.JID, b.JID) })
	slices.SortFunc(p.Blocked, strings.Compare)
	return p, nil
}

// addTo puts the row where it belongs.
func (r *playerRow) addTo(p *store.Player, user string) (err error) {
	switch r.kind {
	case playerSelf:
		account := accountRow{creds: []byte(r.text[0].String), created: r.n[0].Int64, disabled: r.n[1].Int64 != 0}
		if r.text[1].Valid {
			account.tokens = []byte(r.text[1].String)
		}
		p.Account, err = account.account(user)
		p.VCard, p.Roster.Version, p.Waiting = r.bytes[0], r.n[2].Int64, int(r.n[3].Int64)
		p.Privacy = store.Privacy{Messages: store.Audience(r.n[4].Int64 >> 2), Requests: store.Audience(r.n[4].Int64 & 3)}
		return err
	case playerItem:
		item, _, err := (&itemRow{
			contact: r.text[0], name: r.text[1], message: r.text[2], groups: r.bytes[0], request: r.bytes[1],
			created: r.n[0], sub: r.n[1], flags: r.n[2],
		}).item()
		p.Roster.Items = append(p.Roster.Items, item)
		return err
	}
	p.Blocked = append(p.Blocked, r.text[0].String)
	return nil
}
