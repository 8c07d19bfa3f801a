package muc

import (
	"slices"
	"time"

	"chatd/router"
	"chatd/stanza"
)

const (
	// absence is for how long a session that was missed on its node may be on its way to another.
	absence = 2 * time.Second
	// absenceApart is for how much longer while nodes do not all reach each other: it may be on one that others reach, and the room as well before long.
	absenceApart = 8 * time.Second
	// lookAgain is how often it is looked for, and maxWaiting how much may wait for it.
	lookAgain  = 10 * time.Millisecond
	maxWaiting = 256
	// maxPause bounds the pause, twice as long each time, after which a node is tried again that had no room.
	maxPause = time.Second
)

// An absent is a session that its node, which may be this one, has given away (XEP-0198 §5) while the one that has it now has yet to tell that; or of which that is
// not sure, as the node has not taken what is for it. What it is told waits. It belongs to the room's lock.
type absent struct {
	*node   // where it was
	was     router.Session
	sure    bool  // that it is not there any more: its node has said so, or that it leaves
	since   int64 // it has heard nothing, milliseconds since 1970
	until   time.Time
	pause   time.Duration // before the node is tried again, when it had no room
	waiting []waiting
}

// A waiting is one stanza that waits for a session.
type waiting struct {
	text string    // raw XML
	id   stanza.ID // if it is a message of the room's to all
}

// Send implements router.Session.
func (a *absent) Send(_ *router.Batch, st *stanza.Stanza) bool {
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	*buf = st.Append((*buf)[:0])
	var id stanza.ID
	if isCast(st) {
		id, _ = spokenID(*buf)
	}
	if id != (stanza.ID{}) && slices.ContainsFunc(a.waiting, func(has waiting) bool { return has.id == id }) {
		return true
	}
	if len(a.waiting) >= maxWaiting {
		return false
	}
	a.waiting = append(a.waiting, waiting{string(*buf), id})
	return true
}

// waits is what waits, raw XML, for another process; await takes that.
func (a *absent) waits() []string {
	all := make([]string, len(a.waiting))
	for i := range a.waiting {
		all[i] = a.waiting[i].text
	}
	return all
}

// stanzas is what waits.
func (a *absent) stanzas() (all []*stanza.Stanza) {
	for _, has := range a.waiting {
		if st, err := stanza.Parse([]byte(has.text)); err == nil {
			all = append(all, st)
		}
	}
	return all
}

func (a *absent) await(all []string) {
	for _, text := range all {
		if st, err := stanza.Parse([]byte(text)); err == nil {
			a.Send(nil, st)
		}
	}
}

// goesOn reports whether a row is where a session has gone on that was on a node.
func (to *seat) goesOn(row router.Row, node string) bool {
	return row.Node() != node || boundAt(row) > to.bound
}

// miss has what a session was missed for wait until it is known where it is. It reports whether it may be anywhere.
func (s *Service) miss(r *room, to *seat, st *stanza.Stanza, sure bool) bool {
	a := s.doubt(r, to)
	a.sure = a.sure || sure
	return a.Send(nil, st)
}

// doubt has a session be looked for of which it is not known whether it is still where it was.
func (s *Service) doubt(r *room, to *seat) *absent {
	if a, ok := to.session.(*absent); ok {
		return a
	}
	return s.leaveOpen(r, to, r.rep.nodeOf(to.session))
}

// unsent has sessions be looked for whose node does not take what is for them: it is gone, say, which the room is about to be told, and may have given them to others
// (XEP-0198 §5). They are not if the room has been told that and goes to where they may be.
func (s *Service) unsent(r *room, on *node, st *stanza.Stanza, to []stanza.JID) {
	for _, full := range to {
		st.To = full
		if o := r.of(full); o != nil && (s.beyond(r, on) || !s.miss(r, o.seat(full), st, false)) {
			r.lose(full, o.seat(full).session)
		}
	}
}

// missAll has all sessions that were on a node be looked for: it has left, and may have given them to others that have yet to tell (XEP-0198 §5). The caller
// holds the room's lock.
func (s *Service) missAll(r *room, on string) {
	for _, o := range r.all {
		for i := range o.seats {
			if to := &o.seats[i]; r.rep.nodeOf(to.session) == on {
				if a := s.doubt(r, to); !a.sure {
					a.sure, a.until = true, time.Now().Add(absence)
				}
			}
		}
	}
}

// leaveOpen has a session be looked for that was on a node.
func (s *Service) leaveOpen(r *room, to *seat, on string) *absent {
	now := time.Now()
	a := &absent{node: s.node(on), was: to.session, since: now.UnixMilli(), until: now.Add(absence), pause: lookAgain}
	to.session = a
	s.lookLater(r, to.jid, lookAgain)
	return a
}

// isAbsent reports whether a session that is in a room is surely not where it was, and looked for.
func (s *Service) isAbsent(b *router.Batch, name string, full stanza.JID) bool {
	r := s.lock(b, name)
	if r == nil {
		return false
	}
	defer r.mu.Unlock()
	if o := r.of(full); o != nil {
		a, away := o.seat(full).session.(*absent)
		return away && a.sure
	}
	return false
}

func (s *Service) lookLater(r *room, full stanza.JID, pause time.Duration) {
	name, text := r.at.Local(), []byte(full.String())
	time.AfterFunc(pause, func() { s.Place.Send(s.Place.Node(), frameAbsent, name, text) })
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
			switch row, there := s.rowOf(full, to.bound); {
			case there && row.Session != a.was && to.goesOn(row, a.name):
				s.found(b, r, to, row, a.stanzas())
			case there && !a.sure && s.reaches(a.name):
				s.tryAgain(r, to, a, row)
			case time.Now().After(a.until) && (time.Now().After(a.until.Add(absenceApart)) || !s.Place.Split()):
				r.lose(full, a)
			default:
				s.lookLater(r, full, lookAgain)
			}
		}
	}
	empty := len(r.all) == 0
	s.unlock(b, r)
	if empty {
		s.settle(r)
	}
}

// tryAgain gives a session what waits for it, which is where it was and whose node had no room. If there is none still it is tried again later.
func (s *Service) tryAgain(r *room, to *seat, a *absent, row router.Row) {
	for _, st := range a.stanzas() {
		r.rep.sent++
		if !a.cast(frameFollow, st, []stanza.JID{to.jid}) {
			a.pause = min(2*a.pause, maxPause)
			a.until = time.Now().Add(a.pause + absence)
			s.lookLater(r, to.jid, a.pause)
			return
		}
		a.waiting = a.waiting[1:]
	}
	s.follow(r, to, row)
}

// found has a session be where it is, and told what it was missed for.
func (s *Service) found(b *router.Batch, r *room, to *seat, row router.Row, waiting []*stanza.Stanza) {
	s.follow(r, to, row)
	for _, st := range waiting {
		st.To = to.jid
		s.sendAfter(b, r, to, st)
	}
}
