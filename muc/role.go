package muc

import "slices"

// A Role is what an occupant may do for as long as it is in the room (XEP-0045 §5.1). They are in order.
type Role uint8

// Roles.
const (
	NoRole Role = iota
	Visitor
	Participant
	Moderator
)

var roleNames = [...]string{"none", "visitor", "participant", "moderator"}

// String is the attribute's value.
func (r Role) String() string { return roleNames[r] }

// ParseRole reads an attribute's value.
func ParseRole(s string) (Role, bool) {
	i := slices.Index(roleNames[:], s)
	return Role(max(i, 0)), i >= 0
}

// A roleSet is a set of roles.
type roleSet uint8

const everyRole = roleSet(1<<Visitor | 1<<Participant | 1<<Moderator)

// RolesOf is a set of roles by their names, for Settings; false if one is none.
func RolesOf(names []string) (set roleSet, ok bool) {
	for _, name := range names {
		r, ok := ParseRole(name)
		if !ok || r == NoRole {
			return 0, false
		}
		set |= 1 << r
	}
	return set, true
}

// Names is the roles of the set, the highest first.
func (s roleSet) Names() (names []string) {
	for r := Moderator; r >= Visitor; r-- {
		if s.has(r) {
			names = append(names, r.String())
		}
	}
	return names
}

func (s roleSet) has(r Role) bool { return s&(1<<r) != 0 }

// initial is the role of who enters (XEP-0045 §5.1.2).
func (c *Settings) initial(as Affiliation) Role {
	switch {
	case as >= Admin:
		return Moderator
	case as < Member && c.Moderated:
		return Visitor
	}
	return Participant
}

// after is the role of an occupant whose affiliation has changed: what it gains is certain, what
// it loses is what it would have if it entered now (XEP-0045 §5.1.3).
func (c *Settings) after(has Role, was, is Affiliation) Role {
	if is > was {
		return max(has, c.initial(is))
	}
	return min(has, c.initial(is))
}
