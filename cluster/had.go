package cluster

import (
	"hash/maphash"
	"sync"
	"time"

	"chatd/stanza"
)

const (
	// hadFor is for how long it is remembered what was dealt with: longer than a node that hears of it no more is up.
	hadFor = 5 * time.Second
	// hadRecent bounds what is remembered of all nodes, and hadMost of those that are down. What is over it may come twice, with the same stanza-id (XEP-0359).
	hadRecent = 1 << 16
	hadMost   = 1 << 17
)

// Had is which messages of other nodes sessions here have taken, of which these may not know. A node to which the link is down has stored them. If it is
// back it takes them out again, but it may have ended: then this node leaves them out of what it hands over. What this node has stored, or sent on
// with or without its session, is not among them any more.
type had struct {
	mu      sync.Mutex
	seed    maphash.Seed
	known   hadLog
	doubted hadLog // of nodes that are down
}

// A hadMessage has hashes in place of its addresses: nobody outside of the process can find two with the same.
type hadMessage struct {
	id    stanza.ID
	taken bool   // by its session
	user  uint64 // the bare JID
	full  uint64 // the resource
	peer  *Peer  // nil: it need not be doubted, or is already
	at    time.Time
	hadLinks
}

// add notes a message of a peer that is to be dealt with now, and reports whether the resource has it already: another session had it too, and
// has found this one for what it could not get rid of.
func (h *had) add(id stanza.ID, full stanza.JID, p *Peer, now time.Time) (again bool) {
	if id == (stanza.ID{}) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known.all == nil {
		h.seed, h.known.all, h.doubted.all = maphash.MakeSeed(), make(map[stanza.ID]uint64), make(map[stanza.ID]uint64)
	}
	m := hadMessage{id: id, user: h.user(full), full: h.full(full), peer: p, at: now}
	if h.known.taken(id, m.full) || h.doubted.taken(id, m.full) {
		return true
	}
	for h.known.len() > 0 && (h.known.len() >= hadRecent || now.Sub(h.known.oldest().at) > hadFor) {
		h.known.drop()
	}
	h.known.add(m)
	return false
}

func (h *had) full(full stanza.JID) uint64 { return maphash.String(h.seed, full.String()) }
func (h *had) user(jid stanza.JID) uint64  { return maphash.String(h.seed, jid.Bare().String()) }

// took notes that the resource's session has taken it, unless it was stored or sent on since.
func (h *had) took(id stanza.ID, full stanza.JID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	hash := h.full(full)
	h.known.take(id, hash)
	h.doubted.take(id, hash)
}

// down is for a peer that may have stored what it has not heard of any more.
func (h *had) down(p *Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for m := range h.known.each() {
		if m.peer != p {
			continue
		}
		if h.doubted.len() >= hadMost {
			h.doubted.drop()
		}
		m.peer = nil
		h.doubted.add(*m)
	}
}

// Had reports whether a session here has a message that another node may have stored since.
func (s *Service) Had(id stanza.ID) bool {
	s.had.mu.Lock()
	defer s.had.mu.Unlock()
	return s.had.known.has(id) || s.had.doubted.has(id) // its link may end only after that of who hands it over
}

// HadBy is the messages of Had to one user: a session that moves takes them along.
func (s *Service) HadBy(user stanza.JID) (ids []stanza.ID) {
	h := &s.had
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known.all == nil {
		return nil
	}
	hash := h.user(user)
	return h.known.appendOf(h.doubted.appendOf(nil, hash), hash)
}

// Stored notes that this node itself stores a message, so that it is to be handed over, or that it gives it to another one.
func (s *Service) Stored(id stanza.ID) {
	if id == (stanza.ID{}) {
		return
	}
	s.had.mu.Lock()
	defer s.had.mu.Unlock()
	s.had.known.forget(id)
	s.had.doubted.forget(id)
}
