package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// Fetch takes a session over from the node that is in its id, in the encoding of Sessions.Yield. The caller calls
// kept when it has it; without that the other node goes on with it.
func (s *Service) Fetch(ctx context.Context, id, user string) (session []byte, kept func(), err error) {
	name := id[:strings.LastIndexByte(id, '.')]
	for _, p := range s.peers() {
		if p.Name != name {
			continue
		}
		session, err = p.Request(ctx, askYield, []byte(id+"\x00"+user))
		if err != nil {
			return nil, nil, fmt.Errorf("cluster: session of %s: %w", name, err)
		}
		return session, func() { p.Send(kindKept, []byte(id)) }, nil
	}
	return nil, nil, errNode
}

func (s *Service) yield(payload []byte) ([]byte, error) {
	id, user, _ := bytes.Cut(payload, []byte{0})
	session, err := s.Sessions.Yield(string(id), string(user))
	if err != nil {
		return nil, err
	}
	s.yielded.add(string(id), func() {
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
	until map[string]*time.Timer
}

// add has restore called in a while, unless the session is confirmed.
func (y *yielded) add(id string, restore func()) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.until == nil {
		y.until = make(map[string]*time.Timer)
	}
	y.until[id] = time.AfterFunc(keepTime, func() {
		if y.kept(id) {
			restore()
		}
	})
}

// kept forgets a session and reports whether it was there.
func (y *yielded) kept(id string) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	t, ok := y.until[id]
	if ok {
		t.Stop()
		delete(y.until, id)
	}
	return ok
}
