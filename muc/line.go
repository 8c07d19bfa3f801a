package muc

import (
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
	t := turn{of: s.process, number: m.number, bound: uint64(boundOf(m.sess)), try: l.try}
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
		l.rests, l.bounced = false, 0
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
	if a := sh.away[name]; a != nil && a.home == node && a.next == "" && to != node { // what is known here is of old
		if to == s.Place.Node() || !s.reaches(to) || !s.tellSeats(a, name, to, 0) { // before what is said there
			a.strayed = true
			s.Place.Send(s.Place.Node(), frameCheck, name)
		}
	}
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
		s.answeredFor(sh, name, 0, n)
	}
	return true
}

// heardOf notes that a message has been heard, which may be from here. What is before it in the line may have to be said again: it may be another node that has told this one. The
// caller holds mu.
func (s *Service) heardOf(sh *laneShard, name string, id stanza.ID) {
	l := sh.lines[name]
	if l == nil {
		return
	}
	if i := slices.IndexFunc(l.said, func(m saying) bool { return m.st.StanzaID == id }); i >= 0 {
		s.answeredFor(sh, name, i, i+1)
	}
}

// heardHere takes out of a line what sessions here have been told by what others have heard, as the room has come here.
func (s *Service) heardHere(name string, ids []stanza.ID) {
	if len(ids) == 0 {
		return
	}
	sh := s.laneShard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l := sh.lines[name]; l != nil {
		told := func(m saying) bool { return slices.Contains(ids, m.st.StanzaID) }
		onTheWay := slices.DeleteFunc(slices.Clone(l.said[:l.sent]), told)
		l.said, l.sent = slices.DeleteFunc(l.said, told), len(onTheWay)
		sh.tidyLine(name)
	}
}

// answeredFor notes that those from one to another have an answer.
func (s *Service) answeredFor(sh *laneShard, name string, from, to int) {
	if from == to {
		return
	}
	l := sh.lines[name]
	l.said, l.sent, l.bounced = slices.Delete(l.said, from, to), l.sent-max(0, min(l.sent, to)-from), 0
	s.flow(sh, name)
	sh.tidyLine(name)
}

// tidyLine forgets a line of which nothing is to be known any more, and what has been told here of a room when all have left it, and it knows.
// The caller holds mu.
func (sh *laneShard) tidyLine(name string) {
	if l := sh.lines[name]; l == nil || len(l.said) > 0 {
		return
	}
	if a := sh.away[name]; a != nil && !a.lent && a.behind == 0 && !sh.seats(name) {
		delete(sh.away, name)
	}
	if sh.away[name] == nil {
		delete(sh.lines, name)
	}
}
