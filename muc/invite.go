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
	if len(inv.reason) > maxReason || len(inv.thread) > maxReason {
		return invitation{}, errTooLarge
	}
	return inv, nil
}

// invite is a mediated invitation. In a members-only room the invitee becomes a member.
func (s *Service) invite(ctx context.Context, b *router.Batch, st *stanza.Stanza, e stanza.Element) error {
	inv, err := readInvitation(e)
	if err != nil {
		return err
	}
	err = s.visit(ctx, b, st.To.Local(), func(r *room) error { return s.mayInvite(r, st.From, inv.to, true) })
	if err == nil {
		b.Flush()
		err = s.invitable(ctx, st.From, inv.to, st.To.Bare())
	}
	if err != nil {
		return err
	}
	password, from := "", stanza.JID{}
	err = s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		if err := s.mayInvite(r, st.From, inv.to, false); err != nil {
			return plan{}, err
		}
		password, from = r.cfg.Password, r.inviter(st.From)
		if !r.cfg.MembersOnly || r.affiliation(inv.to) != None {
			return plan{}, nil
		}
		list := []affiliate{{jid: inv.to.Bare().String(), as: Member}}
		return s.affiliate(b, r, list, notice{}, nil), s.consistent(r, list)
	})
	if err != nil {
		return err
	}
	out := &stanza.Stanza{Kind: stanza.Message, From: st.To.Bare(), To: inv.to, ID: st.ID, Inner: inv.appendInvite(nil, from, password, st.To.Bare())}
	out.Identify()
	s.r.Route(ctx, b, out)
	return nil
}

// mayInvite is XEP-0045 §7.8.2 and §9.5. counts says that it is the first time that it is asked.
func (s *Service) mayInvite(r *room, user, invitee stanza.JID, counts bool) error {
	limits := s.cfg.Load()
	o := r.of(user)
	switch as := r.affiliation(user); {
	case o == nil && as < Admin:
		return r.outside()
	case r.cfg.MembersOnly && as < Admin && !(r.cfg.AllowInvites && as == Member):
		return stanza.ErrForbidden
	case r.affiliation(invitee) == Outcast:
		return stanza.ErrForbidden.WithText("the invitee is banned")
	case counts && o != nil && !o.messages.take(now(), limits.MessagesPerSecond, limits.MessageBurst):
		s.Metrics.refuse(refusedMessageRate)
		return errTooFast
	case counts && !s.letters.take(user, now(), lettersPerMinute):
		s.Metrics.refuse(refusedLetters)
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

// invitable is the error for an invitation to somebody who is not there, or who does not want any from the inviter.
func (s *Service) invitable(ctx context.Context, by, user, room stanza.JID) error {
	if user.Domain() != s.r.Domain.Domain() {
		return stanza.ErrItemNotFound
	}
	refused, err := s.uninvited(ctx, by, user, room)
	switch {
	case err != nil:
		return err
	case refused:
		return stanza.ErrServiceUnavailable
	}
	exists, err := s.r.Users.Exists(ctx, user.Local())
	if err == nil && !exists {
		err = stanza.ErrItemNotFound
	}
	return err
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

// decline tells who has invited that the invitee does not want to (XEP-0045 §7.8.2). Who was invited is not kept, so anybody can say so: what comes of
// it must be no way around bans and block lists, nor tell who is in the room.
func (s *Service) decline(ctx context.Context, b *router.Batch, st *stanza.Stanza, e stanza.Element) error {
	inv, err := readInvitation(e)
	if err != nil {
		return err
	}
	if !s.letters.take(st.From, now(), lettersPerMinute) {
		s.Metrics.refuse(refusedLetters)
		return errTooFast
	}
	at := st.To.Bare()
	var to []stanza.JID
	err = s.visit(ctx, b, at.Local(), func(r *room) error {
		switch {
		case r.phase == locked:
			return errNoRoom
		case r.affiliation(st.From) == Outcast:
			return stanza.ErrForbidden
		}
		to = r.invitersOf(inv.to)
		return nil
	})
	if err != nil || len(to) == 0 {
		return err
	}
	b.Flush()
	if refused, err := s.uninvited(ctx, st.From, to[0], at); err != nil || refused {
		return err
	}
	inner := append([]byte("<x xmlns='"+nsUser+"'><decline from='"), stanza.Escape(st.From.Bare().String())...)
	inner = append(inner, "'>"...)
	inner = appendActor(inner, "", inv.reason)
	inner = append(inner, "</decline></x>"...)
	for _, j := range to {
		if j.Domain() == s.r.Domain.Domain() {
			s.r.Route(ctx, b, &stanza.Stanza{Kind: stanza.Message, From: at, To: j, ID: st.ID, Inner: inner})
		}
	}
	return nil
}

// invitersOf is where somebody is reached whom an invitation names: all sessions of an occupant, or a user who is in the room or something to it.
func (r *room) invitersOf(named stanza.JID) (to []stanza.JID) {
	if named.Domain() != r.at.Domain() {
		if len(r.ofUser(named.Bare())) > 0 || r.affiliation(named) >= Member {
			return []stanza.JID{named}
		}
		return nil
	}
	if o := r.named(named.Resource()); o != nil && named.Bare() == r.at {
		for _, seat := range o.seats {
			to = append(to, seat.jid)
		}
	}
	return to
}
