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
	id   stanza.ID
	user uint64 // the bare JID
	full uint64 // the resource that it was for
	by   uint64 // whose session has taken it: full, or user if another of the user's has; 0: none
	peer *Peer  // nil: it need not be doubted, or is already
	at   time.Time
	hadLinks
}

// add notes a message of a peer that is to be dealt with now. It reports whether a session of the user's has it, since it was for several resources,
// or was with another session that has found this one for what it could not get rid of, and with again whether the resource needs it no more.
func (h *had) add(id stanza.ID, full stanza.JID, p *Peer, now time.Time) (taken, again bool) {
	if id == (stanza.ID{}) {
		return false, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known.all == nil {
		h.seed, h.known.all, h.doubted.all = maphash.MakeSeed(), make(map[stanza.ID]uint64), make(map[stanza.ID]uint64)
	}
	m := hadMessage{id: id, user: h.user(full), full: h.full(full), peer: p, at: now}
	if h.known.needless(&m) || h.doubted.needless(&m) {
		return true, true
	}
	for h.known.len() > 0 && (h.known.len() >= hadRecent || now.Sub(h.known.oldest().at) > hadFor) {
		h.known.drop()
	}
	taken = h.known.has(id) || h.doubted.has(id)
	h.known.add(m)
	return taken, false
}

func (h *had) full(full stanza.JID) uint64 { return maphash.String(h.seed, full.String()) }
func (h *had) user(jid stanza.JID) uint64  { return maphash.String(h.seed, jid.Bare().String()) }

// took notes that the resource's session has taken it, or with a bare JID that another one has in its place, unless it was stored or sent on since.
func (h *had) took(id stanza.ID, by stanza.JID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	hash, instead := h.full(by), by.Resource() == ""
	h.known.take(id, hash, instead)
	h.doubted.take(id, hash, instead)
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

// HadBy is the messages of Had that were for one resource: its session takes them along when it moves. What another one of the user's has that one may have to
// store. Those of nodes that are down are among them as long as nodes do not all see each other.
func (s *Service) HadBy(full stanza.JID) (ids []stanza.ID) {
	h, uncertain := &s.had, s.Uncertain()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known.all == nil {
		return nil
	}
	user, by := h.user(full), h.full(full)
	if uncertain {
		ids = h.doubted.appendOf(ids, user, by)
	}
	return h.known.appendOf(ids, user, by)
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
