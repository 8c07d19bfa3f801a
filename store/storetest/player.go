package storetest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"chatd/store"
)

func testPlayer(t *testing.T, s store.Store) {
	ctx := t.Context()
	if _, err := s.Player(ctx, "anna"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("unknown user: %v", err)
	}
	must(t, s.Block(ctx, "anna", []string{"spam.example"}, 0))
	if _, err := s.Player(ctx, "anna"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("without an account: %v", err)
	}
	must(t, s.CreateAccount(ctx, account("anna")))
	p, err := s.Player(ctx, "anna")
	must(t, err)
	if p.Account.User != "anna" || len(p.Account.Credentials) != 2 || !p.Account.Created.Equal(createdKept) {
		t.Fatalf("account %+v", p.Account)
	}
	if len(p.Blocked) != 0 || p.Privacy != (store.Privacy{}) || len(p.Roster.Items) != 0 || p.VCard != nil || p.Waiting != 0 {
		t.Fatalf("a new account has %+v", p)
	}
}

// testPlayerParts: Player is what the parts' own verbs say, and nobody else's.
func testPlayerParts(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, user := range []string{"anna", "bob", "Anna"} {
		must(t, s.CreateAccount(ctx, account(user)))
		must(t, s.UpdateTokens(ctx, user, func(store.Account) ([]store.LoginToken, error) { return tokens(user), nil }))
		must(t, s.Block(ctx, user, []string{"z@x/R", user + "@blocked", "ä@x"}, 0))
		must(t, s.SetPrivacy(ctx, user, store.Privacy{Messages: store.Friends, Requests: store.Nobody}))
		must(t, s.SetVCard(ctx, user, []byte("<vCard>\x00"+user+"</vCard>")))
		for i, item := range []store.RosterItem{
			{JID: "b@chat.test", Name: "Bé & <b>", Groups: []string{"Work", "", "Friends, 3:old"}, Sub: store.SubBoth, Created: created},
			{JID: "a@chat.test", Sub: store.SubTo, Ask: true, Message: "hi " + user},
			{JID: "c@chat.test", PendingIn: true, Hidden: true, Request: []byte("<status>hi\x00</status>"), Created: created},
		} {
			keepItem(t, s, user, item)
			must(t, appendOffline(s, ctx, user, store.OfflineMessage{Stored: time.Unix(int64(i), 0), Stanza: []byte("<message/>")}, 0))
		}
		must(t, s.RemoveOffline(ctx, user, []int64{1}))
	}
	must(t, s.SetDisabled(ctx, "bob", true))
	for _, user := range []string{"anna", "bob", "Anna"} {
		var want store.Player
		var err error
		want.Account, err = s.Account(ctx, user)
		must(t, err)
		want.Blocked, err = s.Blocklist(ctx, user)
		must(t, err)
		want.Privacy, err = s.Privacy(ctx, user)
		must(t, err)
		want.Roster, err = s.Roster(ctx, user)
		must(t, err)
		want.VCard, err = s.VCard(ctx, user)
		must(t, err)
		want.Waiting, err = s.CountOffline(ctx, user)
		must(t, err)
		got, err := s.Player(ctx, user)
		must(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", user, got, want)
		}
	}
}
