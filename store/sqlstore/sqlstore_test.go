package sqlstore

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"chatd/store"
	"chatd/store/storetest"
)

func openPath(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openTemp(t testing.TB) *Store { return openPath(t, filepath.Join(t.TempDir(), "chatd.db")) }

// sqliteConn is the one that writes.
func sqliteConn(s *Store) *sql.Conn { return s.writers[0].batches.(*sqliteBatches).tx.conn }

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openTemp(t) })
}

// After a clean close everything is in the one file that people copy.
func TestCloseFoldsTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chatd.db")
	s := openPath(t, path)
	if err := s.CreateAccount(t.Context(), store.Account{User: "anna"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Account(t.Context(), "anna"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log is still there: %v", err)
	}
}
