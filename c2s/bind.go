package c2s

import (
	"context"
	"encoding/xml"
	"errors"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/xmlstream"
)

// bindAttempts is how often a client may ask for another resource on one stream.
const bindAttempts = 5

// bind serves the stream until the client has a resource (RFC 6120 §7).
func (n *negotiation) bind() (*Session, error) {
	for range bindAttempts {
		tok, err := n.next()
		if err != nil {
			return nil, err
		}
		if string(tok.Space) == nsSM {
			s, err := n.beforeBind(tok)
			if s != nil || err != nil {
				return s, err
			}
			continue
		}
		var st stanza.Stanza
		fault := st.Load(tok, nil)
		if fault == stanza.ErrNotStanza {
			return nil, notStanza(tok)
		}
		if fault == nil && (st.Kind != stanza.IQ || st.Type != stanza.Set || string(st.Space) != stanza.NSBind) {
			return nil, stanza.StreamNotAuthorized // RFC 6120 §7.1
		}
		request := st.Clone() // the token does not outlive what follows
		var session *Session
		if fault == nil {
			session, fault, err = n.bindRequest(request)
			if err != nil {
				return nil, err
			}
		}
		if fault != nil {
			n.sendError(request, fault)
			continue
		}
		n.send(bindResult(request.ID, session.jid))
		return session, nil
	}
	return nil, stanza.StreamPolicyViolation.WithText("too many attempts to bind a resource")
}

// beforeBind takes an element of stream management: only a resumption makes sense
// before there is a resource (XEP-0198 §3, §5).
func (n *negotiation) beforeBind(tok *xmlstream.Token) (*Session, error) {
	switch string(tok.Local) {
	case "resume":
		s, answer, err := n.resume(&resumption{id: attr(tok, "previd"), handled: attr(tok, "h")})
		n.send(answer)
		return s, err
	case "enable":
		n.send([]byte(smFailure("unexpected-request")))
		return nil, nil
	}
	return nil, stanza.StreamNotAuthorized
}

func bindResult(id []byte, jid stanza.JID) []byte {
	b := []byte("<bind xmlns='" + stanza.NSBind + "'><jid>")
	b = stanza.AppendEscaped(b, jid.String())
	b = append(b, "</jid></bind>"...)
	st := stanza.Stanza{Kind: stanza.IQ, Type: stanza.Result, ID: id, Inner: b}
	return st.Append(nil)
}

type bindPayload struct {
	XMLName  xml.Name `xml:"urn:ietf:params:xml:ns:xmpp-bind bind"`
	Resource string   `xml:"resource"`
}

// bindRequest chooses the resource: the client's, or one that the server makes
// (RFC 6120 §7.6, §7.7). fault is for the client, who may ask again.
func (n *negotiation) bindRequest(st *stanza.Stanza) (s *Session, fault, err error) {
	request, fault := stanza.Payload[bindPayload](st)
	if fault != nil {
		return nil, fault, nil
	}
	resource := request.Resource
	if resource == "" {
		resource = randomName()
	}
	return n.bindResource(resource, n.cfg.Conflict, func(*Session) {})
}

// bare is the user's address.
func (n *negotiation) bare() (stanza.JID, error) {
	return stanza.ParseJID(n.user + "@" + n.srv.router.Domain.String())
}

// bindResource enters a session in the table, after prepare has made it what it is to be. fault is for the client.
func (n *negotiation) bindResource(resource string, policy ConflictPolicy, prepare func(*Session)) (s *Session, fault, err error) {
	bare, err := n.bare()
	if err != nil {
		return nil, nil, err
	}
	for {
		full, err := bare.WithResource(resource)
		if err != nil {
			return nil, stanza.ErrBadRequest.WithText("not a valid resource"), nil // RFC 6120 §7.7.2.1
		}
		if len(n.srv.router.Table.Rows(bare)) >= n.cfg.ResourcesPerUser {
			return nil, stanza.ErrResourceConstraint.WithText("too many resources"), nil // RFC 6120 §7.6.2.1
		}
		s := n.session(full)
		prepare(s)
		ok, err := n.bindTo(s, policy)
		switch {
		case err != nil:
			return nil, nil, err
		case ok:
			return s, nil, nil
		case policy == Refuse:
			return nil, stanza.ErrConflict, nil // RFC 6120 §7.7.2.2
		}
		resource = randomName()
	}
}

// bindTo enters a session in the table, or not if its resource is taken.
func (n *negotiation) bindTo(s *Session, policy ConflictPolicy) (ok bool, err error) {
	if !n.srv.bound(n.wire, s) {
		return false, stanza.StreamSystemShutdown
	}
	if row, taken := n.srv.router.Table.Row(s.jid); taken && row.Remote {
		if policy != Replace {
			n.srv.bound(n.wire, nil)
			return false, nil
		}
		n.take(s.jid)
	}
	old, ok := n.srv.router.Table.Bind(s, policy == Replace)
	if old != nil {
		s.state.Blocked.Store(old.State().Blocked.Load()) // until OnBind has read it
		s.state.Audience.Store(old.State().Audience.Load())
	}
	if !ok {
		n.srv.bound(n.wire, nil)
		return false, nil
	}
	table := n.srv.router.Table
	time.AfterFunc(router.ArrivingTime, func() { table.Arrived(s) })
	if old != nil {
		if err := n.replace(old); err != nil {
			n.leave(s)
			return false, err
		}
		n.srv.router.Table.Settled(s)
	}
	if err := n.srv.OnBind(n.srv.ctx, s); err != nil {
		var reason *stanza.StreamError
		if errors.As(err, &reason) {
			n.leave(s)
			return false, reason
		}
		n.srv.log.Log(n.srv.ctx, stanza.FaultLevel(err), "session not prepared", "jid", s.jid, "err", err)
		n.leave(s)
		if stanza.Passing(err) {
			return false, stanza.StreamResourceConstraint // RFC 6120 §4.9.3.17
		}
		return false, stanza.StreamInternalServerError
	}
	return true, nil
}

// session makes the session of a resource.
func (n *negotiation) session(jid stanza.JID) *Session {
	s := &Session{srv: n.srv, jid: jid, wire: n.wire, state: &router.State{Begun: n.srv.router.Table.Elsewhere.Now().UTC().Round(0)}, done: make(chan struct{}), scope: n.scanner.Scope(), lang: n.lang}
	s.out.confirms, _ = n.wire.(confirmer)
	s.out.writing = true // until begin: nothing may come before the answer to the bind request
	s.onInput = s.readInput
	s.stanzas = newLimiter(n.cfg.StanzasPerSecond, n.cfg.StanzaBurst)
	s.bytes = newLimiter(n.cfg.BytesPerSecond, n.cfg.ByteBurst)
	return s
}

// replace closes the session that had the resource and waits until its contacts
// have been told, so that they hear of its end before they hear of ours.
func (n *negotiation) replace(old router.Session) error {
	n.turn.end()
	old.Close(stanza.StreamConflict) // RFC 6120 §7.7.2.2, §4.9.3.3
	select {
	case <-old.Done():
		return nil
	case <-time.After(loginTimeout / 2):
		return stanza.StreamResourceConstraint.WithText("the session before this one does not end")
	}
}

// take has the node that has a session of the same resource end it. If that node cannot be asked, it ends the
// session by itself when it hears of the one that is newer.
func (n *negotiation) take(full stanza.JID) {
	n.turn.end()
	ctx, cancel := context.WithTimeout(n.srv.ctx, loginTimeout/2)
	defer cancel()
	if err := n.srv.router.Table.Elsewhere.Take(ctx, full); err != nil {
		n.srv.log.Warn("session on another node not ended", "jid", full, "err", err)
	}
}

// leave undoes bindTo.
func (n *negotiation) leave(s *Session) {
	s.broken.Store(true)
	s.out.mu.Lock()
	s.out.closed = true
	s.out.stopWritingLocked()
	s.out.mu.Unlock()
	s.retire()
	n.srv.bound(n.wire, nil)
	close(s.done)
}

// sendError answers a stanza that came before the session.
func (n *negotiation) sendError(st *stanza.Stanza, fault error) {
	reply := stanza.Fault(fault).Reply(st)
	if reply == nil {
		return
	}
	reply.From, reply.To = n.srv.router.Domain, stanza.JID{}
	n.send(reply.Append(nil))
}

// beforeLogin takes a child of the stream that is neither TLS nor SASL.
func (n *negotiation) beforeLogin(tok *xmlstream.Token) error {
	var st stanza.Stanza
	fault := st.Load(tok, nil)
	switch {
	case fault == stanza.ErrNotStanza:
		return notStanza(tok)
	case string(st.Space) != nsRegister || st.Kind != stanza.IQ:
		return stanza.StreamNotAuthorized // RFC 6120 §4.9.3.12
	case n.mustStartTLS():
		return stanza.StreamPolicyViolation.WithText("use STARTTLS first") // RFC 6120 §5.3.1
	case fault != nil:
		n.sendError(st.Clone(), fault)
		return nil
	}
	n.register(st.Clone())
	return nil
}
