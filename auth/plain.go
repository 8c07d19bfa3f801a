package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// plain is RFC 4616: the password itself, which is hashed as its owner's was
// and compared. Nothing of it is kept. A token may stand in its place.
func (e *Exchange) plain(ctx context.Context, response []byte) ([]byte, bool, error) {
	parts := strings.Split(string(response), "\x00") // RFC 4616 §2: [authzid] NUL authcid NUL passwd
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" || !utf8.Valid(response) {
		return nil, false, malformed("not a PLAIN message")
	}
	s := e.service
	user, err := s.localpart(parts[1])
	if err != nil {
		return nil, false, errNotAuthorized // no such name: nothing to hide
	}
	if !s.mayActAs(parts[0], user) {
		return nil, false, errInvalidAuthzid
	}
	refused := errNotAuthorized
	if e.service.TokensAccepted() && tokenShaped(parts[2]) {
		admitted, notToken, err := e.plainToken(ctx, user, parts[2])
		if admitted || err != nil {
			return nil, admitted, err
		}
		refused = notToken
	}
	password, err := preparePassword(parts[2])
	if err != nil {
		return nil, false, errNotAuthorized
	}
	kept, known, err := e.credential(ctx, user, scramHashes...)
	if err != nil {
		return nil, false, err
	}
	shown, err := s.derive(ctx, hashByName(kept.Mechanism), password, kept.Salt, kept.Iterations)
	if err != nil {
		return nil, false, err
	}
	if subtle.ConstantTimeCompare(shown.StoredKey, kept.StoredKey) != 1 || !known {
		return nil, false, refused
	}
	e.user, e.storedKey = user, kept.StoredKey
	return nil, true, nil
}

// plainToken takes a token in place of a password. One that does not count may be a password still,
// unless it is certain that it once was a token; if that is wrong too, notToken is why, for the log.
func (e *Exchange) plainToken(ctx context.Context, user, token string) (admitted bool, notToken *Failure, err error) {
	expires, err := e.service.Renew(ctx, user, token)
	var failure *Failure
	switch {
	case errors.As(err, &failure) && failure.Condition != errNotAuthorized.Condition:
		return false, nil, failure
	case err == nil:
		err = e.admit(ctx, user, expires)
		return err == nil, nil, err
	case failure == nil || errors.Is(err, jwt.ErrTokenMalformed): // more likely a password, of which the cause tells
		return false, errNotAuthorized, nil
	}
	return false, failure, nil
}
