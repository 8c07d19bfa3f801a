package muc

import (
	"sync"

	"chatd/router"
	"chatd/stanza"
)

// A lane is what a room's stanzas go through on one node of a cluster: it says where they are dealt with. While the room moves they wait.
type lane struct {
	active int     // stanzas being dealt with here
	moving *moving // nil: it does not
}

// A laneShard is some of the lanes: those that have anything in them.
type laneShard struct {
	mu    sync.Mutex
	lanes map[string]*lane
}

// A moving is a room on its way to or from this node.
type moving struct {
	parked []parked // in order
}

// A parked is a stanza that waits.
type parked struct {
	st   *stanza.Stanza
	from origin
}

// maxParked bounds what waits for one room that moves. One more gets an error.
const maxParked = 10000

// Where a stanza is dealt with.
const (
	here    = iota // by the caller, who calls leaveLane when that is done
	taken          // elsewhere, or later
	nowhere        // there is no home that can be reached
)

func (s *Service) laneShard(name string) *laneShard { return &s.lanes[s.shardIndex(name)] }

// enterLane says where a stanza is to be dealt with, and sends it there.
func (s *Service) enterLane(name string, st *stanza.Stanza, from origin) int {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[name]
	if ln != nil && ln.moving != nil {
		if len(ln.moving.parked) >= maxParked {
			return nowhere
		}
		ln.moving.parked = append(ln.moving.parked, parked{st.Clone(), from})
		return taken
	}
	if home := s.where(name); home != s.Place.Node() {
		if !s.forward(home, st, from) {
			return nowhere
		}
		return taken
	}
	if ln == nil {
		ln = sh.lane(name)
	}
	ln.active++
	return here
}

// leaveLane ends what enterLane began with here.
func (s *Service) leaveLane(b *router.Batch, name string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[name]
	ln.active--
	sh.tidy(name, ln)
}

// lane is a room's. The caller holds mu.
func (sh *laneShard) lane(name string) *lane {
	ln := sh.lanes[name]
	if ln == nil {
		ln = new(lane)
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

// where is the node that deals with a room's stanzas. The caller holds mu.
func (s *Service) where(name string) string {
	if s.find(name) != nil {
		return s.Place.Node()
	}
	return s.Place.Home(name)
}
