package muc

import (
	"context"
	"slices"
	"time"

	"chatd/router"
)

const (
	// overdue is how long a room that moves waits for other nodes.
	overdue = 2 * time.Second
	// settling is how long after a change of the nodes a room that is not here may still be elsewhere.
	settling = 10 * time.Second
)

// handOver begins to move a room to another node.
func (s *Service) handOver(name, to string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := s.lane(sh, name)
	if ln.moving != nil {
		return
	}
	s.setOut(ln, name, to)
	if ln.active == 0 {
		s.Place.Send(s.Place.Node(), frameFrozen, name)
	}
}

// setOut has a room be on its way. The caller holds the lane's lock.
func (s *Service) setOut(ln *lane, name, to string) *moving {
	ln.moving = &moving{to: to, timer: time.AfterFunc(overdue, func() { s.Place.Send(s.Place.Node(), frameOverdue, name) })}
	ln.moving.wait()
	return ln.moving
}

// wait begins the wait for others anew.
func (m *moving) wait() {
	m.until = time.Now().Add(overdue)
	m.timer.Reset(overdue)
}

// move deals with the frames of rooms that move.
func (s *Service) move(ctx context.Context, b *router.Batch, node string, kind byte, name string, payload []byte) bool {
	switch kind {
	case frameFrozen:
		s.frozen(name)
	case frameFlush:
		s.flush(node, name, string(payload))
	case frameFlushed, frameNone:
		if len(payload) > 0 {
			s.keep(name)
		}
		s.answered(ctx, b, name, node)
	case frameState:
		return s.arriving(node, name, payload)
	case frameArrived:
		s.arrived(ctx, b, node, name, len(payload) > 0)
	case frameClaim:
		return s.claimed(node, name, payload)
	case frameMine:
		s.notMine(node, name)
		s.answered(ctx, b, name, node) // if it comes nevertheless
	case frameOverdue:
		s.answered(ctx, b, name, "")
	default:
		return false
	}
	return true
}

// frozen asks all nodes of the room's occupants, and the new home, whether they have heard all that the room has told them.
func (s *Service) frozen(name string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[name]
	if ln == nil || ln.active > 0 || ln.moving == nil || ln.moving.to == "" {
		return
	}
	m := ln.moving
	if m.waits != nil { // somebody was busy for so long that the wait for others is over
		s.Place.Send(s.Place.Node(), frameFlushed, name)
		return
	}
	m.wait()
	nodes := []string{m.to}
	if r := s.find(name); r != nil {
		r.mu.Lock()
		m.told = r.rep.sent
		for _, o := range r.all {
			for i := range o.seats {
				if n := r.rep.nodeOf(o.seats[i].session); n != r.rep.self && !slices.Contains(nodes, n) {
					nodes = append(nodes, n)
				}
			}
		}
		r.mu.Unlock()
	}
	m.waits = []string{}
	for _, n := range nodes {
		if s.Place.Send(n, frameFlush, name, []byte(m.to)) {
			m.waits = append(m.waits, n)
		}
	}
	if len(m.waits) == 0 {
		s.Place.Send(s.Place.Node(), frameFlushed, name)
	}
}

// flush tells a room's old home that all that it has told is here, and lets the new one speak from then on.
func (s *Service) flush(node, name, to string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if a := sh.away[name]; a != nil && a.home == node {
		a.next, a.strayed = to, !s.reaches(to)
	}
	if to == s.Place.Node() { // a half that is here already waits for the other one
		m := s.coming(sh, node, name)
		m.comes = m.to == ""
	}
	var lost []byte
	if !s.reaches(to) {
		lost = []byte{1}
	}
	s.Place.Send(node, frameFlushed, name, lost)
}

// keep has a room stay that is only lent, when occupants are out of reach for the node that wants it.
func (s *Service) keep(name string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.moves(name) && s.Place.Home(name) == s.Place.Node() {
		sh.lanes[name].moving.to = ""
	}
}

// answered notes that a node has answered, or is gone; "": that it has been long enough. If all have, the room goes, or what has waited for it is
// dealt with.
func (s *Service) answered(ctx context.Context, b *router.Batch, name, node string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	ln := sh.lanes[name]
	if ln == nil || ln.moving == nil || ln.moving.to != "" && (ln.active > 0 || ln.moving.waits == nil) {
		sh.mu.Unlock()
		return
	}
	m := ln.moving
	if node == "" && time.Now().Before(m.until) { // this was another wait
		sh.mu.Unlock()
		return
	}
	m.waits = slices.DeleteFunc(m.waits, func(n string) bool { return n == node || node == "" })
	if len(m.waits) > 0 {
		sh.mu.Unlock()
		return
	}
	if len(m.come) > 0 { // more of it has come than is going
		m.to = ""
	}
	if m.to != "" {
		if r := s.find(name); r != nil && node != "" && r.hasTold(m.told) { // who was on a node that has gone meanwhile has left, say
			m.waits = nil
			s.Place.Send(s.Place.Node(), frameFrozen, name)
			sh.mu.Unlock()
			return
		}
		gone := s.release(sh, name, ln)
		sh.mu.Unlock()
		if !gone {
			s.drain(ctx, b, name)
		}
		return
	}
	x, lost, merged, rejoins := m.whole(), m.lost, len(m.come) > 1, m.rejoins
	m.come, m.lost, m.rejoins = nil, false, nil
	sh.mu.Unlock()
	waits := x == nil && s.recall(ctx, b, name)
	var asked []string
	if x != nil {
		s.Metrics.moved.Inc()
		asked = s.adopt(ctx, b, x, lost, merged)
	}
	for _, x := range rejoins {
		if x.Behind {
			s.tellAnew(b, x)
		} else {
			s.adopt(ctx, b, x, false, false)
		}
	}
	if s.holdFor(name, asked) || waits {
		return
	}
	s.drain(ctx, b, name)
}

// hasTold reports whether other nodes have been told more since.
func (r *room) hasTold(since uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rep.sent != since
}

// release sends the room to its new home. It reports whether it is gone. The caller holds the lane's lock.
func (s *Service) release(sh *laneShard, name string, ln *lane) bool {
	m := ln.moving
	if !slices.Contains(s.Place.Nodes(), m.to) {
		return false
	}
	var strays []byte
	if r := s.find(name); r != nil {
		if s.strays(r, m.gone) {
			strays = []byte{1}
		}
		if !s.sendRoom(sh, r, m.to) {
			return false
		}
	}
	s.Place.Send(m.to, frameArrived, name, strays)
	for i := range m.parked {
		s.reject(&m.parked[i], m.to)
	}
	for _, c := range m.claims {
		s.Place.Send(c.node, frameNone, name)
	}
	s.moved(sh, name, ln, m.to)
	return true
}

// strays reports whether somebody is in the room whose node is not reached from here, or was lost lately. It may be reached from the new home, and has not heard all then.
func (s *Service) strays(r *room, lost []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rep.strays || slices.ContainsFunc(r.nodes(), func(n string) bool { return slices.Contains(lost, n) || !s.reaches(n) })
}

func (s *Service) sendRoom(sh *laneShard, r *room, to string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != open && r.phase != locked || !s.sendState(r, to, frameState) {
		return r.phase == gone
	}
	a := &away{home: to, token: s.Place.Token(), lent: s.Place.Home(r.at.Local()) == r.rep.self, secret: r.secret}
	for _, o := range r.all {
		if mine := o.state(r.rep, r.rep.self); len(mine.Sessions) > 0 {
			a.seats.Occupants = append(a.seats.Occupants, mine)
		}
	}
	a.shown, a.heard = exposed(r.sees()), r.lately()
	for _, m := range a.heard {
		a.heardBytes += len(m.wire)
	}
	if a.lent || len(a.seats.Occupants) > 0 {
		sh.putAway(r.at.Local(), a)
		sh.leftInLine(r.at.Local())
	}
	s.Metrics.occupants.Sub(float64(r.seats))
	s.vanish(r)
	return true
}
