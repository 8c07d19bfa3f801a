package roster

import (
	"context"

	"chatd/router"
	"chatd/stanza"
)

// maxDirected bounds how many addresses one resource has outstanding directed
// presence with. One more, and any one of them is told at once that the
// resource is unavailable and is forgotten: sooner that than never.
const maxDirected = 500

// Directed implements router.Presence: RFC 6121 §4.6.1, §4.6.3. Every access to a
// session's Directed is under its user's lock, because Probe reads it from other
// goroutines.
func (s *Service) Directed(sess router.Session, st *stanza.Stanza) {
	if st.Type != stanza.None && st.Type != stanza.Unavailable {
		return
	}
	a := s.accounts.lock(sess.JID().Bare())
	evicted := note(sess.State(), st)
	a.Unlock()
	if evicted.IsZero() {
		return
	}
	s.r.Route(context.Background(), nil, &stanza.Stanza{
		Kind: stanza.Presence, Type: stanza.Unavailable, From: sess.JID(), To: evicted})
}

// note remembers or forgets one address and returns the one that had to make
// room.
func note(state *router.State, st *stanza.Stanza) (evicted stanza.JID) {
	if st.Type == stanza.Unavailable {
		delete(state.Directed, st.To)
		return stanza.JID{}
	}
	if _, known := state.Directed[st.To]; !known && len(state.Directed) >= maxDirected {
		for evicted = range state.Directed {
			break
		}
		delete(state.Directed, evicted)
	}
	if state.Directed == nil {
		state.Directed = make(map[stanza.JID]struct{})
	}
	state.Directed[st.To] = struct{}{}
	return evicted
}

// leaveDirected tells the addresses that had directed presence (RFC 6121
// §4.6.3), but for those that the broadcast to viewers has reached. The caller holds no lock.
func (s *Service) leaveDirected(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza, directed map[stanza.JID]struct{}, viewers []stanza.JID) {
	blocked := sess.State().Blocked.Load()
	for target := range directed {
		if !blocked.Matches(target) && !s.reached(target, viewers) {
			s.r.RouteFrom(ctx, b, sess, withTo(st, target))
		}
	}
}

// reached reports whether a broadcast to viewers went to target too: it goes to
// available resources.
func (s *Service) reached(target stanza.JID, viewers []stanza.JID) bool {
	if !contains(viewers, target.Bare()) {
		return false
	}
	if target.IsBare() {
		return true
	}
	row, ok := s.r.Table.Row(target)
	return ok && row.Available
}
