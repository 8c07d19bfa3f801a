package muc

import (
	"context"

	"chatd/router"
	"chatd/stanza"
)

// maxInvitations bounds how many one message invites.
const maxInvitations = 20

// An invitation is one <invite/> or <decline/> (XEP-0045 §7.8.2).
type invitation struct {
	to     stanza.JID
	reason string
	thread string // of the chat that goes on in the room (XEP-0045 §7.9)
	goesOn bool
}

// invitations takes the <x/> of a message to the room.
func (s *Service) invitations(ctx context.Context, b *router.Batch, st *stanza.Stanza, x stanza.Element) error {
	all, err := x.Children()
	if err != nil {
		return err
	}
	n := 0
	for _, e := range all {
		switch {
		case e.Is(nsUser, "invite"):
			if n++; n > maxInvitations {
				return stanza.ErrPolicyViolation.WithText("too many invitations at once")
			}
			err = s.invite(ctx, b, st, e)
		case e.Is(nsUser, "decline"):
			n++
			err = s.decline(ctx, b, st, e)
		}
		if err != nil {
			return err
		}
	}
	if n == 0 {
		return stanza.ErrBadRequest
	}
	return nil
}

func readInvitation(e stanza.Element) (invitation, error) {
	to, err := stanza.ParseJID(e.Attribute("to"))
	if err != nil || to.Local() == "" {
		return invitation{}, stanza.ErrJIDMalformed
	}
	inv := invitation{to: to}
	all, err := e.Children()
	if err != nil {
		return invitation{}, err
	}
	for _, c := range all {
		switch {
		case c.Is(nsUser, "reason"):
			inv.reason = c.Text()
		case c.Is(nsUser, "continue"):
			inv.goesOn, inv.thread = true, c.Attribute("thread")
		}
	}
	return inv, nil
}

// invite is a mediated invitation. In a members-only room the invitee becomes a member.
func (s *Service) invite(ctx context.Context, b *router.Batch, st *stanza.Stanza, e stanza.Element) error {
	inv, err := readInvitation(e)
	if err != nil {
		return err
	}
	if inv.to.Domain() != s.r.Domain.Domain() {
		return stanza.ErrItemNotFound
	}
	password, from := "", stanza.JID{}
	err = s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		if err := s.mayInvite(r, st.From, inv.to); err != nil {
			return plan{}, err
		}
		password, from = r.cfg.Password, r.inviter(st.From)
		if !r.cfg.MembersOnly || r.affiliation(inv.to) != None {
			return plan{}, nil
		}
		return s.affiliate(b, r, []affiliate{{jid: inv.to.Bare().String(), as: Member}}, notice{}, nil), nil
	})
	if err != nil {
		return err
	}
	return s.sendInvitation(ctx, b, st, from, inv, password)
}

// mayInvite is XEP-0045 §7.8.2 and §9.5.
func (s *Service) mayInvite(r *room, user, invitee stanza.JID) error {
	limits := s.cfg.Load()
	o := r.of(user)
	switch as := r.affiliation(user); {
	case o == nil && as < Admin:
		return errNotOccupant
	case r.cfg.MembersOnly && as < Admin && !(r.cfg.AllowInvites && as == Member):
		return stanza.ErrForbidden
	case r.affiliation(invitee) == Outcast:
		return stanza.ErrForbidden.WithText("the invitee is banned")
	case o != nil && !o.messages.take(now(), limits.MessagesPerSecond, limits.MessageBurst):
		s.Metrics.refuse(refusedMessageRate)
		return errTooFast
	}
	return nil
}

// inviter is what the invitee is told of who invites: where addresses are hidden, only the place in the room.
func (r *room) inviter(user stanza.JID) stanza.JID {
	if o := r.of(user); o != nil && !r.cfg.NonAnonymous {
		return o.at
	}
	return user.Bare()
}

// sendInvitation delivers an invitation unless the invitee does not want any from the inviter.
func (s *Service) sendInvitation(ctx context.Context, b *router.Batch, st *stanza.Stanza, from stanza.JID, inv invitation, password string) error {
	room := st.To.Bare()
	b.Flush()
	refused, err := s.uninvited(ctx, st.From, inv.to, room)
	switch {
	case err != nil:
		return err
	case refused:
		return stanza.ErrServiceUnavailable
	}
	exists, err := s.r.Users.Exists(ctx, inv.to.Local())
	if err != nil {
		return err
	}
	if !exists {
		return stanza.ErrItemNotFound
	}
	out := &stanza.Stanza{Kind: stanza.Message, From: room, To: inv.to, ID: st.ID, Inner: inv.appendInvite(nil, from, password, room)}
	out.Identify()
	s.r.Route(ctx, b, out)
	return nil
}

// uninvited reports whether a user wants no invitation from another, as if it came without the room (XEP-0249).
func (s *Service) uninvited(ctx context.Context, by, user, room stanza.JID) (bool, error) {
	if by.Bare() == user.Bare() {
		return false, nil
	}
	return s.r.RefusedInStore(ctx, &stanza.Stanza{Kind: stanza.Message, From: by, To: user,
		Inner: []byte("<x xmlns='" + nsConference + "' jid='" + stanza.Escape(room.String()) + "'/>")})
}

// appendInvite writes what the invitee gets.
func (inv *invitation) appendInvite(b []byte, from stanza.JID, password string, room stanza.JID) []byte {
	b = append(b, "<x xmlns='"+nsUser+"'><invite from='"...)
	b = stanza.AppendEscaped(b, from.String())
	b = append(b, "'>"...)
	b = appendActor(b, "", inv.reason)
	if inv.goesOn {
		b = append(b, "<continue"...)
		if inv.thread != "" {
			b = append(b, " thread='"...)
			b = stanza.AppendEscaped(b, inv.thread)
			b = append(b, '\'')
		}
		b = append(b, "/>"...)
	}
	b = append(b, "</invite>"...)
	if password != "" {
		b = append(b, "<password>"...)
		b = stanza.AppendEscaped(b, password)
		b = append(b, "</password>"...)
	}
	return inv.appendDirect(append(b, "</x>"...), password, room)
}

// appendDirect writes the same as XEP-0249 §2 has it: Converse.js, for one, knows no other invitation.
func (inv *invitation) appendDirect(b []byte, password string, room stanza.JID) []byte {
	b = append(b, "<x xmlns='"+nsConference+"'"...)
	for _, a := range [...]struct{ name, value string }{{"jid", room.String()}, {"password", password}, {"reason", inv.reason}, {"thread", inv.thread}} {
		if a.value != "" {
			b = append(append(append(b, ' '), a.name...), "='"...)
			b = append(stanza.AppendEscaped(b, a.value), '\'')
		}
	}
	if inv.goesOn {
		b = append(b, " continue='true'"...)
	}
	return append(b, "/>"...)
}

// decline tells who has invited that the invitee does not want to (XEP-0045 §7.8.2).
func (s *Service) decline(ctx context.Context, b *router.Batch, st *stanza.Stanza, e stanza.Element) error {
	inv, err := readInvitation(e)
	if err != nil {
		return err
	}
	at := st.To.Bare()
	var to []stanza.JID
	err = s.visit(ctx, b, at.Local(), func(r *room) error {
		if inv.to.Domain() != s.host.Domain() {
			to = []stanza.JID{inv.to}
			return nil
		}
		o := r.named(inv.to.Resource())
		if inv.to.Bare() != at || o == nil {
			return stanza.ErrItemNotFound
		}
		for _, seat := range o.seats {
			to = append(to, seat.jid)
		}
		return nil
	})
	if err != nil {
		return err
	}
	inner := append([]byte("<x xmlns='"+nsUser+"'><decline from='"), stanza.Escape(st.From.Bare().String())...)
	inner = append(inner, "'>"...)
	inner = appendActor(inner, "", inv.reason)
	inner = append(inner, "</decline></x>"...)
	for _, j := range to {
		if j.Domain() != s.r.Domain.Domain() {
			return stanza.ErrItemNotFound
		}
		s.r.Route(ctx, b, &stanza.Stanza{Kind: stanza.Message, From: at, To: j, ID: st.ID, Inner: inner})
	}
	return nil
}
