package sqlstore

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"chatd/store"
)

func TestReopen(t *testing.T) {
	s, ctx := openTemp(t), t.Context()
	account := store.Account{User: "anna", Created: time.Unix(1700000000, 0).UTC(),
		Credentials: []store.Credential{{Mechanism: "SCRAM-SHA-1", Salt: []byte{0, 255}, Iterations: 4096}}}
	if err := s.CreateAccount(ctx, account); err != nil {
		t.Fatal(err)
	}
	keep := func(i *store.RosterItem, _ bool) (store.Verdict, error) {
		i.Name, i.Groups = "Bob", []string{"Work"}
		return store.Keep, nil
	}
	version, err := s.UpdateItem(ctx, "anna", "bob@chat.test", 0, keep)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		s.Block(ctx, "anna", []string{"troll@chat.test"}, 0),
		s.appendText(ctx, "anna", "one"),
		s.SetPrivateXML(ctx, "anna", "ns", "notes", []byte("<notes/>"), 0),
		s.SetVCard(ctx, "anna", []byte("<vCard/>")),
		s.SetLastActivity(ctx, "anna", store.LastActivity{At: account.Created, Status: "bye"}),
		s.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}

	s = openPath(t, s.path)
	if a, err := s.Account(ctx, "anna"); err != nil || !a.Created.Equal(account.Created) || a.Credentials[0].Salt[1] != 255 {
		t.Errorf("account %+v %v", a, err)
	}
	r, err := s.Roster(ctx, "anna")
	if err != nil || r.Version != version || len(r.Items) != 1 || r.Items[0].Groups[0] != "Work" {
		t.Errorf("roster %+v %v, version was %d", r, err, version)
	}
	if b, err := s.Blocklist(ctx, "anna"); err != nil || !slices.Equal(b, []string{"troll@chat.test"}) {
		t.Errorf("blocked %q %v", b, err)
	}
	if x, err := s.PrivateXML(ctx, "anna", "ns", "notes"); err != nil || string(x) != "<notes/>" {
		t.Errorf("private %q %v", x, err)
	}
	if v, err := s.VCard(ctx, "anna"); err != nil || string(v) != "<vCard/>" {
		t.Errorf("vCard %q %v", v, err)
	}
	if l, err := s.LastActivity(ctx, "anna"); err != nil || l.Status != "bye" || !l.At.Equal(account.Created) {
		t.Errorf("last %+v %v", l, err)
	}
	expectWaiting(t, s, "anna", "one")
	page, _ := s.OfflinePage(ctx, "anna", 0, 1)
	if err := errors.Join(s.RemoveOffline(ctx, "anna", []int64{page[0].Seq}), s.appendText(ctx, "anna", "two")); err != nil {
		t.Fatal(err)
	}
	if next, err := s.OfflinePage(ctx, "anna", page[0].Seq, 1); err != nil || len(next) != 1 {
		t.Errorf("seq reused after reopening: %+v %v", next, err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	s := openTemp(t)
	if err := s.appendText(t.Context(), "anna", "x"); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(s.path + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
	}
}

func TestOddPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?mode=ro#c%20d&é;'.db")
	s := openPath(t, path)
	if err := s.appendText(t.Context(), "anna", "x"); err != nil {
		t.Fatal(err)
	}
	expectWaiting(t, s, "anna", "x")
	if _, err := os.Stat(path + "-wal"); err != nil {
		t.Error(err)
	}
}

// TestDurability asks the connection that writes, after it has written.
func TestDurability(t *testing.T) {
	for durability, want := range map[string]string{"": "wal 2 1", "full": "wal 2 1", "normal": "wal 1 0"} {
		s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "x.db"), Durability: durability})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.appendText(t.Context(), "anna", "x"); err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := s.write(t.Context(), "anna", func(tx *tx) error {
			for _, text := range []string{"PRAGMA journal_mode", "PRAGMA synchronous", "PRAGMA fullfsync"} {
				var value string
				if err := tx.queryRow([]any{&value}, text); err != nil {
					return err
				}
				got = append(got, value)
			}
			return nil
		}); err != nil || strings.Join(got, " ") != want {
			t.Errorf("durability %q: %q %v, want %s", durability, got, err, want)
		}
		s.Close()
	}
	if _, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "x.db"), Durability: "none"}); err == nil {
		t.Error("an unknown durability is no error")
	}
}

func TestReadersDoNotWrite(t *testing.T) {
	s := openTemp(t)
	if _, err := s.reads.ExecContext(t.Context(), "DELETE FROM account"); err == nil {
		t.Error("a reading connection can write")
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	newer := filepath.Join(dir, "newer.db")
	if s := openPath(t, newer); s.Close() != nil {
		t.Fatal("closing")
	}
	execFile(t, newer, "UPDATE schema_version SET version = 9999")
	foreign := filepath.Join(dir, "foreign.db")
	execFile(t, foreign, "CREATE TABLE account (id INTEGER)")

	locked := filepath.Join(dir, "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct{ name, path, want string }{
		{"a folder not to write to", filepath.Join(locked, "x.db"), "permission denied"},
		{"no folder", filepath.Join(dir, "none", "x.db"), "no such file"},
		{"a folder", dir, "is a directory"},
		{"a folder that is a file", filepath.Join(write("file", ""), "x.db"), "not a directory"},
		{"no database", write("text.db", strings.Repeat("this is no database\n", 500)), "not a database"},
		{"newer schema", newer, "schema version 9999 is newer than the newest that this program knows"},
		{"tables of another program", foreign, "already exists"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.want == "permission denied" && os.Geteuid() == 0 {
				t.Skip("root may write everywhere")
			}
			s, err := Open(t.Context(), Config{Path: test.path})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.path) {
				t.Errorf("error %q lacks %q or the path", err, test.want)
			}
		})
	}
}

// execFile runs SQL on a database file as another program would.
func execFile(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(text); err != nil {
		t.Fatal(err)
	}
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		s := openTemp(t)
		if err := s.appendText(t.Context(), "anna", "x"); err != nil {
			t.Fatal(err)
		}
		expectWaiting(t, s, "anna", "x")
		s.Close()
	}
	// database/sql ends its goroutine a moment after Close.
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines before, now:\n%s", before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestChangedElsewhere: what another process writes is noticed once, the own writes never.
func TestChangedElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chatd.db")
	mine, other := openPath(t, path), openPath(t, path)
	expect := func(s *Store, want bool) {
		t.Helper()
		if got, err := s.ChangedElsewhere(t.Context()); err != nil || got != want {
			t.Errorf("changed %v %v, want %v", got, err, want)
		}
	}
	expect(mine, false)
	if err := mine.SetVCard(t.Context(), "anna", []byte("<vCard/>")); err != nil {
		t.Fatal(err)
	}
	expect(mine, false)
	expect(other, true)
	expect(other, false)
	if err := other.SetVCard(t.Context(), "anna", nil); err != nil {
		t.Fatal(err)
	}
	expect(mine, true)
	expect(mine, false)
}
