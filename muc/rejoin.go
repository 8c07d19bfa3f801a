package muc

import (
	"context"
	"maps"
	"slices"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// An away is what this node's sessions are in a room whose home is another, as that has told.
type away struct {
	home    string
	lent    bool // the room is there only for a while: this node is its home
	token   Token
	rejoins bool            // home is where it is looked for; another may answer
	seats   State           // Occupants only
	doubts  []doubt         // of who the home is
	shown   map[string]bool // nicks of whom the sessions here have been shown presence that is not unavailable
}

// noteShown takes note of a presence that sessions here are shown.
func (s *Service) noteShown(node, room string, token Token, st *stanza.Stanza) {
	nick := st.From.Resource()
	if st.Kind != stanza.Presence || nick == "" || st.Type != stanza.None && st.Type != stanza.Unavailable {
		return
	}
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.away[room]
	switch {
	case a != nil && st.Type == stanza.Unavailable:
		delete(a.shown, nick)
	case st.Type == stanza.Unavailable:
	default:
		if a == nil { // its seat is told next
			a = &away{home: node, token: token}
			sh.putAway(room, a)
		}
		if a.shown == nil {
			a.shown = make(map[string]bool)
		}
		a.shown[nick] = true
	}
}

// reconcileAfter is how long a room that has lost its home waits for all nodes to tell who of theirs is in it.
const reconcileAfter = time.Second

// expect notes whom sessions of a node think to be in the room. The caller holds the room's lock.
func (s *Service) expect(r *room, shown []string) {
	if len(shown) == 0 {
		return
	}
	told := s.reconciling(r)
	for _, nick := range shown {
		if !told[nick] {
			told[nick] = false
		}
	}
}

// reconciling is which nicks have to be in a room that has been lost, and of which it has been told already that they are not. The caller holds the
// room's lock.
func (s *Service) reconciling(r *room) map[string]bool {
	if r.rep.shown == nil {
		r.rep.shown = make(map[string]bool)
		name := r.at.Local()
		time.AfterFunc(reconcileAfter, func() { s.Place.Send(s.Place.Node(), frameReconcile, name) })
	}
	return r.rep.shown
}

// reconcile tells a room's occupants who is not there any more.
func (s *Service) reconcile(b *router.Batch, name string) {
	r := s.lock(b, name)
	if r == nil {
		return
	}
	for nick, told := range r.rep.shown {
		at, err := r.at.WithResource(nick)
		if err != nil || told || r.named(nick) != nil {
			continue
		}
		st := stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: at,
			Inner: appendStatus([]byte("<x xmlns='"+nsUser+"'><item affiliation='none' role='none'/>"), 333)}
		st.Inner = append(st.Inner, "</x>"...)
		s.cast(b, r, &st)
	}
	r.rep.shown = nil
	s.unlock(b, r)
}

// seated takes from a room's home what sessions here are in it.
func (s *Service) seated(node, room string, payload []byte) bool {
	x, token, ok := readState(room, payload)
	if !ok {
		return false
	}
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.away[room]
	switch {
	case a == nil && len(x.Occupants) == 0, a != nil && a.home != node && a.token.fences(token), s.find(room) != nil:
		return true
	case a == nil:
		a = new(away)
		sh.putAway(room, a)
	}
	a.home, a.token, a.rejoins = node, token, false
	a.seats.apply(x)
	if len(a.seats.Occupants) == 0 && !a.lent {
		delete(sh.away, room)
	}
	return true
}

func (sh *laneShard) putAway(room string, a *away) {
	if sh.away == nil {
		sh.away = make(map[string]*away)
	}
	sh.away[room] = a
}

// left notes that a session here leaves a room, whatever becomes of its word. The caller holds mu.
func (sh *laneShard) left(name string, st *stanza.Stanza) {
	a := sh.away[name]
	if a == nil || st.Kind != stanza.Presence || st.Type != stanza.Unavailable {
		return
	}
	a.seats.unseat(st.From.String())
}

// fenced reports whether a node that speaks for a room is not its home any more, by what is known here.
func (s *Service) fenced(node, room string, token Token) bool {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return s.fencedBy(sh.away[room], node, room, token)
}

// fencedBy is fenced by what is known of the room's home, if anything is: a home that can be reached is one until it says itself that it is
// none any more. The caller holds mu.
func (s *Service) fencedBy(a *away, node, room string, token Token) bool {
	if node == s.Place.Node() {
		return false
	}
	return s.find(room) != nil || a != nil && a.home != node && (s.reaches(a.home) && !a.rejoins || a.token.fences(token))
}

// rejoin tells a room's new home what sessions of this node are in it, if the old one is gone or the new one has asked.
func (s *Service) rejoin(room, home string, asked bool) {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.away[room]
	if a == nil || !asked && s.reaches(a.home) {
		return
	}
	x := &State{Name: room, Occupants: slices.Clone(a.seats.Occupants), Whole: s.Place.Node(), Shown: slices.Collect(maps.Keys(a.shown))}
	if !s.sendJSON(home, frameRejoin, room, x) {
		a.home = "" // is looked for when the placement changes, as it will
		return
	}
	if home == s.Place.Node() {
		delete(sh.away, room)
	} else {
		a.home, a.rejoins = home, true
	}
}

// rejoined takes what sessions of a node are in a room that has lost its home.
func (s *Service) rejoined(ctx context.Context, b *router.Batch, room string, payload []byte) bool {
	x, _, ok := readState(room, payload)
	if !ok || x.Whole == "" {
		return false
	}
	if s.find(room) == nil {
		if home := s.homeOrCopied(room); home != s.Place.Node() {
			s.sendJSON(home, frameRejoin, room, x) // if that is gone, it comes back here when this node sees it too
			return true
		}
		s.resurrect(ctx, b, room)
	}
	s.adopt(ctx, b, x)
	return true
}

// asked tells the home of a room what sessions of this node are in it, even if there are none.
func (s *Service) asked(room, home string) {
	sh := s.laneShard(room)
	sh.mu.Lock()
	none := sh.away[room] == nil
	sh.mu.Unlock()
	if none {
		s.sendJSON(home, frameRejoin, room, &State{Name: room, Whole: s.Place.Node()})
	} else {
		s.rejoin(room, home, true)
	}
}
