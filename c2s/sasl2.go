package c2s

import (
	"bytes"
	"context"
	"encoding/base64"
	"time"

	"chatd/auth"
	"chatd/stanza"
	"chatd/xmlstream"
)

const (
	nsSASL2 = "urn:xmpp:sasl:2" // XEP-0388
	nsFAST  = "urn:xmpp:fast:0" // XEP-0484
)

// A fastUse says that the client logs in by a token of ours (XEP-0484 §3.4). A count, which guards against replay in TLS
// 0-RTT, does not matter: crypto/tls has no 0-RTT for servers.
type fastUse struct {
	invalidate bool // XEP-0484 §3.6
}

// sasl2 takes one element of SASL2 that begins an exchange, and runs the exchange to its end
// and what is to be done with it: tokens, resumption, binding a resource. The stream goes on as it is
// (XEP-0388 §2.6.1), with a session if there is one already. Nothing needs <continue/>.
func (n *negotiation) sasl2(tok *xmlstream.Token) (*Session, error) {
	req, err := parseAuthenticate(tok)
	if err != nil {
		return nil, n.saslFailure(&authRequest{space: nsSASL2}, err)
	}
	ctx, cancel := context.WithTimeout(n.srv.open, loginTimeout)
	defer cancel()
	exchange, data, err := n.prove(ctx, req)
	if err == nil && !n.peer.IsZero() && (n.peer.Local() != exchange.User() || n.peer.Domain() != n.srv.router.Domain.String()) {
		err = &auth.Failure{Condition: "invalid-authzid"} // XEP-0388 §2.3, §4.4
	}
	var token auth.LoginToken
	if err == nil {
		if token, err = exchange.Token(ctx, req.client, req.wantToken); err != nil {
			err = n.ours(err)
		}
	}
	if err != nil {
		return nil, n.saslFailure(req, err)
	}
	n.loggedIn(req, exchange)
	return n.finish(req, data, token)
}

// finish does what was asked for with the login, and tells the client of all of it at once (XEP-0388 §2.6.1).
func (n *negotiation) finish(req *authRequest, data []byte, token auth.LoginToken) (s *Session, err error) {
	jid, err := n.bare()
	if err != nil {
		return nil, err
	}
	var inline []byte
	if req.resume != nil { // before all else (XEP-0386 §3.2, XEP-0198 §9.2)
		if s, inline, err = n.resume(req.resume); err != nil {
			return nil, err
		}
	}
	resumed := s != nil
	if !resumed && req.bind != nil {
		var bound []byte
		if s, bound, err = n.bindInline(req); err != nil {
			return nil, err
		}
		inline = append(inline, bound...)
	}
	if s != nil {
		jid = s.jid
	}
	b := []byte("<success xmlns='" + nsSASL2 + "'>")
	if len(data) > 0 {
		b = append(b, "<additional-data>"...)
		b = append(base64.StdEncoding.AppendEncode(b, data), "</additional-data>"...)
	}
	b = append(b, "<authorization-identifier>"...)
	b = append(stanza.AppendEscaped(b, jid.String()), "</authorization-identifier>"...)
	b = append(b, inline...)
	if token.Secret != "" {
		b = append(b, "<token xmlns='"+nsFAST+"' expiry='"+token.Expires.UTC().Format(time.RFC3339)+"' token='"+token.Secret+"'/>"...)
	}
	n.send(append(b, "</success>"...))
	if !resumed { // XEP-0198 §9.2
		n.send(n.sessionFeatures(s))
	}
	return s, nil
}

// parseAuthenticate reads <authenticate/>. What it returns stays valid. The error is a *auth.Failure.
func parseAuthenticate(tok *xmlstream.Token) (*authRequest, error) {
	switch string(tok.Local) {
	case "authenticate":
	case "abort":
		return nil, errAborted
	default:
		return nil, errMalformed
	}
	req := &authRequest{space: nsSASL2, mechanism: attr(tok, "mechanism")}
	err := eachChild(tok, req.child)
	if err != nil || req.fast != nil && req.client == "" { // XEP-0484 §4.1
		return nil, errMalformed
	}
	return req, nil
}

// child takes one child of <authenticate/>. What is not known is ignored.
func (req *authRequest) child(c *xmlstream.Token) error {
	switch name(c) {
	case nsSASL2 + " initial-response":
		req.initial, req.given = bytes.TrimSpace(xmlstream.Text(nil, c.Inner)), true
	case nsSASL2 + " user-agent":
		id := attr(c, "id")
		if id != "" && !isUUID4(id) {
			return errMalformed // XEP-0388 §2.3
		}
		req.client = string(bytes.ToLower([]byte(id)))
	case nsFAST + " fast":
		req.fast = &fastUse{invalidate: isTrue(attr(c, "invalidate"))}
	case nsFAST + " request-token":
		req.wantToken = attr(c, "mechanism")
	case nsSM + " resume":
		req.resume = &resumption{id: attr(c, "previd"), handled: attr(c, "h")}
	case nsBind2 + " bind":
		req.bind = &inlineBind{}
		return eachChild(c, req.bind.child)
	}
	return nil
}

func name(tok *xmlstream.Token) string { return string(tok.Space) + " " + string(tok.Local) }

// isTrue is XML's idea of a boolean.
func isTrue(value string) bool { return value == "true" || value == "1" }

// eachChild calls f for each child element, valid during the call. An element is read as if it were a stream of its children.
func eachChild(tok *xmlstream.Token, f func(*xmlstream.Token) error) error {
	if tok.Children == 0 {
		return nil
	}
	raw := tok.Raw
	sc := xmlstream.NewScanner(stanza.RescanLimits(len(raw)))
	for {
		c, used, err := sc.Scan(raw)
		if err != nil {
			return err
		}
		switch c.Kind {
		case xmlstream.Element:
			if c.Children > 0 && (c.Prefixed || c.OuterPrefix) {
				if c, _, err = standAlone(sc, c, nil); err != nil {
					return err
				}
			}
			if err := f(c); err != nil {
				return err
			}
		case xmlstream.None, xmlstream.Close:
			return nil
		}
		raw = raw[used:]
	}
}

// isUUID4 reports whether s is a random UUID (RFC 9562 §5.4).
func isUUID4(s string) bool {
	if len(s) != 36 || s[14] != '4' || s[19]|0x20 != 'a' && s[19]|0x20 != 'b' && s[19] != '8' && s[19] != '9' {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case ('0' > c || c > '9') && ('a' > c|0x20 || c|0x20 > 'f'):
			return false
		}
	}
	return true
}
