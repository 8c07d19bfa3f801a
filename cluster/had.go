package cluster

import (
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

// Had is which messages of other nodes this one has dealt with, of which these may not know. A node to which the link is down has stored them. If it is
// back it takes them out again, but it may have ended: then this node leaves them out of what it hands over.
type had struct {
	mu      sync.Mutex
	recent  []hadMessage // oldest first
	peers   map[stanza.ID]hadBy
	doubted map[stanza.ID]string // full JID
	order   []stanza.ID          // of doubted, oldest first; those that are not in it any more are void
}

type hadMessage struct {
	id stanza.ID
	at time.Time
}

type hadBy struct {
	peer *Peer
	full string // JID of the resource
}

// add notes a message of a peer that is to be dealt with now, and reports whether the resource had it already: another session had it too, and
// has found this one for what it could not get rid of.
func (h *had) add(id stanza.ID, full stanza.JID, p *Peer, now time.Time) (again bool) {
	if id == (stanza.ID{}) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if to := full.String(); h.peers[id].full == to || h.doubted[id] == to {
		return true
	}
	if h.peers == nil {
		h.peers, h.doubted = make(map[stanza.ID]hadBy), make(map[stanza.ID]string)
	}
	for len(h.recent) > 0 && (len(h.recent) >= hadRecent || now.Sub(h.recent[0].at) > hadFor) {
		delete(h.peers, h.recent[0].id)
		h.recent = h.recent[1:]
	}
	h.recent = append(h.recent, hadMessage{id, now})
	h.peers[id] = hadBy{p, full.Clone().String()}
	return false
}

// down is for a peer that may have stored what it has not heard of any more.
func (h *had) down(p *Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.recent {
		if h.peers[m.id].peer != p {
			continue
		}
		if len(h.order) >= hadMost {
			delete(h.doubted, h.order[0])
			h.order = h.order[1:]
		}
		h.doubted[m.id] = h.peers[m.id].full
		h.order = append(h.order, m.id)
	}
}

// Had reports whether this node has dealt with a message that another one may have stored since.
func (s *Service) Had(id stanza.ID) bool {
	s.had.mu.Lock()
	defer s.had.mu.Unlock()
	_, lately := s.had.peers[id] // who has it from that node may hear of the end of the link first
	_, is := s.had.doubted[id]
	return lately || is
}

// HadBy is the messages of Had to one user: a session that moves takes them along.
func (s *Service) HadBy(user stanza.JID) (ids []stanza.ID) {
	h, bare := &s.had, user.Bare().String()
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, by := range h.peers {
		if string(bareOf([]byte(by.full))) == bare {
			ids = append(ids, id)
		}
	}
	for id, full := range h.doubted {
		if _, is := h.peers[id]; !is && string(bareOf([]byte(full))) == bare {
			ids = append(ids, id)
		}
	}
	return ids
}

// Stored notes that this node itself has stored a message, which so is to be handed over, or has given it away with its session.
func (s *Service) Stored(id stanza.ID) {
	if id == (stanza.ID{}) {
		return
	}
	s.had.mu.Lock()
	defer s.had.mu.Unlock()
	delete(s.had.peers, id)
	delete(s.had.doubted, id)
}
