package sqlstore

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"chatd/store"
)

// oldDatabase is a database as a released schema version left it.
func oldDatabase(t *testing.T, version int) (path string) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("testdata/schema%d.sql", version))
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "old.db")
	execFile(t, path, string(text))
	return path
}

// TestOpenFromSchema opens a database as each released schema version left it, and finds all that was in it.
func TestOpenFromSchema(t *testing.T) {
	files, err := migrationFiles()
	if err != nil {
		t.Fatal(err)
	}
	fresh := openTemp(t)
	for _, file := range files {
		t.Run(fmt.Sprint(file.version), func(t *testing.T) {
			path := oldDatabase(t, file.version)
			if r, err := Check(t.Context(), path); err != nil || len(r.Faults) > 0 || r.Schema != file.version {
				t.Errorf("before: %+v %v", r, err)
			}
			s := openPath(t, path)
			if old, now := columns(t, s), columns(t, fresh); old != now {
				t.Errorf("columns are\n%s\nnot\n%s", old, now)
			}
			if r, err := Check(t.Context(), path); err != nil || len(r.Faults) > 0 || r.Schema != files[len(files)-1].version {
				t.Errorf("after: %+v %v", r, err)
			}
			expectFirst(t, s)
			expectSince(t, s, file.version)
			expectWritable(t, s)
		})
	}
}

// columns is all tables with the names and types of their columns.
func columns(t *testing.T, s *Store) (text string) {
	t.Helper()
	if err := s.queryRow(t.Context(), []any{&text}, `SELECT group_concat(line, char(10)) FROM (
		SELECT m.name || ': ' || group_concat(c.name || ' ' || c.type || c."notnull" || c.pk, ', ') AS line
		FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' GROUP BY m.name ORDER BY m.name)`); err != nil {
		t.Fatal(err)
	}
	return text
}

// expectFirst looks for what the first version had already.
func expectFirst(t *testing.T, s *Store) {
	ctx := t.Context()
	a, err := s.Account(ctx, "anna")
	if err != nil || a.Created.Unix() != 1700000000 || len(a.Credentials) != 1 || a.Credentials[0].Iterations != 4096 {
		t.Errorf("account %+v %v", a, err)
	}
	r, err := s.Roster(ctx, "anna")
	want := store.RosterItem{JID: "bob@chat.test", Name: "Bob", Groups: []string{"Friends", "Work"},
		Sub: store.SubBoth, Approved: true, Created: time.Unix(1700000001, 0)}
	if err != nil || r.Version != 1700000000000001 || len(r.Items) != 1 || !r.Items[0].Equal(want) {
		t.Errorf("roster %+v %v", r, err)
	}
	if b, err := s.Blocklist(ctx, "anna"); err != nil || !slices.Equal(b, []string{"troll@chat.test"}) {
		t.Errorf("blocked %q %v", b, err)
	}
	expectWaiting(t, s, "anna", "<message>1</message>", "<message>3</message>")
	if page, err := s.OfflinePage(ctx, "anna", 0, 9); err != nil || page[0].Stored.UnixMilli() != 1700000002000 || page[1].Seq != 3 {
		t.Errorf("messages %+v %v", page, err)
	}
	if x, err := s.PrivateXML(ctx, "anna", "urn:notes", "notes"); err != nil || string(x) != "<notes/>" {
		t.Errorf("private %q %v", x, err)
	}
	if v, err := s.VCard(ctx, "anna"); err != nil || string(v) != "<vCard/>" {
		t.Errorf("vCard %q %v", v, err)
	}
	if l, err := s.LastActivity(ctx, "anna"); err != nil || l.Status != "bye" || l.At.Unix() != 1700000003 {
		t.Errorf("last %+v %v", l, err)
	}
}

// expectSince looks for what the versions up to this one brought, and for nothing that is newer.
func expectSince(t *testing.T, s *Store, version int) {
	ctx := t.Context()
	same := func(what string, err error, got, want any) {
		t.Helper()
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); err != nil || g != w {
			t.Errorf("%s is %s %v, want %s", what, g, err, w)
		}
	}
	a, err := s.Account(ctx, "anna")
	var tokens []store.LoginToken
	if version >= 2 {
		tokens = []store.LoginToken{{Client: "phone", Mechanism: "HT-SHA-256-NONE", Nonce: []byte{0, 1, 2}, Used: true,
			Issued: time.Unix(1700000000, 0).UTC(), Expires: time.Unix(1701814400, 0).UTC()}}
	}
	same("tokens", err, a.Tokens, tokens)

	var notes []store.Note
	var privacy store.Privacy
	if version >= 3 {
		notes = []store.Note{{JID: "bob@chat.test", Text: "duo", Created: time.Unix(1700000004, 0).UTC()}}
		privacy = store.Privacy{Messages: store.Friends, Requests: store.Nobody}
	}
	n, err := s.Notes(ctx, "anna")
	same("notes", err, n, notes)
	p, err := s.Privacy(ctx, "anna")
	same("privacy", err, p, privacy)
	same("disabled", nil, a.Disabled, version >= 5)

	var events []store.Event
	if version >= 6 {
		events = []store.Event{{Seq: 8, ID: "e8", Type: "account.made", Key: "anna", Queued: time.UnixMilli(1700000005123).UTC(),
			Fault: "HTTP 500", Body: []byte("{}")}}
		held, err := s.LeaseQueue(ctx, "hook game", "b", time.UnixMilli(1700000008999), time.UnixMilli(1700000010000))
		same("leased", err, held, false)
	}
	e, err := s.Events(ctx, "hook game", 0, 9)
	same("events", err, e, events)

	page, err := s.OfflinePage(ctx, "anna", 0, 9)
	same("ids", err, page[0].ID+page[1].ID, map[bool]string{true: "three"}[version >= 7])
	rooms, err := s.ListRooms(ctx, "", 9)
	if version < 7 {
		same("rooms", err, rooms, []string{})
		return
	}
	same("rooms", err, rooms, []string{"lobby", "quiet"})
	lobby, err := s.Room(ctx, "lobby")
	same("room", err, lobby, store.Room{Name: "lobby", Config: []byte(`{"v":1}`), Subject: []byte("<message><subject>s</subject></message>"), Created: time.Unix(1700000006, 0).UTC()})
	quiet, err := s.Room(ctx, "quiet")
	same("subject", err, quiet.Subject == nil, true)
	owners, err := s.Affiliations(ctx, "lobby")
	same("affiliations", err, owners, []store.Affiliation{{JID: "anna@chat.test", As: "owner", Nick: "Anna", Reason: "made it"}})
	history, err := s.HistoryPage(ctx, "lobby", 0, 9)
	same("history", err, history, []store.HistoryMessage{
		{Seq: 11, ID: "h11", Stored: time.UnixMilli(1700000008123).UTC(), Stanza: []byte("<message>11</message>")},
		{Seq: 12, ID: "h12", Stored: time.UnixMilli(1700000008456).UTC(), Stanza: []byte("<message>12</message>")}})
	seq, err := s.AppendHistory(ctx, "lobby", store.HistoryMessage{ID: "h11"}, 0)
	same("number of what comes again", err, seq, 11)
}

// expectWritable: the digests are still found, and the numbers go on.
func expectWritable(t *testing.T, s *Store) {
	ctx := t.Context()
	if err := s.UpdateTokens(ctx, "anna", func(a store.Account) ([]store.LoginToken, error) { return a.Tokens, nil }); err != nil {
		t.Error(err)
	}
	if _, err := s.UpdateItem(ctx, "anna", "bob@chat.test", 1, func(i *store.RosterItem, exists bool) (store.Verdict, error) {
		if !exists {
			t.Error("item not found by its digest")
		}
		return store.Remove, nil
	}); err != nil {
		t.Error(err)
	}
	if seq, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{}, 3); seq != 4 || err != nil {
		t.Errorf("next message has number %d %v", seq, err)
	}
	if err := s.DeleteAccount(ctx, "anna"); err != nil {
		t.Error(err)
	}
}

// TestNotesMove: what was private XML by XEP-0145 is found as notes; what is none of it stays.
func TestNotesMove(t *testing.T) {
	path := oldDatabase(t, 1)
	for user, xml := range map[string]string{
		"anna":  `<storage xmlns="storage:rosternotes"><note jid="Bob@chat.test/x" cdate="2004-09-24T15:23:21Z" mdate="?">a &lt; b</note><note jid="c@x"/></storage>`,
		"bob":   `<storage xmlns="storage:rosternotes"><note jid="@">kept</note></storage>`,
		"carol": `<storage xmlns="storage:rosternotes"/>`,
	} {
		execFile(t, path, fmt.Sprintf("INSERT INTO private_xml VALUES ('%s', X'%x', 'storage:rosternotes', 'storage', CAST('%s' AS BLOB))",
			user, digest("storage", "storage:rosternotes"), xml))
	}
	s, ctx := openPath(t, path), t.Context()
	want := map[string][]store.Note{"anna": {
		{JID: "bob@chat.test", Text: "a < b", Created: time.Date(2004, 9, 24, 15, 23, 21, 0, time.UTC)}, {JID: "c@x"},
	}}
	for user, left := range map[string]error{"anna": store.ErrNotFound, "bob": nil, "carol": store.ErrNotFound} {
		if n, err := s.Notes(ctx, user); err != nil || !slices.Equal(n, want[user]) {
			t.Errorf("notes of %s %+v %v", user, n, err)
		}
		if x, err := s.PrivateXML(ctx, user, "storage:rosternotes", "storage"); err != left {
			t.Errorf("private XML of %s: %q %v", user, x, err)
		}
	}
}

// TestOpenTogether: each of several that start at once on a new file finds it
// whole, as separate connections see each other like separate processes.
func TestOpenTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chatd.db")
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			s, err := Open(t.Context(), Config{Path: path})
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.appendText(t.Context(), "anna", string(rune('a'+i))); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n, err := openPath(t, path).CountOffline(t.Context(), "anna"); n != 6 || err != nil {
		t.Errorf("count %d %v", n, err)
	}
}
