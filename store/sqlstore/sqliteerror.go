package sqlstore

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"chatd/store"
)

// isDamage reports whether SQLite's file is broken.
func isDamage(err error) bool {
	code := errorCode(err)
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// marked is an error that is store.ErrUnavailable too if the same may succeed later.
func marked(err error) error {
	if isUnavailable(err) {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// isUnavailable reports whether the database may do the same later: SQLite when the disk is full or fails, or another process does not let
// go of the lock; MySQL when it could not be reached, or others were in the way.
func isUnavailable(err error) bool {
	switch errorCode(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR:
		return true
	}
	return isLost(err) || isConflict(err)
}

// errorCode is SQLite's primary result code, 0 for what is not its error.
func errorCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return sqlite3.SQLITE_OK
}
