package muc

import (
	"context"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// changeAffiliations is XEP-0045 §9.1 to §9.5 and §10.3 to §10.8: all of the items, or none.
func (s *Service) changeAffiliations(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza, items []adminItem) error {
	var after []*stanza.Stanza
	err := s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		if r.affiliation(st.From) < Admin { // before anything is said of who is in the room
			return plan{}, stanza.ErrForbidden
		}
		list := make([]affiliate, len(items))
		for i := range items {
			a, err := r.item(&items[i])
			if err == nil {
				err = r.mayAffiliate(st.From, a)
			}
			if err != nil {
				return plan{}, err
			}
			list[i] = a
		}
		if err := s.consistent(r, list); err != nil {
			return plan{}, err
		}
		after = s.lettersTo(r, r.cfg, st.From, list)
		return s.affiliate(b, r, list, notice{actor: r.actor(st.From)}, func() { s.answer(b, sess, st, nil) }), nil
	})
	if err != nil {
		return err
	}
	b.Flush()
	for _, letter := range after {
		if !s.letters.take(st.From, now(), lettersPerMinute) { // a courtesy
			s.Metrics.refuse(refusedLetters)
			break
		}
		if refused, err := s.uninvited(ctx, st.From, letter.To, letter.From); err == nil && !refused {
			s.r.Route(ctx, b, letter)
		}
	}
	return nil
}

// item is an affiliation that is asked for, as it is to be kept. Who is named by a nick is looked for in the room.
func (r *room) item(it *adminItem) (affiliate, error) {
	as, ok := ParseAffiliation(it.Affiliation)
	if !ok {
		return affiliate{}, stanza.ErrBadRequest
	}
	jid, err := stanza.ParseJID(it.JID)
	switch {
	case it.JID == "" && it.Nick != nil:
		o := r.named(*it.Nick)
		if o == nil {
			return affiliate{}, stanza.ErrItemNotFound
		}
		jid, it.Nick = o.user(), nil
	case it.JID == "":
		return affiliate{}, stanza.ErrBadRequest
	case err != nil, jid.Local() == "" && as != Outcast && as != None:
		return affiliate{}, stanza.ErrJIDMalformed
	}
	a := affiliate{jid: jid.Bare().String(), as: as, reason: it.Reason}
	if kept, ok := r.affiliates.exactly(a.jid); ok && it.Nick == nil {
		a.nick = kept.nick
	}
	if it.Nick != nil {
		a.nick = *it.Nick
	}
	if as <= None { // §9.1: an outcast has no nick
		a.nick = ""
	}
	return a, nil
}

// mayAffiliate is XEP-0045 §5.2.1, §9.1, §10.3 to §10.8, for an admin or owner.
func (r *room) mayAffiliate(user stanza.JID, a affiliate) error {
	by, has := r.affiliation(user), None
	if kept, ok := r.affiliates.exactly(a.jid); ok {
		has = kept.as
	}
	switch {
	case a.as == Outcast && a.jid == user.Bare().String():
		return stanza.ErrConflict // §9.1: bans oneself
	case a.as == Outcast && by < Owner && has >= Admin:
		return stanza.ErrNotAllowed
	case by < Owner && (a.as >= Admin || has >= Admin): // also their nicks and reasons
		return stanza.ErrForbidden
	}
	return nil
}

// consistent reports what must not become of a room's affiliations: no owner left (XEP-0045 §10.4), too many, or one nick for two (§7.10).
func (s *Service) consistent(r *room, list []affiliate) error {
	next := append(affiliates(nil), r.affiliates...)
	for _, a := range list {
		if a.nick != "" {
			if by := next.reserver(a.nick); by != "" && by != a.jid || len(a.nick) > maxNick {
				return stanza.ErrConflict
			}
			if _, err := r.at.WithResource(a.nick); err != nil {
				return stanza.ErrJIDMalformed
			}
		}
		next.set(a)
	}
	if r.affiliates.count(Owner) > 0 && next.count(Owner) == 0 {
		return stanza.ErrConflict
	}
	if limit := s.cfg.Load().Affiliates; limit > 0 && len(next) > limit && len(next) > len(r.affiliates) {
		return stanza.ErrResourceConstraint
	}
	return nil
}

// affiliate plans a change of affiliations: stored, then told to those who are in the room. done, if set, runs before anybody is told.
func (s *Service) affiliate(b *router.Batch, r *room, list []affiliate, n notice, done func()) plan {
	p := plan{apply: func() {
		if done != nil {
			done()
		}
		s.setAffiliates(b, r, list, n)
	}}
	if r.cfg.Persistent {
		p.store = func(ctx context.Context) error {
			all := make([]store.Affiliation, len(list))
			for i := range list {
				all[i] = list[i].stored()
			}
			return s.store.SetAffiliations(ctx, r.at.Local(), all)
		}
	}
	return p
}

// setAffiliates changes affiliations, and has everybody who is in the room learn of it.
func (s *Service) setAffiliates(b *router.Batch, r *room, list []affiliate, n notice) {
	var away []affiliate
	for _, a := range list {
		was, _ := r.affiliates.exactly(a.jid)
		r.setAffiliate(a)
		r.forgetVoice(a.jid)
		if jid, err := stanza.ParseJID(a.jid); err == nil && len(r.ofUser(jid)) == 0 {
			if a.as != was.as {
				away = append(away, a)
			}
			s.showChanged(b, r, was, a)
			continue
		}
		n := n
		n.reason = a.reason
		s.affiliated(b, r, a, &n)
	}
	s.tellAffiliations(b, r, away)
}

// affiliated makes a new affiliation be felt by those who are in the room.
func (s *Service) affiliated(b *router.Batch, r *room, a affiliate, n *notice) {
	jid, err := stanza.ParseJID(a.jid)
	if err != nil {
		return
	}
	for _, o := range r.ofUser(jid) {
		as := r.affiliation(o.user()) // a domain may be banned, and this user be a member all the same
		was := o.affiliation
		n := *n
		if s.lockNick(b, r, o) {
			n.codes = []int{210} // XEP-0045 §7.10
		}
		switch {
		case as == was && len(n.codes) > 0:
			s.show(b, r, o, &n)
		case as == was:
		case as == Outcast:
			o.affiliation = as
			n.codes = []int{301}
			s.expel(b, r, o, &n, nil)
		case as < Member && r.cfg.MembersOnly:
			o.affiliation = as
			n.codes = []int{321} // XEP-0045 §9.4
			s.expel(b, r, o, &n, nil)
		default:
			s.setRole(b, r, o, r.cfg.after(o.role, was, as), as, &n)
		}
	}
}
