package muc

import (
	"bytes"

	"chatd/router"
	"chatd/stanza"
)

// leave is XEP-0045 §7.14. Unavailable presence of somebody who is not in the room is ignored (§17.3).
func (s *Service) leave(b *router.Batch, sess router.Session, bound int64, st *stanza.Stanza) {
	r := s.lock(b, st.To.Local())
	if r == nil {
		return
	}
	if o := r.of(st.From); o != nil && !r.outlives(o.seat(st.From), sess, bound) {
		status, _, err := readPresence(st)
		if limit := s.cfg.Load().PresenceBytes; err != nil || limit > 0 && len(status) > limit {
			status = nil
		}
		s.depart(b, r, o, st.From, &notice{id: st.ID, status: status})
	}
	empty := len(r.all) == 0
	s.unlock(b, r)
	if empty {
		s.settle(r)
	}
}

// outlives reports whether somebody's session is another than what says that it ends: of a session that was resumed on two nodes one is ended (XEP-0198 §5), and the
// end of the one before the last login may come late.
func (r *room) outlives(has *seat, sess router.Session, bound int64) bool {
	return bound != 0 && (has.bound > bound || has.bound == bound && r.rep.nodeOf(has.session) != r.rep.nodeOf(sess))
}

// depart takes one session out of the room. The caller holds the room's lock.
func (s *Service) depart(b *router.Batch, r *room, o *occupant, full stanza.JID, n *notice) {
	n.gone = true
	to := o.seat(full)
	if to == nil {
		return
	}
	n.destroyed = r.phase == locked && r.seats == 1 // XEP-0045 §10.1.3
	was := *o
	was.seats = []seat{*to}
	wasFirst := o.seats[0].jid == full
	last := r.part(o, full)
	if last {
		r.keepVoice(o, o.role)
		s.tellLeft(r, o, n)
	}
	s.Metrics.occupants.Dec()
	s.showSeat(b, r, &was, &was.seats[0], n)
	switch {
	case n.destroyed: // the room was never there
	case last && r.shown(o.role):
		s.showOthers(b, r, o, n)
	case !last && wasFirst:
		s.show(b, r, o, &notice{})
	}
}

// expel takes an occupant out of the room with all its sessions. told, if set, runs when they have been told and before the others are. The caller holds the
// room's lock.
func (s *Service) expel(b *router.Batch, r *room, o *occupant, n *notice, told func()) {
	n.gone = true
	r.remove(o)
	r.keepVoice(o, min(o.role, r.cfg.initial(o.affiliation)))
	s.tellLeft(r, o, n)
	s.Metrics.occupants.Sub(float64(len(o.seats)))
	s.showSelf(b, r, o, n)
	if told != nil {
		told()
	}
	if r.shown(o.role) {
		s.showOthers(b, r, o, n)
	}
}

// fatal are the conditions that say of a recipient that it is not there (XEP-0045 §18.1.2).
var fatal = [...]string{"gone", "item-not-found", "recipient-unavailable", "redirect", "remote-server-not-found", "remote-server-timeout"}

// bounced takes a message or presence of type error: one that could not be delivered removes the occupant that it was
// for (XEP-0045 §11.1, §18.1.2). Others, such as a client's refusal of a private message, are passed on to whom they are for.
func (s *Service) bounced(b *router.Batch, st *stanza.Stanza) {
	r := s.lock(b, st.To.Local())
	if r == nil {
		return
	}
	o := r.of(st.From)
	_, there := s.r.Table.Row(st.From)
	switch {
	case o == nil:
	case !there && s.Place != nil: // or on its way to another node (XEP-0198 §5)
		s.doubt(r, o.seat(st.From))
	case !there || undeliverable(st):
		s.Metrics.bounced.Inc()
		s.depart(b, r, o, st.From, &notice{codes: []int{333}})
	case st.Kind == stanza.Message && s.mayRefuse(o, st):
		inner, _, err := withoutForgeries(r.at, st)
		if to := r.named(st.To.Resource()); err == nil && to != nil && to.role >= r.cfg.Private {
			out := *st
			out.From, out.Inner = o.at, o.id.append(bytes.Clone(inner))
			for i := range to.seats {
				s.send(b, r, &to.seats[i], &out)
			}
		}
	}
	empty := len(r.all) == 0
	s.unlock(b, r)
	if empty {
		s.settle(r)
	}
}

// mayRefuse reports whether an occupant's error is passed on to another, who may have written to it: it is no way around limits.
func (s *Service) mayRefuse(o *occupant, st *stanza.Stanza) bool {
	limits := s.cfg.Load()
	return (limits.MessageBytes <= 0 || len(st.Inner) <= limits.MessageBytes) && o.messages.take(now(), limits.MessagesPerSecond, limits.MessageBurst)
}

// undeliverable reports whether an error says that the session that it comes from is not there.
func undeliverable(st *stanza.Stanza) bool {
	at := bytes.LastIndex(st.Inner, []byte("<error"))
	if at < 0 {
		return false
	}
	for _, condition := range fatal {
		if bytes.Contains(st.Inner[at:], []byte("<"+condition)) {
			return true
		}
	}
	return false
}
