package muc

import (
	"context"
	"encoding/binary"
	"slices"

	"chatd/router"
	"chatd/stanza"
)

// A node is the sessions of another node, all of them: which one a stanza is for its 'to' says. It is a router.Session
// of which only Send and State are of use.
type node struct {
	s    *Service
	name string
}

// node is the sessions of a node that is not this one.
func (s *Service) node(name string) *node {
	if n, ok := s.nodes.Load(name); ok {
		return n.(*node)
	}
	n, _ := s.nodes.LoadOrStore(name, &node{s, name})
	return n.(*node)
}

// JID implements router.Session.
func (n *node) JID() stanza.JID { return stanza.JID{} }

// State implements router.Session: it is kept on the node, which asks it about each stanza.
func (n *node) State() *router.State { return nil }

// SendNow implements router.Session.
func (n *node) SendNow(context.Context, []*stanza.Stanza, []int64) (bool, error) {
	return false, stanza.ErrNotAllowed
}

// Close implements router.Session.
func (n *node) Close(*stanza.StreamError) {}

// Done implements router.Session.
func (n *node) Done() <-chan struct{} { return nil }

// Send implements router.Session: st goes to the node, behind all that was sent to it for the room that it is from.
func (n *node) Send(_ *router.Batch, st *stanza.Stanza) bool {
	return n.cast(frameCast, st, []stanza.JID{st.To})
}

// cast sends st, which is from a room, to several sessions there, as a frame of one kind or another: the recipients, and once what is for all of them.
func (n *node) cast(kind byte, st *stanza.Stanza, to []stanza.JID) bool {
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	b := n.s.Place.Token().append((*buf)[:0])
	b = binary.AppendUvarint(b, uint64(len(to)))
	for _, full := range to {
		b = appendText(b, full.String())
	}
	shared := *st
	shared.To = stanza.JID{}
	*buf = shared.Append(b)
	return n.s.Place.Send(n.name, kind, st.From.Local(), *buf)
}

// A gathering is who a stanza is for on each node, until it has been sent to all here.
type gathering []recipients

type recipients struct {
	node *node
	st   *stanza.Stanza
	to   []stanza.JID
}

// add has st sent to one more session by scatter.
func (g *gathering) add(n *node, st *stanza.Stanza) {
	i := slices.IndexFunc(*g, func(r recipients) bool { return r.node == n && r.st == st })
	if i < 0 {
		i = len(*g)
		*g = append(*g, recipients{node: n, st: st})
	}
	(*g)[i].to = append((*g)[i].to, st.To)
}

// gather begins what scatter ends: between them what goes to several sessions of one node goes there once. A stanza that is sent must not be changed but for To
// meanwhile. The caller holds the room's lock.
func (s *Service) gather(r *room) {
	if s.Place != nil {
		r.gathering = make(gathering, 0, 4)
	}
}

func (s *Service) scatter(r *room) {
	for _, to := range r.gathering {
		if !to.node.cast(frameCast, to.st, to.to) {
			s.unsent(r, to.node, to.st, to.to)
		}
	}
	r.gathering = nil
}

// castTo takes what a room elsewhere says to sessions here. follows: to one that has come, and has not heard what others here have.
func (s *Service) castTo(b *router.Batch, from, room string, payload []byte, follows bool) bool {
	token, rest, ok := cutToken(payload)
	if !ok {
		return false
	}
	if s.fenced(from, room, token) {
		s.Metrics.fenced.Inc()
		return true
	}
	to, rest, ok := s.cutRecipients(rest)
	if !ok {
		return false
	}
	st, err := stanza.Parse(rest)
	if err != nil {
		return false
	}
	st.Wire = rest
	s.noteShown(from, room, token, st, to)
	if isCast(st) && s.hear(room, rest, memorable(st)) && !follows {
		return true
	}
	for _, full := range to {
		st.To = full
		if !s.giveHere(b, st) {
			s.Place.Send(from, frameMissed, room, appendText(nil, full.String()), rest)
		}
	}
	return true
}

// cutRecipients reads what cast writes before the stanza.
func (s *Service) cutRecipients(b []byte) (to []stanza.JID, rest []byte, ok bool) {
	count, size := binary.Uvarint(b)
	if size <= 0 || count > uint64(len(b)) {
		return nil, nil, false
	}
	rest = b[size:]
	to = make([]stanza.JID, 0, count)
	for range count {
		var full []byte
		if full, rest, ok = cutText(rest); !ok {
			return nil, nil, false
		}
		jid, ok := s.r.Table.Intern(full)
		if !ok {
			jid = stanza.Restore(string(full))
		}
		to = append(to, jid)
	}
	return to, rest, true
}

// castReturned deals with what a node that is gone was told and has not confirmed: sessions that it gave to others before (XEP-0198 §5) are told there.
func (s *Service) castReturned(b *router.Batch, room string, payload []byte) bool {
	node, rest, ok := cutText(payload)
	if !ok {
		return false
	}
	if _, rest, ok = cutToken(rest); !ok {
		return false
	}
	to, rest, ok := s.cutRecipients(rest)
	for _, full := range to {
		if _, there := s.r.Table.Row(full); !there && !s.isAbsent(b, room, full) {
			continue // it has left with its node
		}
		ok = ok && s.missed(b, string(node), room, append(appendText(nil, full.String()), rest...))
	}
	return ok
}

// giveHere gives st to a session of this node, and reports whether it is here.
func (s *Service) giveHere(b *router.Batch, st *stanza.Stanza) bool {
	for range 2 { // another may have its place
		for _, row := range s.r.Table.Local(st.To) {
			if row.Session.JID() != st.To {
				continue
			}
			if row.Session.State().Blocked.Load().Matches(st.From) && st.Type != stanza.Unavailable {
				return true // XEP-0191 §3.3
			}
			if row.Session.Send(b, st) {
				return true
			}
		}
	}
	return false
}

// missed is told of a session that was not where it was thought to be: it is elsewhere by now, or gone.
func (s *Service) missed(b *router.Batch, node, name string, payload []byte) bool {
	full, raw, ok := cutText(payload)
	if !ok {
		return false
	}
	st, err := stanza.Parse(raw)
	if err != nil {
		return false
	}
	r := s.lock(b, name)
	if r == nil {
		return true
	}
	st.To = stanza.Restore(string(full))
	if o := r.of(st.To); o != nil {
		to := o.seat(st.To)
		switch row, ok := s.rowOf(st.To, to.bound); {
		case ok && to.goesOn(row, node) && row.Flags&router.Resumed != 0:
			waiting := []*stanza.Stanza{st}
			if a, ok := to.session.(*absent); ok {
				waiting = append(a.stanzas(), st)
			}
			s.found(b, r, to, row, waiting)
		case r.rep.nodeOf(to.session) != node: // its user has logged in anew and is in the room again
		case !s.miss(r, to, st, true):
			r.lose(st.To, to.session)
		}
	}
	empty := len(r.all) == 0
	s.unlock(b, r)
	if empty {
		s.settle(r)
	}
	return true
}

// sendAfter gives a session what it has been missed for elsewhere.
func (s *Service) sendAfter(b *router.Batch, r *room, to *seat, st *stanza.Stanza) {
	n, away := to.session.(*node)
	if !away {
		s.send(b, r, to, st)
		return
	}
	r.rep.sent++
	if to := []stanza.JID{to.jid}; !n.cast(frameFollow, st, to) {
		s.unsent(r, n, st, to)
	}
}

// rowOf is the row of a session that was bound at a time, or of the one that goes on with it on another node (XEP-0198 §5), where it is bound later. It is false
// if that is nowhere, also if its user has logged in anew with its address, or an older session of that address is still somewhere.
func (s *Service) rowOf(full stanza.JID, bound int64) (router.Row, bool) {
	row, ok := s.r.Table.Row(full)
	return row, ok && (bound == 0 || boundAt(row) == bound || boundAt(row) > bound && row.Flags&router.Resumed != 0)
}

// boundAt is when the session of a row was bound, nanoseconds since 1970.
func boundAt(row router.Row) int64 { return boundOf(row.Session) }

// boundOf is when a session was bound; 0: that is not known.
func boundOf(sess router.Session) int64 {
	if sess == nil || sess.State() == nil {
		return 0
	}
	return sess.State().Begun.UnixNano()
}

// follow has a seat be where its session is now. The caller holds the room's lock.
func (s *Service) follow(r *room, to *seat, row router.Row) {
	to.session, to.bound = s.sessionOf(row), boundAt(row)
	r.rep.touch(to.jid, to.session)
}

// sessionOf is a session of the table's as rooms have it.
func (s *Service) sessionOf(row router.Row) router.Session {
	if row.Remote && s.Place != nil {
		return s.node(row.Node())
	}
	return row.Session
}
