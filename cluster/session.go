package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// A session is a resource that is connected to another node, as router.Session. One is made each time that the
// table is asked for it.
type session struct {
	s    *Service
	full stanza.JID
	peer *Peer
	row  router.State // what others store in it is lost: only the node that has the session keeps it
}

// JID implements router.Session.
func (s *session) JID() stanza.JID { return s.full }

// Node is the name of the node that the session is connected to.
func (s *session) Node() string { return s.peer.Name }

// State implements router.Session. Of what it can hold only Begun is known here.
func (s *session) State() *router.State { return &s.row }

// encoded is the buffers that stanzas are encoded into on their way to a link, which copies them.
var encoded = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// Send implements router.Session: the stanza goes over the link. It is false when the link is down for good or has
// too much to send, and for a message that would overtake others of the user's: Done tells when these are where they belong. b
// notes who is to confirm it; links write by themselves what has come together.
func (s *session) Send(b *router.Batch, st *stanza.Stanza) bool {
	if st.Kind == stanza.Message {
		if s.s.moving.of(s.full) != nil {
			return false
		}
		s.s.lookFirst(s.full, s.peer)
		if st.StanzaID == (stanza.ID{}) { // a session here could not get rid of it
			s.s.Stored(st.WrittenID())
		}
	}
	buf := encoded.Get().(*[]byte)
	*buf = st.Append(appendTo((*buf)[:0], s.full))
	s.s.replica.Flush(s.peer) // so that the other node knows who it is from
	_, ok := s.peer.Send(kindStanza, *buf)
	encoded.Put(buf)
	if ok {
		b.Owe(s.peer)
	}
	return ok
}

// SendNow implements router.Session. Only a session's own node hands messages over.
func (s *session) SendNow(context.Context, []*stanza.Stanza, []int64) (bool, error) {
	return false, errElsewhere
}

// Close implements router.Session: the session's node ends it.
func (s *session) Close(reason *stanza.StreamError) {
	s.peer.Send(kindEnd, appendTo(nil, s.full), []byte(reason.Condition), []byte{0}, []byte(reason.Text))
}

// Done implements router.Session. What a session elsewhere holds its own node finds other ways for. Nobody here
// waits for that, but for what was on its way there: when the node is down, until that is known to be in the store or about to be.
func (s *session) Done() <-chan struct{} {
	if done := s.s.moving.of(s.full); done != nil {
		return done
	}
	if down := s.peer.Down(); down != nil {
		return down
	}
	return closed
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// appendTo writes an address behind its length.
func appendTo(b []byte, to stanza.JID) []byte { return appendText(b, to.String()) }

// cutTo reads what appendTo wrote. The address is a view of b.
func cutTo(b []byte) (to, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

// remoteRow is a row of another node as the router has it.
func (s *Service) remoteRow(r *RemoteRow, p *Peer) router.Row {
	t := &session{s: s, full: r.JID, peer: p}
	t.row.Begun = time.Unix(0, r.Bound).UTC()
	return router.Row{
		Session: t, Available: r.Available, Priority: r.Priority, Flags: r.Flags, Detached: r.Detached, Remote: true,
	}
}

var errElsewhere = errors.New("cluster: the session is on another node")
