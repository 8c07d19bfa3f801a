package muc

import (
	"cmp"
	"slices"

	"chatd/stanza"
	"chatd/store"
)

// An Affiliation is what a user is to a room for good (XEP-0045 §5.2). They are in order: each may do what the one before may.
type Affiliation int8

// Affiliations.
const (
	Outcast Affiliation = iota - 1
	None
	Member
	Admin
	Owner
)

var affiliationNames = [...]string{"outcast", "none", "member", "admin", "owner"}

// String is the attribute's value.
func (a Affiliation) String() string { return affiliationNames[a+1] }

// ParseAffiliation reads an attribute's value.
func ParseAffiliation(s string) (Affiliation, bool) {
	i := slices.Index(affiliationNames[:], s)
	return Affiliation(i - 1), i >= 0
}

// An affiliate is a user, or a domain, that has an affiliation.
type affiliate struct {
	jid    string // bare; the key
	nick   string // reserved (XEP-0045 §7.10)
	reason string
	as     Affiliation
}

// affiliates are a room's, in order of their addresses.
type affiliates []affiliate

func (l affiliates) find(jid string) (int, bool) {
	return slices.BinarySearchFunc(l, jid, func(a affiliate, jid string) int { return cmp.Compare(a.jid, jid) })
}

// exactly is what one address is by itself.
func (l affiliates) exactly(jid string) (affiliate, bool) {
	if i, ok := l.find(jid); ok {
		return l[i], true
	}
	return affiliate{jid: jid}, false
}

// of is what a user is; a domain that is banned has all its users with it (XEP-0045 §9.2).
func (l affiliates) of(user stanza.JID) affiliate {
	if len(l) == 0 {
		return affiliate{}
	}
	if i, ok := l.find(user.Bare().String()); ok {
		return l[i]
	}
	if i, ok := l.find(user.Domain()); ok {
		return affiliate{jid: l[i].jid, as: l[i].as, reason: l[i].reason}
	}
	return affiliate{}
}

// set changes one; None removes it.
func (l *affiliates) set(a affiliate) {
	i, ok := l.find(a.jid)
	switch {
	case a.as == None && ok:
		*l = slices.Delete(*l, i, i+1)
	case a.as == None:
	case ok:
		(*l)[i] = a
	default:
		*l = slices.Insert(*l, i, a)
	}
}

// reserver is who has reserved a nick, "" for nobody.
func (l affiliates) reserver(nick string) string {
	for i := range l {
		if l[i].nick == nick {
			return l[i].jid
		}
	}
	return ""
}

// count is how many have an affiliation.
func (l affiliates) count(as Affiliation) (n int) {
	for i := range l {
		if l[i].as == as {
			n++
		}
	}
	return n
}

// stored is affiliations as the store has them.
func (l affiliates) stored() []store.Affiliation {
	all := make([]store.Affiliation, len(l))
	for i, a := range l {
		all[i] = a.stored()
	}
	return all
}

func (a affiliate) stored() store.Affiliation {
	return store.Affiliation{JID: a.jid, As: a.as.String(), Nick: a.nick, Reason: a.reason}
}

// readAffiliates is what the store has.
func readAffiliates(all []store.Affiliation) affiliates {
	l := make(affiliates, 0, len(all))
	for _, s := range all {
		if as, ok := ParseAffiliation(s.As); ok {
			l.set(affiliate{jid: s.JID, nick: s.Nick, reason: s.Reason, as: as})
		}
	}
	return l
}
