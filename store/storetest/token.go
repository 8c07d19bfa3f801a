package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"chatd/store"
)

func setTokens(t *testing.T, s store.Store, user string, tokens []store.LoginToken) {
	t.Helper()
	must(t, s.UpdateTokens(t.Context(), user, func(store.Account) ([]store.LoginToken, error) { return tokens, nil }))
}

func expectTokens(t *testing.T, s store.Store, user string, want []store.LoginToken) {
	t.Helper()
	a, err := s.Account(t.Context(), user)
	must(t, err)
	for i := range want {
		want[i].Issued = want[i].Issued.UTC().Truncate(time.Second)
		want[i].Expires = want[i].Expires.UTC().Truncate(time.Second)
	}
	if len(a.Tokens) != len(want) || len(want) > 0 && !reflect.DeepEqual(a.Tokens, want) {
		t.Fatalf("tokens of %s\ngot  %+v\nwant %+v", user, a.Tokens, want)
	}
}

func testTokens(t *testing.T, s store.Store) {
	ctx := t.Context()
	must(t, s.CreateAccount(ctx, account("anna")))
	withTokens := account("bob")
	withTokens.Tokens = tokens("bob")
	must(t, s.CreateAccount(ctx, withTokens))
	expectTokens(t, s, "anna", nil)
	expectTokens(t, s, "bob", tokens("bob"))

	setTokens(t, s, "anna", tokens("anna"))
	expectTokens(t, s, "anna", tokens("anna"))
	expectTokens(t, s, "bob", tokens("bob"))

	refused := errors.New("refused")
	err := s.UpdateTokens(ctx, "anna", func(a store.Account) ([]store.LoginToken, error) {
		if !reflect.DeepEqual(a.Credentials, credentials("anna")) || len(a.Tokens) != 2 || a.User != "anna" {
			t.Errorf("update gets %+v", a)
		}
		return nil, refused
	})
	if err != refused {
		t.Fatalf("a refused update: %v", err)
	}
	expectTokens(t, s, "anna", tokens("anna"))
	err = s.UpdateTokens(ctx, "nobody", func(store.Account) ([]store.LoginToken, error) {
		t.Error("update of nobody is called")
		return nil, nil
	})
	if !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("an unknown user: %v", err)
	}

	// They end with the credentials, and with the account.
	must(t, s.SetCredentials(ctx, "anna", credentials("new")))
	expectTokens(t, s, "anna", nil)
	must(t, s.DeleteAccount(ctx, "bob"))
	must(t, s.CreateAccount(ctx, account("bob")))
	expectTokens(t, s, "bob", nil)
	setTokens(t, s, "anna", tokens("more"))
	setTokens(t, s, "anna", nil)
	expectTokens(t, s, "anna", nil)
}

// testTokensRace: each update sees those before it.
func testTokensRace(t *testing.T, s store.Store) {
	must(t, s.CreateAccount(t.Context(), account("anna")))
	inParallel(16, func(i int) {
		err := s.UpdateTokens(t.Context(), "anna", func(a store.Account) ([]store.LoginToken, error) {
			return append(a.Tokens, store.LoginToken{Client: fmt.Sprint(i)}), nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	a, err := s.Account(t.Context(), "anna")
	must(t, err)
	equal(t, "tokens", len(a.Tokens), 16)
}
