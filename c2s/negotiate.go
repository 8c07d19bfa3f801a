package c2s

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"time"

	"chatd/auth"
	"chatd/stanza"
	"chatd/xmlstream"
)

const (
	// loginTimeout is how long a connection lives without a session.
	loginTimeout = 30 * time.Second
	// loginStanzaBytes is the largest element before login: the least that RFC
	// 6120 §13.12 allows.
	loginStanzaBytes = 10000
	// loginElements is how many elements a client may send before it has a session.
	loginElements = 50
	// loginDepth is how deep they may nest.
	loginDepth = 16
)

// A negotiation takes one connection from accept to its session. It is straight-line
// code on a goroutine of its own: the program counter is the state.
type negotiation struct {
	srv      *Server
	cfg      *Config
	wire     transport
	scanner  *xmlstream.Scanner
	in       []byte // read and not yet scanned is in[from:to]
	from, to int
	unit     error  // errUnit at the end of a message of a transport that has such
	tokens   int    // since the one before
	out      []byte // to be written before we wait for the client
	turn     *turn  // what is computed between two reads is computed at the gate
	elements int
	peer     stanza.JID // the client's address from its header, to address ours
	opened   bool       // our stream header is out
	channel  auth.Channel
	failures int
	user     string    // authenticated localpart
	expires  time.Time // of the token that authenticated it; zero without one
	lang     []byte    // xml:lang of the client's last header
	rewrite  []byte    // what next rewrote
}

// An arrival is a connection whose stream begins.
type arrival struct {
	transport transport
	channel   auth.Channel // what protects the stream already
	directTLS bool
}

// negotiatorIdle is how long a goroutine waits for another connection to negotiate.
const negotiatorIdle = time.Second

// take has a connection negotiated. It does not block.
func (s *Server) take(a arrival) {
	select {
	case s.arrivals <- a:
	default: // all are busy
		go s.negotiator(a)
	}
}

// negotiator negotiates one connection after the other: what a handshake makes a stack grow to
// need not grow again for each. It ends when it has had nothing to do for a while.
func (s *Server) negotiator(a arrival) {
	idle := time.NewTimer(negotiatorIdle)
	defer idle.Stop()
	for {
		s.negotiate(a.transport, a.channel, a.directTLS)
		idle.Reset(negotiatorIdle)
		select {
		case a = <-s.arrivals:
		case <-idle.C:
			return
		case <-s.open.Done():
			return
		}
	}
}

// negotiate takes a connection until its session goes on by itself, or to its end.
func (s *Server) negotiate(t transport, channel auth.Channel, directTLS bool) {
	n := &negotiation{
		srv: s, cfg: s.cfg.Load(), wire: t, channel: channel, turn: s.gate.turn(),
		scanner: xmlstream.NewScanner(xmlstream.Limits{Bytes: loginStanzaBytes, Depth: loginDepth}),
	}
	t.deadline(time.Now().Add(loginTimeout))
	if s.isClosing() {
		t.deadline(past)
	}
	defer n.turn.end()
	session, err := n.login(directTLS)
	if err != nil {
		n.fail(err)
		return
	}
	_ = n.flush() // if this fails the session finds its connection broken
	n.turn.end()
	session.readErr, session.tokens = n.unit, n.tokens
	session.begin(n.in[n.from:n.to], n.expires)
}

// login is the order of RFC 6120 §4 to §7.
func (n *negotiation) login(directTLS bool) (*Session, error) {
	if n.canStartTLS() && n.srv.gate.crowded() {
		return nil, n.turnAway(directTLS)
	}
	if directTLS {
		if err := n.startTLS(n.srv.directTLS()); err != nil {
			return nil, err
		}
	}
	for restart := true; restart; {
		if err := n.open(); err != nil {
			return nil, err
		}
		if n.user != "" {
			n.send(n.sessionFeatures(nil))
			break
		}
		n.send(n.loginFeatures())
		var session *Session
		var err error
		if restart, session, err = n.authenticate(); session != nil || err != nil {
			return session, err
		}
	}
	return n.bind()
}

// authenticate serves the stream until the user is known, or the stream has to be opened
// anew. By SASL2 it may come to a session at once.
func (n *negotiation) authenticate() (restart bool, s *Session, err error) {
	for n.user == "" {
		tok, err := n.next()
		if err != nil {
			return false, nil, err
		}
		switch string(tok.Space) {
		case stanza.NSTLS:
			if string(tok.Local) != "starttls" || !n.canStartTLS() {
				n.send([]byte("<failure xmlns='" + stanza.NSTLS + "'/>")) // RFC 6120 §5.4.2.2
				return false, nil, stanza.StreamUnsupportedFeature
			}
			return true, nil, n.upgrade()
		case stanza.NSSASL:
			restart, err = true, n.sasl(tok) // RFC 6120 §6.4.6
		case nsSASL2:
			restart = false // XEP-0388 §2.6.1
			s, err = n.sasl2(tok)
		default:
			err = n.beforeLogin(tok)
		}
		if s != nil || err != nil {
			return false, s, err
		}
	}
	return restart, nil, nil
}

// upgrade is STARTTLS (RFC 6120 §5.4.2.3). What the client sent behind its
// request was sent in the clear and is dropped (§5.4.3.3).
func (n *negotiation) upgrade() error {
	if n.srv.gate.crowded() {
		return n.turnAway(false)
	}
	n.send([]byte("<proceed xmlns='" + stanza.NSTLS + "'/>"))
	if err := n.flush(); err != nil {
		return err
	}
	n.from, n.to = 0, 0
	n.peer, n.lang = stanza.JID{}, nil
	return n.startTLS(n.srv.startTLS())
}

// canStartTLS reports whether the client may ask for TLS.
func (n *negotiation) canStartTLS() bool { return n.cfg.TLS != nil && n.wire.peer().startTLS }

// mustStartTLS reports whether the client has to ask for TLS before all else.
func (n *negotiation) mustStartTLS() bool { return n.cfg.RequireTLS && n.wire.peer().startTLS }

// open reads the client's stream header and answers with ours (RFC 6120 §4.2, §4.7).
func (n *negotiation) open() error {
	n.scanner.Reset()
	n.opened = false
	tok, err := n.next()
	if err != nil {
		return err
	}
	var to, from, version []byte
	for _, a := range tok.Attrs {
		switch string(a.Name) {
		case "to":
			to = a.Value
		case "from":
			from = a.Value
		case "version":
			version = a.Value
		case "xml:lang":
			n.lang = bytes.Clone(a.Value)
		}
	}
	if j, err := stanza.ParseJID(string(xmlstream.Unescape(nil, from))); err == nil {
		n.peer = j
	}
	n.sendHeader() // before any error (RFC 6120 §4.9.1.2)
	return n.checkHeader(tok, to, version)
}

func (n *negotiation) checkHeader(tok *xmlstream.Token, to, version []byte) error {
	if string(tok.Space) != stanza.NSStream {
		return stanza.StreamInvalidNamespace // RFC 6120 §4.9.3.10
	}
	if string(tok.Local) != "stream" {
		return stanza.StreamBadFormat
	}
	if !declares(tok, stanza.NSClient) {
		return stanza.StreamInvalidNamespace // RFC 6120 §4.8.2
	}
	if len(to) == 0 {
		return stanza.StreamImproperAddressing.WithText("the stream header needs a 'to'")
	}
	host, err := stanza.ParseJID(string(xmlstream.Unescape(nil, to)))
	if err != nil || host != n.srv.router.Domain {
		return stanza.StreamHostUnknown // RFC 6120 §4.9.3.6
	}
	if !versionOne(version) {
		return stanza.StreamUnsupportedVersion // RFC 6120 §4.7.5, §4.9.3.25
	}
	return nil
}

// declares reports whether the header names space as a namespace, default or
// by a prefix.
func declares(tok *xmlstream.Token, space string) bool {
	for _, d := range tok.Decls {
		if string(d.Value) == space {
			return true
		}
	}
	return false
}

// versionOne reports whether a version has the major number 1: we speak the
// lower of the two minors, which is 1.0 (RFC 6120 §4.7.5).
func versionOne(v []byte) bool {
	i := 0
	for i < len(v) && v[i] == '0' {
		i++
	}
	if i >= len(v) || v[i] != '1' || i+2 >= len(v) || v[i+1] != '.' {
		return false
	}
	for _, c := range v[i+2:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// sendHeader sends our stream header (RFC 6120 §4.7). Its id is unpredictable (§4.7.3).
func (n *negotiation) sendHeader() {
	b := []byte("<?xml version='1.0'?><stream:stream from='")
	b = stanza.AppendEscaped(b, n.srv.router.Domain.String())
	if !n.peer.IsZero() {
		b = append(b, "' to='"...)
		b = stanza.AppendEscaped(b, n.peer.String())
	}
	b = append(b, "' id='"...)
	b = append(b, randomName()...)
	b = append(b, "' version='1.0' xml:lang='en' xmlns='"+stanza.NSClient+"' xmlns:stream='"+stanza.NSStream+"'>"...)
	n.opened = true
	n.send(b)
}

// randomName is 128 random bits.
func randomName() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// next reads until it has the next token, which is valid until it is called again.
func (n *negotiation) next() (*xmlstream.Token, error) {
	for {
		tok, used, err := n.scanner.Scan(n.in[n.from:n.to])
		n.from += used
		if err != nil {
			return nil, streamError(err)
		}
		n.tokens++
		switch tok.Kind {
		case xmlstream.None:
			n.tokens--
			if err := n.read(); err != nil {
				return nil, err
			}
			continue
		case xmlstream.Close:
			return nil, io.EOF
		case xmlstream.Element:
			if isStreamError(tok) {
				return nil, io.EOF // RFC 6120 §4.9.1.1
			}
			if tok.Prefixed || tok.OuterPrefix {
				if tok, n.rewrite, err = standAlone(n.scanner, tok, n.rewrite); err != nil {
					return nil, err
				}
			}
		}
		if n.elements++; n.elements > loginElements {
			return nil, stanza.StreamPolicyViolation.WithText("too many elements before login")
		}
		return tok, nil
	}
}

// read adds input, after what the client may be waiting for is written. The scanner's limit bounds
// the buffer.
func (n *negotiation) read() error {
	if err := n.flush(); err != nil {
		return err
	}
	if n.unit != nil {
		if n.tokens != 1 || n.from < n.to {
			return errNotOne
		}
		n.unit, n.tokens = nil, 0
	}
	if n.from > 0 {
		n.to = copy(n.in, n.in[n.from:n.to])
		n.from = 0
	}
	if n.to == len(n.in) {
		n.in = append(n.in, make([]byte, max(1024, len(n.in)))...)
	}
	n.turn.end()
	m, err := n.wire.read(n.in[n.to:])
	n.to += m
	if m > 0 {
		if n.turn.begin() != nil {
			return n.turnAway(false)
		}
	}
	if err == errUnit {
		n.unit = err
		return nil
	}
	if m > 0 {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if n.srv.isClosing() {
			return stanza.StreamSystemShutdown
		}
		return stanza.StreamConnectionTimeout.WithText("login takes too long")
	}
	return err
}

// send queues what goes out before we next wait for the client: a client that sends all of its login
// at once gets all answers at once.
func (n *negotiation) send(b []byte) { n.out = append(n.out, b...) }

func (n *negotiation) flush() error {
	if len(n.out) > 0 {
		n.turn.end()
	}
	b := n.out
	n.out = n.out[:0]
	for len(b) > 0 {
		m, _, err := n.wire.write(b)
		if err != nil {
			return err
		}
		b = b[m:]
	}
	return nil
}

// fail ends a connection that got no session: with a stream error where there
// is one to tell, after our header (RFC 6120 §4.9.1.2).
func (n *negotiation) fail(err error) {
	n.turn.end()
	defer n.wire.linger()
	p := n.wire.peer()
	defer n.srv.forget(n.wire)
	var se *stanza.StreamError
	told := errors.As(err, &se)
	if !told && !errors.Is(err, io.EOF) {
		n.srv.log.Debug("connection failed before login", "conn", p.id, "addr", p.addr, "err", err)
		return
	}
	n.wire.writeDeadline(time.Now().Add(partingTimeout))
	if !n.opened && told {
		n.sendHeader()
	}
	if told {
		n.srv.Metrics.streamError(se)
		n.srv.log.Debug("stream error before login", "conn", p.id, "addr", p.addr, "condition", se.Condition)
		n.send(se.AppendXML(nil))
	}
	if n.opened {
		n.send([]byte("</stream:stream>"))
	}
	_ = n.flush()
	n.wire.finish()
}
