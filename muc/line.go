package muc

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// A line is what sessions of this node say to a room that is not here, in order, until it has been dealt with. Rooms move, and nodes disagree about where they
// are: whoever has the room next is sent again all that has no answer, from the first on, and nobody passes anything on. The room knows how far it has come
// with each node (mark), wherever it goes. So what one says is dealt with in order, and once.
//
// A line lasts for as long as sessions here are in the room, or something waits for an answer.
type line struct {
	home    string // where it is sent to; "": nowhere yet
	try     uint32 // how often it has been sent from the first on
	said    []saying
	sent    int  // how many of these are on their way
	bounced int  // how often the room was elsewhere since there was an answer
	rests   bool // for a pause
}

// A saying is what has no answer.
type saying struct {
	number uint64 // greater than that of any that was said here before
	st     *stanza.Stanza
	sess   router.Session
	at     time.Time
}

// A turn is what the node of the sender says of the place of a stanza among those of its sessions.
type turn struct {
	of     uint64 // the process
	number uint64
	after  uint64 // the one before it, 0 if all before it have an answer
	try    uint32
}

// A mark is up to which number a room has dealt with what a node has sent.
type mark struct {
	Of     uint64 `json:"of"`
	Number uint64 `json:"number"`
}

const (
	// maxSaid bounds what waits of one node for one room. One more gets an error.
	maxSaid = 10000
	// maxBounced bounds how often a room is looked for without a pause, while nodes disagree about where it is.
	maxBounced = 6
	// pause is for how long the line rests then.
	pause = 50 * time.Millisecond
	// patience is for how long a room is looked for. Then the sender gets an error.
	patience = 10 * time.Second
)

func (sh *laneShard) line(name string) *line {
	l := sh.lines[name]
	if l == nil {
		l = new(line)
		if sh.lines == nil {
			sh.lines = make(map[string]*line)
		}
		sh.lines[name] = l
	}
	return l
}

// sayThere adds a stanza, and reports whether there was room for it. The caller holds mu.
func (s *Service) sayThere(sh *laneShard, name string, st *stanza.Stanza, sess router.Session) bool {
	l := sh.line(name)
	if len(l.said) >= maxSaid {
		return false
	}
	st = st.Clone()
	if isGroupchat(st) {
		st.StanzaID = stanza.NewID()
	}
	l.said = append(l.said, saying{s.spoken.Add(1), st, sess, time.Now()})
	sh.left(name, st)
	s.flow(sh, name)
	return true
}

// flow sends on what may be sent. To somebody who may not have the room it is one by one. The caller holds mu.
func (s *Service) flow(sh *laneShard, name string) {
	l := sh.lines[name]
	if l == nil || len(l.said) == 0 || l.rests || sh.moves(name) {
		return
	}
	if l.home == "" || s.find(name) != nil {
		l.restart(s.where(sh, name, false))
	}
	switch l.home {
	case "": // until rejoin knows
		return
	case s.Place.Node():
		l.home = ""
		if !s.claims(sh, name) {
			s.hold(sh, name)
		}
		return
	}
	for l.sent < len(l.said) && (l.sent == 0 || sh.seats(name)) {
		if !s.sendSaid(name, l) {
			s.rest(name, l)
			return
		}
		l.sent++
	}
}

func (l *line) restart(home string) {
	l.home, l.sent = home, 0
	l.try++
}

// seats reports whether sessions here are in the room.
func (sh *laneShard) seats(name string) bool {
	a := sh.away[name]
	return a != nil && len(a.seats.Occupants) > 0
}

func (s *Service) sendSaid(name string, l *line) bool {
	m := &l.said[l.sent]
	t := turn{of: s.process, number: m.number, try: l.try}
	if l.sent > 0 {
		t.after = l.said[l.sent-1].number
	}
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	plain := *m.st
	plain.StanzaID = stanza.ID{}
	*buf = plain.Append(append(t.append((*buf)[:0]), m.st.StanzaID[:]...))
	return s.Place.Send(l.home, frameStanza, name, *buf)
}

// rest has a line look for its room again in a while.
func (s *Service) rest(name string, l *line) {
	l.home, l.sent, l.rests = "", 0, true
	time.AfterFunc(pause, func() { s.Place.Send(s.Place.Node(), frameAgain, name) })
}

// again ends the rest of a line.
func (s *Service) again(b *router.Batch, name string) {
	sh := s.laneShard(name)
	sh.mu.Lock()
	var old []saying
	if l := sh.lines[name]; l != nil {
		l.rests = false
		for len(l.said) > 0 && l.home == "" && time.Since(l.said[0].at) > patience {
			old = append(old, l.said[0])
			l.said = l.said[1:]
		}
		s.flow(sh, name)
		sh.tidyLine(name)
	}
	sh.mu.Unlock()
	for _, m := range old {
		s.fail(b, m.st, stanza.ErrRecipientUnavailable)
	}
}

// redirect has a line lead to the node that has the room. The caller holds mu.
func (s *Service) redirect(sh *laneShard, name, home string) {
	l := sh.lines[name]
	if l == nil {
		return
	}
	if l.home != home {
		l.restart(home)
		l.bounced, l.rests = 0, false
	}
	s.flow(sh, name)
}

// elsewhere takes the word of a node that a room is not there but at another, or that the line has to begin anew: then it names itself.
func (s *Service) elsewhere(node, name string, payload []byte) bool {
	if len(payload) < 4 {
		return false
	}
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l, to := sh.lines[name], string(payload[4:])
	if l == nil || l.home != node || l.try != binary.LittleEndian.Uint32(payload) {
		return true
	}
	if l.bounced++; l.bounced > maxBounced || to == node || !s.reaches(to) {
		s.rest(name, l)
		return true
	}
	l.restart(to)
	s.flow(sh, name)
	return true
}

// dealtWith takes the word of a room that it has dealt with what a line has up to a number.
func (s *Service) dealtWith(name string, payload []byte) bool {
	if len(payload) != 8 {
		return false
	}
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l := sh.lines[name]; l != nil {
		number := binary.LittleEndian.Uint64(payload)
		n := 0
		for n < len(l.said) && l.said[n].number <= number {
			n++
		}
		s.answeredFor(sh, name, n)
	}
	return true
}

// heardOf notes that a message has been heard, which may be from here. The caller holds mu.
func (s *Service) heardOf(sh *laneShard, name string, id stanza.ID) {
	if l := sh.lines[name]; l != nil {
		s.answeredFor(sh, name, 1+slices.IndexFunc(l.said, func(m saying) bool { return m.st.StanzaID == id }))
	}
}

// answeredFor notes that the first n have an answer.
func (s *Service) answeredFor(sh *laneShard, name string, n int) {
	if n == 0 {
		return
	}
	l := sh.lines[name]
	l.said, l.sent, l.bounced = slices.Delete(l.said, 0, n), max(0, l.sent-n), 0
	if a := sh.away[name]; len(l.said) == 0 && a != nil && !a.lent && !sh.seats(name) { // the last has left, and the room knows
		s.dropAway(sh, name)
	}
	s.flow(sh, name)
	sh.tidyLine(name)
}

// tidyLine forgets a line of which nothing is to be known any more. The caller holds mu.
func (sh *laneShard) tidyLine(name string) {
	if l := sh.lines[name]; l != nil && len(l.said) == 0 && sh.away[name] == nil {
		delete(sh.lines, name)
	}
}

func (t turn) append(b []byte) []byte {
	for _, n := range [...]uint64{t.of, t.number, t.after} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return binary.LittleEndian.AppendUint32(b, t.try)
}

const turnBytes = 28

// said takes a stanza that a session of another node has sent to a room.
func (s *Service) said(ctx context.Context, b *router.Batch, node string, payload []byte) bool {
	if len(payload) < turnBytes+len(stanza.ID{}) {
		return false
	}
	number := func(at int) uint64 { return binary.LittleEndian.Uint64(payload[at:]) }
	t := turn{number(0), number(8), number(16), binary.LittleEndian.Uint32(payload[24:])}
	st, err := stanza.Parse(payload[turnBytes+len(stanza.ID{}):])
	if err != nil || st.To.Domain() != s.host.Domain() || st.To.Local() == "" {
		return false
	}
	st.StanzaID = stanza.ID(payload[turnBytes:])
	s.receive(ctx, b, parked{st: st, node: node, turn: t})
	return true
}

// reject tells the node of a stanza that it has to be sent elsewhere.
func (s *Service) reject(p *parked, to string) {
	s.Place.Send(p.node, frameElsewhere, p.st.To.Local(), binary.LittleEndian.AppendUint32(nil, p.turn.try), []byte(to))
}

// inTurn deals with a stanza here if it is its turn.
func (s *Service) inTurn(ctx context.Context, b *router.Batch, p *parked) {
	name, of := p.st.To.Local(), p.node
	if of == "" {
		of = s.Place.Node()
	}
	var had mark
	if r := s.lock(b, name); r != nil {
		had = r.rep.dealt[of]
		r.mu.Unlock()
	}
	if had.Of != p.turn.of {
		had.Number = 0
	}
	switch {
	case p.turn.number <= had.Number: // it was dealt with, and the answer lost
		s.answerFor(p)
	case p.node == "":
		s.toRoom(ctx, b, p.sess, p.st)
	case p.turn.after != 0 && p.turn.after != had.Number:
		s.reject(p, s.Place.Node())
	default:
		s.toRoom(ctx, b, s.node(p.node), p.st)
		if !s.marked(b, p) {
			s.answerFor(p)
		}
	}
}

// marked notes how far a room has come, and reports whether that is an answer as everybody has just been told the message.
func (s *Service) marked(b *router.Batch, p *parked) bool {
	r := s.lock(b, p.st.To.Local())
	if r == nil {
		return false
	}
	defer r.mu.Unlock()
	if r.rep.dealt == nil {
		r.rep.dealt = make(map[string]mark)
	}
	r.rep.dealt[p.node] = mark{p.turn.of, p.turn.number}
	return p.st.StanzaID != stanza.ID{} && r.rep.spoken == p.st.StanzaID
}

func (s *Service) answerFor(p *parked) {
	if p.node != "" {
		s.Place.Send(p.node, frameDealt, p.st.To.Local(), binary.LittleEndian.AppendUint64(nil, p.turn.number))
	}
}

// mergeMarks is how far a room has come of which there were two.
func mergeMarks(a, b map[string]mark) map[string]mark {
	if len(a)+len(b) == 0 {
		return nil
	}
	all := make(map[string]mark, len(a)+len(b))
	for _, marks := range []map[string]mark{a, b} {
		for node, m := range marks {
			if has, ok := all[node]; !ok || m.Of > has.Of || m.Of == has.Of && m.Number > has.Number {
				all[node] = m
			}
		}
	}
	return all
}
