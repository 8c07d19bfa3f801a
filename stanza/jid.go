package stanza

import (
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
}

// ParseJID parses and normalizes an address by RFC 7622. The error is the
// reason in words; callers answer <jid-malformed/>.
func ParseJID(s string) (JID, error) {
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
	j.s = s
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
func (j JID) Bare() JID { return JID{s: j.s[:j.bare], domain: j.domain, bare: j.bare} }

// WithResource is the bare JID of j with the resource r, which is normalized
// (RFC 7622 §3.4); "" gives the bare JID.
func (j JID) WithResource(r string) (JID, error) {
	if r == "" {
		return j.Bare(), nil
	}
	return ParseJID(j.s[:j.bare] + "/" + r)
}

// Clone is j in memory of its own, for a JID parsed out of a larger string.
func (j JID) Clone() JID { j.s = strings.Clone(j.s); return j }
