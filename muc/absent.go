package muc

import (
	"time"

	"chatd/router"
	"chatd/stanza"
)

const (
	// absence is for how long a session that was missed on its node may be on its way to another.
	absence = 2 * time.Second
	// lookAgain is how often it is looked for, and maxWaiting how much may wait for it.
	lookAgain  = 10 * time.Millisecond
	maxWaiting = 256
)

// An absent is a session that its node has given away (XEP-0198 §5) while the one that has it now has yet to tell that. What it is told waits. It
// belongs to the room's lock.
type absent struct {
	*node   // where it was
	until   time.Time
	waiting []*stanza.Stanza
}

// Send implements router.Session.
func (a *absent) Send(_ *router.Batch, st *stanza.Stanza) bool {
	if len(a.waiting) >= maxWaiting {
		return false
	}
	a.waiting = append(a.waiting, st.Clone())
	return true
}

// miss has what a session was missed for wait until it is known where it is. It reports whether it may be anywhere.
func (s *Service) miss(r *room, to *seat, on string, st *stanza.Stanza) bool {
	switch has := to.session.(type) {
	case *absent:
		return has.Send(nil, st)
	case *node:
		if has.name != on {
			return false
		}
		a := &absent{node: has, until: time.Now().Add(absence)}
		to.session = a
		s.lookLater(r, to.jid)
		return a.Send(nil, st)
	}
	return false
}

func (s *Service) lookLater(r *room, full stanza.JID) {
	name, text := r.at.Local(), []byte(full.String())
	time.AfterFunc(lookAgain, func() { s.Place.Send(s.Place.Node(), frameAbsent, name, text) })
}

// lookFor gives a session that was missed what waits for it, or takes it out of the room when it has been gone for too long.
func (s *Service) lookFor(b *router.Batch, name, session string) {
	r := s.lock(b, name)
	if r == nil {
		return
	}
	full := stanza.Restore(session)
	if o := r.of(full); o != nil {
		to := o.seat(full)
		if a, ok := to.session.(*absent); ok {
			switch row, there := s.r.Table.Row(full); {
			case there && row.Node() != a.name:
				s.found(b, r, to, row, a.waiting)
			case time.Now().After(a.until):
				r.lost = append(r.lost, full)
			default:
				s.lookLater(r, full)
			}
		}
	}
	empty := len(r.all) == 0
	s.unlock(b, r)
	if empty {
		s.settle(r)
	}
}

// found has a session be where it is, and told what it was missed for.
func (s *Service) found(b *router.Batch, r *room, to *seat, row router.Row, waiting []*stanza.Stanza) {
	to.session = s.sessionOf(row)
	r.rep.touch(to.jid, to.session)
	for _, st := range waiting {
		st.To = to.jid
		s.sendAfter(b, r, to, st)
	}
}
