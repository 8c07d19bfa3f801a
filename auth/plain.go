package auth

import (
	"context"
	"crypto/subtle"
	"strings"
	"unicode/utf8"
)

// plain is RFC 4616: the password itself, which is hashed as its owner's was
// and compared. Nothing of it is kept.
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
	password, err := preparePassword(parts[2])
	if err != nil {
		return nil, false, errNotAuthorized
	}
	kept, known, err := s.credential(ctx, user, scramHashes[0])
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
	e.user = user
	return nil, true, nil
}
