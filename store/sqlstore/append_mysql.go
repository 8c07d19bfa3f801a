package sqlstore

import (
	"cmp"
	"database/sql"
	"slices"

	"chatd/store"
)

// maxStatement is how much one statement inserts, in bytes of stanzas; one alone may be more. The server's limit
// (max_allowed_packet) is 16 MB by default.
const maxStatement = 1 << 20

// A growth is by how much the counters of one queue grow.
type growth struct {
	user          string
	seqs, waiting int64
}

// appendAll does what apply does for each, in three statements for all of them, but that it does not look for those kept already. It leaves
// each one's outcome in it; an error is that of all.
func appendAll(tx *tx, appends []*appending) error {
	if len(appends) == 0 {
		return nil
	}
	queues := byUser(appends)
	var growths []growth
	for _, of := range queues {
		growths = append(growths, growth{of[0].user, int64(len(of)), int64(len(of))})
	}
	// This locks the queues' rows, in the order of the users.
	counters, err := growAndRead(tx, growths)
	if err != nil {
		return err
	}
	var kept []*appending
	var refused []growth
	for i, of := range queues {
		added, full := number(of, counters[growths[i].user])
		kept = append(kept, added...)
		if full > 0 {
			refused = append(refused, growth{growths[i].user, 0, -full})
		}
	}
	if len(refused) > 0 {
		text, args := grow(refused)
		if _, err := tx.exec(text, args...); err != nil {
			return err
		}
	}
	return insertAll(tx, kept)
}

// byUser is what each user gets, in the order of the users.
func byUser(appends []*appending) (queues [][]*appending) {
	sorted := slices.Clone(appends)
	slices.SortStableFunc(sorted, func(a, b *appending) int { return cmp.Compare(a.user, b.user) })
	for first := 0; first < len(sorted); {
		end := first + 1
		for end < len(sorted) && sorted[end].user == sorted[first].user {
			end++
		}
		queues = append(queues, sorted[first:end])
		first = end
	}
	return queues
}

// grow is a statement.
func grow(growths []growth) (text string, args []any) {
	args = make([]any, 0, 3*len(growths))
	for _, g := range growths {
		args = append(args, g.user, g.seqs, g.waiting)
	}
	return "INSERT INTO offline_queue (user, last_seq, waiting) VALUES " + rows(len(growths), "(?,?,?)") +
		" ON DUPLICATE KEY UPDATE last_seq = last_seq + VALUES(last_seq), waiting = waiting + VALUES(waiting)", args
}

// counters are a queue's after it has grown.
type counters struct{ lastSeq, waiting int64 }

// growAndRead is one round trip less with MariaDB, which has RETURNING.
func growAndRead(tx *tx, growths []growth) (map[string]counters, error) {
	found := make(map[string]counters, len(growths))
	scan := func(rows *sql.Rows) error {
		var user string
		var c counters
		err := rows.Scan(&user, &c.lastSeq, &c.waiting)
		found[user] = c
		return err
	}
	text, args := grow(growths)
	if tx.returning {
		return found, tx.query(scan, text+" RETURNING user, last_seq, waiting", args...)
	}
	if _, err := tx.exec(text, args...); err != nil {
		return nil, err
	}
	users := make([]any, len(growths))
	for i := range growths {
		users[i] = growths[i].user
	}
	return found, tx.query(scan, "SELECT user, last_seq, waiting FROM offline_queue WHERE user IN ("+rows(len(users), "?")+")", users...)
}

// number gives one user's messages their numbers, and refuses those that find the queue full.
func number(of []*appending, c counters) (added []*appending, full int64) {
	seq, waiting := c.lastSeq-int64(len(of)), c.waiting-int64(len(of))
	for _, a := range of {
		a.seq, a.err = 0, nil
		if waiting >= a.max {
			a.err = store.ErrFull
			full++
			continue
		}
		seq, waiting = seq+1, waiting+1
		a.seq = seq
		added = append(added, a)
	}
	return added, full
}

func insertAll(tx *tx, kept []*appending) error {
	for len(kept) > 0 {
		n, size := 0, 0
		var args []any
		for n < len(kept) && (n == 0 || size+len(kept[n].stanza) <= maxStatement) {
			size += len(kept[n].stanza)
			args = append(args, kept[n].row()...)
			n++
		}
		if _, err := tx.exec("INSERT INTO offline_message (user, seq, stored, stanza, id) VALUES "+rows(n, "(?,?,?,?,?)"), args...); err != nil {
			return err
		}
		kept = kept[n:]
	}
	return nil
}
