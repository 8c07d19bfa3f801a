package muc

import (
	"time"

	"chatd/router"
	"chatd/stanza"
)

// rename is XEP-0045 §7.6. A session of an occupant that has several leaves the others behind under the old nick.
func (s *Service) rename(b *router.Batch, r *room, o *occupant, st *stanza.Stanza) error {
	nick := st.To.Resource()
	if err := r.nickFree(nick, st.From); err != nil {
		return err
	}
	if mine := r.affiliates.of(st.From).nick; r.cfg.LockedNicks && mine != "" && mine != nick {
		return &stanza.Error{Type: "cancel", Condition: "not-acceptable"}
	}
	limits := s.cfg.Load()
	if o.nicks == nil {
		o.nicks = new(bucket)
	}
	if !o.nicks.take(time.Now(), float64(limits.NicksPerMinute)/60, limits.NicksPerMinute) {
		s.Metrics.refuse(refusedNickRate)
		return errTooFast
	}
	if other := r.named(nick); other != nil || len(o.seats) > 1 {
		s.moveSeat(b, r, o, other, st)
		return nil
	}
	s.show(b, r, o, &notice{gone: true, nick: nick, codes: []int{303}})
	r.rename(o, st.To.Clone())
	s.show(b, r, o, &notice{id: st.ID})
	return nil
}

// moveSeat gives one of several sessions of an occupant another nick, which may be the one of another occupant of the same user's.
func (s *Service) moveSeat(b *router.Batch, r *room, o, other *occupant, st *stanza.Stanza) {
	moved := *o.seat(st.From)
	left := &notice{gone: true, nick: st.To.Resource(), codes: []int{303}}
	was := *o
	was.seats = []seat{moved}
	s.showSeat(b, r, &was, &moved, left)
	wasFirst := o.seats[0].jid == moved.jid
	last := r.part(o, st.From)
	switch {
	case last && r.shown(o.role):
		s.showOthers(b, r, o, left)
	case !last && wasFirst:
		s.show(b, r, o, &notice{})
	}
	if other != nil {
		r.join(other, moved)
		s.showSeat(b, r, other, other.seat(moved.jid), &notice{id: st.ID})
	} else {
		other = &was
		other.at = st.To.Clone()
		r.add(other)
		s.show(b, r, other, &notice{id: st.ID})
	}
	if !last && r.shown(o.role) { // whom the session has just been told to be gone is still there
		inner := r.appendPresence(nil, o, r.reveals(other), false, &notice{})
		remains := presenceOf(o, &notice{}, inner)
		s.send(b, r, &moved, &remains)
	}
}

// lockNick gives an occupant the nick that they have reserved, if they are to have no other, and reports whether it did (XEP-0045 §7.10).
func (s *Service) lockNick(b *router.Batch, r *room, o *occupant) bool {
	nick := r.affiliates.of(o.user()).nick
	if !r.cfg.LockedNicks || nick == "" || nick == o.nick() || r.named(nick) != nil || r.nickFree(nick, o.user()) != nil {
		return false
	}
	at, err := r.at.WithResource(nick)
	if err != nil {
		return false
	}
	s.show(b, r, o, &notice{gone: true, nick: nick, codes: []int{303}})
	r.rename(o, at)
	return true
}
