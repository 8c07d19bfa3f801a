package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"chatd/store"
)

func testAccount(t *testing.T, s store.Store) {
	ctx := t.Context()
	must(t, s.CreateAccount(ctx, account("anna")))
	must(t, s.CreateAccount(ctx, store.Account{User: "bare"}))

	want := account("anna")
	want.Created = createdKept
	got, err := s.Account(ctx, "anna")
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}

	err = s.CreateAccount(ctx, store.Account{User: "anna"})
	if !errors.Is(err, store.ErrExists) {
		t.Fatalf("creating twice: %v", err)
	}
	must(t, s.SetCredentials(ctx, "anna", credentials("new")[:1]))
	got, err = s.Account(ctx, "anna")
	must(t, err)
	want.Credentials = credentials("new")[:1]
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("after SetCredentials\ngot  %+v\nwant %+v", got, want)
	}

	got, err = s.Account(ctx, "bare")
	must(t, err)
	if got.User != "bare" || len(got.Credentials) != 0 || !got.Created.IsZero() {
		t.Fatalf("account without anything: %+v", got)
	}
}

func testAccountMissing(t *testing.T, s store.Store) {
	ctx := t.Context()
	must(t, s.CreateAccount(ctx, account("anna")))
	_, errGet := s.Account(ctx, "Anna")
	for verb, err := range map[string]error{
		"Account":        errGet,
		"SetCredentials": s.SetCredentials(ctx, "ann", credentials("")),
		"DeleteAccount":  s.DeleteAccount(ctx, "annaa"),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s of an unknown user: %v", verb, err)
		}
	}
}

func testAccountRace(t *testing.T, s store.Store) {
	var created, refused atomic.Int32
	inParallel(16, func(int) {
		switch err := s.CreateAccount(t.Context(), account("anna")); {
		case err == nil:
			created.Add(1)
		case errors.Is(err, store.ErrExists):
			refused.Add(1)
		default:
			t.Error(err)
		}
	})
	equal(t, "accounts created", created.Load(), 1)
	equal(t, "refused", refused.Load(), 15)
}

func testListAccounts(t *testing.T, s store.Store) {
	ctx := t.Context()
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("user%d", i)) // 10 sorts before 2
	}
	want = append(want, "Zoe", "zoe", "é", "😀", "\uffff")
	for _, user := range want {
		must(t, s.CreateAccount(ctx, account(user)))
	}
	// A name without an account is not listed.
	must(t, s.SetVCard(ctx, "visitor", []byte("<vCard/>")))
	slices.Sort(want)

	var got []string
	for after := ""; ; after = got[len(got)-1] {
		page, err := s.ListAccounts(ctx, after, 7)
		must(t, err)
		if len(page) == 0 {
			break
		}
		if len(page) > 7 {
			t.Fatalf("page of %d", len(page))
		}
		got = append(got, page...)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
	for _, limit := range []int{0, -1} {
		page, err := s.ListAccounts(ctx, "", limit)
		must(t, err)
		equal(t, fmt.Sprintf("page for limit %d", limit), len(page), 0)
	}
	page, err := s.ListAccounts(ctx, "user1", 2) // after a name, also one that is gone
	must(t, err)
	if !slices.Equal(page, []string{"user10", "user11"}) {
		t.Fatalf("after user1: %q", page)
	}
}

// fill writes to every domain of one user.
func fill(t *testing.T, s store.Store, user string) {
	t.Helper()
	ctx := t.Context()
	keepItem(t, s, user, store.RosterItem{JID: "friend@chat.test", Sub: store.SubBoth})
	keepItem(t, s, user, store.RosterItem{JID: "asks@chat.test", Hidden: true, PendingIn: true})
	must(t, s.Block(ctx, user, []string{"troll@chat.test"}, 0))
	setNotes(t, s, user, store.Note{JID: "friend@chat.test", Text: "duo"})
	must(t, s.SetPrivacy(ctx, user, store.Privacy{Messages: store.Nobody}))
	must(t, appendOffline(s, ctx, user, store.OfflineMessage{Stored: created, Stanza: []byte("<message/>")}, 0))
	must(t, s.SetPrivateXML(ctx, user, "ns", "notes", []byte("<notes/>"), 0))
	must(t, s.SetVCard(ctx, user, []byte("<vCard/>")))
	must(t, s.SetLastActivity(ctx, user, store.LastActivity{At: created, Status: "bye"}))
}

func expectFilled(t *testing.T, s store.Store, user string, filled bool) {
	t.Helper()
	ctx, want := t.Context(), 0
	if filled {
		want = 1
	}
	r, err := s.Roster(ctx, user)
	must(t, err)
	equal(t, "items of "+user, len(r.Items), 2*want)
	blocked, err := s.Blocklist(ctx, user)
	must(t, err)
	equal(t, "blocked by "+user, len(blocked), want)
	n, err := s.CountOffline(ctx, user)
	must(t, err)
	equal(t, "messages for "+user, n, want)
	page, err := s.OfflinePage(ctx, user, 0, 10)
	must(t, err)
	equal(t, "page for "+user, len(page), want)
	privacy, err := s.Privacy(ctx, user)
	must(t, err)
	equal(t, "settings of "+user, privacy != store.Privacy{}, filled)
	notes, err := s.Notes(ctx, user)
	must(t, err)
	equal(t, "notes of "+user, len(notes), want)
	_, errPrivate := s.PrivateXML(ctx, user, "ns", "notes")
	_, errVCard := s.VCard(ctx, user)
	_, errLast := s.LastActivity(ctx, user)
	for what, err := range map[string]error{"private XML": errPrivate, "vCard": errVCard, "last activity": errLast} {
		if filled {
			must(t, err)
		} else if !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("%s of %s: %v", what, user, err)
		}
	}
}

func testDeleteAccount(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, user := range []string{"anna", "ann", "anna2"} {
		must(t, s.CreateAccount(ctx, account(user)))
		fill(t, s, user)
	}
	must(t, s.DeleteAccount(ctx, "anna"))
	expectFilled(t, s, "anna", false)
	expectFilled(t, s, "ann", true)
	expectFilled(t, s, "anna2", true)
	if err := s.DeleteAccount(ctx, "anna"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("deleting twice: %v", err)
	}
	names, err := s.ListAccounts(ctx, "", 10)
	must(t, err)
	if !slices.Equal(names, []string{"ann", "anna2"}) {
		t.Fatalf("accounts left: %q", names)
	}
	must(t, s.CreateAccount(ctx, account("anna")))
	expectFilled(t, s, "anna", false)
	// The name works again in full, limits included.
	must(t, appendOffline(s, ctx, "anna", store.OfflineMessage{Stanza: []byte("<message/>")}, 1))
}

func testCreateStartsEmpty(t *testing.T, s store.Store) {
	ctx := t.Context()
	fill(t, s, "anna") // by a session that outlived an earlier account
	expectFilled(t, s, "anna", true)
	must(t, s.CreateAccount(ctx, account("anna")))
	expectFilled(t, s, "anna", false)
}
