package chatd_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// How far a connection gets before the bytes under test are sent.
type stage int

const (
	atStart stage = iota // TCP, nothing said
	opened               // stream header and features exchanged, no TLS
	secured              // TLS, header and features exchanged
	inside               // logged in and bound
)

// reach is a connection at that stage, as mallory.
func reach(t *testing.T, srv *server, at stage) *client {
	t.Helper()
	c := srv.client(clientSpec{name: "Mallory", user: "mallory", domain: testDomain, password: "secret", mechanism: "PLAIN", tls: "none"})
	t.Cleanup(func() {
		if c.tcp != nil {
			c.tcp.Close()
		}
	})
	if at >= secured {
		c.clientSpec.tls = "starttls"
	}
	var err error
	switch at {
	case atStart:
		err = c.dial()
	case opened, secured:
		err = c.open()
	case inside:
		err = c.connect()
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// streamError reads up to the stream error that has to come, then the end of the
// stream and of the connection, and names the condition (RFC 6120 §4.9).
func (c *client) streamError() (string, error) {
	if c.dec == nil { // the header comes first, whatever is wrong (RFC 6120 §4.9.1.2)
		if err := c.answered(); err != nil {
			return "", err
		}
	}
	for {
		n, err := c.next()
		if err != nil {
			return "", err
		}
		if !n.is(nsStream, "error") {
			continue
		}
		if len(n.kids) == 0 || n.kids[0].name.Space != nsStreams {
			return "", fmt.Errorf("no condition comes first in %s", n)
		}
		return n.kids[0].name.Local, c.closed()
	}
}

func header(attrs string) string { return "<?xml version='1.0'?><stream:stream " + attrs + ">" }

const (
	goodAttrs = "xmlns='jabber:client' xmlns:stream='" + nsStream + "' to='" + testDomain + "' version='1.0'"
	mary      = "<message to='mary@chat.test'>"
)

// TestStreamErrors is RFC 6120 §4.9.3: what is sent, and with which condition the
// stream ends. Several conditions are several that the RFC allows.
func TestStreamErrors(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"c2s.max_stanza_bytes": "20000"})
	if err := srv.register("mallory", "secret"); err != nil {
		t.Fatal(err)
	}
	notAttrs := func(old, new string) string { return header(strings.Replace(goodAttrs, old, new, 1)) }
	tests := []struct {
		name string
		at   stage
		send string
		want string // conditions, separated by spaces
	}{
		// The header, RFC 6120 §4.7, §4.8.
		{"stream namespace", atStart, notAttrs(nsStream, "http://wrong.example/"), "invalid-namespace"},
		{"content namespace", atStart, notAttrs("jabber:client", "jabber:nonsense"), "invalid-namespace"},
		{"server namespace", atStart, notAttrs("jabber:client", "jabber:server"), "invalid-namespace"},
		{"root element", atStart, "<stream:flow " + goodAttrs + ">", "bad-format invalid-xml invalid-namespace unsupported-stanza-type"},
		{"root without prefix", atStart, "<stream xmlns='jabber:client' to='chat.test' version='1.0'>", "invalid-namespace bad-namespace-prefix"},
		{"unknown host", atStart, notAttrs("chat.test", "other.test"), "host-unknown"},
		{"no host", atStart, notAttrs("to='chat.test'", ""), "host-unknown improper-addressing"},
		{"a user for a host", atStart, notAttrs("to='chat.test'", "to='mallory@chat.test'"), "host-unknown improper-addressing"},
		{"no version", atStart, notAttrs("version='1.0'", ""), "unsupported-version"},
		{"old version", atStart, notAttrs("version='1.0'", "version='0.9'"), "unsupported-version"},
		{"future version", atStart, notAttrs("version='1.0'", "version='11.0'"), "unsupported-version"}, // the example of §4.9.3.25
		{"nonsense for a version", atStart, notAttrs("version='1.0'", "version='one'"), "unsupported-version"},
		{"undeclared stream prefix", atStart, "<stream:stream xmlns='jabber:client' to='chat.test' version='1.0'>", "not-well-formed bad-namespace-prefix"},
		{"declared UTF-16", atStart, "<?xml version='1.0' encoding='UTF-16'?><stream:stream " + goodAttrs + ">", "unsupported-encoding"},
		{"declared Latin-1", atStart, "<?xml version='1.0' encoding='ISO-8859-1'?><stream:stream " + goodAttrs + ">", "unsupported-encoding"},
		{"real UTF-16", atStart, inUTF16(header(goodAttrs)), "unsupported-encoding not-well-formed bad-format"},
		{"HTTP", atStart, "GET / HTTP/1.1\r\nHost: chat.test\r\n\r\n", "not-well-formed bad-format"},
		{"zeros", atStart, strings.Repeat("\x00", 100), "not-well-formed bad-format"},
		{"stanza for a header", atStart, "<message xmlns='jabber:client'/>", "invalid-namespace bad-format not-authorized"},
		{"comment before the header", atStart, "<!-- hello -->" + header(goodAttrs), "restricted-xml"},
		{"DTD", atStart, "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]>" + header(goodAttrs)[len("<?xml version='1.0'?>"):], "restricted-xml"},
		{"processing instruction", atStart, "<?xml version='1.0'?><?php x?>" + header(goodAttrs)[len("<?xml version='1.0'?>"):], "restricted-xml"},
		{"endless header", atStart, "<stream:stream " + goodAttrs + " x='" + strings.Repeat("y", 10_500), "policy-violation"},
		{"endless name", atStart, "<" + strings.Repeat("n", 10_500), "policy-violation"},
		{"endless declaration", atStart, "<?xml version='1.0' " + strings.Repeat(" ", 10_500), "policy-violation not-well-formed restricted-xml"},
		{"endless attributes of the header", atStart, "<stream:stream " + goodAttrs + attributes(2_000), "policy-violation"},

		// Before TLS and before login, RFC 6120 §4.9.3.12, §13.12.
		{"message before TLS", opened, mary + "<body>hi</body></message>", "not-authorized"},
		{"presence before TLS", opened, "<presence/>", "not-authorized"},
		{"message before login", secured, mary + "<body>hi</body></message>", "not-authorized"},
		{"iq before login", secured, "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "not-authorized"},
		{"bind before login", secured, "<iq type='set' id='1'><bind xmlns='" + nsBind + "'/></iq>", "not-authorized"},
		{"unknown element before login", secured, "<what xmlns='example:what'/>", "unsupported-stanza-type not-authorized"},
		{"oversize before TLS", opened, "<starttls xmlns='" + nsTLS + "'>" + strings.Repeat(" ", 10_500), "policy-violation"},
		{"oversize before login", secured, "<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>" + strings.Repeat("A", 10_500), "policy-violation"},
		{"deep before login", secured, strings.Repeat("<a xmlns='example:a'>", 300), "policy-violation"},
		{"not well-formed before login", secured, "<auth></response>", "not-well-formed"},
		{"comment before login", secured, "<!-- x -->", "restricted-xml"},

		// Inside, RFC 6120 §11, §4.9.3.
		{"mismatched tags", inside, mary + "<body>No closing tag!</message>", "not-well-formed"},
		{"duplicate attribute", inside, "<message to='a@b' to='a@b'/>", "not-well-formed"},
		{"attribute without quotes", inside, "<message to=mary@chat.test/>", "not-well-formed"},
		{"less-than in an attribute", inside, "<message to='<'/>", "not-well-formed"},
		{"bare ampersand", inside, mary + "<body>a & b</body></message>", "not-well-formed"},
		{"forbidden character", inside, mary + "<body>\x01</body></message>", "not-well-formed"},
		{"forbidden character reference", inside, mary + "<body>&#0;</body></message>", "not-well-formed"},
		{"end of CDATA in text", inside, mary + "<body>]]></body></message>", "not-well-formed"},
		{"truncated UTF-8", inside, mary + "<body>\xc3</body></message>", "not-well-formed unsupported-encoding"},
		{"overlong UTF-8", inside, mary + "<body>\xc0\xaf</body></message>", "not-well-formed unsupported-encoding"},
		{"surrogate in UTF-8", inside, mary + "<body>\xed\xa0\x80</body></message>", "not-well-formed unsupported-encoding"},
		{"beyond Unicode", inside, mary + "<body>\xf4\x90\x80\x80</body></message>", "not-well-formed unsupported-encoding"},
		{"Latin-1 in an attribute", inside, "<message id='\xe9'/>", "not-well-formed unsupported-encoding"},
		{"text between stanzas", inside, "hello", "not-well-formed bad-format invalid-xml"},
		{"undeclared prefix", inside, mary + "<foo:body>What is this foo?</foo:body></message>", "not-well-formed"}, // the example of §4.9.3.13
		{"undeclared attribute prefix", inside, "<message foo:bar='x'/>", "not-well-formed"},
		{"prefix xmlns", inside, "<message xmlns:xmlns='x'/>", "not-well-formed"},
		{"undeclared by emptying", inside, "<message xmlns:p=''/>", "not-well-formed"},
		{"comment", inside, mary + "<!-- <subject/> --></message>", "restricted-xml"},
		{"processing instruction inside", inside, mary + "<?x y?></message>", "restricted-xml"},
		{"DTD inside", inside, "<!DOCTYPE x>", "restricted-xml"},
		{"entity", inside, mary + "<body>&bomb;</body></message>", "restricted-xml not-well-formed"},
		{"declaration inside", inside, "<?xml version='1.0'?>", "restricted-xml not-well-formed"},
		{"unknown element of the content namespace", inside, "<pubsub xmlns='jabber:client'/>", "unsupported-stanza-type"},
		{"unknown namespace", inside, "<what xmlns='example:what'/>", "unsupported-stanza-type"},
		{"stanza of another namespace", inside, "<message xmlns='jabber:server' to='mary@chat.test'/>", "invalid-namespace unsupported-stanza-type"},
		{"SASL after login", inside, "<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>AA==</auth>", "unsupported-stanza-type not-authorized policy-violation"},
		{"STARTTLS after login", inside, "<starttls xmlns='" + nsTLS + "'/>", "unsupported-stanza-type unsupported-feature"},
		{"another user's from", inside, "<message from='mary@chat.test' to='mallory@chat.test'/>", "invalid-from"},
		{"another resource's from", inside, "<presence from='mallory@chat.test/elsewhere'/>", "invalid-from"},
		{"the server's from", inside, "<iq from='chat.test' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "invalid-from"},
		{"oversize", inside, mary + "<body>" + strings.Repeat("x", 20_000) + "</body></message>", "policy-violation"},
		{"oversize that does not end", inside, mary + "<body>" + strings.Repeat("x", 100_000), "policy-violation"},
		{"oversize tag", inside, "<message id='" + strings.Repeat("x", 30_000), "policy-violation"},
		{"endless attributes", inside, "<message" + attributes(2_000), "policy-violation"},
		{"endless namespaces", inside, "<message" + strings.ReplaceAll(attributes(2_000), " a", " xmlns:a"), "policy-violation"},
		{"deep nesting", inside, mary + strings.Repeat("<a>", 5_000), "policy-violation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := reach(t, srv, tt.at)
			if tt.at == atStart {
				c.dec = nil
			}
			if err := c.send(tt.send); err != nil {
				t.Fatal(err)
			}
			got, err := c.streamError()
			if err != nil {
				t.Fatalf("instead of %s: %v\n%s", tt.want, err, last(c.log.String()))
			}
			if !slices.Contains(strings.Fields(tt.want), got) {
				t.Errorf("the condition is %s, not %s", got, tt.want)
			}
		})
	}
	srv.login(t, "afterwards", "x")
}

func inUTF16(s string) string {
	b := []byte{0xfe, 0xff}
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u>>8), byte(u))
	}
	return string(b)
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d='v'", i)
	}
	return b.String()
}

// last is the end of a long log.
func last(s string) string { return s[max(0, len(s)-2_000):] }

// A higher minor version is none of our business and answered with ours (RFC 6120 §4.7.5).
func TestHigherVersion(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	c := reach(t, srv, atStart)
	if err := c.send(header(strings.Replace(goodAttrs, "version='1.0'", "version='1.13'", 1))); err != nil {
		t.Fatal(err)
	}
	if err := c.opened(); err != nil {
		t.Fatal(err)
	}
}

// Restricted XML is not what these are: they are delivered.
func TestUnusualButRight(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	c := srv.login(t, "mallory", "x")
	for _, tt := range []struct{ name, send, want string }{
		{"white space between stanzas", " \r\n\t<message to='mallory@chat.test/x' id='1'/> ", "<message id='1' from='*' to='*'/>"},
		{"prefix for the content namespace", "<c:message xmlns:c='jabber:client' to='mallory@chat.test/x' id='2'><c:body>b</c:body></c:message>", "<message id='2' from='*' to='*'><body>b</body></message>"},
		{"CDATA", "<message to='mallory@chat.test/x' id='3'><body><![CDATA[<&]]></body></message>", "<message id='3' from='*' to='*'><body>&lt;&amp;</body></message>"},
		{"references", "<message to='m&#x61;llory@chat.test/x' id='4'><body>&#65;&lt;</body></message>", "<message id='4' from='*' to='*'><body>A&lt;</body></message>"},
		{"declared xml:lang", "<message xml:lang='de' to='mallory@chat.test/x' id='5'/>", "<message xml:lang='de' id='5' from='*' to='*'/>"},
		{"double quotes", `<message to="mallory@chat.test/x" id="it's"/>`, `<message id="it's" from='*' to='*'/>`},
		{"byte order mark in text", "<message to='mallory@chat.test/x' id='6'><body>\ufeffx</body></message>", "<message id='6' from='*' to='*'><body>\ufeffx</body></message>"},
		{"stream prefix inside", "<message to='mallory@chat.test/x' id='7'><stream:x/></message>", "<message id='7' from='*' to='*'><x xmlns='" + nsStream + "'/></message>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := c.send(tt.send); err != nil {
				t.Fatal(err)
			}
			got, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if err := make(captures).match(parseOne(t, tt.want), got); err != nil {
				t.Errorf("%v: %s", err, got)
			}
		})
	}
}

// A stanza of exactly the configured size passes, one more byte does not
// (RFC 6120 §13.12).
func TestStanzaSizeLimit(t *testing.T) {
	t.Parallel()
	const limit = 12_000
	srv := startServer(t, map[string]string{"c2s.max_stanza_bytes": fmt.Sprint(limit)})
	c := srv.login(t, "mallory", "x")
	message := func(size int) string {
		const open, end = "<message to='mallory@chat.test/x'><body>", "</body></message>"
		return open + strings.Repeat("x", size-len(open)-len(end)) + end
	}
	if err := c.send(message(limit)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.next(); err != nil || !n.is(nsClient, "message") {
		t.Fatalf("the largest stanza is not delivered: %v, %v", n, err)
	}
	if err := c.send(message(limit + 1)); err != nil {
		t.Fatal(err)
	}
	if got, err := c.streamError(); err != nil || got != "policy-violation" {
		t.Errorf("a larger one ends in %s, %v", got, err)
	}
}

// A dribble writes single bytes, each in a packet of its own.
type dribble struct{ net.Conn }

func (d dribble) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// TestByteByByte logs in and talks with every byte on its own, below TLS too.
func TestByteByByte(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	if err := srv.register("romeo", "secret"); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"starttls", "direct"} {
		c := srv.client(clientSpec{user: "romeo", domain: testDomain, resource: kind, password: "secret", mechanism: "SCRAM-SHA-256", tls: kind})
		c.wrap = func(conn net.Conn) net.Conn { return dribble{conn} }
		if err := c.connect(); err != nil {
			t.Fatal(err)
		}
		if err := c.send("<message to='romeo@chat.test/" + kind + "'><body>ünï &amp; 🌹</body></message>"); err != nil {
			t.Fatal(err)
		}
		if n, err := c.next(); err != nil || n.child("body") == nil || n.child("body").text != "ünï & 🌹" {
			t.Errorf("%s: received %v, %v", kind, n, err)
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestPipelining sends the whole login after TLS, and stanzas behind it, in
// one write; everything is answered in order.
func TestPipelining(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	if err := srv.register("romeo", "secret"); err != nil {
		t.Fatal(err)
	}
	c := srv.client(clientSpec{user: "romeo", domain: testDomain, tls: "direct"})
	if err := c.dial(); err != nil {
		t.Fatal(err)
	}
	defer c.tcp.Close()
	script := c.opening() +
		"<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>" + base64.StdEncoding.EncodeToString([]byte("\x00romeo\x00secret")) + "</auth>" +
		c.opening() +
		"<iq type='set' id='b'><bind xmlns='" + nsBind + "'><resource>r</resource></bind></iq>" +
		"<presence/>"
	for i := range 100 {
		script += fmt.Sprintf("<iq type='get' id='p%d' to='chat.test'><ping xmlns='urn:xmpp:ping'/></iq><message to='romeo@chat.test' id='m%d'/>", i, i)
	}
	if err := c.send(script + "</stream:stream>"); err != nil {
		t.Fatal(err)
	}
	if err := c.opened(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.read(); err != nil || !n.is(nsSASL, "success") {
		t.Fatalf("instead of success: %v, %v", n, err)
	}
	if err := c.opened(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.read(); err != nil || n.attr("id") != "b" || n.attr("type") != "result" {
		t.Fatalf("instead of the binding: %v, %v", n, err)
	}
	if n, err := c.read(); err != nil || !n.is(nsClient, "presence") {
		t.Fatalf("instead of presence: %v, %v", n, err)
	}
	for i := range 100 {
		for _, id := range []string{fmt.Sprintf("p%d", i), fmt.Sprintf("m%d", i)} {
			if n, err := c.read(); err != nil || n.attr("id") != id {
				t.Fatalf("instead of %s: %v, %v", id, n, err)
			}
		}
	}
	if err := c.closed(); err != nil {
		t.Error(err)
	}
}

// TestSTARTTLSInjection sends a login in the clear in the segment that asks for
// TLS: nothing of it may count afterwards (RFC 6120 §5.4.3.3; CVE-2011-0411 elsewhere).
func TestSTARTTLSInjection(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	if err := srv.register("mallory", "secret"); err != nil {
		t.Fatal(err)
	}
	login := "<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>" + base64.StdEncoding.EncodeToString([]byte("\x00mallory\x00secret")) + "</auth>"
	for _, injected := range []string{
		login,
		header(goodAttrs) + login,
		"<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>injected</username><password>x</password></query></iq>",
		"<stream:broken",
		strings.Repeat(" ", 5_000),
	} {
		c := reach(t, srv, opened)
		if err := c.send("<starttls xmlns='" + nsTLS + "'/>" + injected); err != nil {
			t.Fatal(err)
		}
		if n, err := c.read(); err != nil || !n.is(nsTLS, "proceed") {
			t.Fatalf("instead of proceeding: %v, %v", n, err)
		}
		if err := c.startTLS(); err != nil {
			continue // taken for the beginning of TLS: that is safe as well
		}
		if err := c.header(); err != nil {
			t.Fatalf("%q: %v", injected, err)
		}
		if reply, err := c.request("<iq type='get' id='q'><query xmlns='jabber:iq:register'/></iq>"); err != nil || len(c.pending) > 0 {
			t.Errorf("%q: before %v came %s, %v", injected, reply, show(c.pending), err)
		}
		if c.user = "injected"; c.authenticate() == nil {
			t.Errorf("%q: an account was made in the clear", injected)
		}
		c.tcp.Close()
	}
}

// TestBindRetries: a client may try resources that are refused, not for ever
// (RFC 6120 §7.7.3).
func TestBindRetries(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"c2s.resource_conflict": `"refuse"`})
	srv.login(t, "mallory", "taken")
	c := srv.client(clientSpec{user: "mallory", domain: testDomain, resource: "taken", password: "secret", mechanism: "PLAIN", tls: "direct"})
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	defer c.tcp.Close()
	if err := c.authenticate(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for {
		if err := c.send("<iq type='set' id='b'><bind xmlns='" + nsBind + "'><resource>taken</resource></bind></iq>"); err != nil {
			t.Fatal(err)
		}
		n, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if n.is(nsStream, "error") {
			if n.child("policy-violation") == nil {
				t.Errorf("the stream ends with %s", n)
			}
			break
		}
		if n.attr("type") != "error" || n.child("error").child("conflict") == nil {
			t.Fatalf("instead of a conflict: %s", n)
		}
		refused++
	}
	if refused < 5 || refused > 11 { // "at least 5 and no more than 10" retries
		t.Errorf("closed after %d refusals", refused)
	}
}

// TestStreamErrorFromClient: a stream error is never answered with one; the
// stream is closed (RFC 6120 §4.9.1.1).
func TestStreamErrorFromClient(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	c := srv.login(t, "mallory", "x")
	if err := c.send("<stream:error><undefined-condition xmlns='" + nsStreams + "'/></stream:error></stream:stream>"); err != nil {
		t.Fatal(err)
	}
	if err := c.closed(); err != nil {
		t.Error(err)
	}
}

// TestShutdown: everybody is told (RFC 6120 §4.9.3.20).
func TestShutdown(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	a, b := srv.login(t, "romeo", "x"), srv.login(t, "juliet", "x")
	waiting := reach(t, srv, secured)
	done := make(chan string, 3)
	for _, c := range []*client{a, b, waiting} {
		go func() {
			got, err := c.streamError()
			done <- fmt.Sprint(got, " ", err)
		}()
	}
	srv.stop(t)
	for range 3 {
		if got := <-done; got != "system-shutdown <nil>" {
			t.Errorf("at the end: %s", got)
		}
	}
	srv.start(t) // for the clean-up to stop it
}

// TestConnectionsPerAddress: one address may open so many connections, whether
// or not they log in.
func TestConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"c2s.connections_per_address": "3"})
	var open []*client
	refused := false
	for range 4 {
		c := srv.client(clientSpec{user: "x", domain: testDomain, tls: "none"})
		if err := c.dial(); err != nil {
			t.Fatal(err)
		}
		defer c.tcp.Close()
		if err := c.header(); err != nil {
			refused = true
			break
		}
		open = append(open, c)
	}
	if !refused || len(open) != 3 {
		t.Fatalf("%d connections are served", len(open))
	}
	if err := open[0].close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; { // the place is free once the server has noticed
		c := srv.client(clientSpec{user: "x", domain: testDomain, tls: "none"})
		if err := c.dial(); err != nil {
			t.Fatal(err)
		}
		defer c.tcp.Close()
		if c.header() == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a place that was left is not given again")
		}
	}
}
