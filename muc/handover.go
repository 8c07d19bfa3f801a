package muc

import (
	"bytes"
	"context"
	"maps"
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

// Placed is to be called when the placement has changed: rooms move to where they should be. Those that have lost their home
// come back at their new one.
func (s *Service) Placed(context.Context) {
	s.placed.Store(time.Now().UnixNano())
	self := s.Place.Node()
	names := s.known()
	for _, name := range s.orphaned() {
		names[name] = struct{}{}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s.Place.Send(self, frameCheck, name)
	}
}

// known are the rooms that are here, or on their way, or about to be made.
func (s *Service) known() map[string]struct{} {
	names := make(map[string]struct{}, s.count.Load())
	for i := range s.lanes {
		sh := &s.lanes[i]
		sh.mu.Lock()
		for name := range sh.lanes {
			names[name] = struct{}{}
		}
		sh.mu.Unlock()
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		for name := range sh.rooms {
			names[name] = struct{}{}
		}
		sh.mu.RUnlock()
	}
	return names
}

// Down is to be called when a node is gone, before Placed for that or after, with what it has not confirmed of what was sent to it: when all that it
// has sent has been given to Frame or is on its way there, and nothing that it will send when it is back.
func (s *Service) Down(node string, unacked []Frame) {
	self := s.Place.Node()
	lines := s.disown(node)
	for _, name := range slices.Sorted(maps.Keys(s.known())) {
		s.Place.Send(self, frameDown, name, []byte(node))
	}
	for _, name := range s.orphaned() {
		s.Place.Send(self, frameCheck, name)
	}
	for _, f := range unacked {
		switch f.Kind { // the rest was for the node only, or waits for an answer anyway
		case frameState, frameArrived, frameRejoin:
			s.Place.Send(self, f.Kind, f.Room, f.Payload)
		case frameCast: // its sessions may have come to other nodes before it left
			s.Place.Send(self, frameReturned, f.Room, appendText(nil, node), f.Payload)
		}
	}
	for _, name := range lines {
		s.Place.Send(self, frameAgain, name)
	}
}

// disown gives up what a node has told as the home of rooms. It may be back by now; then it does not know the sessions here any more. It returns the
// rooms to which these have said something there.
func (s *Service) disown(node string) (lines []string) {
	for i := range s.lanes {
		sh := &s.lanes[i]
		sh.mu.Lock()
		for _, a := range sh.away {
			if a.home == node || a.next == node {
				a.home, a.next = "", ""
			}
		}
		for name, l := range sh.lines {
			if l.home == node {
				l.restart("")
				lines = append(lines, name)
			}
		}
		for _, c := range sh.copies {
			if c.home == node {
				c.of, c.home = node, ""
			}
		}
		sh.mu.Unlock()
	}
	slices.Sort(lines)
	return lines
}

// A Frame is one of those that Place.Send sends.
type Frame struct {
	Kind    byte
	Room    string
	Payload []byte
}

// moves are the rooms that move, or of which what is said here has no answer.
func (s *Service) moves() map[string]struct{} {
	names := make(map[string]struct{})
	for i := range s.lanes {
		sh := &s.lanes[i]
		sh.mu.Lock()
		for name, ln := range sh.lanes {
			if ln.moving != nil {
				names[name] = struct{}{}
			}
		}
		for name, l := range sh.lines {
			if len(l.said) > 0 {
				names[name] = struct{}{}
			}
		}
		sh.mu.Unlock()
	}
	return names
}

// unsettled reports whether the nodes have just changed.
func (s *Service) unsettled() bool {
	return time.Now().UnixNano()-s.placed.Load() < int64(settling)
}

// Leave hands all rooms over, once this node is the home of none. It returns when they are gone, or ctx ends.
func (s *Service) Leave(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(s.Place.Nodes()) > 0 && (s.count.Load() > 0 || len(s.moves()) > 0) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// check moves a room that is here to where it should be, and sees to one that has lost its home.
func (s *Service) check(ctx context.Context, b *router.Batch, name string) {
	home := s.Place.Home(name)
	if home == s.Place.Node() {
		s.resurrect(ctx, b, name)
	} else {
		s.notLent(name, "")
	}
	s.takeOver(name, home)
	if s.find(name) == nil {
		if home != s.Place.Node() { // which may have lent it
			s.Place.Send(home, frameNotLent, name)
		}
		return
	}
	if home != s.Place.Node() {
		s.handOver(name, home)
		return
	}
	if r := s.lock(b, name); r != nil { // its copy may belong elsewhere
		s.unlock(b, r)
	}
}

// lostNode sees to a room after a node has gone: who was there, and does not go on elsewhere, leaves.
func (s *Service) lostNode(ctx context.Context, b *router.Batch, name, node string) {
	if r := s.lock(b, name); r != nil {
		delete(r.rep.awaits, node)
		delete(r.rep.known, node)
		if r.rep.second == node { // if it is back already it has no copy
			r.rep.second = ""
		}
		s.follow(r, node)
		if home := s.Place.Home(name); home == r.rep.self || !s.reaches(home) { // else it goes there, where that node may be reached
			r.rep.gone = node
			s.departAll(b, r, func(who *seat) bool { return r.rep.nodeOf(who.session) == node })
			r.rep.gone = ""
		}
		if r.phase == open {
			s.await(r, time.Now().Add(settling))
		}
		for i := range r.rep.touched { // it may be back by now, and has not been told by this incarnation of the link that they were in
			if t := &r.rep.touched[i]; t.node == node {
				t.node = ""
			}
		}
		s.unlock(b, r)
		s.settle(r)
	}
	s.answered(ctx, b, name, node)
	s.answered(ctx, b, name, whoMark+node)
	s.answered(ctx, b, name, halfMark+node)
}

// follow has sessions that were on a node where they are now, if it gave them to others before it went (XEP-0198 §5). The caller holds the room's lock.
func (s *Service) follow(r *room, node string) {
	for _, o := range r.all {
		for i := range o.seats {
			to := &o.seats[i]
			if r.rep.nodeOf(to.session) != node {
				continue
			}
			if row, ok := s.r.Table.Row(to.jid); ok && row.Node() != node {
				to.session = s.sessionOf(row)
				r.rep.touch(to.jid, to.session)
			}
		}
	}
}

// handOver begins to move a room to another node.
func (s *Service) handOver(name, to string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := s.lane(sh, name)
	if ln.moving != nil {
		return
	}
	ln.moving = &moving{to: to, timer: s.overdue(name)}
	if ln.active == 0 {
		s.Place.Send(s.Place.Node(), frameFrozen, name)
	}
}

func (s *Service) overdue(name string) *time.Timer {
	return time.AfterFunc(overdue, func() { s.Place.Send(s.Place.Node(), frameOverdue, name) })
}

// claim asks the other nodes for a room that is not here and should be. The caller holds the lane's lock.
func (s *Service) claim(name string, ln *lane) bool {
	m := &moving{}
	for _, node := range s.Place.Nodes() {
		if s.Place.Send(node, frameClaim, name, s.Place.Token().append(nil)) {
			m.waits = append(m.waits, node)
		}
	}
	if len(m.waits) == 0 {
		return false
	}
	m.timer = s.overdue(name)
	ln.moving = m
	return true
}

// move deals with the frames of rooms that move.
func (s *Service) move(ctx context.Context, b *router.Batch, node string, kind byte, name string, payload []byte) bool {
	switch kind {
	case frameFrozen:
		s.frozen(name)
	case frameFlush:
		s.flush(node, name, string(payload))
	case frameFlushed:
		if len(payload) > 0 {
			s.keep(name)
		}
		s.answered(ctx, b, name, node)
	case frameNone:
		s.answered(ctx, b, name, node)
		s.answered(ctx, b, name, halfMark+node)
	case frameState:
		return s.arriving(node, name, payload)
	case frameArrived:
		s.arrived(ctx, b, node, name, len(payload) > 0)
	case frameClaim:
		return s.claimed(node, name, payload)
	case frameMine:
		s.notMine(node, name)
	case frameOverdue:
		s.answered(ctx, b, name, "")
	default:
		return false
	}
	return true
}

// frozen asks the new home whether it has heard all that the room has told it, and to let wait what comes for the room.
func (s *Service) frozen(name string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[name]
	if ln == nil || ln.active > 0 || ln.moving == nil || ln.moving.to == "" || ln.moving.stage != talking {
		return
	}
	m := ln.moving
	m.stage = announced
	m.timer.Reset(overdue)
	if r := s.find(name); r != nil {
		r.mu.Lock()
		m.told = r.rep.sent
		r.mu.Unlock()
	}
	if s.Place.Send(m.to, frameFlush, name, []byte(m.to)) {
		m.wait(m.to)
	} else {
		s.Place.Send(s.Place.Node(), frameOverdue, name)
	}
}

// turn asks the other nodes of the room's occupants the same, once what comes from them for its new home waits there for this half of it. It reports whether
// there are any. The caller holds the lane's lock.
func (s *Service) turn(name string, m *moving) bool {
	m.stage = turned
	m.timer.Reset(overdue)
	r := s.find(name)
	if r == nil {
		return false
	}
	r.mu.Lock()
	nodes := r.nodes()
	r.mu.Unlock()
	for _, n := range nodes {
		if n != s.Place.Node() && n != m.to && s.Place.Send(n, frameFlush, name, []byte(m.to)) {
			m.wait(n)
		}
	}
	return len(m.waits) > 0
}

// flush tells a room's old home that all that it has told is here, and lets the new one speak from then on.
func (s *Service) flush(node, name, to string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if a := sh.away[name]; a != nil && a.home == node {
		a.next, a.strayed = to, !s.reaches(to)
	}
	if to == s.Place.Node() {
		s.awaitHalf(sh, node, name)
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
	if !sh.moves(name) || s.Place.Home(name) != s.Place.Node() {
		return
	}
	if m := sh.lanes[name].moving; m.to != "" {
		s.Place.Send(m.to, frameNone, name)
		m.to = ""
	}
}

// awaitHalf has what comes for a room wait for what another node has of it. Of two nodes that are about to send their halves to each other the one
// whose name is less gets the other's first. The caller holds mu.
func (s *Service) awaitHalf(sh *laneShard, node, name string) {
	ln := s.lane(sh, name)
	switch m := ln.moving; {
	case m == nil:
		ln.moving = &moving{timer: s.overdue(name)}
	case m.to == node && node < s.Place.Node():
		return
	case m.to == node:
		m.to = ""
	}
	ln.moving.comes = ln.moving.to == ""
	ln.moving.wait(halfMark + node)
}

// answered notes that a node has answered, or is gone; "": that it has been long enough. If all have, the room goes, or what has waited for it is
// dealt with.
func (s *Service) answered(ctx context.Context, b *router.Batch, name, node string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	ln := sh.lanes[name]
	if ln == nil || ln.moving == nil {
		sh.mu.Unlock()
		return
	}
	m := ln.moving
	m.waits = slices.DeleteFunc(m.waits, func(n string) bool { return n == node || node == "" })
	if len(m.waits) > 0 || m.to != "" && (m.stage == talking || m.stage == announced && s.turn(name, m)) {
		sh.mu.Unlock()
		return
	}
	if m.to != "" && len(m.come) == 0 {
		if r := s.find(name); r != nil && node != "" && r.hasTold(m.told) { // who was on a node that has gone meanwhile has left, say
			m.stage = talking
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
	if m.to != "" { // the two halves go where they have to when they are one
		s.Place.Send(m.to, frameNone, name)
	}
	x, lost, merged, rejoins := m.whole(), m.lost, len(m.come) > 1, m.rejoins
	m.to, m.come, m.lost, m.rejoins = "", nil, false, nil
	sh.mu.Unlock()
	if x == nil && s.recall(ctx, b, name) {
		return
	}
	var asked []string
	if x != nil {
		s.Metrics.moved.Inc()
		asked = s.adopt(ctx, b, x, lost, merged)
	}
	for _, x := range rejoins {
		s.adopt(ctx, b, x, false, false)
	}
	if s.holdFor(name, asked) {
		return
	}
	s.drain(ctx, b, name)
}

// holdFor has what comes for a room wait until nodes have told who of theirs is in it. It reports whether there are any.
func (s *Service) holdFor(name string, nodes []string) bool {
	if len(nodes) == 0 {
		return false
	}
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := s.lane(sh, name)
	switch {
	case ln.moving == nil:
		ln.moving = &moving{timer: s.overdue(name)}
	case ln.moving.to != "":
		return true
	}
	ln.moving.waits = append(ln.moving.waits, nodes...)
	return true
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
		if s.strays(r) {
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
	s.moved(sh, name, ln)
	return true
}

// strays reports whether somebody is in the room whose node is not reached from here. It may be from the new home, and has not heard all then.
func (s *Service) strays(r *room) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.nodes(), func(n string) bool { return !s.reaches(n) })
}

func (s *Service) sendRoom(sh *laneShard, r *room, to string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != open && r.phase != locked || !s.sendState(r, to, frameState) {
		return r.phase == gone
	}
	a := &away{home: to, token: s.Place.Token(), lent: s.Place.Home(r.at.Local()) == r.rep.self}
	for _, o := range r.all {
		if mine := o.state(r.rep, r.rep.self); len(mine.Sessions) > 0 {
			a.seats.Occupants = append(a.seats.Occupants, mine)
		}
	}
	a.shown, a.heard = r.sees(), r.lately()
	for _, m := range a.heard {
		a.heardBytes += len(m.wire)
	}
	if a.lent || len(a.seats.Occupants) > 0 {
		sh.putAway(r.at.Local(), a)
	}
	s.Metrics.occupants.Sub(float64(r.seats))
	s.vanish(r)
	return true
}

// arriving takes a part of a room that comes.
func (s *Service) arriving(node, name string, payload []byte) bool {
	x, _, ok := readState(name, payload)
	if !ok {
		return false
	}
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m := s.coming(sh, node, name)
	switch {
	case x.CopyOf == s.Place.Node() && s.hasStill(name, x):
	case x.Config != nil: // the first part
		m.come = append(m.come, arrival{node, x})
	default:
		for i := len(m.come) - 1; i >= 0; i-- {
			if m.come[i].from == node {
				m.come[i].State.apply(x)
				break
			}
		}
	}
	return true
}

// whole is the room that has come, from one node or several; nil if none has.
func (m *moving) whole() (x *State) {
	for _, a := range m.come {
		if x == nil {
			x = a.State
		} else {
			x = merge(x, a.State)
		}
	}
	return x
}

// hasStill reports whether a room is here of which x, or what x is a part of, is a copy that its second node has kept since: only the link was lost.
func (s *Service) hasStill(name string, x *State) bool {
	r := s.find(name)
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Equal(r.secret[:], x.Secret)
}

// halfMark marks a node that sends what it has of a room.
const halfMark = "half "

func (m *moving) wait(node string) {
	if !slices.Contains(m.waits, node) {
		m.waits = append(m.waits, node)
	}
}

// coming is the room on its way here from a node. The caller holds mu.
func (s *Service) coming(sh *laneShard, node, name string) *moving {
	ln := s.lane(sh, name)
	if ln.moving == nil {
		ln.moving = &moving{timer: s.overdue(name)}
	}
	m := ln.moving
	m.wait(halfMark + node)
	return m
}

// arrived is the end of what arriving began.
func (s *Service) arrived(ctx context.Context, b *router.Batch, node, name string, lost bool) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	delete(sh.copies, name)
	m := s.coming(sh, node, name)
	m.lost = m.lost || lost
	if m.to == "" { // the claim is answered
		m.waits = slices.DeleteFunc(m.waits, func(n string) bool { return n == node })
	}
	sh.mu.Unlock()
	s.answered(ctx, b, name, halfMark+node)
}

// claimed answers a node that takes itself for a room's home.
func (s *Service) claimed(node, name string, payload []byte) bool {
	token, _, ok := cutToken(payload)
	if !ok {
		return false
	}
	if s.waitsWith(name, claim{node, payload}) {
		return true
	}
	s.takeOver(name, node)
	switch {
	case s.find(name) == nil:
		s.Place.Send(node, frameNone, name)
	case s.Place.Token().fences(token) && s.Place.Home(name) == s.Place.Node():
		s.Place.Send(node, frameMine, name)
	default:
		s.handOver(name, node)
	}
	return true
}

// waitsWith has a claim wait for a room that is on its way here from its old home.
func (s *Service) waitsWith(name string, c claim) bool {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.moves(name) || !sh.lanes[name].moving.comes {
		return false
	}
	c.token = bytes.Clone(c.token)
	m := sh.lanes[name].moving
	m.claims = append(m.claims, c)
	return true
}

// notMine sends what has waited for a room to the node that is its home.
func (s *Service) notMine(node, name string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[name]
	if ln == nil || ln.moving == nil || ln.moving.to != "" {
		return
	}
	for i := range ln.moving.parked {
		s.reject(&ln.moving.parked[i], node)
	}
	s.moved(sh, name, ln)
	if a := sh.away[name]; a == nil || a.home == "" { // or else one speaks to whom one hears
		s.redirect(sh, name, node)
	}
}
