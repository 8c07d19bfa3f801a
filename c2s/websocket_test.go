package c2s

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"mellium.im/sasl"

	"chatd/auth"
	"chatd/stanza"
)

// plainWeb makes a server whose public HTTP has no TLS.
func plainWeb(c *Config) { c.WebTLS = WebNone }

func (s *testServer) account(t testing.TB, user string) {
	t.Helper()
	if _, err := s.auth.Register(t.Context(), user, testPassword); err != nil && err != auth.ErrExists {
		t.Fatal(err)
	}
}

const wsOpen = "<open xmlns='" + nsFraming + "' to='chat.test' version='1.0'/>"

// opened opens the stream and returns the features.
func (c *wsClient) opened() string {
	c.tb.Helper()
	c.text(wsOpen)
	if op, got := c.next(); op != ws.OpText || !strings.HasPrefix(got, "<open xmlns='"+nsFraming+"' from='chat.test' id='") || !strings.HasSuffix(got, "/>") {
		c.tb.Fatalf("opcode %d %q", op, got)
	}
	op, got := c.next()
	if op != ws.OpText || !strings.HasPrefix(got, "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>") {
		c.tb.Fatalf("opcode %d %q", op, got)
	}
	return got
}

// failed checks that the stream ends with an error, and the connection with a code.
func (c *wsClient) failed(condition string, code ws.StatusCode) {
	c.tb.Helper()
	if _, got := c.next(); !strings.HasPrefix(got, "<stream:error xmlns:stream='http://etherx.jabber.org/streams'><"+condition+" ") {
		c.tb.Fatalf("want %s, got %q", condition, got)
	}
	if _, got := c.next(); got != "<close xmlns='"+nsFraming+"'/>" {
		c.tb.Fatalf("after the error came %q", got)
	}
	c.ends(code)
}

// ends checks that nothing comes but the end with a code.
func (c *wsClient) ends(code ws.StatusCode) {
	c.tb.Helper()
	op, got := c.next()
	if is, _ := ws.ParseCloseFrameData([]byte(got)); op != ws.OpClose || is != code {
		c.tb.Fatalf("want a close frame of %d, got opcode %d %q", code, op, got)
	}
	if op, got := c.next(); op != 0 {
		c.tb.Fatalf("after the end came opcode %d %q", op, got)
	}
}

// TestWebSocketFeatures: no TLS is offered inside (RFC 7395 §3.9), and no password may be
// sent where nothing protects it.
func TestWebSocketFeatures(t *testing.T) {
	for name, c := range map[string]struct {
		how   WebTLS
		plain bool
	}{"none": {WebNone, false}, "proxy": {WebProxy, true}, "own": {WebOwn, true}} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, func(cfg *Config) { cfg.WebTLS, cfg.RequireTLS = c.how, true })
			cfg := clientTLS()
			if c.how != WebOwn {
				cfg = nil
			}
			features := dialWS(t, s.web, cfg).opened()
			if strings.Contains(features, "starttls") {
				t.Errorf("STARTTLS is offered: %s", features)
			}
			if got := strings.Contains(features, "<mechanism>PLAIN<"); got != c.plain {
				t.Errorf("PLAIN offered: %v in %s", got, features)
			}
			if strings.Contains(features, "-PLUS<") {
				t.Errorf("channel binding is offered to what cannot do it: %s", features)
			}
		})
	}
}

// TestWebSocketSession: login, messages both ways between TCP and WebSocket, and the end in order.
func TestWebSocketSession(t *testing.T) {
	for _, how := range []WebTLS{WebNone, WebOwn} {
		t.Run(fmt.Sprint(how), func(t *testing.T) {
			s := startServer(t, func(c *Config) { c.WebTLS = how })
			cfg := clientTLS()
			if how == WebNone {
				cfg = nil
			}
			s.account(t, "juliet")
			a := s.login(t, "romeo", "orchard", false)
			b := loginOn(t, dialFramed(t, s.web, cfg), "juliet", "balcony")
			a.available()
			b.available()
			for i := range 50 {
				a.send(numbered(i, "juliet@chat.test/balcony", "x"))
			}
			for i := range 50 {
				b.expect("<message xmlns='jabber:client'", "from='romeo@chat.test/orchard'", fmt.Sprintf("id='m%06d'", i))
			}
			long := strings.Repeat("äöü", 40000)
			b.send(numbered(1, "romeo@chat.test/orchard", long))
			a.expect("<message ", long)
			a.send(numbered(2, "juliet@chat.test/balcony", long))
			b.expect("<message xmlns='jabber:client'", long)
			b.send("</stream:stream>")
			if got := b.next(); got != "</stream:stream>" {
				t.Errorf("at the end came %q", got)
			}
			if got := b.next(); got != "" {
				t.Errorf("after the end came %q", got)
			}
		})
	}
}

// TestWebSocketResumption: a session moves from TCP to WebSocket and back (XEP-0198 §5).
func TestWebSocketResumption(t *testing.T) {
	s := startServer(t, plainWeb)
	a := s.login(t, "romeo", "orchard", false)
	b := s.login(t, "juliet", "balcony", false)
	id := b.enable()
	for i, web := range []bool{true, false, true} {
		b.conn.Close()
		a.send(numbered(i, b.jid.String(), "x"))
		a.ping(fmt.Sprint("sent", i))
		jid := b.jid
		if web {
			b = dialFramed(t, s.web, nil)
		} else {
			b = dial(t, s.addr, nil)
		}
		b.open()
		b.authenticate(sasl.ScramSha256, "juliet", testPassword)
		b.open()
		b.jid = jid
		b.send(fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/>", id, i))
		b.expect("<resumed ", "previd='"+id+"'")
		b.expect("<message ", fmt.Sprintf("id='m%06d'", i))
	}
}

// TestWebSocketFrames: what RFC 6455 and RFC 7395 say of frames.
func TestWebSocketFrames(t *testing.T) {
	s := startServer(t, plainWeb)
	ping := "<iq type='get' id='p' to='chat.test' xmlns='jabber:client'><ping xmlns='urn:xmpp:ping'/></iq>"
	for name, c := range map[string]struct {
		say  func(c *wsClient)
		want func(c *wsClient)
	}{
		"ping": {
			func(c *wsClient) { c.frame(ws.OpPing, true, "hello") },
			func(c *wsClient) {
				if op, got := c.next(); op != ws.OpPong || got != "hello" {
					t.Errorf("opcode %d %q", op, got)
				}
			}},
		"pong": {
			func(c *wsClient) { c.frame(ws.OpPong, true, "hello"); c.frame(ws.OpPing, true, "") },
			func(c *wsClient) {
				if op, _ := c.next(); op != ws.OpPong {
					t.Errorf("opcode %d", op)
				}
			}},
		"close":            {func(c *wsClient) { c.frame(ws.OpClose, true, "\x03\xe9bye") }, func(c *wsClient) { c.ends(1001) }},
		"close of 1":       {func(c *wsClient) { c.frame(ws.OpClose, true, "x") }, func(c *wsClient) { c.ends(1002) }},
		"close of nothing": {func(c *wsClient) { c.frame(ws.OpClose, true, "") }, func(c *wsClient) { c.ends(1000) }},
		"end of stream": {
			func(c *wsClient) { c.text("<close xmlns='" + nsFraming + "'/>") },
			func(c *wsClient) {
				if _, got := c.next(); got != "<close xmlns='"+nsFraming+"'/>" {
					t.Errorf("got %q", got)
				}
				c.ends(1000)
			}},
		"fragments": {
			func(c *wsClient) {
				c.frame(ws.OpText, false, "<i")
				c.frame(ws.OpPing, true, "between")
				c.frame(ws.OpContinuation, false, "")
				c.frame(ws.OpContinuation, false, ping[2:20])
				c.frame(ws.OpContinuation, true, ping[20:])
			},
			func(c *wsClient) {
				if op, _ := c.next(); op != ws.OpPong {
					t.Errorf("opcode %d", op)
				}
				if _, got := c.next(); !strings.HasPrefix(got, "<iq xmlns='jabber:client' ") || !strings.Contains(got, "id='p'") {
					t.Errorf("got %q", got)
				}
			}},
		"without a namespace": {
			func(c *wsClient) { c.text(strings.Replace(ping, " xmlns='jabber:client'", "", 1)) },
			func(c *wsClient) {
				if _, got := c.next(); !strings.Contains(got, "id='p'") {
					t.Errorf("got %q", got)
				}
			}},
		"with a declaration": {
			func(c *wsClient) { c.text("<?xml version='1.0'?>" + ping) },
			func(c *wsClient) {
				if _, got := c.next(); !strings.Contains(got, "id='p'") {
					t.Errorf("got %q", got)
				}
			}},
		"no mask": {func(c *wsClient) { _ = ws.WriteFrame(c.Conn, ws.NewTextFrame([]byte(ping))) }, func(c *wsClient) { c.ends(1002) }},
		"reserved bits": {func(c *wsClient) {
			f := ws.MaskFrame(ws.NewTextFrame([]byte(ping)))
			f.Header.Rsv = 4
			_ = ws.WriteFrame(c.Conn, f)
		}, func(c *wsClient) { c.ends(1002) }},
		"reserved opcode":    {func(c *wsClient) { c.frame(3, true, ping) }, func(c *wsClient) { c.ends(1002) }},
		"lone continuation":  {func(c *wsClient) { c.frame(ws.OpContinuation, true, ping) }, func(c *wsClient) { c.ends(1002) }},
		"message in another": {func(c *wsClient) { c.frame(ws.OpText, false, "<i"); c.text(ping) }, func(c *wsClient) { c.ends(1002) }},
		"fragmented ping":    {func(c *wsClient) { c.frame(ws.OpPing, false, "x") }, func(c *wsClient) { c.ends(1002) }},
		"long ping":          {func(c *wsClient) { c.frame(ws.OpPing, true, strings.Repeat("x", 126)) }, func(c *wsClient) { c.ends(1002) }},
		"binary":             {func(c *wsClient) { c.frame(ws.OpBinary, true, ping) }, func(c *wsClient) { c.ends(1003) }},
		"invalid UTF-8":      {func(c *wsClient) { c.text("<message><body>\xff</body></message>") }, func(c *wsClient) { c.failed("not-well-formed", 1007) }},
		"two elements":       {func(c *wsClient) { c.text("<presence/><presence/>") }, func(c *wsClient) { c.next(); c.next(); c.failed("bad-format", 1007) }},
		"half an element":    {func(c *wsClient) { c.text("<message><body>x</body>") }, func(c *wsClient) { c.failed("bad-format", 1007) }},
		"half a close":       {func(c *wsClient) { c.text("<close xmlns='" + nsFraming + "'>") }, func(c *wsClient) { c.failed("bad-format", 1007) }},
		"nothing":            {func(c *wsClient) { c.text("") }, func(c *wsClient) { c.failed("bad-format", 1007) }},
		"white space":        {func(c *wsClient) { c.text(" ") }, func(c *wsClient) { c.failed("bad-format", 1007) }},
		"space before":       {func(c *wsClient) { c.text(" <presence/>") }, func(c *wsClient) { c.failed("bad-format", 1007) }},
		"space behind":       {func(c *wsClient) { c.text(ping + "\n") }, func(c *wsClient) { c.next(); c.frame(ws.OpPing, true, ""); c.next() }},
		"open once more":     {func(c *wsClient) { c.text(wsOpen) }, func(c *wsClient) { c.failed("restricted-xml", 1007) }},
		"close of another":   {func(c *wsClient) { c.text("<close xmlns='jabber:client'/>") }, func(c *wsClient) { c.failed("invalid-namespace", 1000) }},
		"too large":          {func(c *wsClient) { c.text("<message><body>" + strings.Repeat("x", 300000)) }, func(c *wsClient) { c.failed("policy-violation", 1008) }},
		"too large, close":   {func(c *wsClient) { c.text("<close xmlns='" + strings.Repeat("x", 300000)) }, func(c *wsClient) { c.failed("policy-violation", 1008) }},
		"impossible length":  {func(c *wsClient) { _, _ = c.Conn.Write([]byte("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff0000")) }, func(c *wsClient) { c.ends(1002) }},
		"stream error": {func(c *wsClient) {
			c.text("<error xmlns='http://etherx.jabber.org/streams'><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></error>")
		}, func(c *wsClient) { c.next(); c.ends(1000) }},
	} {
		t.Run(name, func(t *testing.T) {
			s.account(t, "juliet")
			w := loginOn(t, dialFramed(t, s.web, nil), "juliet", "balcony"+strings.ReplaceAll(name, " ", "-"))
			conn := w.conn.(*framedConn).wsClient
			conn.tb = t
			c.say(conn)
			c.want(conn)
		})
	}
}

// TestWebSocketOpening: what may stand at the beginning (RFC 7395 §3.4).
func TestWebSocketOpening(t *testing.T) {
	s := startServer(t, plainWeb)
	const bad = "<open xmlns='" + nsFraming + "' to='"
	for name, c := range map[string]struct {
		first     string
		condition string
		code      ws.StatusCode
	}{
		"another host":     {bad + "other.test' version='1.0'/>", "host-unknown", 1000},
		"no version":       {bad + "chat.test'/>", "unsupported-version", 1000},
		"no namespace":     {"<open to='chat.test' version='1.0'/>", "invalid-namespace", 1000},
		"another one":      {"<open xmlns='jabber:client' to='chat.test' version='1.0'/>", "invalid-namespace", 1000},
		"a stanza":         {"<presence xmlns='jabber:client'/>", "invalid-namespace", 1000},
		"a stream header":  {header, "bad-format", 1007},
		"not closed":       {bad + "chat.test' version='1.0'>", "bad-format", 1007},
		"not XML":          {"{}", "bad-format", 1007},
		"not well-formed":  {bad + "'<'/>", "not-well-formed", 1007},
		"more than a line": {wsOpen + wsOpen, "bad-format", 1007},
		"too large":        {bad + strings.Repeat("x", 20000) + "'/>", "policy-violation", 1008},
	} {
		t.Run(name, func(t *testing.T) {
			w := dialWS(t, s.web, nil)
			w.text(c.first)
			if _, got := w.next(); !strings.HasPrefix(got, "<open xmlns='"+nsFraming+"' from='chat.test' id='") {
				t.Fatalf("got %q", got)
			}
			w.failed(c.condition, c.code)
		})
	}
	t.Run("without an end", func(t *testing.T) {
		w := dialWS(t, s.web, nil)
		w.frame(ws.OpText, false, bad+strings.Repeat("x", 9000))
		w.frame(ws.OpContinuation, false, strings.Repeat("x", 2000)) // nothing says that more comes
		if _, got := w.next(); !strings.HasPrefix(got, "<open ") {
			t.Fatalf("got %q", got)
		}
		w.failed("policy-violation", 1008)
	})
	t.Run("in pieces", func(t *testing.T) {
		w := dialWS(t, s.web, nil)
		first := "<?xml version='1.0'?>\n<f:open xmlns:f='" + nsFraming + `' to="chat.test" from="romeo@chat.test/o'neill" version='1.0'></f:open>`
		w.frame(ws.OpText, false, first[:1])
		for i := 1; i < len(first); i++ {
			w.frame(ws.OpContinuation, i == len(first)-1, first[i:i+1])
		}
		if _, got := w.next(); !strings.Contains(got, " to='romeo@chat.test/o&apos;neill'") {
			t.Errorf("got %q", got)
		}
		if _, got := w.next(); !strings.HasPrefix(got, "<stream:features ") {
			t.Errorf("got %q", got)
		}
	})
}

// TestWebSocketHandshake: what is no request for this WebSocket is answered by HTTP.
func TestWebSocketHandshake(t *testing.T) {
	s := startServer(t, plainWeb)
	request := func(change func(http.Header)) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.web+WebSocketPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Protocol": {"chat, xmpp"}}
		change(r.Header)
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1))
		resp.Body.Close()
		return resp.StatusCode
	}
	for name, c := range map[string]struct {
		change func(http.Header)
		code   int
	}{
		"no upgrade":       {func(h http.Header) { h.Del("Upgrade") }, http.StatusBadRequest},
		"no subprotocol":   {func(h http.Header) { h.Del("Sec-Websocket-Protocol") }, http.StatusBadRequest},
		"another one":      {func(h http.Header) { h.Set("Sec-Websocket-Protocol", "mqtt") }, http.StatusBadRequest},
		"an older version": {func(h http.Header) { h.Set("Sec-Websocket-Version", "8") }, http.StatusUpgradeRequired},
		"a short key":      {func(h http.Header) { h.Set("Sec-Websocket-Key", "short") }, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			if got := request(c.change); got != c.code {
				t.Errorf("status %d, want %d", got, c.code)
			}
		})
	}
}

// TestWebSocketLimit: connections of one address are limited over HTTP too, and what has gone
// does not count.
func TestWebSocketLimit(t *testing.T) {
	s := startServer(t, func(c *Config) { c.WebTLS, c.ConnectionsPerAddress = WebNone, 1 })
	for range 3 {
		w := dialWS(t, s.web, nil)
		w.opened()
		if c := dial(t, s.addr, nil); c.next() != "" {
			t.Error("a second connection is served")
		}
		w.text("<close xmlns='" + nsFraming + "'/>")
		w.next()
		w.ends(1000)
		w.Close()
		for left := 1; left > 0; time.Sleep(time.Millisecond) {
			s.mu.Lock()
			left = len(s.byAddress)
			s.mu.Unlock()
		}
		resp, err := http.Get("http://" + s.web + "/nothing")
		if err != nil || resp.StatusCode != http.StatusNotFound {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		for left := 1; left > 0; time.Sleep(time.Millisecond) {
			s.mu.Lock()
			left = len(s.byAddress)
			s.mu.Unlock()
		}
	}
}

// TestWebSocketShutdown: clients are told why.
func TestWebSocketShutdown(t *testing.T) {
	s := startServer(t, plainWeb)
	s.account(t, "juliet")
	early := dialWS(t, s.web, nil)
	early.opened()
	late := loginOn(t, dialFramed(t, s.web, nil), "juliet", "balcony").conn.(*framedConn).wsClient
	done := make(chan error)
	go func() { done <- s.Shutdown(t.Context()) }()
	early.failed(stanza.StreamSystemShutdown.Condition, ws.StatusGoingAway)
	late.failed(stanza.StreamSystemShutdown.Condition, ws.StatusGoingAway)
	early.Close()
	late.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWebSocketPipelined: frames that come with the request are not lost.
func TestWebSocketPipelined(t *testing.T) {
	s := startServer(t, plainWeb)
	w := &wsClient{tb: t}
	conn := dial(t, s.web, nil).conn
	request := "GET " + WebSocketPath + " HTTP/1.1\r\nHost: chat.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n"
	if _, err := io.WriteString(conn, request+clientFrame(ws.OpText, true, wsOpen)+clientFrame(ws.OpPing, true, "?")); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%+v, %v", resp, err)
	}
	w.Conn, w.br = conn, br
	var got []string
	for range 3 {
		_, message := w.next()
		got = append(got, message)
	}
	if all := strings.Join(got, ""); !strings.Contains(all, "<open ") || !strings.Contains(all, "<stream:features ") || !strings.Contains(all, "?") {
		t.Errorf("got %q", got)
	}
}
