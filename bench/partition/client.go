package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	nsSM      = "urn:xmpp:sm:3"
	nsStreams = "http://etherx.jabber.org/streams"

	answerTime = 5 * time.Second // for a node's answer, after which a client looks for another node
	askEvery   = 200 * time.Millisecond
	retryAfter = 100 * time.Millisecond
)

// A client is one user's one resource. It stays connected to some node until stop, resumes its session
// (XEP-0198 §5) where it can, and else logs in anew. What was not acknowledged then it never sends again: its fate is open.
type client struct {
	w        *world
	name     string
	resource string
	home     int // the node that it prefers

	mu        sync.Mutex
	registerd bool
	conn      net.Conn // nil: none with a session
	at        int      // the node of conn
	next      string   // where a node has sent it
	smID      string
	in        uint32 // stanzas from the server
	handled   uint32 // of its own that the server has acknowledged
	out       []outgoing
	asked     time.Time // since when an acknowledgement is due; zero: none is
	told      uint32    // of in, what the server was told
	toldFirst uint32    // ... before it was asked last: when it answers it knows
	knew      uint32    // ... as of the answer before the last one
	knows     uint32    // ... as of the last one
	contacts  map[string]bool
	rooms     []*room
	entered   map[*room]bool            // rooms that say that it is in them
	seen      map[*room]map[string]bool // nicks of who is there
	stopping  bool
	avoid     int // 1 + the node that did not answer

	logins, resumptions, refusals int
	bound                         []time.Time // when it logged in
}

// An outgoing is a stanza that the server has not acknowledged.
type outgoing struct {
	id  string // of a message; else empty
	xml string
}

func (w *world) newClient(name string, home int) *client {
	c := &client{w: w, name: name, resource: "game", home: home, contacts: make(map[string]bool), entered: make(map[*room]bool), seen: make(map[*room]map[string]bool)}
	w.clients = append(w.clients, c)
	return c
}

func (c *client) bare() string { return c.name + "@" + domain }

func (c *client) full() string { return c.bare() + "/" + c.resource }

// run keeps the client connected until ctx ends or it is stopped.
func (c *client) run(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		established, err := c.session(ctx, c.target(attempt))
		c.mu.Lock()
		stopping := c.stopping
		c.mu.Unlock()
		if stopping {
			return
		}
		c.w.debug(c.name, " disconnected: ", err)
		if established {
			attempt = -1
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
		}
	}
}

// target is the node to try: where the last one said, the client's own, and then the others in turn.
func (c *client) target(attempt int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.next
	c.next = ""
	for i, n := range c.w.nodes {
		if n.addr() == next {
			return i
		}
	}
	if (c.home+attempt)%len(c.w.nodes) == c.avoid-1 {
		c.avoid = 0
		return (c.home + attempt + 1) % len(c.w.nodes)
	}
	return (c.home + attempt) % len(c.w.nodes)
}

// session is one connection. established says whether it had a session.
func (c *client) session(ctx context.Context, at int) (established bool, err error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: answerTime}, Config: &tls.Config{InsecureSkipVerify: true, ServerName: domain, NextProtos: []string{"xmpp-client"}}}
	dialing, cancel := context.WithTimeout(ctx, answerTime)
	conn, err := d.DialContext(dialing, "tcp", c.w.nodes[at].addr())
	cancel()
	if err != nil {
		return false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s := &stream{conn: conn}
	if err := c.login(s); err != nil {
		return false, fmt.Errorf("login: %w", err)
	}
	if err := c.begin(s, at); err != nil {
		return false, fmt.Errorf("session: %w", err)
	}
	done := make(chan struct{})
	defer close(done)
	go c.askOften(s, done)
	for err == nil {
		var e *element
		if e, err = s.read(0); err == nil {
			err = c.take(s, e)
		}
	}
	c.mu.Lock()
	c.conn, c.asked = nil, time.Time{}
	c.mu.Unlock()
	return true, err
}

// login authenticates, after it has made the account if there is none.
func (c *client) login(s *stream) error {
	if _, err := s.open(); err != nil {
		return err
	}
	if !c.registerd {
		e, err := s.ask(fmt.Sprintf("<iq type='set' id='reg'><query xmlns='jabber:iq:register'><username>%s</username><password>%s</password></query></iq>", c.name, password))
		if err != nil {
			return err
		}
		if e.attr("type") != "result" && (e.child("error") == nil || e.child("error").child("conflict") == nil) {
			return fmt.Errorf("not registered: %v", e)
		}
		c.registerd = true
	}
	e, err := s.ask("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+c.name+"\x00"+password)) + "</auth>")
	if err != nil {
		return err
	}
	if e.XMLName.Local != "success" {
		return fmt.Errorf("not authenticated: %v", e)
	}
	_, err = s.open()
	return err
}

// begin resumes the session or makes a new one.
func (c *client) begin(s *stream, at int) error {
	c.mu.Lock()
	smID, in := c.smID, c.in
	c.mu.Unlock()
	if smID != "" {
		e, err := s.ask(fmt.Sprintf("<resume xmlns='%s' h='%d' previd='%s'/>", nsSM, in, smID))
		if err != nil {
			return err
		}
		if e.XMLName.Local == "resumed" {
			return c.resumed(s, at, e, in)
		}
		if e.XMLName.Local != "failed" {
			return fmt.Errorf("not resumed: %v", e)
		}
		c.abandon(e)
	}
	return c.bind(s, at)
}

// resumed goes on with the session, of which the server was told how much has come: what it has not handled is sent again.
func (c *client) resumed(s *stream, at int, e *element, in uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resumptions++
	c.knew, c.knows = in, in
	c.w.ledger.sure(c.name, c.logins, in)
	if err := c.ackedLocked(e); err != nil {
		return err
	}
	c.conn, c.at = s.conn, at
	for _, o := range c.out {
		if err := s.write(o.xml); err != nil {
			return err
		}
	}
	return nil
}

// abandon gives a session up that cannot be resumed.
func (c *client) abandon(failed *element) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusals++
	if failed.attr("h") != "" { // XEP-0198 §5
		_ = c.ackedLocked(failed) // a number that cannot be: then it is open
	}
	for _, o := range c.out {
		c.w.ledger.open(o.id)
	}
	c.out, c.smID, c.in, c.handled, c.told, c.toldFirst, c.knew, c.knows = nil, "", 0, 0, 0, 0, 0, 0
}

func (c *client) bind(s *stream, at int) error {
	e, err := s.ask("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + c.resource + "</resource></bind></iq>")
	if err != nil {
		return err
	}
	if e.attr("type") != "result" {
		return fmt.Errorf("not bound: %v", e)
	}
	var early []*element // to this resource, which is there now (RFC 6121 §8.5.3.1), and counted by nobody
	for e, err = s.ask("<enable xmlns='" + nsSM + "' resume='true'/>"); err == nil && e.XMLName.Local == "message"; e, err = s.read(2 * answerTime) {
		early = append(early, e)
	}
	if err != nil {
		return err
	}
	if e.XMLName.Local != "enabled" {
		return fmt.Errorf("no stream management: %v", e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logins++
	c.smID, c.in, c.handled, c.out = e.attr("id"), 0, 0, nil
	c.bound = append(c.bound, time.Now())
	clear(c.contacts) // the server tells anew
	clear(c.entered)
	clear(c.seen)
	c.conn, c.at = s.conn, at
	for _, m := range early {
		c.w.ledger.got(receipt{c.name, c.at, c.logins, 0}, m, false)
	}
	err = errors.Join(c.writeLocked("", "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>"), c.writeLocked("", "<presence/>"))
	for _, r := range c.rooms {
		c.enterLocked(r)
	}
	return err
}

// askOften asks for acknowledgements, and gives up the connection of a server that does not answer.
func (c *client) askOften(s *stream, done chan struct{}) {
	for {
		select {
		case <-time.After(askEvery):
		case <-done:
			return
		}
		c.mu.Lock()
		switch {
		case c.asked.IsZero() && len(c.out) > 0:
			c.asked, c.toldFirst = time.Now(), c.told
			_ = s.write("<r xmlns='" + nsSM + "'/>")
		case !c.asked.IsZero() && time.Since(c.asked) > answerTime:
			c.avoid = c.at + 1
			s.conn.Close()
		}
		c.mu.Unlock()
	}
}

// take deals with what the server sends.
func (c *client) take(s *stream, e *element) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.XMLName.Local {
	case "r":
		c.told = c.in
		return s.write(fmt.Sprintf("<a xmlns='%s' h='%d'/>", nsSM, c.in))
	case "a":
		c.asked = time.Time{}
		c.knew, c.knows = c.knows, c.toldFirst
		c.w.ledger.sure(c.name, c.logins, c.knows)
		return c.ackedLocked(e)
	case "error":
		c.w.ledger.sure(c.name, c.logins, c.knew)             // an acknowledgement that comes along with it is no answer
		if other := e.child("see-other-host"); other != nil { // RFC 6120 §4.9.3.19
			c.next = strings.TrimSpace(other.Text)
		}
		if e.child("conflict") != nil {
			c.w.ledger.conflict()
		}
		return fmt.Errorf("stream error %v", e.Children)
	case "message":
		c.in++
		if strings.Contains(e.attr("from"), "@"+roomHost) {
			c.w.ledger.heard(c, e)
		} else {
			c.w.ledger.got(receipt{c.name, c.at, c.logins, c.in}, e, false)
		}
	case "presence":
		c.in++
		c.presenceLocked(e)
	case "iq":
		c.in++
		if typ := e.attr("type"); typ == "set" || typ == "get" {
			return c.writeLocked("", fmt.Sprintf("<iq type='result' id='%s' to='%s'/>", e.attr("id"), e.attr("from")))
		}
	}
	return nil
}

func (c *client) presenceLocked(e *element) {
	from := e.attr("from")
	if strings.Contains(from, "@"+roomHost) {
		c.roomLocked(e)
		return
	}
	switch e.attr("type") {
	case "":
		c.contacts[from] = true
	case "unavailable":
		for full := range c.contacts {
			if full == from || strings.HasPrefix(full, from+"/") {
				c.w.gone.Add(1)
				delete(c.contacts, full)
			}
		}
	case "subscribe":
		_ = c.writeLocked("", "<presence type='subscribed' to='"+from+"'/>")
	}
}

// ackedLocked takes the server's count of what it has handled.
func (c *client) ackedLocked(e *element) error {
	h, err := strconv.ParseUint(e.attr("h"), 10, 32)
	n := uint32(h) - c.handled
	if err != nil || int(n) > len(c.out) {
		return fmt.Errorf("acknowledged %s, sent %d", e.attr("h"), c.handled+uint32(len(c.out)))
	}
	for _, o := range c.out[:n] {
		c.w.ledger.acked(o.id)
	}
	c.out, c.handled = c.out[n:], uint32(h)
	return nil
}

// writeLocked sends a stanza, which is sent again by resumed if it is lost.
func (c *client) writeLocked(id, stanza string) error {
	c.out = append(c.out, outgoing{id, stanza})
	c.conn.SetWriteDeadline(time.Now().Add(answerTime))
	_, err := io.WriteString(c.conn, stanza)
	return err
}

// say sends a stanza if the client is connected.
func (c *client) say(format string, args ...any) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && c.writeLocked("", fmt.Sprintf(format, args...)) == nil
}

// send sends the next message of a conversation, if the client is connected.
func (c *client) send(t *talk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return
	}
	id := c.w.ledger.sent(t)
	_ = c.writeLocked(id, fmt.Sprintf("<message to='%s' type='chat' id='%s'><body>%[2]s</body></message>", t.to, id)) // what is lost is sent again
}

// sees reports whether the client has a full JID for available.
func (c *client) sees(full string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.contacts[full]
}

// online is the node where the client has a session, -1: none.
func (c *client) online() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return -1
	}
	return c.at
}

// idle reports whether the client is connected and all that it has sent is acknowledged.
func (c *client) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && len(c.out) == 0
}

// stop ends the session for good, with everything acknowledged that has come.
func (c *client) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if c.conn != nil {
		c.conn.SetWriteDeadline(time.Now().Add(answerTime))
		fmt.Fprintf(c.conn, "<a xmlns='%s' h='%d'/></stream:stream>", nsSM, c.in)
		c.w.ledger.sure(c.name, c.logins, c.in)
	}
}

// A stream is one connection. One goroutine reads.
type stream struct {
	conn net.Conn
	dec  *xml.Decoder
}

func (s *stream) write(text string) error {
	s.conn.SetWriteDeadline(time.Now().Add(answerTime))
	_, err := io.WriteString(s.conn, text)
	return err
}

// open begins a stream and returns its features.
func (s *stream) open() (*element, error) {
	if err := s.write("<stream:stream to='" + domain + "' version='1.0' xmlns='jabber:client' xmlns:stream='" + nsStreams + "'>"); err != nil {
		return nil, err
	}
	s.dec = xml.NewDecoder(s.conn)
	s.conn.SetReadDeadline(time.Now().Add(2 * answerTime))
	for {
		tok, err := s.dec.RawToken()
		if err != nil {
			return nil, err
		}
		if start, ok := tok.(xml.StartElement); ok && start.Name.Local == "stream" {
			break
		}
	}
	return s.read(2 * answerTime)
}

// ask sends an element and returns the next one.
func (s *stream) ask(text string) (*element, error) {
	if err := s.write(text); err != nil {
		return nil, err
	}
	return s.read(2 * answerTime)
}

// read returns the next element, however long it takes if wait is 0.
func (s *stream) read(wait time.Duration) (*element, error) {
	var deadline time.Time
	if wait > 0 {
		deadline = time.Now().Add(wait)
	}
	s.conn.SetReadDeadline(deadline)
	for {
		tok, err := s.dec.Token()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			e := new(element)
			return e, s.dec.DecodeElement(e, &tok)
		case xml.EndElement:
			return nil, io.EOF
		}
	}
}
