package c2s

import (
	"context"
	"errors"
	"fmt"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/xmlstream"
)

// expiryPace is at which sessions end that cannot be resumed any more.
const expiryPace = time.Millisecond

// Import goes on with sessions that another process has suspended: they wait for resumption
// again. Nobody is told: who saw them before does so still. Those that cannot be resumed any
// more, since their time is up or their account is gone, end as they would have, each
// expiryPace after the one before. It is called when the sessions are nowhere else
// any more, and on start before Serve. It blocks on the store.
func (s *Server) Import(ctx context.Context, all []*Suspended) (resumable int) {
	var sessions []*Session
	for _, x := range all {
		session, err := s.restore(x)
		if err != nil {
			s.log.Warn("session not restored", "jid", x.JID, "err", err)
			continue
		}
		sessions = append(sessions, session)
	}
	late := time.Duration(0)
	for _, session := range sessions { // now that all are there, and hear of each other's end
		left := session.prepare(ctx)
		if left > 0 {
			resumable++
		} else {
			left = late
			late += expiryPace
		}
		session.waitFor(left)
	}
	return resumable
}

// Restore goes on with a session that another process has suspended and does not have any more. If it cannot be, since its resource is taken
// or this process ends, what its client was not sent finds another way. It blocks on the store.
func (s *Server) Restore(ctx context.Context, x *Suspended) {
	session, err := s.restore(x)
	if err != nil {
		s.log.Info("session not restored", "jid", x.JID, "err", err)
		s.endImported(ctx, x)
		return
	}
	session.waitFor(session.prepare(ctx))
}

var (
	errNotHere = errors.New("c2s: not a full address of this server")
	errNoID    = errors.New("c2s: no id of its own")
	errTooLate = errors.New("c2s: the server stops")
	errTaken   = errors.New("c2s: the resource is taken")
)

// restore makes a session without a connection of x and enters it in the table.
func (s *Server) restore(x *Suspended) (*Session, error) {
	session, err := s.restored(x)
	if err != nil {
		return nil, err
	}
	if err := s.awaits(session); err != nil {
		return nil, err
	}
	if !s.router.Table.Enter(x.row(session)) {
		s.mu.Lock()
		delete(s.byID, x.ID)
		s.mu.Unlock()
		return nil, errTaken
	}
	return session, nil
}

// restored makes a session without a connection of x.
func (s *Server) restored(x *Suspended) (*Session, error) {
	if x.ID == "" || s.resumableBy(x.ID) != nil {
		return nil, errNoID
	}
	jid, err := stanza.ParseJID(x.JID)
	if err != nil || jid.Domain() != s.router.Domain.Domain() || jid.Local() == "" || jid.IsBare() {
		return nil, errNotHere
	}
	m, err := x.managed()
	if err != nil {
		return nil, err
	}
	state, err := x.state(jid)
	if err != nil {
		return nil, err
	}
	session := &Session{srv: s, jid: jid, wire: nowhere{}, state: state, done: make(chan struct{}),
		smID: x.ID, managed: true, handled: x.Handled, until: x.Until, expires: x.Expires}
	if latest := time.Now().Add(x.Wait); session.until.After(latest) { // the clock was set back
		session.until = latest
	}
	session.broken.Store(true)
	session.out = outbox{managed: m, storing: x.Storing, detached: true, writing: true}
	if x.Inactive {
		session.out.inactive = &postponement{}
	}
	session.expiry = time.AfterFunc(never, session.expire)
	return session, nil
}

// row is the row of a session that was made of x.
func (x *Suspended) row(s *Session) router.Row {
	return router.Row{Session: s, Available: x.Available, Priority: x.Priority, Flags: x.Flags | router.Resumed, Detached: x.Storing}
}

// awaits notes a restored session as one that can be resumed, unless it would be too late to keep it or to give it away again.
func (s *Server) awaits(session *Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept {
		return errTooLate
	}
	s.byID[session.smID] = session
	return nil
}

// never is a time that is not waited for.
const never = time.Duration(1 << 62)

// managed is what the client has not acknowledged.
func (x *Suspended) managed() (*managed, error) {
	m := &managed{id: x.ID, wait: x.Wait, handled: x.Acked}
	for _, u := range x.Unacked {
		if (u.Stored == 0) == (u.Stanza == "") {
			return nil, errors.New("c2s: a stanza that is nowhere, or twice")
		}
		m.unacked = append(m.unacked, u.Stanza...)
		m.sizes = append(m.sizes, int32(len(u.Stanza)))
		m.stored = append(m.stored, u.Stored)
	}
	return m, m.check()
}

// check reports whether what is not acknowledged is one whole element after the other, of the
// sizes that are noted.
func (m *managed) check() error {
	sc := xmlstream.NewScanner(stanza.RescanLimits(len(m.unacked)))
	sc.Resume(xmlstream.ClientScope)
	rest := m.unacked
	for _, size := range m.sizes {
		if size == 0 {
			continue
		}
		tok, n, err := sc.Scan(rest)
		if err != nil || tok.Kind != xmlstream.Element || n != int(size) {
			return errors.New("c2s: a stanza is unreadable")
		}
		rest = rest[n:]
	}
	return nil
}

// state is what other packages keep with the session, but for the block list.
func (x *Suspended) state(jid stanza.JID) (*router.State, error) {
	state := &router.State{Begun: x.Begun}
	state.Strayed.Store(x.Strayed)
	state.Handed.Restore(x.Handed)
	if x.Presence != "" {
		p, err := stanza.Parse([]byte(x.Presence))
		if err != nil || p.Kind != stanza.Presence || p.Type != stanza.None || p.From != jid {
			return nil, errors.New("c2s: the presence is unreadable")
		}
		state.Presence.Store(p)
	}
	for _, text := range x.Directed {
		j, err := stanza.ParseJID(text)
		if err != nil {
			return nil, fmt.Errorf("c2s: directed presence: %w", err)
		}
		if state.Directed == nil {
			state.Directed = make(map[stanza.JID]struct{})
		}
		state.Directed[j] = struct{}{}
	}
	return state, nil
}

// prepare loads what belongs to a restored session, and returns for how long it can be
// resumed; 0: not at all.
func (s *Session) prepare(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	exists, err := s.srv.router.Users.Exists(ctx, s.jid.Local())
	if err == nil && exists {
		err = s.srv.OnBind(ctx, s)
	}
	if err != nil {
		s.srv.log.Log(ctx, stanza.FaultLevel(err), "session not prepared", "jid", s.jid, "err", err)
	}
	if err != nil || !exists || !s.expires.IsZero() && time.Now().After(s.expires) {
		return 0
	}
	return max(0, time.Until(s.until))
}

// waitFor starts a restored session's time.
func (s *Session) waitFor(left time.Duration) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.out.over {
		return
	}
	s.expiry.Reset(left)
	if !s.expires.IsZero() {
		s.endAt(s.expires)
	}
}

// endImported ends a session that is nowhere any more as it would have ended here: its contacts are told, and what its client was not sent
// finds another way.
func (s *Server) endImported(ctx context.Context, x *Suspended) {
	session, err := s.restored(x)
	if err != nil {
		s.log.Warn("session not restored", "jid", x.JID, "err", err)
		return
	}
	if !s.router.Table.Enter(x.row(session)) { // to its contacts the one that has the resource is the same
		session.expiry.Stop()
		session.reroute(router.Row{})
		return
	}
	go session.expire()
	select {
	case <-session.Done():
	case <-ctx.Done():
	}
}
