package sqlstore

import "strings"

// The statements of this package are written in the SQL that SQLite, MySQL
// and MariaDB share: REPLACE INTO in place of the upserts that differ, UPDATE
// and then INSERT where a counter must survive, no RETURNING, sequence numbers
// from a counter row and not from AUTOINCREMENT, positional parameters. What
// cannot be shared is in dialect_sqlite.go and dialect_mysql.go.

// A dialect is what one kind of database wants differently.
type dialect struct {
	// words spells the words in braces of migrations/*.sql. Text is compared byte by byte in each.
	words *strings.Replacer
	// prepares: statements are prepared once on each connection, for what a plan costs. Else
	// the arguments are written into the text, for what a round trip costs.
	prepares bool
	// selectMutual finds addresses, several of them in one row joined by the separator, which is in none of them (RFC 7622 §3).
	selectMutual string
	// noteAccountChange counts the changes of accounts that other processes have to heed; "" if the database does so by itself.
	noteAccountChange string
}

const separator = "\n"
