package cluster

import (
	"sync"
	"time"

	"chatd/stanza"
)

const (
	// heldTime is for how long a user for whom a message was stored is remembered: longer than a node's word that
	// the user has come takes to get here.
	heldTime = 30 * time.Second
	// heldMax bounds those who are remembered. Over it the oldest are forgotten; what waits for them is handed over at
	// their next login, or when nodes meet again.
	heldMax = 1 << 16
)

// Held remembers for whom messages were stored lately. Such a user may have come to another node just before, and been
// handed all that waited just before that.
type held struct {
	mu    sync.Mutex
	since map[string]time.Time // by bare JID
	order []heldUser           // oldest first
}

type heldUser struct {
	bare string
	at   time.Time
}

// add notes a user, and forgets those of whom it is long ago.
func (h *held) add(bare string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since == nil {
		h.since = make(map[string]time.Time)
	}
	gone := 0
	for _, u := range h.order {
		if now.Sub(u.at) < heldTime && len(h.order)-gone < heldMax {
			break
		}
		if h.since[u.bare].Equal(u.at) {
			delete(h.since, u.bare)
		}
		gone++
	}
	h.order = append(h.order[:0:0], h.order[gone:]...)
	h.since[bare] = now
	h.order = append(h.order, heldUser{bare, now})
}

// has reports whether a user was noted lately.
func (h *held) has(bare string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.since[bare]
	return ok && now.Sub(at) < heldTime
}

// each visits those who were noted lately.
func (h *held) each(visit func(user stanza.JID)) {
	h.mu.Lock()
	users := make([]string, 0, len(h.since))
	for bare := range h.since {
		users = append(users, bare)
	}
	h.mu.Unlock()
	for _, bare := range users {
		if j, err := stanza.ParseJID(bare); err == nil {
			visit(j)
		}
	}
}

// Held implements router.Elsewhere: the nodes where the user is are told, now and if the user turns up.
func (s *Service) Held(user stanza.JID) {
	user = user.Bare()
	s.held.add(user.Clone().String(), time.Now())
	s.tellHeld(user)
}

// tellHeld has the nodes where a user is look for what waits.
func (s *Service) tellHeld(user stanza.JID) {
	var room [4]RemoteRow
	var last *Owner
	for _, row := range s.rows.Append(room[:0], user) {
		if row.Owner != last && row.Available {
			row.Owner.Peer.Send(kindLook, appendTo(nil, user))
			last = row.Owner
		}
	}
}

// Appeared is called for each row of another node that has become available.
func (s *Service) appeared(row Row, o *Owner) {
	if user := row.JID.Bare(); row.Available && s.held.has(user.String(), time.Now()) {
		o.Peer.Send(kindLook, appendTo(nil, user))
	}
}
