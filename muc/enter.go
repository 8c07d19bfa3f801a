package muc

import (
	"context"
	"crypto/subtle"
	"time"
	"unique"

	"chatd/router"
	"chatd/stanza"
)

var (
	errNotAuthorized        = &stanza.Error{Type: "auth", Condition: "not-authorized"}
	errRegistrationRequired = &stanza.Error{Type: "auth", Condition: "registration-required"}
	errRoomFull             = &stanza.Error{Type: "wait", Condition: "service-unavailable"}
	errCreationRestricted   = stanza.ErrNotAllowed.WithText("rooms are not made by users here")
)

// spareOccupants is how many admins and owners may be in a room that is full (XEP-0045 §7.2.9).
const spareOccupants = 20

// enter is XEP-0045 §7.2, and §10.1 if the room is not there.
func (s *Service) enter(ctx context.Context, b *router.Batch, sess router.Session, bound int64, st *stanza.Stanza, inner []byte, join *joining) error {
	now := time.Now()
	if !s.joins.take(st.From, now, s.cfg.Load().JoinsPerMinute) {
		s.Metrics.refuse(refusedJoinRate)
		return errTooFast
	}
	who, ok := s.seatOf(st.From, sess, bound)
	if !ok {
		return nil // has gone meanwhile
	}
	who.presence, who.since = unique.Make(string(inner)), now.UnixMilli()
	created := false
	r, err := s.load(ctx, b, st.To.Local(), func(r *room) error {
		created = true
		return s.createdBy(r, st.From, now)
	})
	if err != nil {
		return err
	}
	err = s.admit(b, r, who, st, join, created)
	empty := len(r.all) == 0
	s.unlock(b, r)
	if empty {
		s.settle(r)
	}
	return err
}

// seatOf is the seat of a session that enters; nil: of the one that is in the table. It is false for one whose address another has by now that was bound later: it
// ends.
func (s *Service) seatOf(full stanza.JID, sess router.Session, bound int64) (who seat, ok bool) {
	row, ok := s.rowOf(full, bound)
	switch {
	case ok:
		return seat{jid: full, session: s.sessionOf(row), bound: boundAt(row)}, true
	case sess == nil || row.Session != nil && boundAt(row) > bound:
		return who, false
	}
	return seat{jid: full, session: sess, bound: bound}, true // it is about to be there, or has just gone
}

// createdBy makes a new room because a user wants to enter it (XEP-0045 §10.1.1).
func (s *Service) createdBy(r *room, user stanza.JID, now time.Time) error {
	limits := s.cfg.Load()
	if limits.Create != Anyone {
		return errCreationRestricted
	}
	if !s.creations.take(user, now, limits.CreationsPerMinute) {
		s.Metrics.refuse(refusedCreation)
		return errTooFast
	}
	r.affiliates.set(affiliate{jid: user.Bare().String(), as: Owner})
	return s.begin(r, user)
}

// admit lets a session in, if it may.
func (s *Service) admit(b *router.Batch, r *room, who seat, st *stanza.Stanza, join *joining, created bool) error {
	if o := r.of(who.jid); o != nil {
		if to := o.seat(who.jid); to.session != who.session || to.bound != who.bound { // a new one with its address, perhaps on another node
			to.session, to.bound, to.since = who.session, who.bound, who.since
			r.rep.touch(to.jid, to.session)
		}
		return s.synchronize(b, r, o, st, who.presence, join)
	}
	what := r.affiliates.of(who.jid)
	if err := r.mayEnter(what.as, join.password); err != nil {
		return err
	}
	n := notice{id: st.ID}
	at := st.To
	if r.cfg.LockedNicks && what.nick != "" && what.nick != at.Resource() { // XEP-0045 §7.10
		locked, err := r.at.WithResource(what.nick)
		if err == nil {
			at = locked
			n.own = append(n.own, 210)
		}
	}
	if err := r.nickFree(at.Resource(), who.jid); err != nil {
		return err
	}
	if err := s.roomFor(r, what.as); err != nil {
		return err
	}
	if limits := s.cfg.Load(); what.as < Admin && !r.entering.take(now(), limits.RoomJoinsPerSecond, limits.RoomJoinBurst) {
		s.Metrics.refuse(refusedRoomJoins)
		return errTooFast
	}
	if r.cfg.NonAnonymous {
		n.own = append(n.own, 100)
	}
	if r.cfg.Logged {
		n.own = append(n.own, 170)
	}
	if created {
		n.own = append(n.own, 201)
	}
	o := r.named(at.Resource())
	if o == nil {
		o = &occupant{at: at.Clone(), id: r.secret.identify(who.jid), affiliation: what.as, role: r.returning(who.jid, what.as), since: time.Now().UnixNano()}
		o.sit([]seat{who})
		r.add(o)
		if s.Watcher != nil {
			s.Watcher.RoomJoined(r.at, o.user(), o.nick(), o.role.String(), o.affiliation.String())
		}
		if r.shown(o.role) {
			s.showOthers(b, r, o, &n)
		}
	} else {
		r.join(o, who)
	}
	r.expected = false
	s.Metrics.occupants.Inc()
	s.welcome(b, r, o, o.seat(who.jid), &n, join.history)
	return nil
}

// welcome is what a session gets that has entered, in this order (XEP-0045 §7.1).
func (s *Service) welcome(b *router.Batch, r *room, o *occupant, to *seat, n *notice, history wanted) {
	s.tellNodes(r) // before the session: its node is to know what it knows
	s.introduce(b, r, o, to)
	s.introduceAbsent(b, r, to)
	s.showSeat(b, r, o, to, n)
	s.recount(b, r, to, history)
	s.tellSubject(b, r, to)
}

// mayEnter is XEP-0045 §7.2.5 to §7.2.7 and §7.2.10.
func (r *room) mayEnter(as Affiliation, password string) error {
	switch {
	case as == Outcast:
		return stanza.ErrForbidden
	case r.phase == locked && as < Owner:
		return errNoRoom
	case r.cfg.MembersOnly && as < Member:
		return errRegistrationRequired
	case r.cfg.Password != "" && subtle.ConstantTimeCompare([]byte(r.cfg.Password), []byte(password)) != 1:
		return errNotAuthorized
	}
	return nil
}

// nickFree is XEP-0045 §7.2.8: nobody has a nick, or has one reserved, that reads alike.
func (r *room) nickFree(nick string, user stanza.JID) error {
	user = user.Bare()
	key := nickKey(nick)
	for _, o := range r.all {
		if alike(o.nick(), key) && o.user() != user {
			return stanza.ErrConflict
		}
	}
	for i := range r.affiliates {
		if a := &r.affiliates[i]; a.nick != "" && alike(a.nick, key) && a.jid != user.String() {
			return stanza.ErrConflict
		}
	}
	return nil
}

// roomFor is XEP-0045 §7.2.9.
func (s *Service) roomFor(r *room, as Affiliation) error {
	limit := s.cfg.Load().Occupants
	if own := r.cfg.Occupants; own > 0 && (limit == 0 || own < limit) {
		limit = own
	}
	if limit == 0 || r.seats < limit || as >= Admin && r.seats < limit+spareOccupants {
		return nil
	}
	s.Metrics.refuse(refusedOccupants)
	return errRoomFull
}

// synchronize is for a client that is in the room and enters again: it gets all that it would get (XEP-0045 §7.2.1, §17.3).
func (s *Service) synchronize(b *router.Batch, r *room, o *occupant, st *stanza.Stanza, presence unique.Handle[string], join *joining) error {
	if o.nick() != st.To.Resource() {
		if err := s.rename(b, r, o, st); err != nil {
			return err
		}
		o = r.of(st.From)
	}
	if to := o.seat(st.From); to.presence != presence {
		s.changePresence(r, o, st.From, presence)
		if r.shown(o.role) {
			s.showOthers(b, r, o, &notice{})
		}
	}
	n := notice{id: st.ID}
	if r.cfg.NonAnonymous {
		n.own = append(n.own, 100)
	}
	if r.cfg.Logged {
		n.own = append(n.own, 170)
	}
	s.welcome(b, r, o, o.seat(st.From), &n, join.history)
	return nil
}
