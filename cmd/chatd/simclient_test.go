package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"chatd/cluster/simnet"
	"chatd/stanza"
	"chatd/xmlstream"
)

// A simDevice is what a user runs a client on: it has a resource of its own, and stream management (XEP-0198) with resumption.
type simDevice struct {
	s        *simSchedule
	user     string
	resource string
	priority int
	host     *simnet.Host

	mu      sync.Mutex
	busy    bool     // logs in just now
	link    *simLink // the one that counts; nil: offline
	session *simSession
	sent    int // messages so far
	vain    []simVain
}

// A simVain is a login that came to nothing. It may have bound the resource all the same, until the server found out, and without
// stream management yet: what was sent there is lost.
type simVain struct{ from, to time.Time }

// A simSession is one session of a device, over one connection after another.
type simSession struct {
	id      string // by which it is resumed
	number  int    // of all sessions
	begun   time.Time
	in      uint32         // stanzas received
	acked   uint32         // stanzas that the server has acknowledged
	unacked []simSent      // those that it has not
	sees    map[string]int // who is available, as this session was told
}

type simSent struct {
	xml string
	m   *simMessage // nil: no message
}

// A simLink is one connection of a device.
type simLink struct {
	d       *simDevice
	session *simSession
	node    *simNode
	conn    net.Conn
	scanner *xmlstream.Scanner
	buf     []byte
	from    int
	opened  time.Time

	closed    time.Time // zero: it is open
	condition string    // of the stream error that ended it
	left      bool      // the device closed it
}

func (d *simDevice) jid() string { return d.user + "@" + simDomain + "/" + d.resource }

const simHeader = "<?xml version='1.0'?><stream:stream to='" + simDomain + "' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

const simNSSM = "urn:xmpp:sm:3"

var errSimLogin = errors.New("the login was refused")

// simPatience is how long a client waits for its login.
const simPatience = 4 * time.Second

// login connects to a node, and goes on with the session if resume, or else begins another one.
func (d *simDevice) login(n *simNode, resume bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), simPatience)
	defer cancel()
	conn, err := d.host.Dial(ctx, n.ip+":5222")
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(2 * simPatience))
	l := &simLink{d: d, node: n, conn: conn, scanner: xmlstream.NewScanner(xmlstream.Limits{}), opened: time.Now()}
	if err := l.negotiate(resume); err != nil {
		conn.Close()
		return err
	}
	_ = conn.SetDeadline(time.Time{})
	d.s.running.Go(l.read)
	return nil
}

func (l *simLink) authenticate() error {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + l.d.user + "\x00" + simPassword))
	l.write(simHeader + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plain + "</auth>")
	_, err := l.expect("success")
	return err
}

func (l *simLink) negotiate(resume bool) error {
	if err := l.authenticate(); err != nil {
		return err
	}
	l.scanner.Reset()
	l.write(simHeader)
	if _, err := l.expect("features"); err != nil {
		return err
	}
	if resume {
		if done, err := l.resume(); done || err != nil {
			return err
		}
	}
	l.write("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + l.d.resource + "</resource></bind></iq>")
	tok, err := l.expect("iq")
	if err != nil {
		return err
	}
	if attribute(tok, "type") != "result" {
		return errSimLogin
	}
	l.session = &simSession{number: l.d.s.sessionNumber(), begun: time.Now(), sees: make(map[string]int)}
	l.write("<enable xmlns='" + simNSSM + "' resume='true'/>")
	if tok, err = l.expect("enabled"); err != nil {
		return err
	}
	l.session.id = attribute(tok, "id")
	l.begin(l.session)
	l.d.appear(l.session)
	return nil
}

// simRetry is after which time a client says again that it is available, if the server could not tell anybody.
const simRetry = time.Second

// appear makes a session available, if it is still the device's, as soon as it has a connection.
func (d *simDevice) appear(session *simSession) {
	d.mu.Lock()
	same, connected := d.session == session, d.link != nil
	d.mu.Unlock()
	switch {
	case same && !connected:
		time.AfterFunc(simRetry, func() { d.appear(session) })
	case same:
		d.say("<presence><priority>"+strconv.Itoa(d.priority)+"</priority></presence>", nil)
	}
}

// begin makes this the link of the device, and forgets what an earlier session has not been told of.
func (l *simLink) begin(session *simSession) {
	d := l.d
	d.mu.Lock()
	defer d.mu.Unlock()
	l.session, d.session, d.link = session, session, l
	d.s.opened(l)
}

// resume is XEP-0198 §5. It reports whether the session goes on.
func (l *simLink) resume() (bool, error) {
	d := l.d
	d.mu.Lock()
	session := d.session
	id, h := session.id, session.in
	d.mu.Unlock()
	l.write(fmt.Sprintf("<resume xmlns='%s' previd='%s' h='%d'/>", simNSSM, id, h))
	tok, err := l.expect("resumed", "failed")
	if err != nil {
		return false, err
	}
	resumed := string(tok.Local) == "resumed"
	if h := attribute(tok, "h"); h != "" {
		d.mu.Lock()
		session.ack(d.s, h)
		d.mu.Unlock()
	}
	d.s.note("%s: %s on %s", d.jid(), tok.Raw, l.node.name)
	if !resumed {
		return false, nil
	}
	l.begin(session)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, sent := range session.unacked {
		l.write(sent.xml)
	}
	l.write("<r xmlns='" + simNSSM + "'/>")
	return true, nil
}

func (s *simSession) ack(of *simSchedule, text string) {
	h, err := strconv.ParseUint(text, 10, 32)
	n := int(uint32(h) - s.acked)
	if err != nil || n < 0 || n > len(s.unacked) {
		of.complain("session %d: the server acknowledges %s of %d..%d", s.number, text, s.acked, int(s.acked)+len(s.unacked))
		return
	}
	for _, sent := range s.unacked[:n] {
		if sent.m != nil {
			sent.m.accept()
		}
	}
	s.acked += uint32(n)
	s.unacked = slices.Delete(s.unacked, 0, n)
}

func attribute(tok *xmlstream.Token, name string) string {
	for _, a := range tok.Attrs {
		if string(a.Name) == name {
			return string(a.Value)
		}
	}
	return ""
}

func (l *simLink) write(text string) { _, _ = io.WriteString(l.conn, text) }

// next is the next element or end of the stream.
func (l *simLink) next() (*xmlstream.Token, error) {
	for {
		tok, n, err := l.scanner.Scan(l.buf[l.from:])
		l.from += n
		switch {
		case err != nil:
			return nil, err
		case tok.Kind == xmlstream.Element || tok.Kind == xmlstream.Close:
			return tok, nil
		case tok.Kind == xmlstream.None:
			l.buf = append([]byte(nil), l.buf[l.from:]...)
			l.from = 0
			chunk := make([]byte, 4096)
			n, err := l.conn.Read(chunk)
			if l.buf = append(l.buf, chunk[:n]...); n == 0 && err != nil {
				return nil, err
			}
		}
	}
}

// expect skips what comes before an element, but for messages to the full JID.
func (l *simLink) expect(names ...string) (*xmlstream.Token, error) {
	for {
		tok, err := l.next()
		if err != nil {
			return nil, err
		}
		if slices.Contains(names, string(tok.Local)) && tok.Kind == xmlstream.Element {
			return tok, nil
		}
		if string(tok.Local) == "message" {
			l.message(tok)
		}
		if tok.Kind == xmlstream.Close || string(tok.Local) == "error" || string(tok.Local) == "failure" {
			return nil, fmt.Errorf("%w: %s", errSimLogin, tok.Raw)
		}
	}
}

// say sends a stanza over the link that counts.
func (d *simDevice) say(xml string, m *simMessage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link == nil {
		return
	}
	d.session.unacked = append(d.session.unacked, simSent{xml, m})
	d.link.write(xml + "<r xmlns='" + simNSSM + "'/>")
}

// read is the client until its connection ends.
func (l *simLink) read() {
	defer l.conn.Close()
	for {
		tok, err := l.next()
		if err != nil || tok.Kind == xmlstream.Close {
			break
		}
		l.take(tok)
	}
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.closed = time.Now()
	if l.d.link == l {
		l.d.link = nil
		if l.condition != "" && l.condition != "system-shutdown" && l.condition != "see-other-host" {
			l.d.session = nil // RFC 6120 §4.9.1.1: there is nothing to resume
		}
	}
	l.d.s.note("%s: the connection to %s ends %s", l.d.jid(), l.node.name, l.condition)
}

func (l *simLink) take(tok *xmlstream.Token) {
	d := l.d
	d.mu.Lock()
	defer d.mu.Unlock()
	switch string(tok.Local) {
	case "a":
		l.session.ack(d.s, attribute(tok, "h"))
		return
	case "r":
		l.write(fmt.Sprintf("<a xmlns='%s' h='%d'/>", simNSSM, l.session.in))
		return
	case "error":
		if string(tok.Space) == stanza.NSStream {
			l.condition = string(tok.ChildLocal)
		}
		return
	case "message", "presence", "iq":
	default:
		return
	}
	l.session.in++
	l.write(fmt.Sprintf("<a xmlns='%s' h='%d'/>", simNSSM, l.session.in))
	from := attribute(tok, "from")
	switch {
	case string(tok.Local) == "iq" && attribute(tok, "type") == "get":
		l.answer(fmt.Sprintf("<iq type='result' id='%s' to='%s'/>", attribute(tok, "id"), from))
	case string(tok.Local) == "message":
		l.message(tok)
	case string(tok.Local) == "presence":
		d.s.note("%s (session %d on %s) hears %s of %s", d.jid(), l.session.number, l.node.name, attribute(tok, "type"), from)
		switch attribute(tok, "type") {
		case "error": // the store was out: as long as it is, nobody is told
			session := l.session
			time.AfterFunc(simRetry, func() { d.appear(session) })
		case "":
			l.session.sees[from]++
		case "unavailable":
			delete(l.session.sees, from)
		}
	}
}

func (l *simLink) message(tok *xmlstream.Token) {
	l.d.s.received(l, attribute(tok, "id"), attribute(tok, "type") == "error", string(tok.Raw))
}

// answer sends a stanza on this link, with the device locked.
func (l *simLink) answer(xml string) {
	if l.d.link != l {
		return
	}
	l.session.unacked = append(l.session.unacked, simSent{xml, nil})
	l.write(xml)
}

// leave ends the link, by a word or without one.
func (d *simDevice) leave(politely bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.link
	if l == nil {
		return
	}
	l.left = true
	d.link = nil
	if politely {
		d.session = nil
		l.write("</stream:stream>")
		return
	}
	_ = l.conn.Close()
}

// abandon has the device forget its link, which stays open until the server ends it.
func (d *simDevice) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.link, d.session = nil, nil
}

// state is what the device could do next.
func (d *simDevice) state() (online, resumable, busy bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.link != nil, d.session != nil, d.busy
}
