package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"strings"
	"unicode/utf8"
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
	if e.service.TokensAccepted() && tokenShaped(parts[2]) {
		if admitted, err := e.plainToken(ctx, user, parts[2]); admitted || err != nil {
			return nil, admitted, err
		}
	}
	password, err := preparePassword(parts[2])
	if err != nil {
		return nil, false, errNotAuthorized
	}
	kept, known, err := e.credential(ctx, user, scramHashes[0])
	if err != nil {
		return nil, false, err
	}
	shown, err := s.derive(ctx, scramHashes[0], password, kept.Salt, kept.Iterations)
	if err != nil {
		return nil, false, err
	}
	if subtle.ConstantTimeCompare(shown.StoredKey, kept.StoredKey) != 1 || !known {
		return nil, false, errNotAuthorized
	}
	e.user, e.storedKey = user, kept.StoredKey
	return nil, true, nil
}

// plainToken takes a token in place of a password. One that does not count may be a password still,
// unless it is certain that it once was a token.
func (e *Exchange) plainToken(ctx context.Context, user, token string) (admitted bool, err error) {
	expires, err := e.service.Renew(ctx, user, token)
	var failure *Failure
	switch {
	case errors.As(err, &failure) && failure.Condition != errNotAuthorized.Condition:
		return false, failure
	case err != nil:
		return false, nil
	}
	err = e.admit(ctx, user, expires)
	return err == nil, err
}
