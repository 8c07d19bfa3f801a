package cluster

import (
	"slices"
	"strings"
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
	recent  []hadMessage           // oldest first
	users   map[string][]stanza.ID // those of recent, by the user's bare JID
	known   map[stanza.ID]*hadBy
	doubted map[stanza.ID]*hadBy
	order   []stanza.ID // of doubted, oldest first; those that are not in it any more are void
}

type hadMessage struct {
	id   stanza.ID
	user string
	at   time.Time
}

type hadBy struct {
	peer *Peer
	by   []string // JIDs of the resources whose sessions have taken it, bare for others than it was for
}

// add notes a message of a peer that is to be dealt with now. It reports whether a session of the user's has it, since it was for several resources,
// or was with another session that has found this one for what it could not get rid of, and with again whether the resource needs it no more.
func (h *had) add(id stanza.ID, full stanza.JID, p *Peer, now time.Time) (taken, again bool) {
	if id == (stanza.ID{}) {
		return false, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next, user := &hadBy{peer: p}, full.Bare().Clone().String()
	if last := h.byLocked(id); last != nil {
		if slices.Contains(last.by, full.String()) || slices.Contains(last.by, user) {
			return true, true
		}
		next.by = slices.Clone(last.by)
	}
	if h.known == nil {
		h.known, h.doubted, h.users = make(map[stanza.ID]*hadBy), make(map[stanza.ID]*hadBy), make(map[string][]stanza.ID)
	}
	for len(h.recent) > 0 && (len(h.recent) >= hadRecent || now.Sub(h.recent[0].at) > hadFor) {
		old := h.recent[0]
		h.recent = h.recent[1:]
		delete(h.known, old.id)
		if h.users[old.user] = h.users[old.user][1:]; len(h.users[old.user]) == 0 {
			delete(h.users, old.user)
		}
	}
	h.recent = append(h.recent, hadMessage{id, user, now})
	h.users[user] = append(h.users[user], id)
	h.known[id] = next
	return len(next.by) > 0, false
}

// took notes that a session has taken it, as hadBy.by says, unless it was stored or sent on since.
func (h *had) took(id stanza.ID, by stanza.JID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range []*hadBy{h.known[id], h.doubted[id]} {
		if m != nil && !slices.Contains(m.by, by.String()) {
			m.by = append(m.by, by.Clone().String())
		}
	}
}

// byLocked is who has taken a message; nil: nobody.
func (h *had) byLocked(id stanza.ID) *hadBy {
	for _, m := range []*hadBy{h.known[id], h.doubted[id]} {
		if m != nil && len(m.by) > 0 {
			return m
		}
	}
	return nil
}

// down is for a peer that may have stored what it has not heard of any more.
func (h *had) down(p *Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.recent {
		by := h.known[m.id]
		if by == nil || by.peer != p {
			continue
		}
		if len(h.order) >= hadMost {
			delete(h.doubted, h.order[0])
			h.order = h.order[1:]
		}
		h.doubted[m.id] = by
		h.order = append(h.order, m.id)
	}
}

// Had reports whether a session here has a message that another node may have stored since.
func (s *Service) Had(id stanza.ID) bool {
	s.had.mu.Lock()
	defer s.had.mu.Unlock()
	return s.had.byLocked(id) != nil // its link may end only after that of who hands it over
}

// HadBy is the messages of Had to one user: a session that moves takes them along. Those of nodes that are down are among them as long as nodes do not
// all see each other.
func (s *Service) HadBy(user stanza.JID) (ids []stanza.ID) {
	h, bare := &s.had, user.Bare().String()
	uncertain := s.Uncertain()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range h.users[bare] {
		if h.byLocked(id) != nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if !uncertain {
		return ids
	}
	for id, m := range h.doubted {
		if len(m.by) == 0 || h.known[id] != nil {
			continue
		}
		if of, _, _ := strings.Cut(m.by[0], "/"); of == bare {
			ids = append(ids, id)
		}
	}
	return ids
}

// Stored notes that this node itself stores a message, so that it is to be handed over, or that it gives it to another one.
func (s *Service) Stored(id stanza.ID) {
	if id == (stanza.ID{}) {
		return
	}
	s.had.mu.Lock()
	defer s.had.mu.Unlock()
	delete(s.had.known, id)
	delete(s.had.doubted, id)
}
