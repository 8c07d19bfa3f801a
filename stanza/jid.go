package stanza

import (
	"errors"
	"strings"

	"mellium.im/xmpp/jid"
)

// A JID is an XMPP address (RFC 7622), always normalized: two JIDs are the
// same address exactly when they are equal with ==. The zero JID is "no
// address". JIDs are immutable values; any goroutine may use them.
type JID struct {
	s      string
	domain uint16 // offset of the domainpart
	bare   uint16 // length of the bare JID
	escape bool   // has a character that is escaped in XML
}

// ParseJID parses and normalizes an address by RFC 7622. The error is the
// reason in words; callers answer <jid-malformed/>. An address that is
// normal already and ASCII, as nearly all are, costs no allocation: the JID
// keeps s.
func ParseJID(s string) (JID, error) {
	if j, ok := normalJID(s); ok {
		return j, nil
	}
	j, err := parseJID(s)
	if err != nil {
		return JID{}, err
	}
	// A few addresses change once more when they are normalized again: "a.."
	// becomes "a.", then "a". Such a one would not be equal to itself after a
	// round trip through the wire or the store.
	if again, err := parseJID(j.s); err != nil || again != j {
		return JID{}, errUnstable
	}
	return j, nil
}

var errUnstable = errors.New("stanza: address has no stable normal form")

func parseJID(s string) (JID, error) {
	j, err := jid.Parse(s)
	if err != nil {
		return JID{}, err
	}
	return assemble(j.Localpart(), j.Domainpart(), j.Resourcepart()), nil
}

// MustJID is ParseJID for constants and tests; it panics on a bad address.
func MustJID(s string) JID {
	j, err := ParseJID(s)
	if err != nil {
		panic(err)
	}
	return j
}

func assemble(local, domain, resource string) JID {
	var j JID
	s := domain
	if local != "" {
		s = local + "@" + domain
		j.domain = uint16(len(local) + 1)
	}
	j.bare = uint16(len(s))
	if resource != "" {
		s += "/" + resource
	}
	j.s, j.escape = s, anySpecial(s)
	return j
}

// String is the whole address.
func (j JID) String() string { return j.s }

// IsZero reports whether j is no address at all.
func (j JID) IsZero() bool { return j.s == "" }

// Local is the localpart, "" for a domain.
func (j JID) Local() string {
	if j.domain == 0 {
		return ""
	}
	return j.s[:j.domain-1]
}

// Domain is the domainpart.
func (j JID) Domain() string { return j.s[j.domain:j.bare] }

// Resource is the resourcepart, "" for a bare JID.
func (j JID) Resource() string {
	if int(j.bare) == len(j.s) {
		return ""
	}
	return j.s[j.bare+1:]
}

// IsBare reports whether j has no resource.
func (j JID) IsBare() bool { return int(j.bare) == len(j.s) }

// Bare is j without its resource. It does not allocate.
func (j JID) Bare() JID {
	bare := j.s[:j.bare]
	return JID{s: bare, domain: j.domain, bare: j.bare, escape: j.escape && anySpecial(bare)}
}

// WithResource is the bare JID of j with the resource r, which is normalized
// (RFC 7622 §3.4); "" gives the bare JID.
func (j JID) WithResource(r string) (JID, error) {
	if r == "" {
		return j.Bare(), nil
	}
	return ParseJID(j.s[:j.bare] + "/" + r)
}

// Restore is the JID whose String was s: one that has been parsed before, and kept as text. It
// checks nothing, does not allocate, and keeps s.
func Restore(s string) JID {
	j := JID{s: s, bare: uint16(len(s)), escape: anySpecial(s)}
	if i := strings.IndexByte(s, '/'); i >= 0 {
		j.bare = uint16(i)
	}
	if i := strings.IndexByte(s[:j.bare], '@'); i >= 0 {
		j.domain = uint16(i + 1)
	}
	return j
}

// Clone is j in memory of its own, for a JID parsed out of a larger string.
func (j JID) Clone() JID { j.s = strings.Clone(j.s); return j }

// maxNormalDomain and maxNormalLabel are the lengths of RFC 1034 §3.1.
// maxPart is the limit of a localpart and of a resourcepart in bytes (RFC
// 7622 §3.3, §3.4).
const (
	maxPart         = 1023
	maxNormalDomain = 253
	maxNormalLabel  = 63
)

// Classes of ASCII characters that stand for themselves in a normal address.
const (
	inLocal uint8 = 1 << iota
	inDomain
	inResource
)

// jidClass gives the classes of each byte; none for anything but ASCII.
var jidClass = func() (class [256]uint8) {
	for c := ' '; c <= '~'; c++ {
		class[c] |= inResource // RFC 8265 §4.2: OpaqueString keeps ASCII as it is
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
			class[c] |= inLocal | inDomain
		case c == ' ', 'A' <= c && c <= 'Z':
		case strings.ContainsRune(`"&'/:<>@`, c): // RFC 7622 §3.3.1
		default:
			class[c] |= inLocal // RFC 8265 §3.3: UsernameCaseMapped
		}
	}
	return class
}()

// normalJID finds the parts of an address that is ASCII and that RFC 7622's
// normalization would leave as it is. It refuses more than it must: what it
// refuses is not wrong, only slower.
func normalJID(s string) (j JID, ok bool) {
	bare := strings.IndexByte(s, '/') // RFC 7622 §3.2: before the '@' is looked for
	if bare < 0 {
		bare = len(s)
	} else if !all(s[bare+1:], inResource) {
		return JID{}, false
	}
	domain := strings.IndexByte(s[:bare], '@') + 1
	if domain > 0 && !all(s[:domain-1], inLocal) || !normalDomain(s[domain:bare]) {
		return JID{}, false
	}
	return JID{s: s, domain: uint16(domain), bare: uint16(bare), escape: anySpecial(s[bare:])}, true // RFC 7622 §3.3.1
}

// all reports whether a local- or resourcepart has a legal length and
// consists of one class.
func all(part string, class uint8) bool {
	if len(part) == 0 || len(part) > maxPart {
		return false
	}
	for i := 0; i < len(part); i++ {
		if jidClass[part[i]]&class == 0 {
			return false
		}
	}
	return true
}

// normalDomain accepts NR-LDH labels in lower case (RFC 5890 §2.3.2.2), so
// also IPv4 addresses.
func normalDomain(s string) bool {
	if len(s) > maxNormalDomain {
		return false
	}
	label := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '.' {
			if !normalLabel(s[label:i]) {
				return false
			}
			label = i + 1
		} else if jidClass[s[i]]&inDomain == 0 {
			return false
		}
	}
	return normalLabel(s[label:])
}

func normalLabel(l string) bool {
	n := len(l)
	return n > 0 && n <= maxNormalLabel && l[0] != '-' && l[n-1] != '-' &&
		!(n >= 4 && l[2] == '-' && l[3] == '-') // A-labels and their kin need IDNA
}
