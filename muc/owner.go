package muc

import (
	"context"
	"maps"
	"slices"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// own is an IQ of namespace muc#owner (XEP-0045 §10).
func (s *Service) own(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	q, err := stanza.RawPayload(st)
	if err != nil {
		return err
	}
	all, err := q.Children()
	if err != nil {
		return err
	}
	if st.Type == stanza.Get {
		return s.sendForm(ctx, b, sess, st)
	}
	for _, e := range all {
		switch {
		case e.Is(nsOwner, "destroy"):
			return s.destroyedBy(ctx, b, sess, st, e)
		case e.Is(nsForms, "x"):
			f, err := parseForm(e)
			if err != nil {
				return err
			}
			return s.configure(ctx, b, sess, st, &f)
		}
	}
	return stanza.ErrBadRequest
}

// sendForm is XEP-0045 §10.1.3 and §10.2.
func (s *Service) sendForm(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	return s.visit(ctx, b, st.To.Local(), func(r *room) error {
		if r.affiliation(st.From) < Owner {
			return stanza.ErrForbidden
		}
		payload := append([]byte("<query xmlns='"+nsOwner+"'>"), r.cfg.form(r.at.Local(), r.holders(Owner), r.holders(Admin))...)
		s.answer(b, sess, st, append(payload, "</query>"...))
		return nil
	})
}

// holders is the addresses that have an affiliation.
func (r *room) holders(as Affiliation) (jids []string) {
	for _, a := range r.affiliates {
		if a.as == as {
			jids = append(jids, a.jid)
		}
	}
	return jids
}

// configure takes a form that an owner has filled in.
func (s *Service) configure(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza, f *form) error {
	done := func() { s.answer(b, sess, st, nil) }
	return s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		switch {
		case r.affiliation(st.From) < Owner:
			return plan{}, stanza.ErrForbidden
		case f.Type == "cancel" && r.phase == locked: // XEP-0045 §10.1.3
			return s.destruction(b, r, destroyed{}, done), nil
		case f.Type == "cancel":
			return plan{apply: done}, nil
		case f.Type != "submit":
			return plan{}, stanza.ErrBadRequest
		}
		next, err := r.cfg.submitted(f)
		if err != nil {
			return plan{}, err
		}
		if next.Persistent && !r.cfg.Persistent && s.cfg.Load().Persistent != Anyone {
			return plan{}, notAcceptable("muc#roomconfig_persistentroom")
		}
		list, err := r.lists(f)
		if err == nil {
			err = s.consistent(r, list)
		}
		if err != nil {
			return plan{}, err
		}
		return s.configuration(b, r, next, list, func() { r.phase = open; done() })
	})
}

// lists is what the full lists of owners and admins in a form change (XEP-0045 §10.5, §10.8).
func (r *room) lists(f *form) (list []affiliate, err error) {
	wanted := make(map[string]Affiliation)
	given := [2]bool{}
	for i, field := range []string{"muc#roomconfig_roomadmins", "muc#roomconfig_roomowners"} {
		as := Admin + Affiliation(i)
		values, ok := f.values(field)
		given[i] = ok
		for _, v := range values {
			if v == "" {
				continue
			}
			jid, err := stanza.ParseJID(v)
			if err != nil || jid.Local() == "" {
				return nil, notAcceptable(field)
			}
			wanted[jid.Bare().String()] = as
		}
	}
	for _, a := range r.affiliates {
		if a.as >= Admin && given[a.as-Admin] && wanted[a.jid] == None {
			a.as, a.nick, a.reason = None, "", ""
			list = append(list, a)
		}
	}
	for _, jid := range slices.Sorted(maps.Keys(wanted)) {
		as := wanted[jid]
		i, ok := r.affiliates.find(jid)
		switch {
		case ok && r.affiliates[i].as == as:
		case ok:
			a := r.affiliates[i]
			a.as, a.reason = as, ""
			list = append(list, a)
		default:
			list = append(list, affiliate{jid: jid, as: as})
		}
	}
	return list, nil
}

// configuration plans another configuration, with changes of affiliations. done, if set, runs before anybody is told; a room that is locked remains so
// unless it unlocks it.
func (s *Service) configuration(b *router.Batch, r *room, next *Settings, list []affiliate, done func()) (plan, error) {
	was := r.cfg
	var rec store.Room
	if next.Persistent || was.Persistent {
		var err error
		if rec, err = r.record(next); err != nil {
			return plan{}, err
		}
	}
	after := append(affiliates(nil), r.affiliates...)
	for _, a := range list {
		after.set(a)
	}
	var p plan
	switch {
	case next.Persistent && was.Persistent:
		p.store = func(ctx context.Context) error {
			if len(list) > 0 {
				if err := s.store.SetAffiliations(ctx, rec.Name, affiliates(list).stored()); err != nil {
					return err
				}
			}
			return s.store.UpdateRoom(ctx, rec.Name, func(kept *store.Room) error { kept.Config = rec.Config; return nil })
		}
	case next.Persistent:
		p.store = func(ctx context.Context) error { return s.store.CreateRoom(ctx, rec, after.stored()) }
	case was.Persistent:
		p.store = func(ctx context.Context) error { return s.store.DeleteRoom(ctx, rec.Name) }
	}
	p.apply = func() {
		first := r.phase == locked
		r.cfg = next
		if next.Persistent && !was.Persistent {
			for _, m := range r.past.messages {
				s.archive(r, archived{utterance: m})
			}
		}
		if done != nil {
			done()
		}
		if !first && !next.equal(was) {
			s.announce(b, r, was)
		}
		s.setAffiliates(b, r, list, notice{})
		s.enforce(b, r, was)
	}
	return p, nil
}

// announce tells everybody that the configuration has changed (XEP-0045 §10.2.1).
func (s *Service) announce(b *router.Batch, r *room, was *Settings) {
	var codes []int
	if r.cfg.Logged != was.Logged {
		codes = append(codes, map[bool]int{true: 170, false: 171}[r.cfg.Logged])
	}
	if r.cfg.NonAnonymous != was.NonAnonymous {
		codes = append(codes, map[bool]int{true: 172, false: 173}[r.cfg.NonAnonymous])
	}
	if r.cfg.ShowAbsent != was.ShowAbsent {
		codes = append(codes, map[bool]int{true: 102, false: 103}[r.cfg.ShowAbsent])
	}
	rest := *was
	rest.Logged, rest.NonAnonymous, rest.ShowAbsent = r.cfg.Logged, r.cfg.NonAnonymous, r.cfg.ShowAbsent
	if !rest.equal(r.cfg) {
		codes = append(codes, 104)
	}
	s.castCodes(b, r, codes...)
}

// castCodes sends status codes of the room's to everybody.
func (s *Service) castCodes(b *router.Batch, r *room, codes ...int) {
	inner := []byte("<x xmlns='" + nsUser + "'>")
	for _, c := range codes {
		inner = appendStatus(inner, c)
	}
	st := stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: r.at, Inner: append(inner, "</x>"...)}
	s.cast(b, r, &st)
}

// enforce makes a new configuration be felt: who may not be in the room any more leaves it (XEP-0045 §9.4), and in a room that is not moderated
// any more everybody may speak.
func (s *Service) enforce(b *router.Batch, r *room, was *Settings) {
	if !r.cfg.Moderated {
		for user := range r.voices {
			r.forgetVoice(user)
		}
	}
	if r.cfg.ShowAbsent && !was.ShowAbsent {
		for _, o := range r.all {
			for i := range o.seats {
				s.introduceAbsent(b, r, &o.seats[i])
			}
		}
	}
	for _, o := range append([]*occupant(nil), r.all...) {
		if s.lockNick(b, r, o) {
			s.show(b, r, o, &notice{codes: []int{210}})
		}
		switch {
		case r.cfg.MembersOnly && !was.MembersOnly && o.affiliation < Member:
			s.expel(b, r, o, &notice{codes: []int{322}}, nil)
		case !r.cfg.Moderated && was.Moderated && o.role == Visitor:
			s.setRole(b, r, o, Participant, o.affiliation, &notice{})
		case was.Broadcast.has(o.role) && !r.shown(o.role):
			s.showOthers(b, r, o, &notice{gone: true})
		case !was.Broadcast.has(o.role) && r.shown(o.role):
			s.showOthers(b, r, o, &notice{})
		case was.Hats != r.cfg.Hats && was.Hats.worn(o.user()) != r.cfg.Hats.worn(o.user()): // XEP-0317 §3.2 to §3.6
			s.show(b, r, o, &notice{})
		}
	}
}
