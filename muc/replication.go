package muc

import (
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// A replication is what of a room other nodes are told, and have yet to be. It belongs to the room's lock. The nil
// replication, of a server that is alone, does nothing.
type replication struct {
	self       string // this node
	second     string // the node that has a copy; "" for none
	cfg        *Settings
	phase      phase
	configured int64
	subject    []byte
	subjectSet int64
	stamps     map[string]int64 // when affiliations were changed

	dealt      map[string]mark // how far it has come with what each node has sent
	gone       string          // the node whose sessions leave now, and are told nothing of that
	sent       uint64          // how much sessions of other nodes were sent
	spoken     stanza.ID       // of the last message that all were told
	asked      int64           // when nodes were asked who of theirs is in the room, nanoseconds since 1970
	asks       bool            // they are about to be: they say whom their sessions have been shown, of whom some may not be in it
	doubted    map[string]bool // sessions that were in it then by somebody else's word, and of which their node has not told
	own        map[string]bool // while more of it comes here: sessions that are in it as this node knows them
	lost       time.Time       // when it came back after its home was lost
	strays     bool            // a node was lost with sessions that stay in it, as it goes to where that may be reached
	awaits     map[string]bool // nodes that have yet to tell: until then they are not told who comes and goes
	known      map[string]bool // nodes that have told since: what their sessions have been shown is known here better than by them
	touched    []touch         // sessions that have entered, changed or left
	seated     int             // how many of these their nodes know of
	told       []store.HistoryMessage
	retold     []stanza.ID // messages that sessions here have just been told, which may be in this node's line
	affiliated []string    // whose affiliation has changed
	voiced     []string    // of whom what is remembered of their voice has changed
}

type touch struct {
	full stanza.JID
	node string // "" for one that is gone
}

func newReplication(self string) *replication { return &replication{self: self} }

func (p *replication) nodeOf(s router.Session) string {
	switch n := s.(type) {
	case *node:
		return n.name
	case *absent:
		return n.name
	}
	if p == nil {
		return ""
	}
	return p.self
}

// isOn reports whether a session is on a node, as far as is known: one that is looked for is on none, unless it may be there still.
func (p *replication) isOn(to *seat, node string) bool {
	a, away := to.session.(*absent)
	return !(away && a.sure) && p.nodeOf(to.session) == node
}

// tells reports whether a node is about to tell what its sessions know, and is told all that they do not know when it has.
func (p *replication) tells(node string) bool { return p.awaits[node] || p.asks && node != p.self }

// knows notes that a node has told of its sessions.
func (p *replication) knows(node string) {
	if p.known == nil {
		p.known = make(map[string]bool)
	}
	p.known[node] = true
}

func (p *replication) touch(full stanza.JID, s router.Session) {
	if p != nil {
		p.touched = append(p.touched, touch{full, p.nodeOf(s)})
	}
}

func (p *replication) touchAll(o *occupant) {
	for i := range o.seats {
		p.touch(o.seats[i].jid, o.seats[i].session)
	}
}

func (p *replication) remember(m utterance) {
	if p != nil {
		p.told = append(p.told, m.kept())
	}
}

// asStored takes what a room is as it has been since before this node had it in memory.
func (p *replication) asStored(r *room) {
	if p != nil {
		p.cfg, p.phase, p.configured, p.subject, p.subjectSet = r.cfg, open, 1, r.subject, 1
	}
}

// setAffiliate changes an affiliation.
func (r *room) setAffiliate(a affiliate) {
	r.affiliates.set(a)
	if p := r.rep; p != nil {
		if p.stamps == nil {
			p.stamps = make(map[string]int64)
		}
		p.stamps[a.jid] = max(time.Now().UnixNano(), p.stamps[a.jid]+1)
		p.affiliated = append(p.affiliated, a.jid)
	}
}

// stamp notes when the configuration or the subject was changed, which is now, and after it was the last time whatever the clock says, and reports whether they were.
func (p *replication) stamp(r *room) (configured, subject bool) {
	now := time.Now().UnixNano()
	if p.cfg != r.cfg || p.phase != r.phase {
		p.cfg, p.phase, p.configured, configured = r.cfg, r.phase, max(now, p.configured+1), true
	}
	if len(p.subject) != len(r.subject) || len(r.subject) > 0 && &p.subject[0] != &r.subject[0] {
		p.subject, p.subjectSet, subject = r.subject, max(now, p.subjectSet+1), true
	}
	return configured, subject
}
