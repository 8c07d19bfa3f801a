package sqlstore

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatd/store"
)

// fill puts something into every table.
func fill(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	keep := func(i *store.RosterItem, _ bool) (store.Verdict, error) {
		i.Groups = []string{"Work"}
		return store.Keep, nil
	}
	_, err := s.UpdateItem(ctx, "anna", "bob@chat.test", 0, keep)
	_, posted := s.Post(ctx, []store.Posting{{Queue: "hooks"}, {Queue: "hooks"}})
	for _, err := range []error{
		err, posted,
		s.CreateAccount(ctx, store.Account{User: "carl", Credentials: []store.Credential{{Mechanism: "SCRAM-SHA-1"}}}),
		s.Block(ctx, "anna", []string{"troll@chat.test"}, 0),
		s.UpdateNotes(ctx, "anna", func([]store.Note) ([]store.Note, error) { return []store.Note{{JID: "bob@chat.test"}}, nil }),
		s.SetPrivacy(ctx, "anna", store.Privacy{Messages: store.Friends}),
		s.SetPrivateXML(ctx, "anna", "ns", "notes", []byte("<notes/>"), 0),
		s.SetVCard(ctx, "anna", []byte("<vCard/>")),
		s.SetLastActivity(ctx, "anna", store.LastActivity{At: time.Unix(1700000000, 0)}),
		s.appendText(ctx, "anna", "one"),
		s.appendText(ctx, "anna", "two"),
		s.CreateRoom(ctx, store.Room{Name: "lobby"}, []store.Affiliation{{JID: "anna@chat.test", As: "owner"}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"1", "2", "3"} {
		if _, err := s.AppendHistory(ctx, "lobby", store.HistoryMessage{ID: id}, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheck(t *testing.T) {
	s := openTemp(t)
	fill(t, s)
	r, err := Check(t.Context(), s.path)
	if err != nil || len(r.Faults) > 0 || r.Accounts != 1 || r.Messages != 2 || r.Rooms != 1 || r.Schema == 0 || r.Bytes == 0 {
		t.Errorf("while open: %+v %v", r, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Check(t.Context(), s.path); err != nil || len(r.Faults) > 0 || r.Messages != 2 {
		t.Errorf("closed: %+v %v", r, err)
	}
	after, err := os.ReadFile(s.path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the check changed the file: %v", err)
	}
	if left, _ := filepath.Glob(s.path + "-*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestCheckFindsFaults: content that no write of chatd leaves, one fault at a time.
func TestCheckFindsFaults(t *testing.T) {
	wrong := "X'" + hex.EncodeToString(digest("wrong")) + "'"
	for _, test := range []struct{ damage, want string }{
		{"UPDATE offline_queue SET waiting = 3", `wrong count of messages that wait for "anna"`},
		{"DELETE FROM offline_message WHERE seq = 1", `wrong count of messages that wait for "anna"`},
		{"UPDATE offline_queue SET last_seq = 1", `offline_message: a number that was not given yet, of "anna"`},
		{"DELETE FROM offline_queue", `offline_message: a number that was not given yet, of "anna"`},
		{"UPDATE outbox_queue SET waiting = 0", `wrong count of events that wait in "hooks"`},
		{"UPDATE outbox_queue SET last_seq = 1", `outbox_event: a number that was not given yet, in "hooks"`},
		{"DELETE FROM roster", `contacts without a version of "anna"`},
		{"DELETE FROM room_counter", `no counter for "lobby"`},
		{"DELETE FROM room", `affiliations without the room "lobby"`},
		{"DELETE FROM room", `messages without the room "lobby"`},
		{"UPDATE room_counter SET last_seq = 1", `room_history: a number that was not given yet, in "lobby"`},
		{"DELETE FROM room_history WHERE seq = 2", `messages are missing in "lobby"`},
		{"UPDATE roster_item SET digest = " + wrong, `roster_item: wrong digest of "bob@chat.test", of "anna"`},
		{"UPDATE blocked SET digest = " + wrong, `blocked: wrong digest of "troll@chat.test"`},
		{"UPDATE private_xml SET digest = " + wrong, `private_xml: wrong digest of "notes", of "anna"`},
		{"UPDATE room_affiliation SET digest = " + wrong, `room_affiliation: wrong digest of "anna@chat.test"`},
		{"UPDATE room_history SET digest = " + wrong + " WHERE seq = 2", `room_history: wrong digest of "2", of "lobby"`},
		{"UPDATE account SET credentials = '{'", `account of "carl": `},
		{"UPDATE account SET tokens = '{'", `account of "carl": `},
		{"UPDATE roster_item SET in_groups = X'39'", `roster_item: list of texts damaged at "9", of "anna"`},
		{"UPDATE roster_note SET notes = CAST('1:a' AS BLOB)", `roster_note: notes damaged: 1 texts, of "anna"`},
	} {
		t.Run(test.damage, func(t *testing.T) {
			s := openTemp(t)
			fill(t, s)
			execFile(t, s.path, test.damage)
			r, err := Check(t.Context(), s.path)
			if err != nil || !strings.Contains(strings.Join(r.Faults, "\n"), test.want) {
				t.Errorf("faults %q %v, want %q", r.Faults, err, test.want)
			}
		})
	}
}

// damaged is a database of which a page in the middle was written over.
func damaged(t *testing.T) (path string) {
	t.Helper()
	s := openTemp(t)
	fill(t, s)
	for range 500 {
		if err := s.appendText(t.Context(), "anna", strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for at := info.Size() / 2 / page * page; at < info.Size(); at += page {
		if _, err := f.WriteAt([]byte(strings.Repeat("damage! ", page/8)), at); err != nil {
			t.Fatal(err)
		}
	}
	return s.path
}

func TestCheckDamagedFile(t *testing.T) {
	path := damaged(t)
	r, err := Check(t.Context(), path)
	if err != nil || len(r.Faults) == 0 || len(r.Faults) > maxFaults {
		t.Errorf("faults %q %v", r.Faults, err)
	}
	if _, err := Backup(t.Context(), path, path+".copy"); err == nil {
		t.Error("a damaged database was copied")
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(files) > 0 {
		t.Errorf("left behind: %q", files)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := Check(t.Context(), path); err != nil || len(r.Faults) != 1 {
		t.Errorf("no database: %q %v", r.Faults, err)
	}
}

func TestCheckFails(t *testing.T) {
	dir := t.TempDir()
	newer := filepath.Join(dir, "newer.db")
	if s := openPath(t, newer); s.Close() != nil {
		t.Fatal("closing")
	}
	execFile(t, newer, "UPDATE schema_version SET version = 9999")
	foreign := filepath.Join(dir, "foreign.db")
	execFile(t, foreign, "CREATE TABLE account (id INTEGER)")
	for _, test := range []struct{ path, want string }{
		{filepath.Join(dir, "none.db"), "no such file"},
		{newer, "schema version 9999 is newer"},
		{foreign, "not chatd's"},
	} {
		if _, err := Check(t.Context(), test.path); err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: %v", test.path, err)
		}
		if _, err := Backup(t.Context(), test.path, filepath.Join(dir, "copy.db")); err == nil {
			t.Errorf("%s was copied", test.path)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none.db")); err == nil {
		t.Error("the check made a database")
	}
}
