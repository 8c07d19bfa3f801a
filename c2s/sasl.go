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

// sasl takes one element of the SASL namespace that begins an exchange, and runs
// the exchange to its end. done means that the user is known and the stream must be
// opened anew (RFC 6120 §6.4.6).
func (n *negotiation) sasl(tok *xmlstream.Token) (done bool, err error) {
	switch string(tok.Local) {
	case "auth":
	case "abort":
		return false, n.saslFailure("", errAborted)
	default:
		return false, n.saslFailure("", &auth.Failure{Condition: "malformed-request"})
	}
	mechanism := attr(tok, "mechanism")
	if n.mustStartTLS() {
		return false, n.saslFailure(mechanism, &auth.Failure{Condition: "encryption-required"}) // RFC 6120 §6.5.4
	}
	ctx, cancel := context.WithTimeout(n.srv.open, loginTimeout)
	defer cancel()
	exchange, err := n.srv.auth.Start(mechanism, n.channel)
	if err == nil {
		err = n.srv.admit(ctx)
	}
	if err == nil {
		err = n.exchange(ctx, exchange, tok)
	}
	var again *anotherAuth
	if errors.As(err, &again) {
		return n.sasl(again.tok)
	}
	if err != nil {
		return false, n.saslFailure(mechanism, err)
	}
	n.user, n.expires = exchange.User(), exchange.Expires()
	n.srv.Metrics.Logins.WithLabelValues(mechanism, "ok").Inc()
	n.srv.log.Info("login", "conn", n.wire.peer().id, "user", n.user, "mechanism", mechanism, "addr", n.wire.peer().addr)
	return true, nil
}

// exchange runs challenges and responses until success, which it has sent
// when it returns nil (RFC 6120 §6.4).
func (n *negotiation) exchange(ctx context.Context, e *auth.Exchange, tok *xmlstream.Token) error {
	if len(tok.Inner) == 0 { // no initial response: ask for it (RFC 6120 §6.4.2)
		var err error
		if tok, err = n.challenge(nil); err != nil {
			return err
		}
	}
	for {
		response, err := decode(tok.Inner)
		if err != nil {
			return err
		}
		challenge, done, err := e.Step(ctx, response)
		if err != nil {
			return n.ours(err)
		}
		if done {
			return n.send(saslElement("success", challenge))
		}
		if tok, err = n.challenge(challenge); err != nil {
			return err
		}
	}
}

// ours turns a fault on our side into what the client may know of it (RFC 6120 §6.5.11).
func (n *negotiation) ours(err error) error {
	var f *auth.Failure
	if errors.As(err, &f) {
		return f
	}
	n.srv.log.Error("authentication failed on our side", "conn", n.wire.peer().id, "err", err)
	return &auth.Failure{Condition: "temporary-auth-failure"}
}

// errAborted answers <abort/>, whether or not there is something to abort (RFC 6120 §6.4.4).
var errAborted = &auth.Failure{Condition: "aborted"}

// anotherAuth says that the client has given up one exchange for another (RFC 6120 §6.4.2).
// tok is its <auth/>, valid until the next element is read.
type anotherAuth struct{ tok *xmlstream.Token }

func (*anotherAuth) Error() string { return "c2s: another <auth/>" }

// challenge sends one and reads the response to it.
func (n *negotiation) challenge(data []byte) (*xmlstream.Token, error) {
	if err := n.send(saslElement("challenge", data)); err != nil {
		return nil, err
	}
	tok, err := n.next()
	if err != nil {
		return nil, err
	}
	switch {
	case string(tok.Space) != stanza.NSSASL:
		return nil, stanza.StreamNotAuthorized // RFC 6120 §4.9.3.12
	case string(tok.Local) == "abort":
		return nil, errAborted
	case string(tok.Local) == "auth":
		return nil, &anotherAuth{tok}
	case string(tok.Local) != "response":
		return nil, &auth.Failure{Condition: "malformed-request"}
	}
	return tok, nil
}

// decode reads base64 as RFC 6120 §6.4.2 has it: "=" is empty data.
func decode(inner []byte) ([]byte, error) {
	if string(inner) == "=" {
		return nil, nil
	}
	out, err := base64.StdEncoding.Strict().DecodeString(string(inner))
	if err != nil {
		return nil, &auth.Failure{Condition: "incorrect-encoding"} // RFC 6120 §6.5.5
	}
	return out, nil
}

func saslElement(name string, data []byte) []byte {
	b := []byte("<" + name + " xmlns='" + stanza.NSSASL + "'>")
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, "</"+name+">"...)
}

// saslFailure tells the client why and lets it try again until it has done so
// too often. An error that is no *auth.Failure ends the stream.
func (n *negotiation) saslFailure(mechanism string, err error) error {
	var f *auth.Failure
	if !errors.As(err, &f) {
		return err
	}
	if !knownMechanism(mechanism) {
		mechanism = "other"
	}
	n.srv.Metrics.Logins.WithLabelValues(mechanism, f.Condition).Inc()
	words := []any{"conn", n.wire.peer().id, "mechanism", mechanism, "condition", f.Condition, "addr", n.wire.peer().addr}
	if f.Cause != nil {
		words = append(words, "cause", f.Cause)
	}
	n.srv.log.Info("login failed", words...)
	b := []byte("<failure xmlns='" + stanza.NSSASL + "'><" + f.Condition + "/>")
	if f.Text != "" {
		b = append(b, "<text xml:lang='en'>"...)
		b = stanza.AppendEscaped(b, f.Text)
		b = append(b, "</text>"...)
	}
	if err := n.send(append(b, "</failure>"...)); err != nil {
		return err
	}
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

// knownMechanism keeps the metric's labels few whatever clients send.
func knownMechanism(m string) bool {
	switch m {
	case "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "OAUTHBEARER", "PLAIN":
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
