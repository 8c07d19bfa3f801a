package muc

import (
	"bytes"
	"context"
	"slices"

	"chatd/router"
)

// claim asks the other nodes for a room that is not here and should be. The caller holds the lane's lock.
func (s *Service) claim(name string, ln *lane) bool {
	var waits []string
	for _, node := range s.Place.Nodes() {
		if s.Place.Send(node, frameClaim, name, s.Place.Token().append(nil)) {
			waits = append(waits, node)
		}
	}
	if len(waits) == 0 {
		return false
	}
	s.setOut(ln, name, "").waits = waits
	return true
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
		s.setOut(ln, name, "")
	case ln.moving.to != "":
		return true
	}
	ln.moving.waits = append(ln.moving.waits, nodes...)
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
	case x.CopyOf == s.Place.Node() && s.hasStill(sh, name, x):
	case x.Config != nil: // the first part
		m.come = slices.Insert(m.come, 0, arrival{node, x})
	default:
		i := slices.IndexFunc(m.come, func(a arrival) bool { return a.from == node })
		if i < 0 { // that has been dealt with
			m.come = append(m.come, arrival{node, x})
		} else {
			m.come[i].State.apply(x)
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
			x = x.with(a.State)
		}
	}
	return x
}

// hasStill reports whether a room is here, or has gone from here to where it is now, of which x, or what x is a part of, is a copy that its second node has kept since: only
// the link was lost. The caller holds mu.
func (s *Service) hasStill(sh *laneShard, name string, x *State) bool {
	r := s.find(name)
	if r == nil {
		a := sh.away[name]
		return a != nil && s.reaches(a.home) && bytes.Equal(a.secret[:], x.Secret)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Equal(r.secret[:], x.Secret)
}

// coming is the room on its way here from a node. The caller holds mu.
func (s *Service) coming(sh *laneShard, node, name string) *moving {
	ln := s.lane(sh, name)
	if ln.moving == nil {
		s.setOut(ln, name, "")
	}
	if !slices.Contains(ln.moving.waits, node) {
		ln.moving.waits = append(ln.moving.waits, node)
	}
	ln.moving.wait()
	return ln.moving
}

// arrived is the end of what arriving began.
func (s *Service) arrived(ctx context.Context, b *router.Batch, node, name string, lost bool) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	delete(sh.copies, name)
	m := s.coming(sh, node, name)
	m.lost = m.lost || lost
	sh.mu.Unlock()
	s.answered(ctx, b, name, node)
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

// waitsWith has a claim wait for a room that is on its way here from its old home, or to another node.
func (s *Service) waitsWith(name string, c claim) bool {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.moves(name) {
		return false
	}
	m := sh.lanes[name].moving
	if !m.comes && (m.to == "" || m.to == c.node) {
		return false
	}
	c.token = bytes.Clone(c.token)
	m.claims = append(m.claims, c)
	return true
}

// notMine sends what has waited for a room to the node that is its home, unless some of the room has come, or is on its way.
func (s *Service) notMine(node, name string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[name]
	if ln == nil || ln.moving == nil || ln.moving.to != "" || ln.moving.comes || len(ln.moving.come) > 0 {
		return
	}
	for i := range ln.moving.parked {
		s.reject(&ln.moving.parked[i], node)
	}
	s.moved(sh, name, ln, node)
	if a := sh.away[name]; a == nil || a.home == "" { // or else one speaks to whom one hears
		s.redirect(sh, name, node)
	}
}
