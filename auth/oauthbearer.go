package auth

import (
	"context"
	"strings"
)

const oauthBearer = "OAUTHBEARER"

// kvsep separates what an OAUTHBEARER message holds (RFC 7628 §3.1).
const kvsep = "\x01"

// invalidToken is RFC 7628 §3.2.2 with the error code of RFC 6750 §3.1.
const invalidToken = `{"status":"invalid_token"}`

// oauthBearer is RFC 7628: the client shows a token.
func (e *Exchange) oauthBearer(ctx context.Context, response []byte) ([]byte, bool, error) {
	m, failure := parseBearer(string(response))
	if failure != nil {
		return nil, false, failure
	}
	user, expires, failure := e.service.verifyToken(ctx, m.token)
	if failure != nil {
		e.next = e.refuse(failure)
		return []byte(invalidToken), false, nil
	}
	if !e.service.mayActAs(m.authzid, user) {
		return nil, false, errInvalidAuthzid
	}
	if err := e.admit(ctx, user, expires); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// refuse takes the client's receipt of the error, and only then fails (RFC 7628 §3.2.3).
func (e *Exchange) refuse(failure *Failure) step {
	return func(_ context.Context, response []byte) ([]byte, bool, error) {
		if string(response) != kvsep {
			return nil, false, malformed("not the answer to an error")
		}
		return nil, false, failure
	}
}

// A bearer is the parts of OAUTHBEARER's initial response.
type bearer struct {
	authzid string
	token   string // "": the client asks what it needs
}

// parseBearer: gs2-header kvsep *(key "=" value kvsep) kvsep (RFC 7628 §3.1). Where the client thinks that it
// is (host, port) and keys of the future do not matter.
func parseBearer(s string) (m bearer, failure *Failure) {
	bad := malformed("not an OAUTHBEARER message")
	gs2, rest, ok := strings.Cut(s, kvsep)
	pairs, end := strings.CutSuffix(rest, kvsep)
	if !ok || !end || !validText(s) {
		return m, bad
	}
	if m.authzid, ok = parseGS2(gs2); !ok {
		return m, bad
	}
	seen := false
	for pairs != "" {
		pair, more, ended := strings.Cut(pairs, kvsep)
		key, value, isPair := strings.Cut(pair, "=")
		if !ended || !isPair || !letters(key) || !visible(value) {
			return m, bad
		}
		pairs = more
		if key != "auth" {
			continue
		}
		if seen {
			return m, bad
		}
		seen = true
		if m.token, ok = bearerToken(value); !ok {
			return m, malformed("not a bearer token")
		}
	}
	return m, nil
}

// parseGS2 reads a header without channel binding, which OAUTHBEARER cannot do: ("n" / "y") "," ["a=" saslname] ","
// (RFC 5801 §4).
func parseGS2(s string) (authzid string, ok bool) {
	parts := strings.Split(s, ",")
	if len(parts) != 3 || parts[0] != "n" && parts[0] != "y" || parts[2] != "" {
		return "", false
	}
	if parts[1] == "" {
		return "", true
	}
	name, ok := strings.CutPrefix(parts[1], "a=")
	if !ok {
		return "", false
	}
	return decodeSaslname(name)
}

// bearerToken is RFC 6750 §2.1; the name of the scheme may be in any case. No value at all asks for the error
// that says what is needed (RFC 7628 §4.3).
func bearerToken(value string) (token string, ok bool) {
	if value == "" {
		return "", true
	}
	scheme, token, ok := strings.Cut(value, " ")
	return strings.TrimLeft(token, " "), ok && strings.EqualFold(scheme, "Bearer")
}

func letters(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return s != ""
}

// visible is the alphabet of values: visible ASCII, spaces, and ends of lines.
func visible(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < ' ' || c > '~') && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}
