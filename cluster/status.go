package cluster

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// States of a member, as this node sees it.
const (
	StateJoining = "joining" // known, and never was up
	StateAlive   = "alive"
	StateSuspect = "suspect" // nothing is heard of it; its rows are kept for now
	StateDead    = "dead"
	StateLeft    = "left"
	StateRefused = "refused" // it is there, and there can be no link: see Error
)

var states = []string{StateJoining, StateAlive, StateSuspect, StateDead, StateLeft, StateRefused}

// Status is the cluster as one node sees it.
type Status struct {
	Node        string    `json:"node"`
	Incarnation uint64    `json:"incarnation"`
	Started     time.Time `json:"started"`
	Gossip      string    `json:"gossip"`
	Link        string    `json:"link"`
	Weight      int       `json:"weight"`
	VersionMin  int       `json:"version_min"`
	VersionMax  int       `json:"version_max"`
	Leaving     bool      `json:"leaving"`
	// Island: at least one member is missing that has not left, or Silent is not empty.
	Island bool `json:"island"`
	// Silent is the addresses of Join where nobody answers, while no other node is known.
	Silent []string `json:"silent,omitempty"`
	// Conflict is where another node of this one's name takes links; empty: there is none.
	Conflict string   `json:"conflict,omitempty"`
	Members  []Member `json:"members"` // the others, ordered by name
}

// A Member is another node, as this one sees it.
type Member struct {
	Name        string        `json:"name"`
	State       string        `json:"state"`
	Since       time.Time     `json:"since"` // when the link last went up or down
	Incarnation uint64        `json:"incarnation"`
	Gossip      string        `json:"gossip"`
	Link        string        `json:"link"`
	Weight      int           `json:"weight"`
	VersionMin  int           `json:"version_min"`
	VersionMax  int           `json:"version_max"`
	Version     int           `json:"version"`   // spoken; 0: none
	Gossiped    bool          `json:"gossiped"`  // memberlist has it for alive
	Connected   bool          `json:"connected"` // the link has a connection now
	Reconnects  int           `json:"reconnects"`
	Queued      int           `json:"queued"`       // frames not acknowledged
	QueuedBytes int           `json:"queued_bytes"` //
	Lag         time.Duration `json:"lag_ns"`       // age of the oldest of them
	Sent        uint64        `json:"sent"`         // number of the last frame to it
	Received    uint64        `json:"received"`     // ... and from it
	RoundTrip   time.Duration `json:"round_trip_ns"`
	Error       string        `json:"error,omitempty"` // why there is no connection
}

// Status is what the node knows now.
func (n *Node) Status() Status {
	s := Status{Node: n.cfg.Node, Incarnation: n.Incarnation, Started: n.started, Gossip: n.about.gossip, Link: n.about.link,
		Weight: n.cfg.Weight, VersionMin: int(n.about.versionMin), VersionMax: int(n.about.versionMax), Leaving: n.leaving.Load()}
	n.mu.Lock()
	defer n.mu.Unlock()
	if other := n.conflictLocked(); other != nil {
		s.Conflict = other.link
	}
	for name, m := range n.members {
		s.Members = append(s.Members, n.memberStatus(name, m))
	}
	slices.SortFunc(s.Members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	if len(n.members) == 0 {
		s.Silent = slices.Clone(n.silent)
	}
	s.Island = len(s.missing()) > 0
	return s
}

// missing is the names of the nodes that cannot be reached and have not left, or the addresses where nobody answers of whom no more is known.
func (s *Status) missing() (names []string) {
	names = append(names, s.Silent...)
	for i := range s.Members {
		if m := &s.Members[i]; m.State == StateDead || m.State == StateRefused {
			names = append(names, m.Name)
		}
	}
	return names
}

func (n *Node) memberStatus(name string, m *member) Member {
	s := Member{Name: name, State: StateJoining, Since: m.since, Incarnation: m.about.incarnation, Gossip: m.gossip, Link: m.about.link,
		Weight: int(m.about.weight), VersionMin: int(m.about.versionMin), VersionMax: int(m.about.versionMax), Gossiped: m.alive}
	if l := n.links[name]; l != nil {
		l.status(&s)
	}
	if m.left {
		s.State = StateLeft
	}
	return s
}

// status adds what the link knows.
func (l *link) status(s *Member) {
	l.mu.Lock()
	st, c := l.state, l.conn
	l.mu.Unlock()
	s.Since, s.Reconnects, s.Error = st.since, st.reconnects, st.failure
	now := l.node.clock.now()
	switch p := st.up; {
	case p != nil:
		s.State = StateAlive
		if c == nil || now-c.alive() > int64(suspectAfter) {
			s.State = StateSuspect
		}
		s.Incarnation, s.Version, s.Lag, s.Received = p.Incarnation, p.Version, p.lag(), p.dealt.Load()
		s.Queued, s.QueuedBytes = p.Queued()
		s.Sent = p.lastSent()
	case st.refused:
		s.State = StateRefused
	case st.wasUp:
		s.State = StateDead
	}
	if c != nil {
		s.Connected, s.RoundTrip, s.Error = true, time.Duration(c.rtt.Load()), ""
	}
}

// steady reports whether all peers that are up have been heard of just now, so that none of them may be about to declare this node down, or
// has done so.
func (n *Node) steady() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.clock.now()
	for _, l := range n.links {
		l.mu.Lock()
		up, c := l.state.up != nil, l.conn
		l.mu.Unlock()
		if up && (c == nil || now-c.alive() > int64(silence)) {
			return false
		}
	}
	return true
}

// whole reports whether there are links to all nodes that others know and that have not left, none of which was made just now, or was broken until then:
// what was sent meanwhile would come only now.
func (n *Node) whole() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.clock.now()
	if len(n.members) == 0 && len(n.silent) > 0 {
		return false
	}
	for name, m := range n.members {
		l := n.links[name]
		if m.left {
			continue
		}
		if l == nil {
			return false
		}
		l.mu.Lock()
		c, since := l.conn, l.state.since
		l.mu.Unlock()
		if c == nil || time.Since(since) < reunion || c.resumed && now-c.made < int64(reunion) {
			return false
		}
	}
	return true
}

func (l *link) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.up != nil
}

// show makes the present connection visible.
func (l *link) show(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn = c; c != nil && c.resumed {
		l.state.reconnects++
	}
}

// note keeps why an attempt to connect failed.
func (l *link) note(err error) {
	if err != nil {
		l.noteRefused(err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.failure, l.state.refused = "", false
}

func (l *link) noteRefused(err error) {
	var r refusal
	refused := errors.As(err, &r) && r.reason != refusedLeaving && r.reason != refusedTarget
	l.mu.Lock()
	l.state.failure, l.state.refused = err.Error(), refused
	l.mu.Unlock()
	if refused && l.node.seldom.may(l.name+" "+r.reason) {
		l.node.log.Error("cluster: no link", "peer", l.name, "reason", r.reason, "error", err)
	}
}

func (l *link) noteUp(p *Peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.up, l.state.since, l.state.wasUp = p, time.Now(), true
}

func (l *link) noteDown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.up != nil {
		l.state.up, l.state.since = nil, time.Now()
	}
}
