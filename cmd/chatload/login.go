package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// A dialer logs users in. It is fixed before use, but for its cache; any number of
// goroutines may use it.
type dialer struct {
	options
	source     net.Addr // nil: any
	tlsConfig  *tls.Config
	keys       saltedKeys
	keepRoster bool
}

func newDialer(o options, process int) *dialer {
	d := &dialer{options: o}
	d.tlsConfig = &tls.Config{
		ServerName:         o.Domain,
		InsecureSkipVerify: o.Insecure, //nolint:gosec // asked for
		NextProtos:         nil,
		// The same exchange with every server, whatever the newest its library knows.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
	}
	if o.TLS == tlsDirect {
		d.tlsConfig.NextProtos = []string{"xmpp-client"} // XEP-0368
	}
	// Each process has its own loopback address, and so its own 28,000 ports.
	if host, _, err := net.SplitHostPort(o.Addr); err == nil && process > 0 {
		if ip := net.ParseIP(host).To4(); ip != nil && ip.IsLoopback() {
			d.source = &net.TCPAddr{IP: net.IPv4(127, 0, byte(process>>8), byte(process+1))}
		}
	}
	return d
}

// address is a user's bare JID.
func (d *dialer) address(user int) string { return fmt.Sprintf(d.UserFormat, user) + "@" + d.Domain }

func (d *dialer) connect(ctx context.Context, addr string) (*socket, error) {
	nd := net.Dialer{Timeout: d.Timeout, LocalAddr: d.source, KeepAlive: -1}
	c, err := nd.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(d.Timeout)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &socket{Conn: c, fd: -1}, nil
}

// login connects a user: registered if so asked, authenticated, bound, with roster
// and presence (RFC 6121 §2.2, §4.2). Its socket is not detached yet.
func (d *dialer) login(ctx context.Context, user int) (*session, error) {
	sock, err := d.connect(ctx, d.Addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { sock.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // then the deadline ends it
	s, err := d.negotiate(sock, user)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, sock.Close())
	}
	return s, nil
}

// logout ends a session that no loop has, and waits until the server has ended it
// too (RFC 6120 §4.4).
func (d *dialer) logout(s *session) error {
	defer s.socket.Close()
	if err := s.socket.SetDeadline(time.Now().Add(d.Timeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(s.stream, "</stream:stream>"); err != nil {
		return err
	}
	io.Copy(io.Discard, s.stream) //nolint:errcheck // a reset is an end as well
	return nil
}

// A negotiation is one login under way.
type negotiation struct {
	d        *dialer
	s        *session
	name     string
	buf      []byte
	at, end  int
	features []byte
}

func (d *dialer) negotiate(sock *socket, user int) (*session, error) {
	s := &session{user: user, socket: sock, stream: sock}
	n := &negotiation{d: d, s: s, name: fmt.Sprintf(d.UserFormat, user), buf: make([]byte, 4096)}
	for _, phase := range []struct {
		name string
		do   func() error
	}{{"tls", n.secure}, {"registration", n.register}, {"authentication", n.authenticate}, {"binding", n.bind}, {"roster", n.appear}} {
		if err := phase.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", phase.name, err)
		}
	}
	s.in = append(s.in, n.buf[n.at:n.end]...)
	return s, nil
}

// secure opens the stream, with TLS as the options say.
func (n *negotiation) secure() error {
	if n.d.TLS == tlsDirect {
		if err := n.handshake(); err != nil {
			return err
		}
		return n.open()
	}
	if err := n.open(); err != nil || n.d.TLS == tlsOff {
		return err
	}
	if err := n.write("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
		return err
	}
	if _, err := n.expect("proceed"); err != nil {
		return err
	}
	if err := n.handshake(); err != nil {
		return err
	}
	return n.open()
}

func (n *negotiation) handshake() error {
	n.s.tls = tls.Client(n.s.socket, n.d.tlsConfig)
	n.s.stream = n.s.tls
	n.at, n.end = 0, 0
	return n.s.tls.Handshake()
}

// open begins a stream, anew after TLS and after SASL.
func (n *negotiation) open() error {
	err := n.write("<?xml version='1.0'?><stream:stream to='" + escape(n.d.Domain) +
		"' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
	if err != nil {
		return err
	}
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
