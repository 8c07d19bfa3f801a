package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// mysqlDialect is that of MySQL and MariaDB. The connection's character set is binary, and so is every column.
var mysqlDialect = dialect{
	words: strings.NewReplacer(
		"{localpart}", "VARBINARY(1023)",
		"{jid}", "VARBINARY(3071)",
		"{digest}", "BINARY(16)",
		"{text}", "LONGBLOB",
		"{bytes}", "LONGBLOB",
		"{int}", "BIGINT",
		"{keyed}", "ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
		"{heap}", "ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
	),
	selectMutual:      "SELECT contact FROM roster_item WHERE user = ? AND sub = 3",
	noteAccountChange: "UPDATE account_changes SET number = number + 1",
}

// mysqlTables are those that hold nothing that has to last, beside the migrations.
var mysqlTables = []string{
	// A row for each writer that is open or has not been closed well: the number of its last batch that was committed.
	// A batch changes this row first, so that the next one waits until it is known what has become of it.
	`CREATE TABLE IF NOT EXISTS writer (
		id    BINARY(16) NOT NULL PRIMARY KEY,
		batch BIGINT     NOT NULL,
		seen  BIGINT     NOT NULL -- Unix seconds
	) ENGINE=InnoDB`,
	// A row for each name that was ever written under. A batch locks those of its names, in their order, before it reads
	// or writes anything: what is read in the transaction cannot change until it ends.
	`CREATE TABLE IF NOT EXISTS name_lock (
		digest BINARY(16) NOT NULL PRIMARY KEY
	) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS account_changes (
		id     BIGINT NOT NULL PRIMARY KEY,
		number BIGINT NOT NULL
	) ENGINE=InnoDB`,
	"INSERT IGNORE INTO account_changes (id, number) VALUES (1, 0)",
}

// Numbers of errors: https://mariadb.com/kb/en/mariadb-error-codes/ and, for those from 3000 on, MySQL's own.
var (
	lostNumbers = []uint16{
		1040, // too many connections
		1047, // a node of Galera that has not joined
		1053, // the server stops
		1077, 1078, 1079, 1080,
		1152, 1158, 1159, 1160, 1161, 1184,
		1203, 1226, // too many connections of this user
		1290, 1836, // read only, as a server that is no longer the primary
		1317,       // interrupted by KILL QUERY
		1927,       // KILL
		1969, 3024, // the server's own limit of time
		4031, // idle for too long
	}
	conflictNumbers = []uint16{
		1020, // changed since it was read
		1062, // made by another since it was missed
		1205, // waited for a lock
		1213, // deadlock, or a refused certification of Galera
	}
)

// isLost reports whether the server could not be reached, or has ended the connection or what was going on in it.
func isLost(err error) bool {
	if err == nil {
		return false
	}
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return slices.Contains(lostNumbers, e.Number)
	}
	for _, lost := range []error{driver.ErrBadConn, mysql.ErrInvalidConn, mysql.ErrPktSync, mysql.ErrMalformPkt, mysql.ErrBusyBuffer,
		sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, errConnect} {
		if errors.Is(err, lost) {
			return true
		}
	}
	// A context's error looks like one of the network.
	_, network := errors.AsType[net.Error](err)
	return network && !errors.Is(err, context.DeadlineExceeded)
}

// isConflict reports whether a transaction came in the way of another, and may be repeated.
func isConflict(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && slices.Contains(conflictNumbers, e.Number)
}

// isLockTimeout reports whether a statement, and it alone, was undone because it waited for a lock for too long.
func isLockTimeout(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && e.Number == 1205
}
