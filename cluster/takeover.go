package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"chatd/stanza"
)

// keepTime is how long a session that was given to another node is kept until that node says that it has it.
const keepTime = 30 * time.Second

var errNode = errors.New("cluster: the session's node is not there")

// give ends the session of a full JID, which another node has a new session for.
func (s *Service) give(ctx context.Context, full string) error {
	jid, err := stanza.ParseJID(full)
	if err != nil {
		return err
	}
	for _, row := range s.r.Table.Local(jid) {
		if row.Session.JID() != jid {
			continue
		}
		row.Session.Close(stanza.StreamConflict) // RFC 6120 §7.7.2.2
		select {
		case <-row.Session.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Fetch takes a session over, in the encoding of Sessions.Yield: from the node that is in its id, or from one that has taken it over from
// that since. The caller calls kept when it has it; without that the other node goes on with it.
func (s *Service) Fetch(ctx context.Context, id, user string) (session []byte, kept func(), err error) {
	defer s.Sessions.Forget(user)
	name := id[:strings.LastIndexByte(id, '.')]
	peers := slices.Clone(s.peers())
	err = errNode
	if i := slices.IndexFunc(peers, func(p *Peer) bool { return p.Name == name }); i >= 0 {
		if session, err = peers[i].Request(ctx, askYield, []byte(id+"\x00"+user)); err == nil {
			return session, s.confirm(peers[i], id), nil
		}
		peers = slices.Delete(peers, i, i+1)
	}
	type found struct {
		session []byte
		peer    *Peer
	}
	answers := make(chan found, len(peers))
	for _, p := range peers {
		s.background(func(context.Context) {
			session, err := p.Request(ctx, askYield, []byte(id+"\x00"+user))
			if err != nil {
				session = nil
			}
			answers <- found{session, p}
		})
	}
	for range peers {
		if f := <-answers; f.session != nil {
			return f.session, s.confirm(f.peer, id), nil
		}
	}
	return nil, nil, fmt.Errorf("cluster: session of %s: %w", name, err)
}

func (s *Service) confirm(p *Peer, id string) (kept func()) {
	return func() { p.Send(kindKept, []byte(id)) }
}

// BoundAfter reports whether a resource is bound on another node, later than at a time.
func (s *Service) BoundAfter(full stanza.JID, at time.Time) bool {
	row, ok := s.rows.Row(full)
	return ok && row.Bound > at.UnixNano()
}

// HandOver gives a session of this node's, which is about to leave, to another one. If there is one, give is called, after which the
// session is not here any more; who asks for it meanwhile waits. An error says that no node has it.
func (s *Service) HandOver(ctx context.Context, id string, give func() ([]byte, error)) error {
	peers := s.peers()
	if len(peers) == 0 {
		return errNode
	}
	defer s.giving.begin(id)()
	session, err := give()
	if err != nil {
		return err
	}
	first := int(s.givenTo.Add(1))
	for i := range peers {
		_, err = peers[(first+i)%len(peers)].Request(ctx, askAdopt, session)
		var refused *RemoteError // it may be about to leave, too
		if !errors.As(err, &refused) {
			return err
		}
	}
	return err
}

func (s *Service) yield(ctx context.Context, p *Peer, payload []byte) ([]byte, error) {
	id, user, _ := bytes.Cut(payload, []byte{0})
	session, err := s.Sessions.Yield(string(id), string(user))
	if err != nil {
		s.giving.wait(ctx, string(id)) // then whoever asks finds it where it is now
		return nil, err
	}
	s.yielded.add(string(id), &yieldedSession{session: session, to: p, kept: make(chan struct{})}, func() {
		s.background(func(ctx context.Context) {
			s.log.Warn("session goes on here: the node that asked for it has not kept it", "user", string(user))
			s.Sessions.Restore(ctx, session)
		})
	})
	return session, nil
}

// Yielded is the sessions that were given away and are not confirmed. As many as logins are under way.
type yielded struct {
	mu    sync.Mutex
	until map[string]*yieldedSession // by id
}

type yieldedSession struct {
	session []byte
	to      *Peer
	timer   *time.Timer
	kept    chan struct{} // closed: it has it, or nobody waits for that any more
}

// add has restore called in a while, unless the session is confirmed.
func (y *yielded) add(id string, x *yieldedSession, restore func()) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.until == nil {
		y.until = make(map[string]*yieldedSession)
	}
	y.until[id] = x
	x.timer = time.AfterFunc(keepTime, func() {
		if y.kept(id) {
			restore()
		}
	})
}

// leaveTime bounds how long a node that leaves waits to hear of the sessions that it has just given away.
const leaveTime = time.Second

// leaveYielded takes back the sessions of which no other node says that it has them, before this one leaves.
func (s *Service) leaveYielded(ctx context.Context) {
	s.yielded.mu.Lock()
	all := maps.Clone(s.yielded.until)
	s.yielded.mu.Unlock()
	waiting, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	for id, x := range all {
		select {
		case <-x.kept:
		case <-x.to.done.Done():
		case <-waiting.Done():
		}
		if s.yielded.kept(id) {
			s.Sessions.Restore(ctx, x.session)
		}
	}
}

// kept forgets a session and reports whether it was there.
func (y *yielded) kept(id string) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	x, ok := y.until[id]
	if ok {
		x.timer.Stop()
		close(x.kept)
		delete(y.until, id)
	}
	return ok
}

// Giving is the sessions that are on their way to other nodes.
type giving struct {
	mu   sync.Mutex
	done map[string]chan struct{} // by id
}

// begin notes a session until end is called.
func (g *giving) begin(id string) (end func()) {
	done := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.done == nil {
		g.done = make(map[string]chan struct{})
	}
	g.done[id] = done
	return func() {
		close(done)
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.done, id)
	}
}

// wait returns when a session is not on its way.
func (g *giving) wait(ctx context.Context, id string) {
	g.mu.Lock()
	done := g.done[id]
	g.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}
