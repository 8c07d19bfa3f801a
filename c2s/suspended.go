package c2s

import (
	"slices"
	"time"

	"chatd/router"
)

// A Suspended is a session that waits for resumption (XEP-0198 §5), as one process hands it to
// another: a value that shares nothing with the session it was made of. The messages that the store
// has are not in it.
type Suspended struct {
	ID       string        `json:"id"`                // by which the client resumes it
	JID      string        `json:"jid"`               // full
	Begun    time.Time     `json:"begun,omitzero"`    // when it was bound
	Until    time.Time     `json:"until"`             // when nobody can resume it any more
	Wait     time.Duration `json:"wait"`              // for how long it can be resumed when its next connection is gone
	Expires  time.Time     `json:"expires,omitzero"`  // when its token does; zero without one
	Handled  uint32        `json:"handled"`           // stanzas from the client that were dealt with, modulo 2^32
	Acked    uint32        `json:"acked"`             // stanzas that the client has acknowledged, modulo 2^32
	Unacked  []Unacked     `json:"unacked,omitempty"` // what it has not, oldest first, sent or not
	Storing  bool          `json:"storing,omitempty"` // its messages go to the store
	Inactive bool          `json:"inactive,omitempty"`
	Strayed  bool          `json:"split,omitempty"` // State.Strayed

	Handed []router.Given `json:"handed,omitempty"` // State.Handed

	Available bool         `json:"available,omitempty"`
	Priority  int8         `json:"priority,omitempty"`
	Flags     router.Flags `json:"flags,omitempty"`
	Presence  string       `json:"presence,omitempty"` // as it was last broadcast
	Directed  []string     `json:"directed,omitempty"` // who was sent directed presence
}

// An Unacked is one stanza that a client has not acknowledged.
type Unacked struct {
	Stored int64  `json:"stored,omitempty"` // its number in the store; 0: it is not there
	Stanza string `json:"stanza,omitempty"` // the stanza, if it is not in the store
}

// export is the session as it is now. From then on it takes nothing, so that what is sent to it
// finds another way. The caller has claimed it, and calls end or depart.
func (s *Session) export() *Suspended {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	inactive := o.inactive != nil
	o.catchUpLocked()
	o.closed = true
	m := o.managed
	m.written(o.queueLocked())
	release(o.queue)
	o.queue = nil

	x := &Suspended{
		ID: m.id, JID: s.jid.String(), Begun: s.state.Begun, Until: s.until, Wait: m.wait, Expires: s.expires,
		Handled: s.handled, Acked: m.handled, Unacked: m.export(), Storing: o.storing, Inactive: inactive, Strayed: s.state.Strayed.Load(),
		Handed: s.state.Handed.All(),
	}
	if row, ok := s.srv.router.Table.Row(s.jid); ok && row.Session == router.Session(s) {
		x.Available, x.Priority, x.Flags = row.Available, row.Priority, row.Flags&^(router.Resumed|router.Arriving) // whoever goes on with it knows
	}
	if p := s.state.Presence.Load(); p != nil {
		x.Presence = string(p.Append(nil))
	}
	for j := range s.state.Directed {
		x.Directed = append(x.Directed, j.String())
	}
	slices.Sort(x.Directed)
	s.srv.router.Spool.Release(s.srv.ctx, s.jid, o.storedLocked(), false)
	return x
}

func (m *managed) export() []Unacked {
	all := make([]Unacked, len(m.sizes))
	at := m.from
	for i, size := range m.sizes {
		all[i].Stanza = string(m.unacked[at : at+int(size)])
		at += int(size)
		if i < len(m.stored) {
			all[i].Stored = m.stored[i]
		}
	}
	return all
}

// depart ends a session here that goes on elsewhere: nobody is told.
func (s *Session) depart() {
	s.stopDeadline()
	s.srv.router.Table.Unbind(s)
	s.srv.mu.Lock()
	delete(s.srv.byID, s.smID)
	s.srv.mu.Unlock()
	close(s.done)
}
