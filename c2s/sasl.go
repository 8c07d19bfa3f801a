package c2s

import (
	"context"
	"encoding/base64"
	"errors"

	"chatd/auth"
	"chatd/stanza"
	"chatd/xmlstream"
)

// saslRetries is how often a client may try again on one stream (RFC 6120
// §6.4.5: between two and five).
const saslRetries = 3

// An authRequest is what begins an exchange: <auth/>, or <authenticate/> of SASL2.
type authRequest struct {
	space     string // namespace of the exchange's elements
	mechanism string
	initial   []byte // initial response, base64
	given     bool   // there is one

	// SASL2 only.
	client    string      // id of the <user-agent/>; "": none
	fast      *fastUse    // nil: the mechanism is an ordinary one
	wantToken string      // mechanism of the token that is asked for; "": none
	resume    *resumption // nil: none
	bind      *inlineBind // nil: none
}

// sasl takes one element of the SASL namespace that begins an exchange, and runs
// the exchange to its end. When it is known who the user is, the stream must be
// opened anew (RFC 6120 §6.4.6).
func (n *negotiation) sasl(tok *xmlstream.Token) error {
	req := &authRequest{space: stanza.NSSASL, mechanism: attr(tok, "mechanism"), initial: tok.Inner, given: len(tok.Inner) > 0}
	switch string(tok.Local) {
	case "auth":
	case "abort":
		return n.saslFailure(&authRequest{space: stanza.NSSASL}, errAborted)
	default:
		return n.saslFailure(&authRequest{space: stanza.NSSASL}, errMalformed)
	}
	ctx, cancel := context.WithTimeout(n.srv.open, loginTimeout)
	defer cancel()
	exchange, data, err := n.prove(ctx, req)
	var again *anotherAuth
	if errors.As(err, &again) {
		return n.sasl(again.tok)
	}
	if err != nil {
		return n.saslFailure(req, err)
	}
	n.send(saslElement(req.space, "success", data))
	n.loggedIn(req, exchange)
	return nil
}

// prove runs an exchange until the user is proven; data is what goes with success (RFC 6120 §6.3.10).
func (n *negotiation) prove(ctx context.Context, req *authRequest) (e *auth.Exchange, data []byte, err error) {
	if n.mustStartTLS() {
		return nil, nil, &auth.Failure{Condition: "encryption-required"} // RFC 6120 §6.5.4
	}
	if req.fast != nil {
		e, err = n.srv.auth.StartToken(req.mechanism, n.channel, req.client, req.fast.invalidate)
	} else {
		e, err = n.srv.auth.Start(req.mechanism, n.channel)
	}
	if n.srv.admission.Load() != nil || req.mechanism == "PLAIN" || req.mechanism == "OAUTHBEARER" {
		n.turn.end() // the node's rate, a turn to hash, or the issuer's keys may have to be waited for
	}
	if err == nil {
		err = n.srv.admit(ctx)
	}
	if err == nil {
		data, err = n.exchange(ctx, e, req)
	}
	return e, data, err
}

// loggedIn notes who the user is.
func (n *negotiation) loggedIn(req *authRequest, e *auth.Exchange) {
	n.user, n.expires = e.User(), e.Expires()
	n.srv.Metrics.Logins.WithLabelValues(req.mechanism, "ok").Inc()
	n.srv.log.Info("login", "conn", n.wire.peer().id, "user", n.user, "mechanism", req.mechanism, "addr", n.wire.peer().addr)
}

// exchange runs challenges and responses until success (RFC 6120 §6.4).
func (n *negotiation) exchange(ctx context.Context, e *auth.Exchange, req *authRequest) (data []byte, err error) {
	encoded := req.initial
	if !req.given { // ask for it (RFC 6120 §6.4.2)
		if encoded, err = n.challenge(req.space, nil); err != nil {
			return nil, err
		}
	}
	for {
		response, err := decode(req.space, encoded)
		if err != nil {
			return nil, err
		}
		challenge, done, err := e.Step(ctx, response)
		if err != nil {
			return nil, n.ours(err)
		}
		if done {
			return challenge, nil
		}
		if encoded, err = n.challenge(req.space, challenge); err != nil {
			return nil, err
		}
	}
}

// ours turns a fault on our side into what the client may know of it (RFC 6120 §6.5.11).
func (n *negotiation) ours(err error) error {
	var f *auth.Failure
	if errors.As(err, &f) {
		return f
	}
	n.srv.log.Log(n.srv.ctx, stanza.FaultLevel(err), "authentication failed on our side", "conn", n.wire.peer().id, "err", err)
	return &auth.Failure{Condition: "temporary-auth-failure"}
}

var (
	// errAborted answers <abort/>, whether or not there is something to abort (RFC 6120 §6.4.4).
	errAborted   = &auth.Failure{Condition: "aborted"}
	errMalformed = &auth.Failure{Condition: "malformed-request"}
)

// anotherAuth says that the client has given up one exchange for another (RFC 6120 §6.4.2).
// tok is its <auth/>, valid until the next element is read.
type anotherAuth struct{ tok *xmlstream.Token }

func (*anotherAuth) Error() string { return "c2s: another <auth/>" }

// challenge sends one and reads the response to it, valid until the next element is read.
func (n *negotiation) challenge(space string, data []byte) (response []byte, err error) {
	n.send(saslElement(space, "challenge", data))
	tok, err := n.next()
	if err != nil {
		return nil, err
	}
	switch {
	case string(tok.Space) != space:
		return nil, stanza.StreamNotAuthorized // RFC 6120 §4.9.3.12
	case string(tok.Local) == "abort":
		return nil, errAborted
	case string(tok.Local) == "auth":
		return nil, &anotherAuth{tok}
	case string(tok.Local) == "authenticate":
		return nil, stanza.StreamNotAuthorized // XEP-0388 §2.4
	case string(tok.Local) != "response":
		return nil, errMalformed
	}
	return tok.Inner, nil
}

// decode reads base64. Empty data is "=" in RFC 6120 §6.4.2, and nothing at all in XEP-0388 §2.2.
func decode(space string, encoded []byte) ([]byte, error) {
	if space == stanza.NSSASL && string(encoded) == "=" {
		return nil, nil
	}
	out, err := base64.StdEncoding.Strict().DecodeString(string(encoded))
	if err != nil {
		return nil, &auth.Failure{Condition: "incorrect-encoding"} // RFC 6120 §6.5.5
	}
	return out, nil
}

func saslElement(space, name string, data []byte) []byte {
	b := []byte("<" + name + " xmlns='" + space + "'>")
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, "</"+name+">"...)
}

// saslFailure tells the client why and lets it try again until it has done so
// too often. An error that is no *auth.Failure ends the stream.
func (n *negotiation) saslFailure(req *authRequest, err error) error {
	var f *auth.Failure
	if !errors.As(err, &f) {
		return err
	}
	mechanism := req.mechanism
	if !knownMechanism(mechanism) {
		mechanism = "other"
	}
	n.srv.Metrics.Logins.WithLabelValues(mechanism, f.Condition).Inc()
	words := []any{"conn", n.wire.peer().id, "mechanism", mechanism, "condition", f.Condition, "addr", n.wire.peer().addr}
	if f.Cause != nil {
		words = append(words, "cause", f.Cause)
	}
	n.srv.log.Info("login failed", words...)
	n.send(failureElement(req.space, f))
	// Only a tried password uses up a retry: a client may have to find out first
	// which mechanism it shares with us. loginElements bounds that.
	if f.Condition != "not-authorized" {
		return nil
	}
	if n.failures++; n.failures > saslRetries {
		return stanza.StreamPolicyViolation.WithText("too many failed logins") // RFC 6120 §6.4.5
	}
	return nil
}

// failureElement is RFC 6120 §6.5 or XEP-0388 §2.6.2.
func failureElement(space string, f *auth.Failure) []byte {
	b := []byte("<failure xmlns='" + space + "'><" + f.Condition)
	if space != stanza.NSSASL {
		b = append(b, " xmlns='"+stanza.NSSASL+"'"...)
	}
	b = append(b, "/>"...)
	if f.Text != "" {
		b = append(b, "<text xml:lang='en'>"...)
		b = stanza.AppendEscaped(b, f.Text)
		b = append(b, "</text>"...)
	}
	return append(b, "</failure>"...)
}

// knownMechanism keeps the metric's labels few whatever clients send.
func knownMechanism(m string) bool {
	switch m {
	case "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "OAUTHBEARER", "PLAIN",
		"HT-SHA-256-EXPR", "HT-SHA-256-UNIQ", "HT-SHA-256-ENDP", "HT-SHA-256-NONE":
		return true
	}
	return false
}

func attr(tok *xmlstream.Token, name string) string {
	for _, a := range tok.Attrs {
		if string(a.Name) == name {
			return string(xmlstream.Unescape(nil, a.Value))
		}
	}
	return ""
}
