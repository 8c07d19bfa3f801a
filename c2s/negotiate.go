package c2s

import (
	"bytes"
	"cmp"
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
	wire     *wire
	scanner  *xmlstream.Scanner
	in       []byte // read and not yet scanned is in[from:to]
	from, to int
	out      []byte // to be written before we wait for the client
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

// An arrival is a connection that was accepted.
type arrival struct {
	wire      *wire
	directTLS bool
}

// negotiatorIdle is how long a goroutine waits for another connection to negotiate.
const negotiatorIdle = time.Second

// negotiator negotiates one connection after the other: what a handshake makes a stack grow to
// need not grow again for each. It ends when it has had nothing to do for a while.
func (s *Server) negotiator(a arrival) {
	idle := time.NewTimer(negotiatorIdle)
	defer idle.Stop()
	for {
		s.negotiate(a.wire, a.directTLS)
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
func (s *Server) negotiate(w *wire, directTLS bool) {
	n := &negotiation{
		srv: s, cfg: s.cfg.Load(), wire: w,
		scanner: xmlstream.NewScanner(xmlstream.Limits{Bytes: loginStanzaBytes, Depth: loginDepth}),
	}
	_ = w.tcp.SetDeadline(time.Now().Add(loginTimeout))
	if s.isClosing() {
		_ = w.tcp.SetDeadline(time.Unix(1, 0))
	}
	session, err := n.login(directTLS)
	if err != nil {
		n.fail(err)
		return
	}
	_ = n.flush() // if this fails the session finds its connection broken
	session.begin(n.in[n.from:n.to], n.expires)
}

// login is the order of RFC 6120 §4 to §7.
func (n *negotiation) login(directTLS bool) (*Session, error) {
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
			if string(tok.Local) != "starttls" || n.cfg.TLS == nil || n.channel.TLS != nil {
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
	n.send([]byte("<proceed xmlns='" + stanza.NSTLS + "'/>"))
	if err := n.flush(); err != nil {
		return err
	}
	n.from, n.to = 0, 0
	n.peer, n.lang = stanza.JID{}, nil
	return n.startTLS(n.srv.startTLS())
}

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
		switch tok.Kind {
		case xmlstream.None:
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
	if n.from > 0 {
		n.to = copy(n.in, n.in[n.from:n.to])
		n.from = 0
	}
	if n.to == len(n.in) {
		n.in = append(n.in, make([]byte, max(1024, len(n.in)))...)
	}
	m, err := n.wire.conn.Read(n.in[n.to:])
	n.to += m
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
	var err error
	if len(n.out) > 0 {
		_, err = n.wire.conn.Write(n.out)
		n.out = n.out[:0]
	}
	return cmp.Or(err, n.wire.flush())
}

// fail ends a connection that got no session: with a stream error where there
// is one to tell, after our header (RFC 6120 §4.9.1.2).
func (n *negotiation) fail(err error) {
	defer n.wire.linger()
	defer n.srv.forget(n.wire)
	var se *stanza.StreamError
	told := errors.As(err, &se)
	if !told && !errors.Is(err, io.EOF) {
		_ = n.wire.flush() // an alert
		n.srv.log.Debug("connection failed before login", "conn", n.wire.id, "addr", n.wire.tcp.RemoteAddr(), "err", err)
		return
	}
	_ = n.wire.tcp.SetWriteDeadline(time.Now().Add(partingTimeout))
	if !n.opened && told {
		n.sendHeader()
	}
	if told {
		n.srv.Metrics.streamError(se)
		n.srv.log.Debug("stream error before login", "conn", n.wire.id, "addr", n.wire.tcp.RemoteAddr(), "condition", se.Condition)
		n.send(se.AppendXML(nil))
	}
	if n.opened {
		n.send([]byte("</stream:stream>"))
	}
	_ = n.flush()
	if n.wire.tls != nil {
		_ = n.wire.tls.CloseWrite()
		_ = n.wire.flush()
	}
}
