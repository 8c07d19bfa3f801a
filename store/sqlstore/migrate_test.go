package sqlstore

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/store"
)

// TestOpenFromSchema opens a database as each released schema version left it.
func TestOpenFromSchema(t *testing.T) {
	dumps, err := filepath.Glob("testdata/schema*.sql")
	if err != nil || len(dumps) == 0 {
		t.Fatal("no dumps", err)
	}
	for _, dump := range dumps {
		t.Run(filepath.Base(dump), func(t *testing.T) {
			text, err := os.ReadFile(dump)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "old.db")
			execFile(t, path, string(text))
			s, ctx := openPath(t, path), t.Context()

			a, err := s.Account(ctx, "anna")
			if err != nil || a.Created.Unix() != 1700000000 || len(a.Credentials) != 1 || a.Credentials[0].Iterations != 4096 {
				t.Errorf("account %+v %v", a, err)
			}
			if strings.HasSuffix(dump, "schema1.sql") != (len(a.Tokens) == 0) {
				t.Errorf("tokens %+v", a.Tokens)
			}
			if err := s.UpdateTokens(ctx, "anna", func(a store.Account) ([]store.LoginToken, error) { return a.Tokens, nil }); err != nil {
				t.Error(err)
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
			if x, err := s.PrivateXML(ctx, "anna", "urn:notes", "notes"); err != nil || string(x) != "<notes/>" {
				t.Errorf("private %q %v", x, err)
			}
			if v, err := s.VCard(ctx, "anna"); err != nil || string(v) != "<vCard/>" {
				t.Errorf("vCard %q %v", v, err)
			}
			if l, err := s.LastActivity(ctx, "anna"); err != nil || l.Status != "bye" || l.At.Unix() != 1700000003 {
				t.Errorf("last %+v %v", l, err)
			}
			var notes []store.Note
			var privacy store.Privacy
			if strings.HasSuffix(dump, "schema3.sql") {
				notes = []store.Note{{JID: "bob@chat.test", Text: "duo", Created: time.Unix(1700000004, 0).UTC()}}
				privacy = store.Privacy{Messages: store.Friends, Requests: store.Nobody}
			}
			if n, err := s.Notes(ctx, "anna"); err != nil || !slices.Equal(n, notes) {
				t.Errorf("notes %+v %v", n, err)
			}
			if p, err := s.Privacy(ctx, "anna"); err != nil || p != privacy {
				t.Errorf("privacy %+v %v", p, err)
			}
			// And it can be written to: the digests are still found.
			if _, err := s.UpdateItem(ctx, "anna", "bob@chat.test", 1, func(i *store.RosterItem, exists bool) (store.Verdict, error) {
				if !exists {
					t.Error("item not found by its digest")
				}
				return store.Remove, nil
			}); err != nil {
				t.Error(err)
			}
			if err := s.DeleteAccount(ctx, "anna"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNotesMove: what was private XML by XEP-0145 is found as notes; what is none of it stays.
func TestNotesMove(t *testing.T) {
	text, err := os.ReadFile("testdata/schema1.sql")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "old.db")
	execFile(t, path, string(text))
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
