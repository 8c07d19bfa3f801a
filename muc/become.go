package muc

import (
	"cmp"
	"fmt"
	"slices"
	"time"
	"unique"

	"chatd/router"
	"chatd/stanza"
)

// writtenBy is how old a message is that the store has, unless it fails.
const writtenBy = 30 * time.Second

// become makes the room what it is in m, which has all that it was. Those who are new to each other are shown to each other, and
// nobody else hears of anything but of what has changed. The caller holds the room's lock.
func (s *Service) become(b *router.Batch, r *room, m *State) error {
	cfg, key, err := decodeSettings(m.Config)
	if err != nil {
		return err
	}
	was := r.cfg
	if cfg.equal(was) {
		cfg = was
	}
	r.cfg, r.secret, r.subject, r.created, r.affiliates, r.phase = cfg, key, m.Subject, m.Created.Unix(), readAffiliates(m.Affiliations), open
	if m.Locked {
		r.phase = locked
	}
	r.voices = readRoles(m.Voices)
	if m.Expected && !r.expected {
		r.expected = true
		time.AfterFunc(expectation, func() { s.giveUp(r) })
	}
	s.await(r, time.Unix(0, m.Awaited))
	if p := r.rep; p != nil {
		p.cfg, p.phase, p.configured, p.subject, p.subjectSet, p.stamps, p.dealt = cfg, r.phase, m.Configured, m.Subject, m.SubjectSet, m.Stamps, m.Dealt
		s.discard(r) // it is made anew
	}
	if m.Unkept && r.cfg.Persistent {
		s.keepMerged(r)
	}
	known := !r.unread
	if r.unread = m.Unread; r.unread {
		s.tryLater(r)
	}
	r.past = past{}
	for _, h := range m.History {
		kept := remembered(h)
		r.past.add(kept, s.cfg.Load())
		if now().Sub(h.Stored) < writtenBy { // the old home may not have come to write it; what is there is not written again
			s.archive(r, archived{utterance: kept})
		}
	}
	if cfg != was && len(r.all) > 0 && known {
		s.announce(b, r, was)
	}
	return s.reseat(r, m)
}

// reseat makes the occupants those of m.
func (s *Service) reseat(r *room, m *State) error {
	before := r.seats
	var all []*occupant
	for i := range m.Occupants {
		x := &m.Occupants[i]
		o, err := s.seatAll(r, x)
		if err != nil {
			return fmt.Errorf("%w: %w", errState, err)
		}
		if o != nil {
			all = append(all, o)
			continue
		}
		if s.outOfReach(x) {
			s.await(r, time.Now().Add(settling))
		}
		if s.Watcher != nil { // its session is gone with its node
			s.Watcher.RoomLeft(r.at, stanza.Restore(x.user()), x.Nick, Unreachable)
		}
	}
	rep := r.rep
	r.crowd = crowd{rep: rep}
	for _, o := range all {
		if r.named(o.nick()) == nil {
			r.add(o)
		}
	}
	s.Metrics.occupants.Add(float64(r.seats - before))
	return nil
}

// seatAll is an occupant of m: one that is in the room, with sessions that it did not have, or a new one. It is nil if no session of it is
// anywhere.
func (s *Service) seatAll(r *room, x *OccupantState) (o *occupant, err error) {
	at, err := r.at.WithResource(x.Nick)
	role, ok := ParseRole(x.Role)
	if err != nil || !ok || at.IsBare() || len(x.Sessions) == 0 {
		return nil, errState
	}
	var seats []seat
	for _, session := range x.Sessions {
		full := stanza.Restore(session.JID)
		if has := r.of(full); has != nil && has.seat(full).bound == session.Bound {
			seats = append(seats, *has.seat(full))
			if o == nil {
				o = has
			}
		} else if to := (seat{full, nil, session.Bound, unique.Make(session.Presence), session.Since}); s.findSession(r, &to, &session) {
			seats = append(seats, to)
		}
	}
	if len(seats) == 0 {
		return nil, nil
	}
	user := seats[0].jid
	if o == nil {
		o = &occupant{since: x.Since}
	}
	o.at, o.role, o.affiliation, o.id = at, role, r.affiliation(user), r.secret.identify(user)
	o.sit(seats)
	return o, nil
}

// outOfReach reports whether an occupant may be on a node that is not reached from here, and thinks that it is in the room.
func (s *Service) outOfReach(x *OccupantState) bool {
	return s.Place != nil && slices.ContainsFunc(x.Sessions, func(session SessionState) bool { return !s.reaches(session.Node) })
}

// findSession gives a seat its session, and reports whether it may be anywhere.
func (s *Service) findSession(r *room, to *seat, was *SessionState) bool {
	row, ok := s.rowOf(to.jid, to.bound)
	switch {
	case !ok && row.Session != nil && boundAt(row) > to.bound: // its user has logged in anew
	case was.Absent != 0, !ok && s.Place != nil && was.Node == s.Place.Node() && r.rep.own[was.JID]: // it has not said that it leaves, but has gone on from here
		a := s.leaveOpen(r, to, was.Node)
		a.sure, a.since = true, cmp.Or(was.Absent, a.since)
		a.await(was.Waits)
	case ok:
		to.session, to.bound = s.sessionOf(row), boundAt(row)
	case s.Place != nil && slices.Contains(s.Place.Nodes(), was.Node): // whose rows are yet to come
		to.session = s.node(was.Node)
	}
	return to.session != nil
}
