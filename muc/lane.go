package muc

import (
	"context"
	"sync"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// A lane is what a room's stanzas go through on one node of a cluster: it says where they are dealt with. While the room
// moves they wait in it.
type lane struct {
	active int     // stanzas being dealt with here, and what services do
	placed int64   // Service.placed when it began
	moving *moving // nil: the room does not move
}

// A moving is a room on its way to or from this node.
type moving struct {
	to       string   // where it goes; "" if it comes
	waits    []string // nodes that have yet to answer; with whoMark: who of theirs is in it
	claims   []claim  // of nodes that look for it, while it comes from its old home
	told     uint64   // replication.sent when they were asked
	come     []arrival
	comes    bool      // its old home has said that it sends it here
	lost     bool      // its home was lost
	gone     []string  // nodes that were lost meanwhile
	borrowed bool      // it goes back soon
	rejoins  []*State  // who of other nodes' sessions was in it there, or is to be where it goes
	parked   []parked  // what other nodes have sent meanwhile, in order
	until    time.Time // when it has waited long enough
	timer    *time.Timer
}

// An arrival is what has come of a room from one node.
type arrival struct {
	from string
	*State
}

// A claim is the word of a node that takes itself for a room's home.
type claim struct {
	node  string
	token []byte
}

// A parked is a stanza for a room, and whose turn it is.
type parked struct {
	st   *stanza.Stanza
	node string         // of its sender; "" for this one
	sess router.Session // if it is this one
	turn turn
}

// A laneShard is what is known of some rooms besides those that are here.
type laneShard struct {
	mu     sync.Mutex
	lanes  map[string]*lane // those that have anything in them
	lines  map[string]*line
	away   map[string]*away
	copies map[string]*standby
}

// maxParked bounds what waits for one room that moves. What comes beyond it has to be sent again.
const maxParked = 10000

func (s *Service) laneShard(name string) *laneShard { return &s.lanes[s.shardIndex(name)] }

// dispatch has a stanza of a session here dealt with where its room is.
func (s *Service) dispatch(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) {
	name := st.To.Local()
	sh := s.laneShard(name)
	sh.mu.Lock()
	if s.isHere(sh, name) {
		s.lane(sh, name).active++
		sh.mu.Unlock()
		s.toRoom(ctx, b, sess, boundOf(sess), st)
		s.leaveLane(name)
		return
	}
	ok := s.sayThere(sh, name, st, sess)
	sh.mu.Unlock()
	if !ok {
		s.fail(b, st, stanza.ErrRecipientUnavailable)
	}
}

// isHere reports whether a session's stanza for a room is dealt with here, and nothing waits before it. The caller holds mu.
func (s *Service) isHere(sh *laneShard, name string) bool {
	if l := sh.lines[name]; sh.moves(name) || l != nil && len(l.said) > 0 {
		return false
	}
	return s.where(sh, name, false) == s.Place.Node() && !s.claims(sh, name)
}

// receive deals with what another node has sent, if the room is here.
func (s *Service) receive(ctx context.Context, b *router.Batch, p parked) {
	name := p.st.To.Local()
	sh := s.laneShard(name)
	sh.mu.Lock()
	home := s.Place.Node()
	if !sh.moves(name) {
		home = s.where(sh, name, true)
	}
	switch {
	case home != s.Place.Node():
		sh.mu.Unlock()
		s.reject(&p, home)
		return
	case sh.moves(name) || s.claims(sh, name):
		if m := sh.lanes[name].moving; len(m.parked) < maxParked {
			p.st = p.st.Clone()
			m.parked = append(m.parked, p)
		}
		sh.mu.Unlock()
		return
	}
	s.lane(sh, name).active++
	sh.mu.Unlock()
	s.inTurn(ctx, b, &p)
	s.leaveLane(name)
}

// moves reports whether a room is on its way. The caller holds mu.
func (sh *laneShard) moves(name string) bool {
	ln := sh.lanes[name]
	return ln != nil && ln.moving != nil
}

// claims asks the other nodes for a room that should be here, and is not, if they may have it: then it is on its way. The caller holds mu.
func (s *Service) claims(sh *laneShard, name string) bool {
	ln := s.lane(sh, name)
	if ln.active > 0 || !s.unsettled() || s.find(name) != nil {
		return false
	}
	return s.claim(name, ln)
}

// hold has what comes for a room wait until this node's worker comes to it. The caller holds mu.
func (s *Service) hold(sh *laneShard, name string) {
	s.setOut(s.lane(sh, name), name, "")
	s.Place.Send(s.Place.Node(), frameFlushed, name)
}

// leaveLane ends what enterLane began with here.
func (s *Service) leaveLane(name string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[name]
	ln.active--
	switch {
	case ln.active > 0:
	case ln.moving != nil:
		s.Place.Send(s.Place.Node(), frameFrozen, name)
	case ln.placed != s.placed.Load(): // it may have been made where it should not be any more
		s.Place.Send(s.Place.Node(), frameCheck, name)
	}
	sh.tidy(name, ln)
}

// lane is a room's. The caller holds mu.
func (s *Service) lane(sh *laneShard, name string) *lane {
	ln := sh.lanes[name]
	if ln == nil {
		ln = &lane{placed: s.placed.Load()}
		if sh.lanes == nil {
			sh.lanes = make(map[string]*lane)
		}
		sh.lanes[name] = ln
	}
	return ln
}

// tidy forgets a lane that has nothing in it. The caller holds mu.
func (sh *laneShard) tidy(name string, ln *lane) {
	if ln.active == 0 && ln.moving == nil {
		delete(sh.lanes, name)
	}
}

// where is the node that deals with a room's stanzas. Those of a session go to where it was let in, until that node says that the
// room is elsewhere; "": that is not known yet. The caller holds mu.
func (s *Service) where(sh *laneShard, name string, remote bool) string {
	if s.find(name) != nil {
		return s.Place.Node()
	}
	if a := sh.away[name]; a != nil && (!remote && sh.seats(name) || a.lent && s.reaches(a.home)) {
		return a.home
	}
	return s.Place.Home(name)
}

// drain deals with what has waited, and ends the wait.
func (s *Service) drain(ctx context.Context, b *router.Batch, name string) {
	for {
		p, over := s.next(name)
		if p == nil {
			for _, c := range over {
				s.claimed(c.node, name, c.token)
			}
			return
		}
		sh := s.laneShard(name)
		sh.mu.Lock()
		home := s.where(sh, name, true)
		sh.mu.Unlock()
		if p.node != "" && home != s.Place.Node() {
			s.reject(p, home)
		} else {
			s.inTurn(ctx, b, p)
		}
	}
}

// next takes one that waits for a room that has come, or has not. With nothing there the wait is over, also for claims.
func (s *Service) next(name string) (p *parked, over []claim) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.moves(name) {
		return nil, nil
	}
	ln, l := sh.lanes[name], sh.lines[name]
	m := ln.moving
	if l != nil && len(l.said) > 0 && s.where(sh, name, false) == s.Place.Node() {
		p := &parked{st: l.said[0].st, sess: l.said[0].sess, turn: turn{of: s.process, number: l.said[0].number}}
		l.said, l.home, l.sent = l.said[1:], "", 0
		sh.tidyLine(name)
		return p, nil
	}
	if len(m.parked) > 0 {
		p := &m.parked[0]
		m.parked = m.parked[1:]
		return p, nil
	}
	s.moved(sh, name, ln, s.Place.Node())
	if !m.borrowed {
		s.Place.Send(s.Place.Node(), frameCheck, name) // it may have to go on
	}
	return nil, m.claims
}

// moved ends the wait for a room, which is on a node now. The caller holds mu.
func (s *Service) moved(sh *laneShard, name string, ln *lane, to string) {
	ln.moving.timer.Stop()
	for _, x := range ln.moving.rejoins {
		if to != s.Place.Node() { // which has not asked
			x.Asked = 0
		}
		s.sendJSON(to, frameRejoin, name, x)
	}
	ln.moving = nil
	sh.tidy(name, ln)
	s.flow(sh, name)
}
