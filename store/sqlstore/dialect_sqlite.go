package sqlstore

import (
	"errors"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var sqliteDialect = dialect{
	words: strings.NewReplacer(
		"{localpart}", "TEXT",
		"{jid}", "TEXT",
		"{digest}", "BLOB",
		"{text}", "TEXT",
		"{bytes}", "BLOB",
		"{int}", "INTEGER",
		// Small rows live in the tree of their primary key, read with one lookup.
		"{keyed}", "STRICT, WITHOUT ROWID",
		// Rows that may be large have a short entry in that tree, and are
		// appended to the table one behind the other, whoever they belong to.
		"{heap}", "STRICT",
	),
	prepares: true,
	// One row with all of them costs less than a row each.
	selectMutual: "SELECT group_concat(contact, char(10)) FROM roster_item WHERE user = ? AND sub = 3",
}

// Statements around the writes of a batch. BEGIN IMMEDIATE takes the write
// lock at once: a transaction that began by reading could not wait for it.
const (
	beginBatch    = "BEGIN IMMEDIATE"
	commitBatch   = "COMMIT"
	rollbackBatch = "ROLLBACK"
	beginOne      = "SAVEPOINT one"
	keepOne       = "RELEASE one"
	undoOne       = "ROLLBACK TO one"
)

// isBusy reports whether another process holds the write lock.
func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}
