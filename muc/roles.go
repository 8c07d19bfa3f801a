package muc

import (
	"context"

	"chatd/router"
	"chatd/stanza"
)

// A roleChange is one occupant's.
type roleChange struct {
	occupant *occupant
	to       Role
	reason   string
}

// changeRoles is XEP-0045 §8.2 to §8.5 and §9.6 to §9.8: all of the items, or none. Roles are not stored.
func (s *Service) changeRoles(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza, items []adminItem) error {
	return s.visit(ctx, b, st.To.Local(), func(r *room) error {
		changes := make([]roleChange, len(items))
		for i := range items {
			it := &items[i]
			role, ok := ParseRole(it.Role)
			if !ok || it.Nick == nil {
				return stanza.ErrBadRequest
			}
			o := r.named(*it.Nick)
			if err := r.mayChangeRole(st.From, o, role); err != nil {
				return err
			}
			changes[i] = roleChange{o, role, it.Reason}
		}
		done := func() { s.answer(b, sess, st, nil) }
		actor := r.actor(st.From)
		if len(changes) == 1 && changes[0].to == NoRole { // XEP-0045 §8.2: the one who is kicked learns of it first
			s.expel(b, r, changes[0].occupant, &notice{actor: actor, reason: changes[0].reason, codes: []int{307}}, done)
			return nil
		}
		done()
		for _, c := range changes {
			switch {
			case r.of(c.occupant.seats[0].jid) != c.occupant: // named twice, and gone by now
			case c.to == NoRole:
				s.expel(b, r, c.occupant, &notice{actor: actor, reason: c.reason, codes: []int{307}}, nil)
			case c.to != c.occupant.role:
				s.setRole(b, r, c.occupant, c.to, c.occupant.affiliation, &notice{actor: actor, reason: c.reason})
			}
		}
		return nil
	})
}

// mayChangeRole is XEP-0045 §5.1.3, §8.2, §8.4, §9.6 and §9.7; o is nil if there is no such occupant.
func (r *room) mayChangeRole(user stanza.JID, o *occupant, to Role) error {
	as := r.affiliation(user)
	switch {
	case r.role(user) < Moderator && as < Admin, to == Moderator && as < Admin:
		return stanza.ErrForbidden
	case o == nil:
		return stanza.ErrItemNotFound
	case to == NoRole && o.user() == user.Bare():
		return stanza.ErrConflict // §8.2: kicks oneself
	case to == NoRole && o.affiliation > as,
		to == Visitor && (o.affiliation >= Admin || o.affiliation >= as),
		o.role == Moderator && to != Moderator && (as < Admin || to != NoRole && o.affiliation >= Admin):
		return stanza.ErrNotAllowed
	}
	return nil
}

// setRole changes what an occupant is and tells everybody. Whose presence is not to be seen any more goes, for the others.
func (s *Service) setRole(b *router.Batch, r *room, o *occupant, role Role, as Affiliation, n *notice) {
	was, saw := r.shown(o.role), r.reveals(o)
	o.role, o.affiliation = role, as
	r.rep.touchAll(o)
	s.showSelf(b, r, o, n)
	if !saw && r.reveals(o) { // XEP-0045 §8: whom a moderator has to do with is known from presence
		for i := range o.seats {
			s.introduce(b, r, o, &o.seats[i])
		}
	}
	switch is := r.shown(role); {
	case is:
		s.showOthers(b, r, o, n)
	case was:
		s.showOthers(b, r, o, &notice{gone: true})
	}
}
