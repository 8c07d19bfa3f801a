package muc

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// An away is what this node's sessions are in a room whose home is another, as that has told.
type away struct {
	home    string // whom the sessions here hear; "" while it is looked for
	next    string // who may be the next one
	strayed bool   // that one was out of reach: the room has to be looked for
	lent    bool   // the room is there only for a while: this node is its home
	secret  secret // of the room, if it has gone from here
	token   Token
	behind  int64 // when there was no room for something of the home's: nothing more is heard of it until it has answered (behind.go)
	rejoins bool  // home is where it is looked for, and has not answered; another may
	seats   State // Occupants only
	shown   exposures

	heard      []utterance // by the sessions here, lately
	heardBytes int
}

// whole is what sessions here are in the room.
func (a *away) whole(room, self string) *State {
	return &State{Name: room, Occupants: slices.Clone(a.seats.Occupants), Whole: self, Sees: a.shown.told(), History: a.kept()}
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
	if a != nil && x.Asked != 0 && x.Asked == a.behind { // whoever has been asked, this is who has the room
		a.home, a.next, a.strayed = node, "", false
		s.caughtUp(sh, room, a)
	}
	switch {
	case a == nil && len(x.Occupants) == 0, s.fencedBy(a, node, room, token):
		return true
	case a == nil:
		a = new(away)
		sh.putAway(room, a)
	}
	if a.home != node {
		a.home, a.next, a.strayed = node, "", false
	}
	a.token, a.rejoins = token, false
	a.entered(x)
	a.seats.apply(x)
	if l := sh.lines[room]; len(a.seats.Occupants) == 0 && !a.lent && (l == nil || len(l.said) == 0) { // else when the room knows that all have left: until then it may say again what they have heard
		s.dropAway(sh, room)
	}
	s.redirect(sh, room, node)
	return true
}

func (sh *laneShard) putAway(room string, a *away) {
	if sh.away == nil {
		sh.away = make(map[string]*away)
	}
	sh.away[room] = a
}

func (s *Service) dropAway(sh *laneShard, room string) {
	delete(sh.away, room)
	sh.tidyLine(room)
	s.flow(sh, room)
}

// left notes that a session here leaves a room, whatever becomes of its word. The caller holds mu.
func (sh *laneShard) left(name string, st *stanza.Stanza) {
	a := sh.away[name]
	if a == nil || st.Kind != stanza.Presence || st.Type != stanza.Unavailable {
		return
	}
	a.seats.unseat(st.From.String())
}

// leftInLine notes who has left since a room has moved. The caller holds mu.
func (sh *laneShard) leftInLine(name string) {
	if l := sh.lines[name]; l != nil {
		for i := range l.said {
			sh.left(name, l.said[i].st)
		}
	}
}

// fenced reports whether a node that speaks for a room is not its home any more, by what is known here.
func (s *Service) fenced(node, room string, token Token) bool {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return s.fencedBy(sh.away[room], node, room, token)
}

// fencedBy is fenced by what is known of the room's home, if anything is: a home that can be reached is one until it says itself that it is
// none any more, as long as somebody here is in the room: of others it does not speak. The caller holds mu.
func (s *Service) fencedBy(a *away, node, room string, token Token) bool {
	if node == s.Place.Node() {
		return false
	}
	if a != nil && a.next == node {
		a.home, a.next = node, ""
	}
	return s.find(room) != nil || a != nil && a.behind != 0 || a != nil && a.home != node && (len(a.seats.Occupants) > 0 && s.reaches(a.home) && !a.rejoins || a.token.fences(token))
}

// rejoin tells a room's new home what sessions of this node are in it, if the old one is gone or the new one has asked.
func (s *Service) rejoin(room, home string, asked int64) {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.away[room]
	if a == nil || asked == 0 && s.reaches(a.home) && !a.rejoins && !a.strayed {
		return
	}
	if asked == 0 && !a.lent && !sh.seats(room) { // all have left, and only have to say so
		if l := sh.lines[room]; home == s.Place.Node() || l == nil || len(l.said) == 0 {
			s.dropAway(sh, room)
		} else {
			s.redirect(sh, room, home)
		}
		return
	}
	if s.tellSeats(a, room, home, asked) && home != s.Place.Node() {
		s.redirect(sh, room, home)
	}
}

// tellSeats tells a node that may have a room what sessions here are in it. The caller holds mu.
func (s *Service) tellSeats(a *away, room, home string, asked int64) bool {
	x := a.whole(room, s.Place.Node())
	x.Asked = asked
	if !s.sendJSON(home, frameRejoin, room, x) {
		a.home = "" // is looked for when the placement changes, as it will
		return false
	}
	if home != s.Place.Node() {
		a.home, a.next, a.strayed, a.rejoins = home, "", false, true
	}
	return true
}

// rejoined takes what sessions of a node are in a room that has lost its home.
func (s *Service) rejoined(ctx context.Context, b *router.Batch, node, room string, payload []byte) bool {
	x, _, ok := readState(room, payload)
	if !ok || x.Whole == "" {
		return false
	}
	if s.find(room) == nil {
		if s.rejoinsWith(room, x) {
			return true
		}
		home := s.homeOrCopied(room)
		if home == node && x.Returned { // nor is it there
			s.notLent(room, node)
		} else if home != s.Place.Node() {
			if !x.Behind {
				x.Asked = 0
			}
			x.Returned = home == node && node != x.Whole
			s.sendJSON(home, frameRejoin, room, x) // if that is gone, it comes back here when this node sees it too
			return true
		}
		s.resurrect(ctx, b, room)
		if s.rejoinLater(room, x) {
			return true
		}
	}
	if x.Behind {
		s.tellAnew(b, x)
		return true
	}
	if !s.reaches(x.Whole) && s.goes(room) { // to where they may be reached
		s.handOver(room, s.Place.Home(room))
		s.rejoinsThere(room, x)
		return true
	}
	s.adopt(ctx, b, x, false, false)
	if x.Asked != 0 || len(x.Occupants) == 0 { // else its answer is behind it, and what it says of who is in the room must not be older than what its sessions have done there
		s.answered(ctx, b, room, whoMark+x.Whole)
	}
	return true
}

// rejoinsWith has sessions of a node wait for the room that they are in, if that is on its way here.
func (s *Service) rejoinsWith(room string, x *State) bool {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := sh.lanes[room]
	if !sh.moves(room) || ln.moving.to != "" || !ln.moving.comes && len(ln.moving.come) == 0 {
		return false
	}
	ln.moving.rejoins = append(ln.moving.rejoins, x)
	return true
}

// rejoinsThere has sessions of a node be told of where a room goes.
func (s *Service) rejoinsThere(room string, x *State) {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m := sh.lanes[room].moving
	x.Asked = 0
	m.rejoins = append(m.rejoins, x)
}

// rejoinLater has sessions of a node wait for the room that they are in, if that is not here and may come: its home may be another that they do not reach.
func (s *Service) rejoinLater(room string, x *State) bool {
	if s.find(room) != nil || !s.unsettled() {
		return false
	}
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ln := s.lane(sh, room)
	if ln.moving == nil && !s.claim(room, ln) {
		sh.tidy(room, ln)
		return false
	}
	if ln.moving.to != "" {
		return false
	}
	ln.moving.rejoins = append(ln.moving.rejoins, x)
	return true
}

// notLent notes that a room is not any more on a node which had borrowed it; "": that it does not come back here.
func (s *Service) notLent(name, node string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.away[name]
	if a == nil || !a.lent || node != "" && (a.home != node || a.next != "") {
		return
	}
	a.lent = false
	if len(a.seats.Occupants) == 0 {
		s.dropAway(sh, name)
	}
}

// takeAway is what sessions here are in a room that comes here, which is then forgotten; false if that is nothing.
func (s *Service) takeAway(room string) (x *State, ok bool) {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.away[room]
	if a == nil {
		return &State{Name: room, Whole: s.Place.Node()}, false
	}
	s.dropAway(sh, room)
	return a.whole(room, s.Place.Node()), true
}

// asked tells the home of a room what sessions of this node are in it, even if there are none.
func (s *Service) asked(room, home string, payload []byte) bool {
	if len(payload) != 8 {
		return false
	}
	at := int64(binary.LittleEndian.Uint64(payload))
	sh := s.laneShard(room)
	sh.mu.Lock()
	has := sh.away[room] != nil
	if ln := sh.lanes[room]; s.find(room) != nil || ln != nil && ln.moving != nil && len(ln.moving.come) > 0 {
		at = 0 // they are in another copy of it, which goes where this one is
	}
	sh.mu.Unlock()
	if has && at != 0 {
		s.rejoin(room, home, at)
	} else {
		s.sendJSON(home, frameRejoin, room, &State{Name: room, Whole: s.Place.Node(), Asked: at})
	}
	return true
}

// whoMark marks a node that has yet to tell who of its sessions is in a room.
const whoMark = "who "

// who asks the nodes of a room's occupants which these are: some may have left without the room's having heard of it, but not those that have moved to
// nodes which were not told that they are in it. It returns the nodes. The caller holds the room's lock.
func (s *Service) who(r *room, moved map[string]bool) (nodes []string) {
	r.rep.asked, r.rep.asks = time.Now().UnixNano(), false
	r.rep.doubted = make(map[string]bool)
	for _, o := range r.all {
		for i := range o.seats {
			n := r.rep.nodeOf(o.seats[i].session)
			if _, away := o.seats[i].session.(*absent); away || n == r.rep.self {
				continue
			}
			if full := o.seats[i].jid.String(); !moved[full] {
				r.rep.doubted[full] = true
			}
			if !slices.Contains(nodes, whoMark+n) {
				nodes = append(nodes, whoMark+n)
			}
		}
	}
	r.rep.awaits, r.rep.known = make(map[string]bool), make(map[string]bool)
	return slices.DeleteFunc(nodes, func(n string) bool {
		ok := s.Place.Send(n[len(whoMark):], frameWho, r.at.Local(), binary.LittleEndian.AppendUint64(nil, uint64(r.rep.asked)))
		r.rep.awaits[n[len(whoMark):]] = ok
		return !ok
	})
}
