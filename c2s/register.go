package c2s

import (
	"context"
	"encoding/xml"
	"errors"

	"chatd/auth"
	"chatd/stanza"
)

const nsRegister = "jabber:iq:register"

const registerForm = "<query xmlns='" + nsRegister + "'>" +
	"<instructions>Choose a user name and a password.</instructions><username/><password/></query>"

// register is in-band registration before login (XEP-0077 §3.1). Changing the
// password and cancelling the account come with a session and are package xep's.
func (n *negotiation) register(st *stanza.Stanza) {
	if !n.cfg.Registration {
		n.sendError(st, stanza.ErrServiceUnavailable)
		return
	}
	switch st.Type {
	case stanza.Get:
		n.sendResult(st, []byte(registerForm))
	case stanza.Set:
		n.turn.end() // the disk is waited for
		if err := n.createAccount(st); err != nil {
			n.sendError(st, stanza.Fault(err).WithSecret())
			return
		}
		n.sendResult(st, nil)
	}
}

type registration struct {
	XMLName  xml.Name  `xml:"jabber:iq:register query"`
	Username *string   `xml:"username"`
	Password *string   `xml:"password"`
	Remove   *struct{} `xml:"remove"`
}

func (n *negotiation) createAccount(st *stanza.Stanza) error {
	query, err := stanza.Payload[registration](st)
	if err != nil {
		return err
	}
	if query.Remove != nil {
		return stanza.ErrNotAllowed // XEP-0077 §3.2: only for who is logged in
	}
	if query.Username == nil || query.Password == nil {
		return stanza.ErrNotAcceptable.WithText("a user name and a password are needed") // XEP-0077 §3.1.1
	}
	if !n.srv.registrations.allow(keyOf(n.wire.peer().addr), n.cfg.RegistrationsPerMinute) {
		n.srv.Metrics.Registrations.WithLabelValues("too-many").Inc()
		return stanza.ErrResourceConstraint.WithText("too many registrations from your address; try again in a minute")
	}
	ctx, cancel := context.WithTimeout(n.srv.open, loginTimeout)
	defer cancel()
	user, err := n.srv.auth.Register(ctx, *query.Username, *query.Password)
	switch {
	case err == nil:
		n.srv.Metrics.Registrations.WithLabelValues("ok").Inc()
		n.srv.log.Info("account registered", "conn", n.wire.peer().id, "user", user, "addr", n.wire.peer().addr)
		return nil
	case errors.Is(err, auth.ErrExists):
		n.srv.Metrics.Registrations.WithLabelValues("conflict").Inc()
		return stanza.ErrConflict
	case errors.Is(err, auth.ErrBadUser), errors.Is(err, auth.ErrBadPassword):
		n.srv.Metrics.Registrations.WithLabelValues("not-acceptable").Inc()
		return stanza.ErrNotAcceptable
	}
	n.srv.Metrics.Registrations.WithLabelValues("error").Inc()
	n.srv.log.Log(ctx, stanza.FaultLevel(err), "registration failed", "conn", n.wire.peer().id, "err", err)
	return stanza.Fault(err)
}

func (n *negotiation) sendResult(st *stanza.Stanza, inner []byte) {
	reply := stanza.Stanza{Kind: stanza.IQ, Type: stanza.Result, From: n.srv.router.Domain, ID: st.ID, Inner: inner}
	n.send(reply.Append(nil))
}
