package muc

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// A node that has no room for what a room elsewhere tells its sessions hears nothing more of that room until it has been told anew: who of its sessions is in it, whom they see, and
// what they have not heard lately. So nothing overtakes what is missing, and what is said there has an answer.

// backlog is after how long, and how often, a room is asked to tell all anew.
const backlog = time.Second

// Overflowed is to be called with a frame of another node that there was no room for, instead of Frame. It does not block. What a session there has said is sent again after
// a pause, with all that comes behind it; when that has gone on for too long the session gets an error. What a room there has told is told again when there is room, as far as it is not
// older than a few seconds.
func (s *Service) Overflowed(node string, kind byte, room string, payload []byte) {
	switch kind {
	case frameStanza:
		if len(payload) >= turnBytes {
			s.Place.Send(node, frameElsewhere, room, payload[turnBytes-4:turnBytes], []byte(s.Place.Node()))
		}
	case frameCast, frameFollow, frameSeats, frameDealt, frameElsewhere:
		s.fallBehind(node, room)
	}
}

// fallBehind notes that a node has told something of a room that is lost.
func (s *Service) fallBehind(node, room string) {
	if s.find(room) != nil {
		return
	}
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.away[room]
	if a == nil { // somebody has just entered
		a = &away{home: node}
		sh.putAway(room, a)
	}
	if a.home == node && a.behind == 0 {
		a.behind = time.Now().UnixNano()
		s.askAnew(room, a.behind)
	}
}

func (s *Service) askAnew(room string, behind int64) {
	since := binary.LittleEndian.AppendUint64(nil, uint64(behind))
	time.AfterFunc(backlog, func() { s.Place.Send(s.Place.Node(), frameAgain, room, since) })
}

// tellBehind tells a room what sessions here know of it, until it answers.
func (s *Service) tellBehind(room string, since int64) {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.away[room]
	if a == nil || a.behind != since { // it has answered, and may have been asked again
		return
	}
	if s.reaches(a.home) { // else it is looked for, and asked then
		x := a.whole(room, s.Place.Node())
		x.Asked, x.Behind = a.behind, true
		if !s.sendJSON(a.home, frameRejoin, room, x) {
			s.log.Warn("room not asked for what there was no room for", "room", room, "node", a.home, "sessions", len(a.sessions()))
		}
	}
	s.askAnew(room, since)
}

// caughtUp takes the answer, and sends on what has no answer. The caller holds mu.
func (s *Service) caughtUp(sh *laneShard, room string, a *away) {
	a.behind = 0
	if l := sh.lines[room]; l != nil && l.home != "" {
		l.restart(l.home)
	}
}

// tellAnew tells a node that is behind all that it may have missed, before anything else is said. Sessions that have entered, and that it does not know of, are told as if they did now.
func (s *Service) tellAnew(b *router.Batch, x *State) {
	answer := &State{Name: x.Name, Asked: x.Asked} // from here on it hears
	r := s.lock(b, x.Name)
	if r == nil { // it has ended, or waits in the store for somebody to enter
		answer.Left = slices.Sorted(maps.Keys(x.sessions()))
		s.sendJSON(x.Whole, frameSeats, x.Name, answer)
		s.tellOut(x, func(stanza.JID) bool { return false })
		return
	}
	s.sendJSON(x.Whole, frameSeats, x.Name, answer)
	s.tellOut(x, func(full stanza.JID) bool { return r.of(full) != nil })
	r.rep.lost = time.Now()
	delete(r.rep.known, x.Whole)
	x.Asked = 0
	s.join(b, r, x)
	knows := x.sessions()
	for _, o := range r.all {
		for i := range o.seats {
			to := &o.seats[i]
			if n, away := to.session.(*node); away && n.name == x.Whole && !knows[to.jid.String()] {
				r.rep.touch(to.jid, to.session)
				s.welcome(b, r, o, to, &notice{}, everything)
			}
		}
	}
	retold := r.rep.retold
	r.rep.retold = nil
	s.unlock(b, r)
	s.heardHere(x.Name, retold)
	s.settle(r)
}

// tellOut tells sessions of a node that is behind that they are not in the room any more: it has put them out, or ended, and told them, which is lost (XEP-0045 §11.1).
func (s *Service) tellOut(x *State, in func(stanza.JID) bool) {
	inner := []byte("<x xmlns='" + nsUser + "'><item affiliation='none' role='none'/><status code='110'/><status code='333'/></x>")
	for _, was := range sittings(x) {
		full := stanza.Restore(was.JID)
		from, err := s.address(x.Name).WithResource(was.of.Nick)
		if err != nil || in(full) {
			continue
		}
		st := stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: from, Inner: inner}
		s.node(x.Whole).cast(frameCast, &st, []stanza.JID{full})
	}
}
