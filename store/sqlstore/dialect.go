package sqlstore

import (
	"errors"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// The statements of this package are written in the SQL that SQLite, MySQL
// and MariaDB share: REPLACE INTO in place of the upserts that differ, UPDATE
// and then INSERT where a counter must survive, no RETURNING, sequence numbers
// from a counter row and not from AUTOINCREMENT, positional parameters. What
// cannot be shared is in this file.

// schemaWords spells the words in braces of migrations/*.sql. MySQL's would be:
// {localpart} VARBINARY(1023), {jid} VARBINARY(3071), {digest} BINARY(16),
// {text} and {bytes} LONGBLOB, {int} BIGINT, {keyed} and {heap} ENGINE=InnoDB.
// Text is compared byte by byte in each.
var schemaWords = strings.NewReplacer(
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
)

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

// selectMutual joins addresses by what is in none of them (RFC 7622 §3). MySQL's would be GROUP_CONCAT(contact SEPARATOR '\n'),
// with group_concat_max_len raised.
const (
	selectMutual = "SELECT group_concat(contact, char(10)) FROM roster_item WHERE user = ? AND sub = 3"
	separator    = "\n"
)

// dataVersion asks the writing connection for a number that changes whenever another process has written.
const dataVersion = "PRAGMA data_version"

// isBusy reports whether another process holds the write lock.
func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}
