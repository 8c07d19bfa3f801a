package muc

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// A simEnd is one end of a link, from its coming up to its going down.
type simEnd struct {
	from, to *simNode
	other    *simEnd
	up, gone bool
	sent     []simFrame // not confirmed
	next     int        // of sent: the first that is not on its way
	first    uint64     // number of the first of sent
	got      uint64     // number of the last frame of the other end's that has come
	dealt    uint64     // ... up to which they are dealt with
	done     map[uint64]bool
	last     time.Time // when the last frame comes
}

type simFrame struct {
	kind    byte
	room    string
	payload []byte
}

// Kinds of what links carry besides frames about rooms.
const (
	simRow   = 100 + iota // a row: '+' or '-', when it was bound, full JID
	simRoute              // full JID, stanza
	simToken
	simRetire
	simReach // the names of the nodes that the sender reaches
)

// meet has two nodes connect soon, if nothing keeps them from it then.
func (s *sim) meet(i, k int) {
	s.mu.Lock()
	after := s.within(300*time.Millisecond, "meet", s.nodes[i].name, s.nodes[k].name)
	s.mu.Unlock()
	time.AfterFunc(after, func() {
		s.mu.Lock()
		a, b := s.nodes[i], s.nodes[k]
		if a.dead || b.dead || a.paused || b.paused || s.cut[[2]int{i, k}] != 0 || s.cut[[2]int{k, i}] != 0 {
			s.mu.Unlock()
			return
		}
		x, y := a.peers[b.name], b.peers[a.name]
		if x != nil && y != nil && x.other == y { // it goes on
			s.mu.Unlock()
			return
		}
		var downs []func()
		for _, end := range []*simEnd{x, y} {
			if end != nil {
				end.confirmedLocked(end.other.dealt)
				downs = append(downs, end.downLocked())
			}
		}
		s.mu.Unlock()
		for _, down := range downs {
			down()
		}
		s.connect(a, b)
	})
}

// connect begins a link.
func (s *sim) connect(a, b *simNode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.within(2, "first", a.name, b.name) == 1 {
		a, b = b, a
	}
	x := &simEnd{from: a, to: b, first: 1, done: map[uint64]bool{}}
	y := &simEnd{from: b, to: a, first: 1, done: map[uint64]bool{}}
	x.other, y.other = y, x
	x.upLocked()
	time.AfterFunc(s.within(3*time.Millisecond, "connect", a.name, b.name), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if y.from.dead || y.from.peers[a.name] != nil {
			return
		}
		y.upLocked()
		x.flowLocked()
	})
}

func (e *simEnd) upLocked() {
	n := e.from
	n.s.noteLocked("%s sees %s", n.name, e.to.name)
	e.up = true
	n.tellGoneLocked(e.to.name)
	n.peers[e.to.name] = e
	if n.retired[n.name] {
		e.sendLocked(simRetire, "", nil)
	}
	for _, full := range slices.Sorted(maps.Keys(n.bound)) {
		e.sendLocked(simRow, "", n.rowLocked(full))
	}
	delete(n.retired, e.to.name)
	n.placeLocked()
	e.sendLocked(simToken, "", n.token.append(nil))
}

var frameNames = [...]string{"stanza", "cast", "missed", "seats", "copy", "change", "history", "forget", "flush", "flushed", "state", "arrived", "claim", "none", "mine", "rejoin", "who",
	"not lent", "dealt", "elsewhere", "follow", "check", "down", "frozen", "overdue", "again", "absent", "returned", "list", "listed"}

// frameLocked notes a frame, if very much is to be told.
func (s *sim) frameLocked(what, from, to string, kind byte, room string, payload []byte) {
	if *scheduleTrace < 1000 || int(kind) >= len(frameNames) {
		return
	}
	s.noteLocked("  %s %s>%s %s %s %q", what, from, to, frameNames[kind], room, payload)
}

// downLocked ends one end. What is returned tells the node, without the lock.
func (e *simEnd) downLocked() func() {
	n := e.from
	if e.gone {
		return func() {}
	}
	n.s.noteLocked("%s misses %s, %d frames not confirmed", n.name, e.to.name, len(e.sent))
	e.gone = true
	if n.peers[e.to.name] == e {
		delete(n.peers, e.to.name)
	}
	delete(n.rows, e.to.name)
	var unacked []Frame
	for _, f := range e.sent {
		if f.kind < simRow {
			unacked = append(unacked, Frame{f.kind, f.room, f.payload})
		}
	}
	e.sent = nil
	n.leaving[e.to.name] = &simGone{unacked}
	delete(n.reaches, e.to.name)
	delete(n.tokens, e.to.name)
	n.placeLocked()
	return func() {}
}

func (e *simEnd) sendLocked(kind byte, room string, payload []byte) bool {
	if e.gone || e.from.dead {
		return false
	}
	e.sent = append(e.sent, simFrame{kind, room, payload})
	e.flowLocked()
	return true
}

// flowLocked puts on the way what may be.
func (e *simEnd) flowLocked() {
	s := e.from.s
	if e.gone || !e.other.up || e.from.paused || e.to.paused || s.cut[[2]int{e.from.i, e.to.i}] != 0 {
		return
	}
	for ; e.next < len(e.sent); e.next++ {
		f, seq := e.sent[e.next], e.first+uint64(e.next)
		what := []string{e.from.name, e.to.name, string(f.kind), f.room}
		d := s.within(2*time.Millisecond, what...)
		if s.within(50, what...) == 1 {
			d = s.within(100*time.Millisecond, what...)
		}
		e.last = e.last.Add(1)
		if at := time.Now().Add(d); at.After(e.last) {
			e.last = at
		}
		number := s.cut[[2]int{e.from.i, e.to.i}]
		time.AfterFunc(time.Until(e.last), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.cut[[2]int{e.from.i, e.to.i}] == number && !e.to.dead && !e.to.paused {
				e.other.receiveLocked(seq, f)
			}
		})
	}
}

// receiveLocked takes a frame of the other end's.
func (e *simEnd) receiveLocked(seq uint64, f simFrame) {
	n := e.from
	if e.gone || seq != e.got+1 {
		return
	}
	e.got++
	switch f.kind {
	case simRow:
		full := stanza.MustJID(string(f.payload[9:]))
		rows := n.rows[e.to.name]
		if rows == nil {
			rows = map[string]router.Row{}
			n.rows[e.to.name] = rows
		}
		delete(rows, full.String())
		if at := n.bound[full.String()]; f.payload[0] == '+' && at != 0 && at < int64(binary.LittleEndian.Uint64(f.payload[1:])) {
			n.conflictLocked(full)
		}
		if f.payload[0] == '+' {
			remote := &simRemote{end: e, jid: full}
			remote.state.Begun = time.Unix(0, int64(binary.LittleEndian.Uint64(f.payload[1:])))
			rows[full.String()] = router.Row{Session: remote, Available: true, Remote: true}
		}
	case simRetire:
		n.retired[e.to.name] = true
		n.placeLocked()
	case simReach:
		n.reaches[e.to.name] = strings.Fields(string(f.payload))
		n.placeLocked()
	case simToken:
		t, _, _ := cutToken(f.payload)
		n.seen = max(n.seen, t.Epoch)
		if t.Nodes == n.token.Nodes && t.Epoch > n.token.Epoch {
			n.becomeLocked(t)
		}
		n.tokens[e.to.name] = t
		n.placeLocked()
	default:
		n.s.frameLocked("put  ", e.to.name, n.name, f.kind, f.room, f.payload)
		n.worker(f.room).put(func(b *router.Batch) {
			if f.kind == simRoute {
				n.routed(b, f.payload)
			} else {
				n.Frame(context.Background(), b, e.to.name, f.kind, f.room, f.payload)
			}
			n.s.mu.Lock()
			defer n.s.mu.Unlock()
			e.settledLocked(seq)
		})
		return
	}
	e.settledLocked(seq)
}

// conflictLocked ends a session here whose address is bound on another node since.
func (n *simNode) conflictLocked(full stanza.JID) {
	for _, c := range n.clients {
		if c.jid == full && !c.gone() {
			n.s.noteLocked("%s ends at %s", full, n.name)
			c.die()
		}
	}
}

func (e *simEnd) settledLocked(seq uint64) {
	e.done[seq] = true
	for e.done[e.dealt+1] {
		e.dealt++
		delete(e.done, e.dealt)
	}
	s, upTo := e.from.s, e.dealt
	time.AfterFunc(s.within(5*time.Millisecond, "confirm", e.from.name, e.to.name), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.cut[[2]int{e.from.i, e.to.i}] == 0 && !e.gone && !e.from.dead {
			e.other.confirmedLocked(upTo)
		}
	})
}

func (e *simEnd) confirmedLocked(upTo uint64) {
	if n := int(upTo) - int(e.first) + 1; n > 0 && !e.gone {
		e.sent = e.sent[n:]
		e.first += uint64(n)
		e.next = max(0, e.next-n)
	}
}
