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

// hear notes a message that sessions here are told, and reports whether they were before.
func (s *Service) hear(room string, wire []byte) (again bool) {
	id, ok := spokenID(wire)
	if !ok {
		return false
	}
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.heardOf(sh, room, id)
	a := sh.away[room]
	if a == nil {
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
	had := make(map[string]bool, len(before))
	for _, m := range before {
		had[string(m.id[:])] = true
	}
	heard := make(map[string]bool, len(x.History))
	var newest int64 // nobody is told what is older than what they have heard: that was said elsewhere
	for i := range x.History {
		m := remembered(x.History[i])
		if had[x.History[i].ID] {
			newest = max(newest, m.at)
		}
		heard[x.History[i].ID] = true
		if !had[x.History[i].ID] && m.at >= oldest {
			s.retell(b, r, m, func(node string) bool { return node != x.Whole })
			r.rep.remember(m)
		}
	}
	for _, m := range r.lately() {
		if !heard[string(m.id[:])] && had[string(m.id[:])] && m.at >= newest {
			s.retell(b, r, m, func(node string) bool { return node == x.Whole })
		}
	}
}

// sayAgain tells a node what has come from there again, if that has been said to all: its sessions may not have heard it, which it knows. The caller holds the
// room's lock.
func (s *Service) sayAgain(b *router.Batch, r *room, node string, st *stanza.Stanza) (said bool) {
	m := r.past.find(string(st.StanzaID[:]))
	if m != nil && node != r.rep.self {
		s.retell(b, r, *m, func(at string) bool { return at == node })
	}
	return m != nil
}

// retell tells a message to those sessions of some nodes that were in the room when it was said. What one that is looked for has heard no node knows.
func (s *Service) retell(b *router.Batch, r *room, m utterance, on func(node string) bool) {
	st, err := stanza.Parse(m.wire)
	if err != nil {
		return
	}
	st.Wire = m.wire
	s.sendAll(b, r, st, func(_ *occupant, to *seat) bool {
		_, away := to.session.(*absent)
		return !away && to.since <= m.at && on(r.rep.nodeOf(to.session))
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
