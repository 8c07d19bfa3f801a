package sqlstore

import (
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

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openTemp(t) })
}
