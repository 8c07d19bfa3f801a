package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Values of -login: how those come back in a storm who were logged in before.
const (
	loginPassword = "scram"  // by password over a new TLS session
	loginToken    = "fast"   // by TLS ticket and token (XEP-0484), to a new session
	loginResume   = "resume" // likewise, and the session goes on (XEP-0198 §9.2)
)

const nsSASL2 = "urn:xmpp:sasl:2"

// A returning is what a client keeps to come back.
type returning struct {
	tickets tls.ClientSessionCache
	agent   string // the client's id, a UUID
	token   string
	session string // to be resumed; "": none
	handled int    // stanzas that came in it
	jid     string
}

// begin is the first login of one who will come back: one round trip with all that is needed for that.
func (n *negotiation) begin() error {
	r := &returning{tickets: n.tickets, agent: randomUUID()}
	extra := "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>" + bindInline(n.d.Resource, n.d.Login)
	success, err := n.sasl2("", "PLAIN", "\x00"+n.name+"\x00"+n.d.Password, r.agent, extra)
	if err != nil {
		return err
	}
	if _, err := n.expect("stream:features"); err != nil {
		return err
	}
	r.token, r.session, r.jid = attributeOf(success, "<token ", "token"), attributeOf(success, "<enabled ", "id"), n.s.jid
	if r.token == "" || (n.d.Login == loginResume) != (r.session != "") {
		return errors.New("the server gives nothing to come back with")
	}
	if err := n.appear(); err != nil || r.session == "" {
		n.d.back.Store(n.s.user, r)
		return err
	}
	// What came by now is to be acknowledged when the session is resumed.
	if err := n.write("<r xmlns='urn:xmpp:sm:3'/>"); err != nil {
		return err
	}
	r.handled = 1 // the roster
	for stanzas := n.s.in; ; {
		elem, size, err := nextElement(stanzas)
		if err != nil || elem == nil {
			break
		}
		stanzas = stanzas[size:]
		r.count(elem)
	}
	for {
		elem, err := n.next()
		if err != nil {
			return err
		}
		if string(tagName(elem)) == "a" {
			n.d.back.Store(n.s.user, r)
			return nil
		}
		r.count(elem)
	}
}

// count counts what is a stanza (XEP-0198 §4).
func (r *returning) count(elem []byte) {
	switch string(tagName(elem)) {
	case "message", "presence", "iq":
		r.handled++
	}
}

// comeBack is the later login.
func (n *negotiation) comeBack(r *returning) error {
	d := hmac.New(sha256.New, []byte(r.token))
	d.Write([]byte("Initiator"))
	extra := "<fast xmlns='urn:xmpp:fast:0'/>"
	if r.session != "" {
		extra += fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/>", r.session, r.handled)
	} else {
		extra += bindInline(n.d.Resource, n.d.Login)
	}
	success, err := n.sasl2(n.header(), "HT-SHA-256-NONE", n.name+"\x00"+string(d.Sum(nil)), r.agent, extra)
	if err != nil {
		return err
	}
	if !n.s.tls.ConnectionState().DidResume {
		return errors.New("the server does not resume TLS sessions")
	}
	if r.session != "" {
		if !contains(success, "<resumed ") {
			return errors.New("the session was not resumed")
		}
		return nil
	}
	if _, err := n.expect("stream:features"); err != nil {
		return err
	}
	return n.appear()
}

// sasl2 logs in (XEP-0388), right behind the stream's header if that is not out yet.
func (n *negotiation) sasl2(header, mechanism, initial, agent, extra string) (success []byte, err error) {
	err = n.write(header + "<authenticate xmlns='" + nsSASL2 + "' mechanism='" + mechanism + "'><initial-response>" +
		base64.StdEncoding.EncodeToString([]byte(initial)) + "</initial-response><user-agent id='" + agent + "'/>" + extra + "</authenticate>")
	if err == nil && header != "" {
		err = n.opened()
	}
	if err != nil {
		return nil, err
	}
	success, err = n.expect("success")
	if err == nil {
		n.s.jid = text(success, "authorization-identifier")
		n.s.bare, _, _ = strings.Cut(n.s.jid, "/")
	}
	return success, err
}

func bindInline(tag, login string) string {
	enable := ""
	if login == loginResume {
		enable = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
	}
	return "<bind xmlns='urn:xmpp:bind:0'><tag>" + escape(tag) + "</tag>" + enable + "</bind>"
}

// attributeOf is an attribute of a descendant.
func attributeOf(elem []byte, tag, name string) string {
	_, rest, found := strings.Cut(string(elem), tag)
	if !found {
		return ""
	}
	return string(attribute([]byte("<x "+rest), name))
}

// randomUUID is RFC 9562 §5.4.
func randomUUID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
