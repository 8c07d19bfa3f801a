package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A negotiation is one login under way.
type negotiation struct {
	d        *dialer
	s        *session
	name     string
	buf      []byte
	at, end  int
	features []byte
	tickets  tls.ClientSessionCache // nil: a new TLS session each time
}

func (d *dialer) negotiate(sock *socket, user int) (*session, error) {
	s := &session{user: user, socket: sock, stream: sock}
	n := &negotiation{d: d, s: s, name: fmt.Sprintf(d.UserFormat, user), buf: make([]byte, 4096)}
	for _, phase := range n.phases() {
		if err := phase.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", phase.name, err)
		}
	}
	s.in = append(s.in, n.buf[n.at:n.end]...)
	return s, nil
}

// A phase is a part of a login.
type phase struct {
	name string
	do   func() error
}

func (n *negotiation) phases() []phase {
	if n.d.Login == loginPassword {
		return []phase{{"tls", n.secure}, {"stream", n.open}, {"registration", n.register}, {"authentication", n.authenticate},
			{"binding", n.bind}, {"roster", n.appear}}
	}
	if r, ok := n.d.back.Load(n.s.user); ok {
		n.tickets = r.(*returning).tickets
		return []phase{{"tls", n.secure}, {"coming back", func() error { return n.comeBack(r.(*returning)) }}}
	}
	n.tickets = tls.NewLRUClientSessionCache(1)
	return []phase{{"tls", n.secure}, {"stream", n.open}, {"registration", n.register}, {"authentication", n.begin}}
}

// secure starts TLS as the options say.
func (n *negotiation) secure() error {
	switch n.d.TLS {
	case tlsOff:
		return nil
	case tlsDirect:
		return n.handshake()
	}
	if err := n.open(); err != nil {
		return err
	}
	if err := n.write("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
		return err
	}
	if _, err := n.expect("proceed"); err != nil {
		return err
	}
	return n.handshake()
}

func (n *negotiation) handshake() error {
	cfg := n.d.tlsConfig
	if n.tickets != nil {
		cfg = cfg.Clone()
		cfg.ClientSessionCache = n.tickets
	}
	n.s.tls = tls.Client(n.s.socket, cfg)
	n.s.stream = n.s.tls
	n.at, n.end = 0, 0
	return n.s.tls.Handshake()
}

// open begins a stream, anew after TLS and after SASL.
func (n *negotiation) open() error {
	if err := n.write(n.header()); err != nil {
		return err
	}
	return n.opened()
}

func (n *negotiation) header() string {
	return "<?xml version='1.0'?><stream:stream to='" + escape(n.d.Domain) +
		"' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
}

// opened reads the server's header and features.
func (n *negotiation) opened() error {
	if _, err := n.expect("stream:stream"); err != nil {
		return err
	}
	f, err := n.expect("stream:features")
	n.features = bytes.Clone(f)
	return err
}

// register makes the account (XEP-0077 §3.1); one that exists is as well.
func (n *negotiation) register() error {
	if !n.d.Register {
		return nil
	}
	elem, err := n.iq("register", "set", "<query xmlns='jabber:iq:register'><username>"+escape(n.name)+
		"</username><password>"+escape(n.d.Password)+"</password></query>")
	if err == nil && isError(elem) && !contains(elem, "<conflict") {
		err = errors.New(condition(elem))
	}
	return err
}

func (n *negotiation) authenticate() error {
	mechanism := n.d.Mech
	if mechanism == "auto" {
		i := slices.IndexFunc(mechanisms, func(m string) bool { return contains(n.features, ">"+m+"<") })
		if i < 0 {
			return errors.New("the server offers no mechanism that chatload knows; does it want TLS first?")
		}
		mechanism = mechanisms[i]
	}
	var err error
	if mechanism == "PLAIN" {
		err = n.plain()
	} else {
		err = n.scram(mechanism)
	}
	if err != nil {
		return err
	}
	return n.open()
}

const nsSASL = "urn:ietf:params:xml:ns:xmpp-sasl"

func (n *negotiation) plain() error {
	err := n.auth("PLAIN", "\x00"+n.name+"\x00"+n.d.Password)
	if err == nil {
		_, err = n.expect("success")
	}
	return err
}

func (n *negotiation) scram(mechanism string) error {
	x := newScram(mechanism, n.name, n.d.Password, &n.d.keys)
	if err := n.auth(mechanism, x.first()); err != nil {
		return err
	}
	challenge, err := n.saslData("challenge")
	if err != nil {
		return err
	}
	final, err := x.final(challenge)
	if err != nil {
		return err
	}
	if err := n.write("<response xmlns='" + nsSASL + "'>" + base64.StdEncoding.EncodeToString([]byte(final)) + "</response>"); err != nil {
		return err
	}
	verdict, err := n.saslData("success")
	if err != nil {
		return err
	}
	return x.verify(verdict)
}

func (n *negotiation) auth(mechanism, initial string) error {
	return n.write("<auth xmlns='" + nsSASL + "' mechanism='" + mechanism + "'>" +
		base64.StdEncoding.EncodeToString([]byte(initial)) + "</auth>")
}

func (n *negotiation) saslData(name string) (string, error) {
	elem, err := n.expect(name)
	if err != nil {
		return "", err
	}
	data, err := base64.StdEncoding.DecodeString(string(content(elem)))
	return string(data), err
}

func (n *negotiation) bind() error {
	elem, err := n.iq("bind", "set", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>"+escape(n.d.Resource)+"</resource></bind>")
	if err != nil {
		return err
	}
	if n.s.jid = text(elem, "jid"); isError(elem) || n.s.jid == "" {
		return errors.New(condition(elem))
	}
	n.s.bare, _, _ = strings.Cut(n.s.jid, "/")
	// RFC 3921 §3 has a step that servers still offer and nobody needs.
	_, session, old := bytes.Cut(n.features, []byte("urn:ietf:params:xml:ns:xmpp-session"))
	if !old || contains(session, "<optional") {
		return nil
	}
	elem, err = n.iq("session", "set", "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>")
	if err == nil && isError(elem) {
		err = errors.New(condition(elem))
	}
	return err
}

// appear asks for the roster and sends presence. What comes before the roster is
// kept for the loop.
func (n *negotiation) appear() error {
	err := n.write("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq><presence/>")
	for err == nil {
		var elem []byte
		if elem, err = n.next(); err != nil {
			break
		}
		if !isReply(elem, "roster") {
			n.s.in = append(n.s.in, elem...)
			continue
		}
		if isError(elem) {
			return errors.New(condition(elem))
		}
		if n.d.keepRoster {
			n.s.roster = bytes.Clone(elem)
		}
		return nil
	}
	return err
}

// iq sends a request and waits for its answer.
func (n *negotiation) iq(id, kind, payload string) ([]byte, error) {
	if err := n.write("<iq type='" + kind + "' id='" + id + "'>" + payload + "</iq>"); err != nil {
		return nil, err
	}
	for {
		elem, err := n.next()
		if err != nil || isReply(elem, id) {
			return elem, err
		}
	}
}

func isReply(elem []byte, id string) bool {
	return string(tagName(elem)) == "iq" && string(attribute(elem, "id")) == id
}

func isError(elem []byte) bool { return string(attribute(elem, "type")) == "error" }

func (n *negotiation) write(text string) error {
	_, err := io.WriteString(n.s.stream, text)
	return err
}

// expect reads an element of that name; anything else is an error.
func (n *negotiation) expect(name string) ([]byte, error) {
	elem, err := n.next()
	if err != nil {
		return nil, err
	}
	if got := string(tagName(elem)); got != name {
		if got == "failure" {
			return nil, errors.New(condition(elem))
		}
		return nil, fmt.Errorf("the server sent <%s> instead of <%s>", got, name)
	}
	return elem, nil
}

// next reads an element, valid until the next call.
func (n *negotiation) next() ([]byte, error) {
	for {
		elem, size, err := nextElement(n.buf[n.at:n.end])
		if err != nil {
			return nil, err
		}
		n.at += size
		if elem != nil {
			return elem, ended(elem)
		}
		n.end = copy(n.buf, n.buf[n.at:n.end])
		n.at = 0
		if n.end == len(n.buf) {
			n.buf = append(n.buf, make([]byte, n.end)...)
		}
		more, err := n.s.stream.Read(n.buf[n.end:])
		n.end += more
		if err != nil && more == 0 {
			return nil, err
		}
	}
}
