package muc

import (
	"context"
	"maps"
	"slices"
	"time"

	"chatd/router"
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
// has sent has been given to Frame or is on its way there, and nothing that it will send when it is back. left: it has not died, and sessions that it had may
// go on elsewhere.
func (s *Service) Down(node string, left bool, unacked []Frame) {
	self := s.Place.Node()
	lines := s.disown(node)
	var stopped []byte
	if left {
		stopped = []byte{1}
	}
	for _, name := range slices.Sorted(maps.Keys(s.known())) {
		s.Place.Send(self, frameDown, name, appendText(nil, node), stopped)
	}
	for _, name := range s.orphaned() {
		s.Place.Send(self, frameCheck, name)
	}
	for _, f := range unacked {
		switch f.Kind { // the rest was for the node only, or waits for an answer anyway
		case frameState, frameArrived:
			s.Place.Send(self, f.Kind, f.Room, f.Payload)
		case frameRejoin: // of its own sessions it tells what they are in now
			if x, _, ok := readState(f.Room, f.Payload); ok && x.Whole != self {
				s.Place.Send(self, f.Kind, f.Room, f.Payload)
			}
		case frameCast, frameFollow: // its sessions may have come to other nodes before it left
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
		for _, ln := range sh.lanes {
			if ln.moving != nil && !slices.Contains(ln.moving.gone, node) { // it may be back before the room is gone
				ln.moving.gone = append(ln.moving.gone, node)
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
	if s.ctx.Err() != nil { // this node stops, and its rooms have gone: a copy of one that is elsewhere is not to come to life here as the others go out of sight
		return
	}
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
func (s *Service) lostNode(ctx context.Context, b *router.Batch, name, node string, left bool) {
	if r := s.lock(b, name); r != nil {
		delete(r.rep.awaits, node)
		delete(r.rep.known, node)
		if r.rep.second == node { // if it is back already it has no copy
			r.rep.second = ""
		}
		s.followAll(b, r, node)
		if !s.goes(name) { // to where that node may be reached
			if left {
				s.missAll(r, node)
			}
			r.rep.gone = node
			s.departAll(b, r, func(who *seat) bool {
				a, away := who.session.(*absent)
				return r.rep.nodeOf(who.session) == node && !(away && a.sure) // is looked for
			})
			r.rep.gone = ""
		} else if slices.Contains(r.nodes(), node) {
			r.rep.strays = true
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
	s.answered(ctx, b, name, whoMark+node) // before it may be asked again, if it is back
	s.answered(ctx, b, name, node)
}

// goes reports whether a room that is here should be on another node, which is reached.
func (s *Service) goes(name string) bool {
	home := s.Place.Home(name)
	return home != s.Place.Node() && s.reaches(home)
}

// beyond reports whether a node that is not reached may be where the room goes.
func (s *Service) beyond(r *room, n *node) bool { return !s.reaches(n.name) && s.goes(r.at.Local()) }

// followAll has sessions that were on a node be where they are now, if it gave them to others before it went (XEP-0198 §5). The caller holds the room's lock.
func (s *Service) followAll(b *router.Batch, r *room, node string) {
	for _, o := range r.all {
		for i := range o.seats {
			to := &o.seats[i]
			a, away := to.session.(*absent)
			if away && a.sure || r.rep.nodeOf(to.session) != node {
				continue
			}
			if row, ok := s.rowOf(to.jid, to.bound); !ok || !to.goesOn(row, node) {
				continue
			} else if away {
				s.found(b, r, to, row, a.stanzas())
			} else {
				s.follow(r, to, row)
			}
		}
	}
}
