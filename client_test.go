package chatd_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"mellium.im/sasl"
)

// patience is how long anything may take that is expected to come.
const patience = 15 * time.Second

// A client is our own end of a stream: raw enough to send anything, strict
// about what it gets. It belongs to one goroutine.
type client struct {
	clientSpec
	srv      *server
	wrap     func(net.Conn) net.Conn // if set, what goes between TCP and us
	version  uint16                  // of TLS; 0: what both can
	tickets  tls.ClientSessionCache  // nil: every TLS session is a new one
	tcp      *net.TCPConn
	conn     net.Conn      // TCP, or TLS over it
	tls      *tls.Conn     // nil without
	in       *bufio.Reader // of conn; the decoder takes no byte too many from it
	dec      *xml.Decoder  // of the present stream
	features *node
	full     string  // the bound full JID
	session  string  // the last one that was bound, for resumption
	token    string  // the last one that was issued (XEP-0484)
	managed  bool    // the server has enabled stream management, or resumed (XEP-0198)
	pending  []*node // read while waiting for something else
	busy     bool    // has sent something since the last sync
	ended    error   // why nothing more comes
	barriers int
	log      strings.Builder // both sides of the conversation
}

// dial connects TCP and, for a direct client, TLS.
func (c *client) dial() error {
	addr := c.srv.plain
	if c.clientSpec.tls == "direct" {
		addr = c.srv.direct
	}
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	c.tcp = conn.(*net.TCPConn)
	if c.wrap != nil {
		conn = c.wrap(conn)
	}
	c.conn, c.tls, c.in, c.dec = conn, nil, bufio.NewReader(conn), nil
	c.pending, c.ended, c.full, c.busy, c.managed = nil, nil, "", false, false
	if c.clientSpec.tls == "direct" {
		return c.startTLS("xmpp-client")
	}
	return nil
}

func (c *client) startTLS(alpn ...string) error {
	if n := c.in.Buffered(); n > 0 {
		return fmt.Errorf("%d bytes in the clear before TLS", n)
	}
	t := tls.Client(c.conn, &tls.Config{ServerName: c.domain, InsecureSkipVerify: true, NextProtos: alpn, MinVersion: c.version, MaxVersion: c.version, ClientSessionCache: c.tickets})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.conn, c.tls, c.in = t, t, bufio.NewReader(t)
	return nil
}

// send writes bytes as they are.
func (c *client) send(text string) error {
	c.busy = true
	fmt.Fprintf(&c.log, "C: %s\n", text)
	if c.conn == nil {
		return errors.New("not connected")
	}
	if err := c.tcp.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := io.WriteString(c.conn, text)
	return err
}

// next is the next element that the server sends.
func (c *client) next() (*node, error) {
	if len(c.pending) > 0 {
		n := c.pending[0]
		c.pending = c.pending[1:]
		return n, nil
	}
	return c.read()
}

func (c *client) read() (*node, error) {
	if c.dec == nil {
		return nil, errors.New("not connected")
	}
	if c.ended != nil {
		return nil, c.ended
	}
	if err := c.tcp.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	n, err := readElement(c.dec)
	if err != nil {
		c.ended = err
		fmt.Fprintf(&c.log, "S: (%v)\n", err)
		return nil, err
	}
	fmt.Fprintf(&c.log, "S: %s\n", n)
	switch {
	case n.is(nsSM, "resumed"):
		c.full, c.managed = c.session, true
	case n.is(nsSM, "enabled"):
		c.managed = true
	case n.is(nsSASL2, "success"):
		c.succeeded(n)
	}
	return n, nil
}

// header opens a stream: sends our header, reads the server's and its features.
func (c *client) header() error {
	if err := c.send(c.opening()); err != nil {
		return err
	}
	return c.opened()
}

// opening is our stream header (RFC 6120 §4.7).
func (c *client) opening() string {
	from := ""
	if c.tls != nil {
		from = " from='" + escape(c.user+"@"+c.domain) + "'"
	}
	return "<?xml version='1.0'?><stream:stream xmlns='" + nsClient + "' xmlns:stream='" + nsStream + "' to='" + c.domain + "'" + from + " version='1.0'>"
}

// answered reads the server's stream header.
func (c *client) answered() error {
	c.dec = xml.NewDecoder(c.in)
	if err := c.tcp.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return checkHeader(c.dec, c.domain)
}

// opened reads the server's stream header and its features.
func (c *client) opened() error {
	if err := c.answered(); err != nil {
		return err
	}
	features, err := c.read()
	if err != nil {
		return err
	}
	if !features.is(nsStream, "features") {
		return fmt.Errorf("instead of stream features: %s", features)
	}
	c.features = features
	return nil
}

// checkHeader reads a response stream header and holds it to RFC 6120 §4.7.
func checkHeader(d *xml.Decoder, domain string) error {
	for {
		tok, err := d.Token()
		if err != nil {
			return fmt.Errorf("no stream header: %w", err)
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			if p, ok := tok.(xml.ProcInst); ok && p.Target == "xml" {
				continue
			}
			return fmt.Errorf("before the stream header: %T", tok)
		}
		got := make(map[string]string)
		for _, a := range start.Attr {
			got[a.Name.Local] = a.Value
		}
		switch {
		case start.Name != xml.Name{Space: nsStream, Local: "stream"}:
			return fmt.Errorf("the stream header is <%s xmlns='%s'>", start.Name.Local, start.Name.Space)
		case got["from"] != domain && got["from"] != "":
			return fmt.Errorf("the stream is from %q", got["from"])
		case got["id"] == "" || got["version"] != "1.0" || got["xmlns"] != nsClient:
			return fmt.Errorf("the stream header has attributes %v", got)
		}
		return nil
	}
}

// open connects and negotiates TLS, up to the features that follow it.
func (c *client) open() error {
	if err := c.dial(); err != nil {
		return err
	}
	if err := c.header(); err != nil {
		return err
	}
	if c.clientSpec.tls != "starttls" {
		return nil
	}
	if c.features.child("starttls") == nil {
		return errors.New("STARTTLS is not offered")
	}
	if err := c.send("<starttls xmlns='" + nsTLS + "'/>"); err != nil {
		return err
	}
	if n, err := c.read(); err != nil || !n.is(nsTLS, "proceed") {
		return fmt.Errorf("STARTTLS: %v, %w", n, err)
	}
	if err := c.startTLS(); err != nil {
		return err
	}
	return c.header()
}

// A saslFailure is the server's refusal to let a client in.
type saslFailure struct{ condition string }

func (f saslFailure) Error() string { return "SASL failure: " + f.condition }

// authenticate proves who we are and opens the stream that follows.
func (c *client) authenticate() error {
	if err := c.exchange(); err != nil {
		return err
	}
	return c.header()
}

var mechanisms = map[string]sasl.Mechanism{
	"PLAIN": sasl.Plain, "SCRAM-SHA-1": sasl.ScramSha1, "SCRAM-SHA-1-PLUS": sasl.ScramSha1Plus,
	"SCRAM-SHA-256": sasl.ScramSha256, "SCRAM-SHA-256-PLUS": sasl.ScramSha256Plus,
}

// exchange is the SASL negotiation (RFC 6120 §6.4).
func (c *client) exchange() error {
	n, more, response, err := c.begin()
	if err != nil {
		return err
	}
	if err := c.send("<auth xmlns='" + nsSASL + "' mechanism='" + c.mechanism + "'>" + encode(response) + "</auth>"); err != nil {
		return err
	}
	for {
		el, err := c.read()
		if err != nil {
			return err
		}
		data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(el.text, "="))
		switch {
		case el.is(nsSASL, "failure") && len(el.kids) > 0:
			return saslFailure{el.kids[0].name.Local}
		case err != nil:
			return err
		case el.is(nsSASL, "success"):
			if more { // the server's signature has to be right
				_, _, err = n.Step(data)
			}
			return err
		case !el.is(nsSASL, "challenge"):
			return fmt.Errorf("instead of a challenge: %s", el)
		}
		if more, response, err = n.Step(data); err != nil {
			return err
		}
		if err := c.send("<response xmlns='" + nsSASL + "'>" + encode(response) + "</response>"); err != nil {
			return err
		}
	}
}

// begin makes our side of an exchange and its initial response.
func (c *client) begin() (n *sasl.Negotiator, more bool, response []byte, err error) {
	offered := c.offered()
	opts := []sasl.Option{
		sasl.Credentials(func() (user, pass, identity []byte) { return []byte(c.user), []byte(c.password), nil }),
	}
	if strings.HasSuffix(c.mechanism, "-PLUS") { // without, a client of ours does not know channel binding (RFC 5802 §6)
		opts = append(opts, sasl.RemoteMechanisms(offered...), sasl.TLSState(c.tls.ConnectionState()))
	}
	n = sasl.NewClient(mechanisms[c.mechanism], opts...)
	more, response, err = n.Step(nil)
	return n, more, response, err
}

// encode is a SASL message on the wire: an empty one is "=" (RFC 6120 §6.4.2).
func encode(data []byte) string {
	if len(data) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(data)
}

// offered is the SASL mechanisms among the stream features.
func (c *client) offered() []string {
	var names []string
	if m := c.features.child("mechanisms"); m != nil {
		for _, k := range m.kids {
			names = append(names, k.text)
		}
	}
	return names
}

// bind makes us a connected resource.
func (c *client) bind() error {
	resource := ""
	if c.resource != "" {
		resource = "<resource>" + escape(c.resource) + "</resource>"
	}
	reply, err := c.request("<iq type='set' id='bind'><bind xmlns='" + nsBind + "'>" + resource + "</bind></iq>")
	if err != nil {
		return err
	}
	jid := reply.child("bind").child("jid")
	if jid == nil {
		return fmt.Errorf("not bound: %s", reply)
	}
	c.full, c.session = jid.text, jid.text
	return nil
}

// request sends an IQ and waits for its answer; what comes before stays pending.
func (c *client) request(iq string) (*node, error) {
	want, err := parseElements(iq)
	if err != nil {
		return nil, err
	}
	return c.exchanged(iq, func(n *node) bool {
		return n.is(nsClient, "iq") && n.attr("id") == want[0].attr("id") && (n.attr("type") == "result" || n.attr("type") == "error")
	})
}

// exchanged sends something and waits for what answers it.
func (c *client) exchanged(text string, answers func(*node) bool) (*node, error) {
	if err := c.send(text); err != nil {
		return nil, err
	}
	for {
		n, err := c.read()
		if err != nil {
			return nil, err
		}
		if answers(n) {
			return n, nil
		}
		c.pending = append(c.pending, n)
	}
}

// connect is all that comes before the first stanza.
func (c *client) connect() error {
	if err := c.open(); err != nil {
		return err
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	return c.bind()
}

// sync returns when the server has dealt with all that we sent and we have
// read all that it had for us by then: a ping is the barrier, as both
// directions keep their order (RFC 6120 §10.1). A stream that has ended needs none.
func (c *client) sync() error {
	if !c.busy || c.full == "" || c.ended != nil {
		return nil
	}
	return c.ping()
}

// With stream management a request for an acknowledgement is the barrier, as it
// does not count as a stanza.
func (c *client) ping() error {
	if c.managed {
		_, err := c.exchanged("<r xmlns='"+nsSM+"'/>", func(n *node) bool { return n.is(nsSM, "a") })
		c.busy = false
		return err
	}
	c.barriers++
	id := fmt.Sprintf("barrier-%d", c.barriers)
	reply, err := c.request("<iq type='get' id='" + id + "' to='" + c.domain + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	c.busy = false
	if err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	if reply.attr("type") != "result" {
		return fmt.Errorf("barrier: %s", reply)
	}
	return nil
}

// close closes the stream and waits for the server to do the same (RFC 6120 §4.4).
func (c *client) close() error {
	if err := c.send("</stream:stream>"); err != nil {
		return err
	}
	if err := c.closed(); err != nil {
		return err
	}
	return c.tcp.Close()
}

// closed waits for the server's end of the stream; nothing else may come.
func (c *client) closed() error {
	n, err := c.next()
	c.full = ""
	switch {
	case err == nil:
		return fmt.Errorf("instead of the stream's end: %s", n)
	case !errors.Is(err, errStreamEnd):
		return fmt.Errorf("instead of the stream's end: %w", err)
	}
	if _, err := c.in.ReadByte(); err != io.EOF {
		return fmt.Errorf("after the stream's end: %w", err)
	}
	return nil
}

// reset breaks the connection without a word.
func (c *client) reset() error {
	c.full = ""
	if err := c.tcp.SetLinger(0); err != nil {
		return err
	}
	return c.tcp.Close()
}
