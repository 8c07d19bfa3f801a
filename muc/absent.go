package muc

import (
	"encoding/binary"
	"time"

	"chatd/router"
	"chatd/stanza"
)

const (
	// absentFor is how long a session may be nowhere before it has gone: that a node takes another one's over can take as long as the store does.
	absentFor  = 5 * time.Second
	absentLook = 20 * time.Millisecond
	// absentBytes bounds what waits for one session. With more it has gone.
	absentBytes = 256 << 10
)

// An absence is of a session that is nowhere: on its way from one node to another (XEP-0198 §5), or gone. What the room says to it waits.
type absence struct {
	from     string // node where it was
	since    time.Time
	missed   []*stanza.Stanza // what came back from there
	held     []*stanza.Stanza // what was said later
	bytes    int
	recalled bool // nothing more comes back
}

// astray takes back st, which a session was to be sent on a node where it is not. The caller holds the room's lock.
func (s *Service) astray(r *room, full stanza.JID, from string, st *stanza.Stanza) {
	if s.Place == nil {
		r.lost = append(r.lost, full)
		return
	}
	a := s.await(r, full, from)
	a.missed = a.keep(r, full, a.missed, st)
}

// await begins an absence, unless it has begun.
func (s *Service) await(r *room, full stanza.JID, from string) *absence {
	if a := r.absent[full]; a != nil {
		return a
	}
	if r.absent == nil {
		r.absent = make(map[stanza.JID]*absence)
	}
	full = full.Clone()
	a := &absence{from: from, since: time.Now()}
	a.recalled = from == s.Place.Node() || !s.Place.Send(from, frameRecall, r.at.Local(), appendText(nil, full.String()))
	r.absent[full] = a
	s.lookFor(r.at.Local(), full)
	return a
}

// awaitAll begins the absence of sessions whose node has left.
func (s *Service) awaitAll(r *room, node string, which func(*seat) bool) {
	for _, o := range r.all {
		for i := range o.seats {
			if to := &o.seats[i]; which(to) {
				s.await(r, to.jid, node).recalled = true
			}
		}
	}
}

// keep adds what waits for a session.
func (a *absence) keep(r *room, full stanza.JID, to []*stanza.Stanza, st *stanza.Stanza) []*stanza.Stanza {
	if a.bytes += st.Size(); a.bytes > absentBytes {
		r.lost = append(r.lost, full)
		return to
	}
	st = st.Clone()
	st.To = full
	return append(to, st)
}

func (s *Service) lookFor(name string, full stanza.JID) {
	time.AfterFunc(absentLook, func() { s.Place.Send(s.Place.Node(), frameLookFor, name, []byte(full.String())) })
}

// looksFor gives a session that was nowhere what has waited for it, if it is somewhere by now.
func (s *Service) looksFor(b *router.Batch, name string, full stanza.JID) {
	r := s.lock(b, name)
	if r == nil {
		return
	}
	a, o := r.absent[full], r.of(full)
	late := a != nil && time.Since(a.since) > absentFor
	switch {
	case a == nil:
	case o == nil: // has left
		delete(r.absent, full)
	case (a.recalled || late) && s.follow(b, r, o.seat(full), a.from):
	case late:
		r.lost = append(r.lost, full)
	default:
		s.lookFor(name, full)
	}
	empty := len(r.all) == 0
	s.unlock(b, r)
	if empty {
		s.settle(r)
	}
}

// follow has a session's seat where the session is now, unless that is nowhere or where it was. The caller holds the room's lock.
func (s *Service) follow(b *router.Batch, r *room, to *seat, from string) bool {
	row, ok := s.r.Table.Row(to.jid)
	if !ok || row.Remote && row.Node() == from || !row.Remote && row.Session == to.session {
		return false
	}
	s.reseated(b, r, to, s.sessionOf(row))
	return true
}

// reseated gives a seat another session, and that what has waited for it. The caller holds the room's lock.
func (s *Service) reseated(b *router.Batch, r *room, to *seat, session router.Session) {
	a := r.absent[to.jid]
	delete(r.absent, to.jid)
	to.session = session
	r.rep.touch(to.jid, session)
	if a == nil {
		return
	}
	for _, st := range append(a.missed, a.held...) {
		s.send(b, r, to, st)
	}
}

// followAll sees to the sessions that were on a node which is gone and had been given to others.
func (s *Service) followAll(b *router.Batch, r *room, node string) {
	for _, o := range r.all {
		for i := range o.seats {
			if to := &o.seats[i]; r.rep.nodeOf(to.session) == node {
				s.follow(b, r, to, node)
			}
		}
	}
}

// recalled notes that all has come back that a session was sent where it was.
func (s *Service) recalled(b *router.Batch, name string, payload []byte) bool {
	full, _, ok := cutText(payload)
	if !ok {
		return false
	}
	if r := s.lock(b, name); r != nil {
		if a := r.absent[stanza.Restore(string(full))]; a != nil {
			a.recalled = true
		}
		s.unlock(b, r)
	}
	return true
}

// returned takes what was said to sessions of a node that is gone and had not dealt with it.
func (s *Service) returned(b *router.Batch, name string, payload []byte) bool {
	node, cast, ok := cutText(payload)
	if !ok {
		return false
	}
	return eachOfCast(cast, func(full, raw []byte) {
		s.missed(b, string(node), name, append(appendText(nil, string(full)), raw...))
	})
}

// eachOfCast calls do with each recipient of a cast and the stanza.
func eachOfCast(payload []byte, do func(full, raw []byte)) bool {
	_, rest, ok := cutToken(payload)
	if !ok {
		return false
	}
	count, size := binary.Uvarint(rest)
	if size <= 0 || count > uint64(len(rest)) {
		return false
	}
	all := make([][]byte, count)
	rest = rest[size:]
	for i := range all {
		if all[i], rest, ok = cutText(rest); !ok {
			return false
		}
	}
	for _, full := range all {
		do(full, rest)
	}
	return true
}
