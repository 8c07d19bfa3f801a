package auth

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
)

// maxPassword is in bytes, before and after preparation.
const maxPassword = 1023

// preparePassword normalizes a password to what clients hash. RFC 5802 §2.2
// says SASLprep (RFC 4013), and clients do that, so its mappings are applied:
// other spaces to SPACE, invisible characters to nothing, NFKC. What is then
// allowed is told by its successor OpaqueString (RFC 8265 §4.2), whose
// repertoire is that of today's Unicode and not of version 3.2. ASCII passes
// through both as it is. The error is ErrBadPassword.
func preparePassword(password string) (string, error) {
	if password == "" || len(password) > maxPassword || !utf8.ValidString(password) {
		return "", ErrBadPassword
	}
	mapped := norm.NFKC.String(strings.Map(saslprepMap, password))
	prepared, err := precis.OpaqueString.String(mapped)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadPassword, err)
	}
	if len(prepared) > maxPassword {
		return "", ErrBadPassword
	}
	return prepared, nil
}

// saslprepMap is RFC 4013 §2.1 with the tables C.1.2 and B.1 of RFC 3454.
func saslprepMap(r rune) rune {
	switch {
	case r == '\u200b', unicode.Is(unicode.Zs, r):
		return ' '
	case r == '\u00ad', r == '\u034f', r == '\u1806', r == '\u2060', r == '\ufeff',
		'\u180b' <= r && r <= '\u180d', r == '\u200c', r == '\u200d', '\ufe00' <= r && r <= '\ufe0f':
		return -1
	}
	return r
}
