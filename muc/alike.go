package muc

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// nickKey is what nicks that read alike have in common: case, width and spaces do not count (RFC 8266 §2.4).
func nickKey(nick string) string {
	if plainNick(nick) {
		return nick
	}
	key, err := precis.Nickname.CompareKey(nick)
	if err != nil {
		return nick
	}
	return key
}

// plainNick reports whether a nick is its own key, as most are but for capitals.
func plainNick(nick string) bool {
	for i := range len(nick) {
		if c := nick[i]; c <= ' ' || c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

// alike reports whether a nick reads as the one with this key does.
func alike(nick, key string) bool {
	if len(nick) == len(key) && strings.EqualFold(nick, key) {
		return true
	}
	for i := range len(nick) {
		if c := nick[i]; c == ' ' || c >= utf8.RuneSelf {
			return nickKey(nick) == key
		}
	}
	return false
}

// invisible reports whether nothing is to be seen of a nick (XEP-0045 §17.1).
func invisible(nick string) bool {
	return strings.IndexFunc(nick, func(c rune) bool {
		return !unicode.IsSpace(c) && c != '\u2800' && c != '\u115F' && c != '\u1160' && c != '\u3164' && c != '\uFFA0'
	}) < 0
}
