package muc

import (
	"context"
	"slices"
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
	stage    stage    // of one that goes
	waits    []string // nodes that have yet to answer; with whoMark: who of theirs is in it; with halfMark: to send what they have of it
	state    *State   // what has come of it
	lost     bool     // its home was lost
	rejoins  []*State // who of other nodes' sessions was in it there
	borrowed bool     // it goes back soon
	ahead    []parked // what waited at its old home
	parked   []parked // in order
	timer    *time.Timer
}

// A stage is how far a room that goes has come.
type stage uint8

const (
	talking   stage = iota // somebody is busy with it
	announced              // its new home has been asked to let wait what comes for it
	turned                 // and the other nodes to send there
)

// A parked is a stanza that waits.
type parked struct {
	st   *stanza.Stanza
	from origin
}

// A laneShard is what is known of some rooms besides those that are here.
type laneShard struct {
	mu     sync.Mutex
	lanes  map[string]*lane // those that have anything in them
	away   map[string]*away
	copies map[string]*standby
}

// maxParked bounds what waits for one room that moves. One more gets an error.
const maxParked = 10000

// Where a stanza is dealt with.
const (
	here    = iota // by the caller, who calls leaveLane when that is done
	taken          // elsewhere, or later
	nowhere        // the node cannot be reached
)

func (s *Service) laneShard(name string) *laneShard { return &s.lanes[s.shardIndex(name)] }

// enterLane says where a stanza is to be dealt with, and sends it there.
func (s *Service) enterLane(name string, st *stanza.Stanza, from origin) int {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[name]
	if ln != nil && ln.moving != nil {
		return ln.moving.park(st, from)
	}
	if home := s.where(sh, name, from); home != s.Place.Node() {
		if from.node == "" {
			sh.left(name, st)
			if isGroupchat(st) {
				st.StanzaID = stanza.NewID()
			}
		}
		if !s.forward(home, frameStanza, st, from) {
			return nowhere
		}
		if from.node == "" {
			sh.sent(name, st)
		}
		return taken
	}
	if ln == nil {
		ln = s.lane(sh, name)
	}
	if ln.active == 0 && s.unsettled() && s.find(name) == nil && s.claim(name, ln) {
		return ln.moving.park(st, from)
	}
	ln.active++
	return here
}

func (m *moving) park(st *stanza.Stanza, from origin) int {
	if len(m.parked) >= maxParked {
		return nowhere
	}
	m.parked = append(m.parked, parked{st.Clone(), from})
	return taken
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
// room is elsewhere: so they keep their order. The caller holds mu.
func (s *Service) where(sh *laneShard, name string, from origin) string {
	if s.find(name) != nil {
		return s.Place.Node()
	}
	if a := sh.away[name]; a != nil && a.home != "" && (from.node == "" || a.lent && s.reaches(a.home)) && a.home != s.Place.Node() {
		return a.home
	}
	return s.Place.Home(name)
}

// drain deals with what has waited, and ends the wait.
func (s *Service) drain(ctx context.Context, b *router.Batch, name string) {
	for {
		todo := s.waiting(name)
		if todo == nil {
			return
		}
		for _, p := range todo {
			s.deal(ctx, b, name, p)
		}
	}
}

// waiting takes what waits for a room that has come, or has not. With nothing there the wait is over.
func (s *Service) waiting(name string) (todo []parked) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[name]
	if ln == nil || ln.moving == nil {
		return nil
	}
	m := ln.moving
	todo = slices.Concat(m.ahead, m.parked)
	m.ahead, m.parked = nil, nil
	if len(todo) == 0 {
		m.timer.Stop()
		ln.moving = nil
		sh.tidy(name, ln)
		if !m.borrowed {
			s.Place.Send(s.Place.Node(), frameCheck, name) // it may have to go on
		}
		return nil
	}
	return todo
}

// deal deals with one that has waited, while others still do.
func (s *Service) deal(ctx context.Context, b *router.Batch, name string, p parked) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	home := s.where(sh, name, p.from)
	sh.mu.Unlock()
	if home == s.Place.Node() {
		s.toRoomFrom(ctx, b, p.st, p.from)
	} else if !s.forward(home, frameStanza, p.st, p.from) {
		s.fail(b, p.st, stanza.ErrRecipientUnavailable)
	}
}
