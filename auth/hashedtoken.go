package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"chatd/store"
)

// hashedTokens are the mechanisms for tokens of ours (draft-schmaus-kitten-sasl-ht-09 §3), best first, each with
// the channel binding that it needs.
var hashedTokens = []struct{ name, bindType string }{
	{"HT-SHA-256-EXPR", bindExporter},
	{"HT-SHA-256-UNIQ", bindUnique},
	{"HT-SHA-256-ENDP", bindEndPoint},
	{"HT-SHA-256-NONE", ""},
}

// TokenMechanisms is the mechanisms for tokens of ours to offer on ch (XEP-0484 §3.1), best first; none
// where ch is not private (§6).
func (s *Service) TokenMechanisms(ch Channel) []string {
	if !ch.private() {
		return nil
	}
	var names []string
	for _, m := range hashedTokens {
		if m.bindType == "" || s.bindingData(ch, m.bindType) != nil {
			names = append(names, m.name)
		}
	}
	return names
}

// StartToken begins an exchange by a token that was issued to a client (XEP-0484 §3.4). With
// invalidate the client's tokens end with it (§3.6). The error is a *Failure.
func (s *Service) StartToken(mechanism string, ch Channel, client string, invalidate bool) (*Exchange, error) {
	if !ch.private() {
		return nil, errEncryptionRequired
	}
	for _, m := range hashedTokens {
		if m.name != mechanism {
			continue
		}
		var bound []byte
		if m.bindType != "" {
			if bound = s.bindingData(ch, m.bindType); bound == nil {
				return nil, errInvalidMechanism
			}
		}
		e := &Exchange{service: s, channel: ch, invalidate: invalidate}
		e.next = (&hashedToken{Exchange: e, mechanism: mechanism, client: client, bound: bound}).verify
		return e, nil
	}
	return nil, errInvalidMechanism
}

// hashedToken is the server's side of one exchange by a token.
type hashedToken struct {
	*Exchange
	mechanism string
	client    string
	bound     []byte // the channel binding data
}

// verify is draft-schmaus-kitten-sasl-ht-09 §3.1 and §3.3: authcid NUL HMAC(token, "Initiator" || cb-data), which is
// answered with HMAC(token, "Responder" || cb-data). A client that has no token costs as much
// as a user who does not exist: nobody but the client knows its name.
func (x *hashedToken) verify(ctx context.Context, response []byte) ([]byte, bool, error) {
	authcid, proof, ok := bytes.Cut(response, []byte{0})
	if !ok || len(authcid) == 0 || !utf8.Valid(authcid) || len(proof) != sha256.Size {
		return nil, false, malformed("not a hashed token")
	}
	s := x.service
	user, err := s.localpart(string(authcid))
	if err != nil {
		return nil, false, errNotAuthorized
	}
	player, err := s.accounts.Player(ctx, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, false, fmt.Errorf("auth: reading tokens: %w", err)
	}
	account := &player.Account
	x.disabled = account.Disabled
	for i := range account.Tokens {
		t := &account.Tokens[i]
		if t.Client != x.client || t.Mechanism != x.mechanism {
			continue
		}
		secret := s.tokenSecret(user, t)
		if subtle.ConstantTimeCompare(proof, tokenProof(secret, "Initiator", x.bound)) != 1 {
			continue
		}
		if !time.Now().Before(t.Expires) {
			return nil, false, &Failure{Condition: "credentials-expired", Text: "token expired"} // XEP-0484 §4.2
		}
		x.user, x.shown, x.only = user, t, isOnly(account.Tokens, t)
		if t.Limited {
			x.expires = t.Expires
		}
		return tokenProof(secret, "Responder", x.bound), true, nil
	}
	return nil, false, errNotAuthorized
}

func isOnly(tokens []store.LoginToken, t *store.LoginToken) bool {
	for i := range tokens {
		if o := &tokens[i]; o != t && o.Client == t.Client {
			return false
		}
	}
	return true
}

func tokenProof(secret, role string, bound []byte) []byte {
	d := hmac.New(sha256.New, []byte(secret))
	d.Write([]byte(role))
	d.Write(bound)
	return d.Sum(nil)
}
