package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatd/store"
	"chatd/store/memory"
)

const testClientID = "d4565fa7-4d72-4749-b3d3-740edbf87770"

// proof is what a client sends for a token.
func proof(user, secret string, bound []byte) []byte {
	d := hmac.New(sha256.New, []byte(secret))
	d.Write(append([]byte("Initiator"), bound...))
	return append([]byte(user+"\x00"), d.Sum(nil)...)
}

// tokenLogin comes back by a token and settles the tokens; want is the mechanism of the token that is asked for.
func tokenLogin(t *testing.T, s *Service, ch Channel, mechanism, client, secret string, invalidate bool, want string) (next LoginToken, e *Exchange, err error) {
	t.Helper()
	e, err = s.StartToken(mechanism, ch, client, invalidate)
	if err != nil {
		return LoginToken{}, nil, err
	}
	bound := s.bindingData(ch, bindTypeOf(mechanism))
	answer, done, err := e.Step(t.Context(), proof("Juliet", secret, bound))
	if err != nil {
		return LoginToken{}, nil, err
	}
	d := hmac.New(sha256.New, []byte(secret))
	d.Write(append([]byte("Responder"), bound...))
	if !done || !hmac.Equal(answer, d.Sum(nil)) || e.User() != "juliet" {
		t.Errorf("done %v, user %q, answer %x", done, e.User(), answer)
	}
	next, err = e.Token(t.Context(), client, want)
	return next, e, err
}

func bindTypeOf(mechanism string) string {
	for _, m := range hashedTokens {
		if m.name == mechanism {
			return m.bindType
		}
	}
	return ""
}

// passwordToken logs in with the password and asks for a token.
func passwordToken(t *testing.T, s *Service, ch Channel, client, mechanism string) LoginToken {
	t.Helper()
	token, err := passwordExchange(t, s, ch).Token(t.Context(), client, mechanism)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func passwordExchange(t *testing.T, s *Service, ch Channel) *Exchange {
	t.Helper()
	e, err := s.Start("PLAIN", ch)
	if err == nil {
		_, _, err = e.Step(t.Context(), []byte("\x00juliet\x00"+testPassword))
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestTokenMechanisms: each on the channels that it can be bound to, and only by itself (XEP-0484 §3.4).
func TestTokenMechanisms(t *testing.T) {
	s, _ := newTestService(t)
	for version, want := range map[uint16]string{
		tls.VersionTLS13: "HT-SHA-256-EXPR HT-SHA-256-ENDP HT-SHA-256-NONE",
		tls.VersionTLS12: "HT-SHA-256-EXPR HT-SHA-256-UNIQ HT-SHA-256-ENDP HT-SHA-256-NONE",
	} {
		ch, _ := newTestChannel(t, version)
		other, _ := newTestChannel(t, version)
		offered := s.TokenMechanisms(ch)
		if got := strings.Join(offered, " "); got != want {
			t.Errorf("offered %s, want %s", got, want)
		}
		for _, issuedFor := range offered {
			token := passwordToken(t, s, ch, testClientID, issuedFor)
			for _, used := range offered {
				_, _, err := tokenLogin(t, s, other, used, testClientID, token.Secret, false, "")
				if used == issuedFor {
					if err != nil {
						t.Errorf("%s: %v", used, err)
					}
					continue
				}
				wantFailure(t, err, "not-authorized")
			}
			// The proof for one channel is none for another.
			if bound := s.bindingData(ch, bindTypeOf(issuedFor)); bound != nil {
				e, err := s.StartToken(issuedFor, other, testClientID, false)
				if err == nil {
					_, _, err = e.Step(t.Context(), proof("juliet", token.Secret, bound))
				}
				wantFailure(t, err, "not-authorized")
			}
		}
	}
	if names := s.TokenMechanisms(Channel{}); names != nil {
		t.Errorf("without TLS: %v", names)
	}
	_, err := s.StartToken("HT-SHA-256-NONE", Channel{}, testClientID, false)
	wantFailure(t, err, "encryption-required")
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	for _, m := range []string{"HT-SHA-256-UNIQ", "HT-SHA-512-NONE", "PLAIN", ""} {
		_, err := s.StartToken(m, ch, testClientID, false)
		wantFailure(t, err, "invalid-mechanism")
	}
	_, err = s.Start("HT-SHA-256-NONE", ch)
	wantFailure(t, err, "invalid-mechanism")
}

func TestTokenMessages(t *testing.T) {
	s, _ := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	token := passwordToken(t, s, ch, testClientID, "HT-SHA-256-NONE").Secret
	good := string(proof("juliet", token, nil))
	for _, tt := range []struct{ name, message, client, want string }{
		{"right", good, testClientID, ""},
		{"nothing but NUL", "\x00", testClientID, "malformed-request"},
		{"no NUL", "juliet", testClientID, "malformed-request"},
		{"no user", good[len("juliet"):], testClientID, "malformed-request"},
		{"short", good[:len(good)-1], testClientID, "malformed-request"},
		{"long", good + "x", testClientID, "malformed-request"},
		{"user is no UTF-8", "\xff" + good, testClientID, "malformed-request"},
		{"user is no name", "a@b" + good[len("juliet"):], testClientID, "not-authorized"},
		{"somebody else", string(proof("romeo", token, nil)), testClientID, "not-authorized"},
		{"wrong token", string(proof("juliet", "x"+token, nil)), testClientID, "not-authorized"},
		{"another client", good, "another", "not-authorized"},
		{"bound", string(proof("juliet", token, []byte("x"))), testClientID, "not-authorized"},
	} {
		e, err := s.StartToken("HT-SHA-256-NONE", ch, tt.client, false)
		if err == nil {
			_, _, err = e.Step(t.Context(), []byte(tt.message))
		}
		if tt.want == "" && err == nil {
			continue
		}
		t.Log(tt.name)
		wantFailure(t, err, tt.want)
		if e.User() != "" {
			t.Errorf("%s: user %q", tt.name, e.User())
		}
	}
}

// TestTokenIsNotStored: nobody who has the store's data has a token.
func TestTokenIsNotStored(t *testing.T) {
	s, a := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	token := passwordToken(t, s, ch, testClientID, "HT-SHA-256-NONE").Secret
	account, err := a.Accounts.Account(t.Context(), "juliet")
	if err != nil || len(account.Tokens) != 1 || len(token) < 43 {
		t.Fatalf("%+v, %v", account, err)
	}
	if stored := fmt.Sprintf("%s %+v", account.Tokens[0].Nonce, account); strings.Contains(stored, token) {
		t.Errorf("stored %s", stored)
	}
	other := New(a, testDomain, []byte("another secret of another server"))
	_, _, err = tokenLogin(t, other, ch, "HT-SHA-256-NONE", testClientID, token, false, "")
	wantFailure(t, err, "not-authorized")
	again := New(a, testDomain, testSecret) // as after a restart, or on another node
	if _, _, err = tokenLogin(t, again, ch, "HT-SHA-256-NONE", testClientID, token, false, ""); err != nil {
		t.Error(err)
	}
}

// TestTokenRotation is XEP-0484 §3.5 and §5.1.
func TestTokenRotation(t *testing.T) {
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	synctest.Test(t, func(t *testing.T) {
		s, a := newTestService(t)
		const m = "HT-SHA-256-NONE"
		comes := func(token LoginToken) LoginToken {
			t.Helper()
			next, _, err := tokenLogin(t, s, ch, m, testClientID, token.Secret, false, "")
			if err != nil {
				t.Fatal(err)
			}
			return next
		}
		fails := func(token LoginToken, condition string) {
			t.Helper()
			_, _, err := tokenLogin(t, s, ch, m, testClientID, token.Secret, false, "")
			wantFailure(t, err, condition)
		}
		first := passwordToken(t, s, ch, testClientID, m)
		if want := time.Now().Add(tokenLifetime); first.Expires.Sub(want).Abs() > time.Second {
			t.Errorf("expires %v, want %v", first.Expires, want)
		}
		if next := comes(first); next != (LoginToken{}) {
			t.Error("a fresh token was rotated")
		}
		reads := a.reads.Load()
		comes(first)
		if n := a.reads.Load() - reads; n != 1 {
			t.Errorf("%d reads of the account for a login, want 1", n)
		}

		time.Sleep(tokenRotation)
		second := comes(first)
		if second.Secret == "" || second.Secret == first.Secret {
			t.Fatal("an old token was not rotated")
		}
		if again := comes(first); again != second { // it did not get it, or has two connections
			t.Error("the unused token was replaced at once")
		}
		if next := comes(second); next != (LoginToken{}) {
			t.Error("a fresh token was rotated")
		}
		fails(first, "not-authorized") // the new one was used

		time.Sleep(tokenRotation)
		third := comes(second)
		time.Sleep(tokenRotation)
		fourth := comes(second)
		if fourth.Secret == "" || fourth == third {
			t.Error("an unused token that is old itself is not replaced")
		}
		fails(third, "not-authorized")
		comes(second)
		comes(fourth)

		time.Sleep(tokenLifetime)
		fails(fourth, "credentials-expired")
		if fifth := passwordToken(t, s, ch, testClientID, m); comes(fifth).Secret != "" {
			t.Error("a fresh token was rotated")
		}
		account, _ := a.Accounts.Account(t.Context(), "juliet")
		if len(account.Tokens) != 1 {
			t.Errorf("%d tokens are kept", len(account.Tokens))
		}
	})
}

// TestTokenInvalidate is XEP-0484 §3.6.
func TestTokenInvalidate(t *testing.T) {
	s, a := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	const m = "HT-SHA-256-EXPR"
	first := passwordToken(t, s, ch, testClientID, m)
	other := passwordToken(t, s, ch, "other", m)
	_, _, err := tokenLogin(t, s, ch, m, testClientID, first.Secret, false, "")
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := tokenLogin(t, s, ch, m, testClientID, first.Secret, false, m) // asked for
	if err != nil || second.Secret == "" {
		t.Fatal(second, err)
	}
	if next, _, err := tokenLogin(t, s, ch, m, testClientID, first.Secret, true, ""); err != nil || next.Secret != "" {
		t.Fatal(next, err)
	}
	for _, gone := range []LoginToken{first, second} {
		_, _, err = tokenLogin(t, s, ch, m, testClientID, gone.Secret, false, "")
		wantFailure(t, err, "not-authorized")
	}
	third, _, err := tokenLogin(t, s, ch, m, "other", other.Secret, true, m)
	if err != nil || third.Secret == "" {
		t.Fatal(third, err)
	}
	account, _ := a.Accounts.Account(t.Context(), "juliet")
	if len(account.Tokens) != 1 {
		t.Errorf("%d tokens are kept", len(account.Tokens))
	}
}

// TestTokenEndsWithCredentials: what a token was had for has to be there still, at each moment.
func TestTokenEndsWithCredentials(t *testing.T) {
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	const m = "HT-SHA-256-NONE"
	for name, end := range map[string]func(*Service) error{
		"password": func(s *Service) error { return s.SetPassword(t.Context(), "juliet", testPassword) },
		"removed":  func(s *Service) error { return s.Remove(t.Context(), "juliet") },
		"remade": func(s *Service) error {
			_, err := s.Register(t.Context(), "juliet", testPassword)
			return errors.Join(s.Remove(t.Context(), "juliet"), err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newTestService(t)
			token := passwordToken(t, s, ch, testClientID, m)
			shown, err := s.StartToken(m, ch, testClientID, false)
			if err == nil {
				_, _, err = shown.Step(t.Context(), proof("juliet", token.Secret, nil))
			}
			if err != nil {
				t.Fatal(err)
			}
			proven := passwordExchange(t, s, ch)
			_ = end(s)
			_, err = shown.Token(t.Context(), testClientID, m)
			wantFailure(t, err, "not-authorized")
			_, err = proven.Token(t.Context(), testClientID, m)
			wantFailure(t, err, "not-authorized")
			_, _, err = tokenLogin(t, s, ch, m, testClientID, token.Secret, false, "")
			wantFailure(t, err, "not-authorized")
		})
	}
}

// TestTokenForToken: a token of ours that was had for a token of somebody else's ends when that does.
func TestTokenForToken(t *testing.T) {
	s, _ := newTokenService(t, testTokenConfig())
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	jwt := sign("EdDSA", testEd25519(), kid("ed"), goodClaims(map[string]any{"sub": "juliet"}))
	e, err := s.Start(oauthBearer, ch)
	if err == nil {
		_, _, err = e.Step(t.Context(), []byte("n,,\x01auth=Bearer "+jwt+"\x01\x01"))
	}
	if err != nil {
		t.Fatal(err)
	}
	end := e.Expires().Truncate(time.Second)
	token, err := e.Token(t.Context(), testClientID, "HT-SHA-256-NONE")
	if err != nil || !token.Expires.Equal(end) {
		t.Fatalf("expires %v, want %v; %v", token.Expires, end, err)
	}
	next, e, err := tokenLogin(t, s, ch, "HT-SHA-256-NONE", testClientID, token.Secret, false, "HT-SHA-256-NONE")
	if err != nil || !e.Expires().Equal(end) || next.Expires.After(end) {
		t.Errorf("then %v and %v, %v", e.Expires(), next.Expires, err)
	}
}

func TestTokenIsNotForEverybody(t *testing.T) {
	s, a := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	for _, tt := range []struct{ client, mechanism string }{{"", "HT-SHA-256-NONE"}, {testClientID, ""}, {testClientID, "HT-SHA-256-UNIQ"}, {testClientID, "PLAIN"}} {
		if token, err := passwordExchange(t, s, ch).Token(t.Context(), tt.client, tt.mechanism); err != nil || token != (LoginToken{}) {
			t.Errorf("%+v: %v, %v", tt, token, err)
		}
	}
	for i := range tokenClients + 5 {
		passwordToken(t, s, ch, fmt.Sprint("client ", i), "HT-SHA-256-NONE")
	}
	account, err := a.Accounts.Account(t.Context(), "juliet")
	if err != nil || len(account.Tokens) != tokenClients {
		t.Errorf("%d tokens are kept, %v", len(account.Tokens), err)
	}
	last := func(t store.LoginToken) bool { return t.Client == fmt.Sprint("client ", tokenClients+4) }
	if !slices.ContainsFunc(account.Tokens, last) {
		t.Error("the last one is not among them")
	}
}

// TestTokenRotationRace: two connections with one token leave the client with a token that counts, whichever
// answer it saw last.
func TestTokenRotationRace(t *testing.T) {
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	s := New(memory.New(), testDomain, testSecret)
	if _, err := s.Register(t.Context(), "juliet", testPassword); err != nil {
		t.Fatal(err)
	}
	const m = "HT-SHA-256-NONE"
	for range 30 {
		token := passwordToken(t, s, ch, testClientID, m)
		if _, _, err := tokenLogin(t, s, ch, m, testClientID, token.Secret, false, ""); err != nil {
			t.Fatal(err)
		}
		err := s.accounts.UpdateTokens(t.Context(), "juliet", func(a store.Account) ([]store.LoginToken, error) {
			for i := range a.Tokens {
				a.Tokens[i].Issued = a.Tokens[i].Issued.Add(-tokenRotation)
			}
			return a.Tokens, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var next [4]LoginToken
		for i := range next {
			wg.Go(func() {
				var err error
				if next[i], _, err = tokenLogin(t, s, ch, m, testClientID, token.Secret, false, ""); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i := range next {
			if next[i].Secret == "" || next[i] != next[0] {
				t.Fatalf("got %+v", next)
			}
		}
		for i := range next { // the first use of the new token, several times at once
			wg.Go(func() {
				if _, _, err := tokenLogin(t, s, ch, m, testClientID, next[i].Secret, false, ""); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestClientName(t *testing.T) {
	s, _ := newTestService(t)
	name := s.ClientName("juliet", testClientID)
	if len(name) != 12 || name != s.ClientName("juliet", testClientID) || strings.Contains(testClientID, name) {
		t.Errorf("name %q", name)
	}
	if name == s.ClientName("romeo", testClientID) || name == s.ClientName("juliet", "other") || name == s.ClientName("julie", "t"+testClientID) {
		t.Error("not unique")
	}
}

// A store that fails is no verdict on the client.
func TestLoginTokenStoreFault(t *testing.T) {
	s, a := newTestService(t)
	ch, _ := newTestChannel(t, tls.VersionTLS13)
	e := passwordExchange(t, s, ch)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var f *Failure
	if _, err := e.Token(ctx, testClientID, "HT-SHA-256-NONE"); err == nil || errors.As(err, &f) {
		t.Errorf("issuing: %v", err)
	}
	a.fault = errors.New("disk on fire")
	if _, _, err := tokenLogin(t, s, ch, "HT-SHA-256-NONE", testClientID, "x", false, ""); !errors.Is(err, a.fault) {
		t.Errorf("verifying: %v", err)
	}
}
