package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"chatd/store"
)

const (
	// tokenLifetime is how long a client may stay away and come back by its token.
	tokenLifetime = 21 * 24 * time.Hour
	// tokenRotation is the age at which a token that is used is followed by another.
	tokenRotation = 24 * time.Hour
	// tokenClients is how many clients of one user may have tokens; another one makes the
	// client lose its token that has had no new one for the longest time.
	tokenClients = 20
	tokenNonce   = 16
)

// A LoginToken is what a client may log in with instead of a password (XEP-0484). The zero LoginToken is none.
type LoginToken struct {
	Secret  string
	Expires time.Time
}

// Token settles what becomes of the tokens of a client, named by itself, with an exchange that has succeeded, before
// the client hears of the success. It returns the token to give to the client: one for the mechanism that it
// asked for, if it did, or the successor of one that it has shown (XEP-0484 §3.3, §3.5). A client
// without a name gets none. The error is a *Failure if the proof does not count any more, else a fault of
// the store.
func (e *Exchange) Token(ctx context.Context, client, mechanism string) (LoginToken, error) {
	now := time.Now().UTC()
	u := tokenUpdate{exchange: e, client: client, mechanism: mechanism, now: now}
	if client == "" || !slices.Contains(e.service.TokenMechanisms(e.channel), mechanism) {
		u.mechanism = ""
	}
	if e.shown != nil && u.mechanism == "" && !e.invalidate && !e.shown.Limited && now.Sub(e.shown.Issued) >= tokenRotation {
		u.mechanism = e.shown.Mechanism
	}
	if u.mechanism == "" && (e.shown == nil || (e.shown.Used || e.only) && !e.invalidate) {
		return LoginToken{}, nil // nothing to write, as nearly always
	}
	u.nonce = make([]byte, tokenNonce)
	rand.Read(u.nonce)
	var issued *store.LoginToken
	err := e.service.accounts.UpdateTokens(ctx, e.user, func(a store.Account) (tokens []store.LoginToken, err error) {
		tokens, issued, err = u.apply(a)
		return tokens, err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return LoginToken{}, errNotAuthorized // removed meanwhile
	case errors.Is(err, errNotAuthorized):
		return LoginToken{}, errNotAuthorized
	case err != nil:
		return LoginToken{}, fmt.Errorf("auth: token: %w", err)
	case issued == nil:
		return LoginToken{}, nil
	}
	return LoginToken{Secret: e.service.tokenSecret(e.user, issued), Expires: issued.Expires}, nil
}

// A tokenUpdate is one change of an account's tokens.
type tokenUpdate struct {
	exchange  *Exchange
	client    string
	mechanism string // of the token to issue; "": none
	nonce     []byte // of the token to issue
	now       time.Time
}

// apply returns the account's tokens as they are to be. A client has two at most: the one that it uses and
// one that it was given and has not used yet (XEP-0484 §5.1).
func (u *tokenUpdate) apply(a store.Account) (tokens []store.LoginToken, issued *store.LoginToken, err error) {
	e := u.exchange
	if !e.stillCounts(a) {
		return nil, nil, errNotAuthorized
	}
	tokens = slices.DeleteFunc(a.Tokens, func(t store.LoginToken) bool { return !u.now.Before(t.Expires) })
	if i := indexOfNonce(tokens, e.shownNonce()); i >= 0 && (e.invalidate || !tokens[i].Used) {
		tokens[i].Used = true
		tokens = slices.DeleteFunc(tokens, func(t store.LoginToken) bool { // those before it (XEP-0484 §3.5), or all
			return t.Client == e.shown.Client && (e.invalidate || !bytes.Equal(t.Nonce, e.shown.Nonce))
		})
	}
	if u.mechanism == "" {
		return tokens, nil, nil
	}
	tokens, t := u.issue(tokens)
	return tokens, &t, nil
}

// stillCounts reports whether what the exchange was won with is still what the account has.
func (e *Exchange) stillCounts(a store.Account) bool {
	switch {
	case e.shown != nil:
		return indexOfNonce(a.Tokens, e.shownNonce()) >= 0
	case e.storedKey != nil:
		return slices.ContainsFunc(a.Credentials, func(c store.Credential) bool { return bytes.Equal(c.StoredKey, e.storedKey) })
	}
	return true
}

// shownNonce is nil if no token of ours was shown.
func (e *Exchange) shownNonce() []byte {
	if e.shown == nil {
		return nil
	}
	return e.shown.Nonce
}

func indexOfNonce(tokens []store.LoginToken, nonce []byte) int {
	return slices.IndexFunc(tokens, func(t store.LoginToken) bool { return nonce != nil && bytes.Equal(t.Nonce, nonce) })
}

// issue adds a token. One that the client was given lately and has not used yet is given to it again, so
// that two connections that it opens at once do not take each other's token away.
func (u *tokenUpdate) issue(tokens []store.LoginToken) ([]store.LoginToken, store.LoginToken) {
	waiting := func(t store.LoginToken) bool { return t.Client == u.client && !t.Used }
	limit := u.exchange.expires
	if i := slices.IndexFunc(tokens, waiting); i >= 0 {
		if t := tokens[i]; t.Mechanism == u.mechanism && u.now.Sub(t.Issued) < tokenRotation && !t.Limited && limit.IsZero() {
			return tokens, t
		}
	}
	tokens = slices.DeleteFunc(tokens, waiting)
	t := store.LoginToken{
		Client: u.client, Mechanism: u.mechanism, Nonce: u.nonce,
		Issued: u.now.Truncate(time.Second), Expires: u.now.Add(tokenLifetime).Truncate(time.Second),
	}
	if !limit.IsZero() && limit.Before(t.Expires) { // no way around the end of the token that it was had for
		t.Limited, t.Expires = true, limit.UTC().Truncate(time.Second)
	}
	return append(makeRoom(tokens, u.client), t), t
}

// makeRoom forgets clients until there is room for another.
func makeRoom(tokens []store.LoginToken, client string) []store.LoginToken {
	for {
		newest := make(map[string]time.Time)
		for _, t := range tokens {
			if t.Client != client && !t.Issued.Before(newest[t.Client]) {
				newest[t.Client] = t.Issued
			}
		}
		if len(newest) < tokenClients {
			return tokens
		}
		oldest := ""
		for c, at := range newest {
			if oldest == "" || at.Before(newest[oldest]) {
				oldest = c
			}
		}
		tokens = slices.DeleteFunc(tokens, func(t store.LoginToken) bool { return t.Client == oldest })
	}
}

// tokenSecret is the token itself. Who has the store's data but not the server's secret cannot make it.
func (s *Service) tokenSecret(user string, t *store.LoginToken) string {
	return base64.RawURLEncoding.EncodeToString(s.mac("login token", user, t.Client, t.Mechanism, string(t.Nonce)))
}

// ClientName is what stands in addresses for a client of a user: always the same for the same one, and nothing
// that tells the name that the client gave itself (XEP-0386 §3.2.1).
func (s *Service) ClientName(user, client string) string {
	return base64.RawURLEncoding.EncodeToString(s.mac("client name", user, client)[:9])
}

// mac is a hash of texts that only this service can make, another one for each purpose.
func (s *Service) mac(purpose string, texts ...string) []byte {
	d := hmac.New(sha256.New, s.secret)
	for _, text := range append([]string{purpose}, texts...) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(text)))
		d.Write(n[:])
		d.Write([]byte(text))
	}
	return d.Sum(nil)
}
