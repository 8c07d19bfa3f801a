package muc

import (
	"bytes"
	"slices"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// A room that loses its home may have said something to some of its nodes only. So each node remembers for a while what its sessions have heard,
// and what they have said that they have not heard yet: the new home is told both, and sees to it that all hear the same, once. A message has its id
// (XEP-0359) from the node of its sender.

const (
	// recently is for how long: longer than it takes to find out that a node is gone.
	recently = 5 * time.Second
	// maxHeard and maxHeardBytes bound what is remembered of one room.
	maxHeard      = 256
	maxHeardBytes = 256 << 10
)

func isGroupchat(st *stanza.Stanza) bool {
	return st.Kind == stanza.Message && st.Type == stanza.Groupchat && st.To.IsBare()
}

// isCast reports whether a stanza is a room's message to all.
func isCast(st *stanza.Stanza) bool { return st.Kind == stanza.Message && st.Type == stanza.Groupchat }

const endOfID = "'/></message>"

// spokenID is the id of a message of the room's as it is told to all, but not as history is. It is its last child.
func spokenID(wire []byte) (id stanza.ID, ok bool) {
	at := len(wire) - len(endOfID) - len(id)
	if at < 0 || !bytes.HasSuffix(wire, []byte(endOfID)) {
		return id, false
	}
	child := wire[bytes.LastIndexByte(wire[:at], '<')+1:]
	return stanza.ID(wire[at:]), bytes.HasPrefix(child, []byte("stanza-id ")) && wire[at-1] == '\''
}

// hear notes a message that sessions here are told, and reports whether they were before, if it is one that is kept.
func (s *Service) hear(room string, wire []byte, kept bool) (again bool) {
	id, ok := spokenID(wire)
	if !ok {
		return false
	}
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.heardOf(sh, room, id)
	a := sh.away[room]
	if a == nil || !kept {
		return false
	}
	if slices.ContainsFunc(a.heard, func(m utterance) bool { return m.id == id }) {
		return true
	}
	at := time.Now().UnixMilli()
	if n := len(a.heard); n > 0 {
		at = max(at, a.heard[n-1].at+1)
	}
	a.remember(utterance{id: id, at: at, wire: bytes.Clone(wire)})
	return false
}

func (a *away) remember(m utterance) {
	a.heard = append(a.heard, m)
	a.heardBytes += len(m.wire)
	for len(a.heard) > maxHeard || a.heardBytes > maxHeardBytes || m.at-a.heard[0].at > recently.Milliseconds() {
		a.heardBytes -= len(a.heard[0].wire)
		a.heard = a.heard[1:]
	}
}

// lately are the messages of a room that have just been said.
func (r *room) lately() (all []utterance) {
	since := time.Now().Add(-recently).UnixMilli()
	for _, m := range r.past.messages {
		if m.at >= since {
			all = append(all, m)
		}
	}
	return all
}

// catchUp tells the room what sessions of a node have heard and others have not, and those sessions what they have not heard. The caller holds the room's lock.
func (s *Service) catchUp(b *router.Batch, r *room, before []utterance, x *State) {
	var oldest int64
	if len(before) > 0 {
		oldest = before[0].at
	}
	said := make(map[string]int64, len(before)) // which the node has heard later
	for _, m := range before {
		said[string(m.id[:])] = m.at
	}
	heard := make(map[string]bool, len(x.History))
	var newest int64 // nobody is told what is older than what they have heard: that was said elsewhere
	for i := range x.History {
		m := remembered(x.History[i])
		at, had := said[x.History[i].ID]
		if !had {
			at = m.at
		}
		newest = max(newest, at)
		heard[x.History[i].ID] = true
		if !had && m.at >= oldest && !overtaken(before, &m) {
			s.catchUpOn(b, r, m, func(to *seat) bool { n := r.rep.nodeOf(to.session); return n != x.Whole && !r.rep.tells(n) })
			r.rep.remember(m)
		}
	}
	if r.rep.tells(x.Whole) {
		return
	}
	in := x.sessions() // only of these it says what they have heard
	for _, m := range r.lately() {
		if _, had := said[string(m.id[:])]; had && !heard[string(m.id[:])] && m.at >= newest {
			s.catchUpOn(b, r, m, func(to *seat) bool { return in[to.jid.String()] && r.rep.nodeOf(to.session) == x.Whole })
		}
	}
}

// overtaken reports whether all have heard something later of who has said a message: it was said on another side of a split then, and is in the history only.
func overtaken(by []utterance, m *utterance) bool {
	return slices.ContainsFunc(by, func(o utterance) bool { return o.by == m.by && o.at > m.at })
}

func (s *Service) catchUpOn(b *router.Batch, r *room, m utterance, who func(*seat) bool) {
	s.retell(b, r, m, func(to *seat) bool {
		if !who(to) {
			return false
		}
		if r.rep.nodeOf(to.session) == r.rep.self && !slices.Contains(r.rep.retold, m.id) {
			r.rep.retold = append(r.rep.retold, m.id)
		}
		return true
	})
}

// sayAgain tells a node what has come from there again, if that has been said to all: its sessions may not have heard it. Another node knows that of what comes to it; of what is
// in this one's line nobody here has heard. The caller holds the room's lock.
func (s *Service) sayAgain(b *router.Batch, r *room, node string, st *stanza.Stanza) (said bool) {
	m := r.past.find(string(st.StanzaID[:]))
	if m != nil {
		s.retell(b, r, *m, func(to *seat) bool { return r.rep.nodeOf(to.session) == node })
	}
	return m != nil
}

// retell tells a message to those of some sessions that were in the room when it was said. What one that is looked for heard before no node knows.
func (s *Service) retell(b *router.Batch, r *room, m utterance, who func(*seat) bool) {
	st, err := stanza.Parse(m.wire)
	if err != nil {
		return
	}
	st.Wire = m.wire
	s.sendAll(b, r, st, func(_ *occupant, to *seat) bool {
		a, away := to.session.(*absent)
		return to.since <= m.at && (!away || a.since <= m.at) && who(to)
	})
}

// kept is what sessions here have heard lately, as others are told.
func (a *away) kept() (all []store.HistoryMessage) {
	since := time.Now().Add(-recently).UnixMilli()
	for i := range a.heard {
		if a.heard[i].at >= since {
			all = append(all, a.heard[i].kept())
		}
	}
	return all
}
