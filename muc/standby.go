package muc

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// A replication is what of a room other nodes are told, and have yet to be. It belongs to the room's lock. The nil
// replication, of a server that is alone, does nothing.
type replication struct {
	self       string // this node
	second     string // the node that has a copy; "" for none
	cfg        *Settings
	phase      phase
	configured int64
	subject    []byte
	subjectSet int64
	stamps     map[string]int64 // when affiliations were changed

	dealt      map[string]mark // how far it has come with what each node has sent
	gone       string          // the node whose sessions leave now, and are told nothing of that
	sent       uint64          // how much sessions of other nodes were sent
	spoken     stanza.ID       // of the last message that all were told
	asked      int64           // when nodes were asked who of theirs is in the room, nanoseconds since 1970
	doubted    map[string]bool // sessions that were in it then by somebody else's word, and of which their node has not told
	lost       time.Time       // when it came back after its home was lost
	awaits     map[string]bool // nodes that have yet to tell: until then they are not told who comes and goes
	known      map[string]bool // nodes that have told since: what their sessions have been shown is known here better than by them
	touched    []touch         // sessions that have entered, changed or left
	seated     int             // how many of these their nodes know of
	told       []store.HistoryMessage
	affiliated []string // whose affiliation has changed
	voiced     []string // of whom what is remembered of their voice has changed
}

type touch struct {
	full stanza.JID
	node string // "" for one that is gone
}

func newReplication(self string) *replication { return &replication{self: self} }

func (p *replication) nodeOf(s router.Session) string {
	switch n := s.(type) {
	case *node:
		return n.name
	case *absent:
		return n.name
	}
	if p == nil {
		return ""
	}
	return p.self
}

func (p *replication) touch(full stanza.JID, s router.Session) {
	if p != nil {
		p.touched = append(p.touched, touch{full, p.nodeOf(s)})
	}
}

func (p *replication) touchAll(o *occupant) {
	for i := range o.seats {
		p.touch(o.seats[i].jid, o.seats[i].session)
	}
}

func (p *replication) remember(m utterance) {
	if p != nil {
		p.told = append(p.told, m.kept())
	}
}

// asStored takes what a room is as it has been since before this node had it in memory.
func (p *replication) asStored(r *room) {
	if p != nil {
		p.cfg, p.phase, p.configured, p.subject, p.subjectSet = r.cfg, open, 1, r.subject, 1
	}
}

// setAffiliate changes an affiliation.
func (r *room) setAffiliate(a affiliate) {
	r.affiliates.set(a)
	if p := r.rep; p != nil {
		if p.stamps == nil {
			p.stamps = make(map[string]int64)
		}
		p.stamps[a.jid] = time.Now().UnixNano()
		p.affiliated = append(p.affiliated, a.jid)
	}
}

// stamp notes when the configuration or the subject was changed, which is now, and reports whether they were.
func (p *replication) stamp(r *room) (configured, subject bool) {
	now := time.Now().UnixNano()
	if p.cfg != r.cfg || p.phase != r.phase {
		p.cfg, p.phase, p.configured, configured = r.cfg, r.phase, now, true
	}
	if len(p.subject) != len(r.subject) || len(r.subject) > 0 && &p.subject[0] != &r.subject[0] {
		p.subject, p.subjectSet, subject = r.subject, now, true
	}
	return configured, subject
}

// replicate tells other nodes what has changed in a room: the one that has its copy everything, the nodes of its occupants what these
// are. The caller holds the room's lock.
func (s *Service) replicate(r *room) {
	p := r.rep
	if p == nil || r.phase == loading {
		return
	}
	configured, subject := false, false
	if r.phase != gone {
		configured, subject = p.stamp(r)
		s.copyTo(r, configured, subject)
	}
	s.tellNodes(r)
	p.touched, p.seated, p.told, p.affiliated, p.voiced = p.touched[:0], 0, nil, nil, nil
	if cap(p.touched) > few {
		p.touched = nil
	}
}

// copyTo brings the copy up to date, or has another one made.
func (s *Service) copyTo(r *room, configured, subject bool) {
	p, name := r.rep, r.at.Local()
	second := ""
	if len(r.all) > 0 {
		second = s.Place.Second(name)
	}
	if second != p.second {
		s.discard(r)
		if second != "" && s.sendState(r, second, frameCopy) {
			p.second = second
		}
		return
	}
	if second == "" {
		return
	}
	ok := true
	if configured || subject || len(p.touched)+len(p.affiliated)+len(p.voiced) > 0 {
		ok = s.sendJSON(second, frameChange, name, s.changed(r, configured, subject))
	}
	for i := range p.told {
		m := &p.told[i]
		head := binary.LittleEndian.AppendUint64(nil, uint64(m.Stored.UnixMilli()))
		ok = s.Place.Send(second, frameHistory, name, appendText(head, m.ID), m.Stanza) && ok
	}
	if !ok { // the next change makes a new copy
		p.second = ""
	}
}

// changed is what has changed in a room.
func (s *Service) changed(r *room, configured, subject bool) *State {
	p := r.rep
	x := &State{Name: r.at.Local()}
	if configured {
		if rec, err := r.record(r.cfg); err == nil {
			x.Config, x.Configured, x.Created, x.Locked = rec.Config, p.configured, rec.Created, r.phase == locked
		}
	}
	if subject {
		x.Subject, x.SubjectSet = r.subject, p.subjectSet
	}
	for _, jid := range p.affiliated {
		if x.Stamps == nil {
			x.Stamps = make(map[string]int64)
		}
		x.Stamps[jid] = p.stamps[jid]
		if i, ok := r.affiliates.find(jid); ok {
			x.Affiliations = append(x.Affiliations, r.affiliates[i].stored())
		}
	}
	for _, user := range p.voiced {
		if x.Voices == nil {
			x.Voices = make(map[string]string)
		}
		x.Voices[user] = r.voices[user].String()
	}
	r.addTouched(x, r.rep.touched, "")
	return x
}

// addTouched adds what sessions are that have changed: those of one node, or all.
func (r *room) addTouched(x *State, touched []touch, only string) {
	seen := make(map[*occupant]bool)
	for _, t := range touched {
		if only != "" && (t.node != only || r.rep.awaits[only] && r.rep.doubted[t.full.String()]) { // that node is about to tell it
			continue
		}
		switch o := r.of(t.full); {
		case o == nil:
			x.Left = append(x.Left, t.full.String())
		case only != "" && r.rep.nodeOf(o.seat(t.full).session) != only: // is elsewhere by now
			x.Left = append(x.Left, t.full.String())
		case !seen[o]:
			seen[o] = true
			x.Occupants = append(x.Occupants, o.state(r.rep, only))
		}
	}
}

// tellNodes tells each node what its own sessions are in the room, as far as they have changed.
func (s *Service) tellNodes(r *room) {
	if r.rep == nil || r.rep.seated == len(r.rep.touched) {
		return
	}
	touched := r.rep.touched[r.rep.seated:]
	r.rep.seated = len(r.rep.touched)
	var nodes []string
	for _, t := range touched {
		if t.node != r.rep.self && t.node != "" && !slices.Contains(nodes, t.node) {
			nodes = append(nodes, t.node)
		}
	}
	for _, n := range nodes {
		x := &State{Name: r.at.Local()}
		if r.addTouched(x, touched, n); len(x.Occupants)+len(x.Left) > 0 {
			r.rep.sent++
			s.sendJSON(n, frameSeats, x.Name, x)
		}
	}
}

// discard has the copy of a room forgotten. The caller holds the room's lock.
func (s *Service) discard(r *room) {
	if r.rep != nil && r.rep.second != "" {
		s.Place.Send(r.rep.second, frameForget, r.at.Local())
		r.rep.second = ""
	}
}

// partBytes is about how much of a room one frame has.
const partBytes = 512 << 10

// sendState sends a whole room, in frames of one kind of which the first has Config.
func (s *Service) sendState(r *room, node string, kind byte) bool {
	x, err := r.state()
	if err != nil {
		s.log.Error("room not copied", "room", r.at, "err", err)
		return false
	}
	for _, part := range x.parts() {
		if !s.sendJSON(node, kind, x.Name, part) {
			return false
		}
	}
	return true
}

// parts is a room in parts that are not too long: the first, and what has changed since then.
func (x *State) parts() (all []*State) {
	first := *x
	first.Occupants, first.History, first.Affiliations = nil, nil, nil
	first.Stamps = maps.Clone(x.Stamps)
	all = append(all, &first)
	part := &State{Name: x.Name}
	size := 0
	next := func(n int) {
		if size += n; size >= partBytes {
			all = append(all, part)
			part, size = &State{Name: x.Name}, 0
		}
	}
	for _, a := range x.Affiliations {
		part.Affiliations = append(part.Affiliations, a)
		if at, ok := x.Stamps[a.JID]; ok { // alone it would say that there is none
			if part.Stamps == nil {
				part.Stamps = make(map[string]int64)
			}
			part.Stamps[a.JID] = at
			delete(first.Stamps, a.JID)
		}
		next(len(a.JID) + len(a.Nick) + len(a.Reason) + 64)
	}
	for _, o := range x.Occupants {
		part.Occupants = append(part.Occupants, o)
		next(len(o.Nick) + 128)
		for _, session := range o.Sessions {
			next(len(session.JID) + len(session.Presence) + 64)
		}
	}
	for _, m := range x.History {
		part.History = append(part.History, m)
		next(2*len(m.Stanza) + 128)
	}
	return append(all, part)
}

func (s *Service) sendJSON(node string, kind byte, room string, x *State) bool {
	raw, err := json.Marshal(x)
	if err != nil { // strings, numbers and bytes
		panic(err)
	}
	return s.Place.Send(node, kind, room, s.Place.Token().append(nil), raw)
}

// readState reads what sendJSON sends.
func readState(room string, payload []byte) (*State, Token, bool) {
	t, raw, ok := cutToken(payload)
	x := new(State)
	if !ok || json.Unmarshal(raw, x) != nil || x.Name != room {
		return nil, t, false
	}
	return x, t, true
}

// A standby is the copy of a room whose home is another node.
type standby struct {
	home  string // "" once it is gone
	of    string // which it was; it may be back
	state *State
}

// copied takes a copy or what has changed of one.
func (s *Service) copied(node, room string, kind byte, payload []byte) bool {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	has := sh.copies[room]
	if kind == frameForget {
		if has != nil && has.home == node {
			delete(sh.copies, room)
		}
		return true
	}
	if kind == frameHistory {
		return has.remember(node, payload, s.cfg.Load().HistoryMessages)
	}
	x, _, ok := readState(room, payload)
	switch {
	case !ok:
		return false
	case kind == frameCopy && x.Config != nil:
		if sh.copies == nil {
			sh.copies = make(map[string]*standby)
		}
		sh.copies[room] = &standby{home: node, state: x}
	case has != nil && has.home == node:
		has.state.apply(x)
	}
	return true
}

func (c *standby) remember(node string, payload []byte, max int) bool {
	if len(payload) < 8 {
		return false
	}
	id, wire, ok := cutText(payload[8:])
	if ok && c != nil && c.home == node {
		at := time.UnixMilli(int64(binary.LittleEndian.Uint64(payload))).UTC()
		c.state.remember(store.HistoryMessage{ID: string(id), Stored: at, Stanza: bytes.Clone(wire)}, max)
	}
	return ok
}

// takeCopy is the copy of a room whose home is gone, which is then forgotten; nil if there is none.
func (s *Service) takeCopy(room string) *standby {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.copies[room]
	if c == nil || s.reaches(c.home) {
		return nil
	}
	delete(sh.copies, room)
	return c
}

// homeOrCopied is the node whose room there is a copy of here, if that can be reached, or else where it should be.
func (s *Service) homeOrCopied(room string) string {
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c := sh.copies[room]; c != nil && s.reaches(c.home) {
		return c.home
	}
	return s.Place.Home(room)
}

// resurrect brings a room back of which there is a copy here, and whose home is gone. It reports whether what comes for the room has to wait.
func (s *Service) resurrect(ctx context.Context, b *router.Batch, room string) bool {
	c := s.takeCopy(room)
	if c == nil {
		return false
	}
	s.Metrics.moved.Inc()
	return s.holdFor(room, s.adopt(ctx, b, c.state, true, false))
}

// recall makes a room that should be here, and that no node has, of what is known of it here, before anybody makes a new one. It reports whether what
// comes for the room has to wait.
func (s *Service) recall(ctx context.Context, b *router.Batch, room string) bool {
	if s.find(room) != nil || s.Place.Home(room) != s.Place.Node() {
		return false
	}
	if s.resurrect(ctx, b, room) {
		return true
	}
	sh := s.laneShard(room)
	sh.mu.Lock()
	a := sh.away[room]
	lost := s.find(room) == nil && a != nil && !s.reaches(a.home) && sh.seats(room)
	sh.mu.Unlock()
	if lost {
		s.adopt(ctx, b, &State{Name: room, Whole: s.Place.Node()}, false, false)
	}
	return false
}

// orphaned are the rooms of which there is something here and whose home is gone, or may be another now.
func (s *Service) orphaned() []string {
	names := make(map[string]struct{})
	for i := range s.lanes {
		sh := &s.lanes[i]
		sh.mu.Lock()
		for name, c := range sh.copies {
			if !s.reaches(c.home) {
				names[name] = struct{}{}
			}
		}
		for name, a := range sh.away {
			if a.rejoins || a.strayed || a.lent || !s.reaches(a.home) {
				names[name] = struct{}{}
			}
		}
		sh.mu.Unlock()
	}
	return slices.Sorted(maps.Keys(names))
}

// takeOver sends what is here of a room that has lost its home to its new one, which may be this.
func (s *Service) takeOver(room, home string) {
	if c := s.takeCopy(room); c != nil {
		var of secret
		if _, key, err := decodeSettings(c.state.Config); err == nil {
			of = key
		}
		for _, part := range c.state.parts() {
			part.CopyOf, part.Secret = c.of, of[:]
			s.sendJSON(home, frameState, room, part)
		}
		s.Place.Send(home, frameArrived, room, []byte{1})
	}
	s.rejoin(room, home, 0)
}
