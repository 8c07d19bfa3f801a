package muc

import (
	"context"

	"chatd/router"
	"chatd/stanza"
)

// register is an IQ of namespace jabber:iq:register (XEP-0045 §7.10).
func (s *Service) register(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	if st.Type == stanza.Get {
		return s.registrationForm(ctx, b, sess, st)
	}
	q, err := stanza.RawPayload(st)
	if err != nil {
		return err
	}
	all, err := q.Children()
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.Is(nsRegister, "remove") { // XEP-0077 §3.2
			return s.unregister(ctx, b, sess, st)
		}
	}
	f, ok, err := formIn(all)
	nick, given := f.value("muc#register_roomnick")
	if err != nil || !ok || f.Type != "submit" || !given || nick == "" || !f.is(nsRegForm) {
		return stanza.ErrBadRequest
	}
	return s.registerAs(ctx, b, sess, st, nick)
}

// registrationForm is what is asked of who registers, or how they are registered.
func (s *Service) registrationForm(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	return s.visit(ctx, b, st.To.Local(), func(r *room) error {
		what := r.affiliates.of(st.From)
		if err := r.mayRegister(what); err != nil {
			return err
		}
		payload := []byte("<query xmlns='" + nsRegister + "'>")
		if what.nick != "" {
			payload = append(payload, "<registered/><username>"+stanza.Escape(what.nick)+"</username></query>"...)
			s.answer(b, sess, st, payload)
			return nil
		}
		var w formWriter
		w.begin("form", "Registration", "As a member of the room you have a nick that nobody else can take.", nsRegForm)
		w.field("text-single", "muc#register_roomnick", "Nick")
		w.required()
		payload = append(payload, w.end()...)
		s.answer(b, sess, st, append(payload, "</query>"...))
		return nil
	})
}

func (r *room) mayRegister(who affiliate) error {
	switch {
	case who.as == Outcast:
		return stanza.ErrForbidden
	case who.as == None && !r.cfg.Registration:
		return stanza.ErrNotAllowed
	}
	return nil
}

// registerAs makes a user a member with a nick. In a members-only room an admin has to agree first (XEP-0045 §9.9).
func (s *Service) registerAs(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza, nick string) error {
	user := st.From.Bare()
	var letters []*stanza.Stanza
	err := s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		who := r.affiliates.of(st.From)
		if err := r.mayRegister(who); err != nil {
			return plan{}, err
		}
		at, err := r.at.WithResource(nick)
		if err != nil || len(nick) > maxNick {
			return plan{}, stanza.ErrNotAcceptable
		}
		if err := r.nickFree(at.Resource(), st.From); err != nil {
			return plan{}, err
		}
		done := func() { s.answer(b, sess, st, nil) }
		if who.as == None && r.cfg.MembersOnly {
			if !s.letters.take(st.From, now(), lettersPerMinute) {
				s.Metrics.refuse(refusedLetters)
				return plan{}, errTooFast
			}
			return plan{apply: func() { done(); letters = s.askAdmins(b, r, st.From, at.Resource()) }}, nil
		}
		a := affiliate{jid: user.String(), as: max(who.as, Member), nick: at.Resource(), reason: who.reason}
		if err := s.consistent(r, []affiliate{a}); err != nil {
			return plan{}, err
		}
		return s.affiliate(b, r, []affiliate{a}, notice{}, done), nil
	})
	s.post(ctx, b, letters)
	return err
}

// unregister gives up a nick, and with it a membership.
func (s *Service) unregister(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	return s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		a := r.affiliates.of(st.From)
		if a.as < Member {
			return plan{}, errRegistrationRequired
		}
		a.nick = ""
		if a.as == Member {
			a.as = None
		}
		return s.affiliate(b, r, []affiliate{a}, notice{}, func() { s.answer(b, sess, st, nil) }), nil
	})
}

// maxAsked bounds how many admins who are not in the room a request for registration goes to.
const maxAsked = 20

// askAdmins sends the form of XEP-0045 §9.9 to the admins and owners who are in the room. It returns what is to be sent to the others: it waits for
// them in the store if they are not there, and they may answer from outside.
func (s *Service) askAdmins(b *router.Batch, r *room, user stanza.JID, nick string) (letters []*stanza.Stanza) {
	var w formWriter
	w.begin("form", "Registration request", "To let this user become a member of the room, submit the form with the box ticked.", nsRegForm)
	w.field("jid-single", "muc#jid", "User", user.Bare().String())
	w.field("text-single", "muc#register_roomnick", "Nick", nick)
	w.boolean("muc#register_allow", "Allow this person to register with the room?", false)
	out := stanza.Stanza{Kind: stanza.Message, From: r.at, Inner: w.end()}
	for _, o := range r.all {
		if o.affiliation >= Admin {
			for i := range o.seats {
				s.send(b, r, &o.seats[i], &out)
			}
		}
	}
	inner := append([]byte("<body>"+stanza.Escape(user.Bare().String()+" asks to become a member of "+r.at.String()+" as "+nick+".")+"</body>"), out.Inner...)
	for i := range r.affiliates {
		a := &r.affiliates[i]
		jid, err := stanza.ParseJID(a.jid)
		if a.as < Admin || err != nil || jid.Domain() != s.r.Domain.Domain() || len(r.ofUser(jid)) > 0 || len(letters) == maxAsked {
			continue
		}
		letter := &stanza.Stanza{Kind: stanza.Message, From: r.at, To: jid, Inner: inner}
		letter.Identify()
		letters = append(letters, letter)
	}
	return letters
}

// approve is an admin's answer to that form.
func (s *Service) approve(ctx context.Context, b *router.Batch, st *stanza.Stanza, f *form) error {
	allow, _ := f.value("muc#register_allow")
	yes, ok := parseBoolean(allow)
	if f.Type == "cancel" || ok && !yes {
		return nil
	}
	text, _ := f.value("muc#jid")
	nick, _ := f.value("muc#register_roomnick")
	user, err := stanza.ParseJID(text)
	if !ok || f.Type != "submit" || err != nil || user.Local() == "" {
		return stanza.ErrBadRequest
	}
	return s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		if r.affiliation(st.From) < Admin {
			return plan{}, stanza.ErrForbidden
		}
		a := affiliate{jid: user.Bare().String(), as: Member, nick: nick}
		if has := r.affiliation(user); has != None {
			return plan{}, nil
		}
		if err := s.consistent(r, []affiliate{a}); err != nil {
			return plan{}, err
		}
		return s.affiliate(b, r, []affiliate{a}, notice{}, nil), nil
	})
}
