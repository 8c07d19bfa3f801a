package sqlstore

import (
	"testing"

	"chatd/store"
	"chatd/store/storetest"
	"chatd/store/storetest/mariadb"
)

func openDSN(t testing.TB, dsn string) *Store {
	t.Helper()
	s, err := OpenMySQL(t.Context(), MySQL{DSN: dsn})
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

func TestMySQL(t *testing.T) {
	server := mariadb.Start(t)
	storetest.Run(t, func(t *testing.T) store.Store { return openDSN(t, server.Database(t)) })
}
