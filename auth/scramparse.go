package auth

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// A clientFirst is the parts of a client-first-message (RFC 5802 §7).
type clientFirst struct {
	gs2Header     string // as it was sent
	bare          string // client-first-message-bare, as it was sent
	bindType      string // of gs2-cbind-flag "p"; "" for "n" and "y"
	bindIfOffered bool   // gs2-cbind-flag "y"
	authzid       string
	user          string
	nonce         string
}

// parseClientFirst: gs2-cbind-flag "," ["a=" saslname] "," "n=" saslname ","
// "r=" nonce ["," extensions].
func parseClientFirst(s string) (m clientFirst, failure *Failure) {
	flag, rest, ok1 := strings.Cut(s, ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	if !ok1 || !ok2 || !validText(s) {
		return m, malformed("not a SCRAM client-first-message")
	}
	m.gs2Header, m.bare = s[:len(s)-len(bare)], bare
	if !m.parseFlag(flag) {
		return m, malformed("bad channel binding flag")
	}
	if authzid != "" {
		name, ok := strings.CutPrefix(authzid, "a=")
		if m.authzid, ok2 = decodeSaslname(name); !ok || !ok2 {
			return m, malformed("bad authorization identity")
		}
	}
	attrs := strings.Split(bare, ",")
	if strings.HasPrefix(bare, "m=") {
		return m, malformed("mandatory extensions are not supported") // RFC 5802 §5.1
	}
	if len(attrs) < 2 || !strings.HasPrefix(attrs[0], "n=") || !strings.HasPrefix(attrs[1], "r=") || !extensions(attrs[2:]) {
		return m, malformed("not a SCRAM client-first-message")
	}
	if m.user, ok1 = decodeSaslname(attrs[0][2:]); !ok1 {
		return m, malformed("bad user name")
	}
	if m.nonce = attrs[1][2:]; !printable(m.nonce) {
		return m, malformed("bad nonce")
	}
	return m, nil
}

func (m *clientFirst) parseFlag(flag string) bool {
	bindType, p := strings.CutPrefix(flag, "p=")
	m.bindType, m.bindIfOffered = "", flag == "y"
	if p {
		m.bindType = bindType
		return bindType != ""
	}
	return flag == "y" || flag == "n"
}

// A clientFinal is the parts of a client-final-message (RFC 5802 §7).
type clientFinal struct {
	withoutProof string // as it was sent
	binding      string // base64
	nonce        string
	proof        []byte
}

// parseClientFinal: "c=" base64 "," "r=" nonce ["," extensions] "," "p=" base64.
func parseClientFinal(s string) (m clientFinal, failure *Failure) {
	i := strings.LastIndex(s, ",p=")
	if i < 0 || !validText(s) {
		return m, malformed("not a SCRAM client-final-message")
	}
	m.withoutProof = s[:i]
	attrs := strings.Split(m.withoutProof, ",")
	if len(attrs) < 2 || !strings.HasPrefix(attrs[0], "c=") || !strings.HasPrefix(attrs[1], "r=") || !extensions(attrs[2:]) {
		return m, malformed("not a SCRAM client-final-message")
	}
	m.binding, m.nonce = attrs[0][2:], attrs[1][2:]
	proof := s[i+len(",p="):]
	var err error
	if m.proof, err = base64.StdEncoding.Strict().DecodeString(proof); err != nil || !printable(proof) {
		return m, malformed("bad proof")
	}
	return m, nil
}

// extensions reports whether all attributes are optional extensions, which we
// ignore: a letter, "=", and a value (RFC 5802 §5.1). "m" is none: it says
// that a mandatory one follows.
func extensions(attrs []string) bool {
	for _, a := range attrs {
		if len(a) < 3 || a[1] != '=' || a[0] == 'm' {
			return false
		}
		if c := a[0] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// decodeSaslname undoes the escapes of a saslname, "=2C" and "=3D"; no other
// "=" may stand in it (RFC 5802 §5.1).
func decodeSaslname(s string) (string, bool) {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(s, "=")
		b.WriteString(plain)
		if !found {
			return b.String(), b.Len() > 0
		}
		switch {
		case strings.HasPrefix(rest, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(rest, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = rest[2:]
	}
}

// printable is the alphabet of a nonce: ASCII without space and comma. It also
// tells base64 from base64 in lines, which Go would decode.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ',' {
			return false
		}
	}
	return s != ""
}

// validText is the alphabet of all values: UTF-8 without NUL.
func validText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
