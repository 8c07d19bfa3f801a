package c2s

import (
	"crypto/tls"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"mellium.im/sasl"

	"chatd/stanza"
)

// TestChat: two clients, over each transport, in both directions and in order.
func TestChat(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%t", overTLS), func(t *testing.T) {
			s := startServer(t, nil)
			a, b := s.login(t, "romeo", "orchard", overTLS), s.login(t, "juliet", "balcony", overTLS)
			const n = 2000
			go func() {
				for i := range n {
					fmt.Fprintf(a.conn, "<message to='juliet@chat.test/balcony' type='chat' id='m%d'><body>%s</body></message>", i, strings.Repeat("x", i%500))
				}
			}()
			for i := range n {
				b.expect("from='romeo@chat.test/orchard'", fmt.Sprintf("id='m%d'", i), "<body>"+strings.Repeat("x", i%500)+"</body>")
			}
			b.send("<message to='romeo@chat.test/orchard'><body>enough</body></message>")
			a.expect("<body>enough</body>")
			b.send("</stream:stream>")
			b.expect("</stream:stream>")
		})
	}
}

// TestSTARTTLS: RFC 6120 §5, and what was sent in the clear behind <starttls/> does not survive.
func TestSTARTTLS(t *testing.T) {
	s := startServer(t, func(c *Config) { c.RequireTLS = true })
	for _, injected := range []string{"", "<iq type='set' id='evil'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"} {
		c := dial(t, s.addr, nil)
		features := c.open()
		if !strings.Contains(features, "<required/>") || strings.Contains(features, "<mechanism") {
			t.Errorf("features %s", features)
		}
		c.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + injected)
		c.expect("<proceed ")
		c.conn = tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
		if features = c.open(); !strings.Contains(features, "<mechanism>PLAIN</mechanism>") || strings.Contains(features, "<starttls") {
			t.Errorf("features %s", features)
		}
		c.authenticate(sasl.Plain, "nobody", "x")
		c.send("<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>")
		c.expect("id='r'", "<username/>")
	}
}

// TestALPN: XEP-0368.
func TestALPN(t *testing.T) {
	s := startServer(t, nil)
	conn, err := tls.Dial("tcp", s.direct, clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	if p := conn.ConnectionState().NegotiatedProtocol; p != "xmpp-client" {
		t.Errorf("protocol %q", p)
	}
	conn.Close()
	if conn, err := tls.Dial("tcp", s.direct, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}); err == nil {
		conn.Close()
		t.Error("a client that wants h2 was served")
	}
}

// TestRetries: RFC 6120 §6.4.5.
func TestRetries(t *testing.T) {
	s := startServer(t, nil)
	s.login(t, "romeo", "x", true)
	c := dial(t, s.direct, clientTLS())
	c.open()
	for range saslRetries {
		if got := c.authenticate(sasl.Plain, "romeo", "wrong"); !strings.Contains(got, "<not-authorized/>") {
			t.Fatalf("got %s", got)
		}
	}
	c.authenticate(sasl.Plain, "romeo", "wrong")
	c.closed("policy-violation")
}

// TestConflict: the three policies of RFC 6120 §7.7.2.2.
func TestConflict(t *testing.T) {
	bindAgain := func(s *testServer) *testClient {
		c := dial(t, s.direct, clientTLS())
		c.open()
		c.authenticate(sasl.ScramSha256, "romeo", testPassword)
		c.open()
		c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>orchard</resource></bind></iq>")
		return c
	}
	t.Run("replace", func(t *testing.T) {
		s := startServer(t, nil)
		old := s.login(t, "romeo", "orchard", true)
		old.available()
		bindAgain(s).expect("<jid>romeo@chat.test/orchard</jid>")
		old.closed("conflict")
	})
	t.Run("refuse", func(t *testing.T) {
		s := startServer(t, func(c *Config) { c.Conflict = Refuse })
		old := s.login(t, "romeo", "orchard", true)
		c := bindAgain(s)
		c.expect("<conflict ")
		c.send("<iq type='set' id='b2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>other</resource></bind></iq>")
		c.expect("<jid>romeo@chat.test/other</jid>")
		old.ping("alive")
	})
	t.Run("rename", func(t *testing.T) {
		s := startServer(t, func(c *Config) { c.Conflict = Rename })
		old := s.login(t, "romeo", "orchard", true)
		got := bindAgain(s).expect("<jid>romeo@chat.test/")
		if strings.Contains(got, "orchard") {
			t.Errorf("got %s", got)
		}
		old.ping("alive")
	})
}

// TestUnsentIsRerouted: a client that stops reading is closed when its queue is
// full, and every message that it was not sent is held for it, in order.
func TestUnsentIsRerouted(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := startServer(t, webFor(kind))
			a, b := s.loginBy(t, kind, "romeo", "orchard"), s.loginBy(t, kind, "juliet", "balcony")
			if tcp, ok := b.conn.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(64 << 10)
			}
			b.available()
			row, _ := s.router.Table.Row(b.jid)
			body := strings.Repeat("y", 8000)
			sent := 0
			for ; ; sent++ {
				a.send(fmt.Sprintf("<message to='juliet@chat.test' type='chat' id='m%06d'><body>%s</body></message>", sent, body))
				if sent%50 == 0 {
					a.ping("p")
					if _, ok := s.router.Table.Row(b.jid); !ok {
						break
					}
				}
			}
			<-row.Session.Done()
			a.ping("end")
			got := map[string]bool{}
			last := ""
			for _, m := range s.spool.take() {
				id := m[strings.Index(m, "id='m")+4:][:7]
				if got[id] {
					t.Errorf("%s held twice", id)
				}
				got[id], last = true, id
			}
			if want := fmt.Sprintf("m%06d", sent); last != want {
				t.Errorf("last held is %s, want %s", last, want)
			}
			// What b did get before it stopped and what was held are everything.
			_ = b.conn.SetReadDeadline(time.Now().Add(testTimeout))
			seen := drainIDs(b.conn)
			for i := range sent + 1 {
				if id := fmt.Sprintf("m%06d", i); !got[id] && !seen[id] {
					t.Errorf("%s is lost", id)
				}
			}
		})
	}
}

// drainIDs reads all that still comes.
func drainIDs(conn net.Conn) map[string]bool {
	var all strings.Builder
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			break
		}
	}
	seen := map[string]bool{}
	for _, part := range strings.Split(all.String(), "<message ")[1:] {
		if i := strings.Index(part, "id='m"); i >= 0 && strings.Contains(part, "</message>") {
			seen[part[i+4:][:7]] = true
		}
	}
	return seen
}

// TestBrokenConnection: a session whose connection breaks leaves the table and its contacts hear of it.
func TestBrokenConnection(t *testing.T) {
	s := startServer(t, nil)
	b := s.login(t, "juliet", "balcony", false)
	b.available()
	row, ok := s.router.Table.Row(b.jid)
	if !ok {
		t.Fatal("not in the table")
	}
	_ = b.conn.(*net.TCPConn).SetLinger(0)
	b.conn.Close()
	select {
	case <-row.Session.Done():
	case <-time.After(testTimeout):
		t.Fatal("the session does not end")
	}
	if _, ok := s.router.Table.Row(b.jid); ok {
		t.Error("a ghost stays in the table")
	}
}

// TestLargeAndFragmented: stanzas larger than the buffers, in pieces, one after the other.
func TestLargeAndFragmented(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%t", overTLS), func(t *testing.T) {
			s := startServer(t, nil)
			a, b := s.login(t, "romeo", "orchard", overTLS), s.login(t, "juliet", "balcony", overTLS)
			body := strings.Repeat("z", 200_000)
			msg := "<message to='juliet@chat.test/balcony' id='big'><body>" + body + "</body></message>"
			for rest := msg + " " + msg; rest != ""; {
				n := min(len(rest), 7777)
				a.send(rest[:n])
				rest = rest[n:]
			}
			b.expect("id='big'", body)
			b.expect("id='big'", body)
			for _, c := range "<message to='juliet@chat.test/balcony' id='slow'/>" {
				a.send(string(c))
			}
			b.expect("id='slow'")
			a.send("<message to='juliet@chat.test/balcony'><body>" + strings.Repeat("z", 300_000))
			a.closed("policy-violation")
		})
	}
}

// TestAnyPieces: whatever the sizes of stanzas and of the pieces in which they come,
// each arrives once, whole and in order.
func TestAnyPieces(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%t", overTLS), func(t *testing.T) {
			s := startServer(t, nil)
			a, b := s.login(t, "romeo", "orchard", overTLS), s.login(t, "juliet", "balcony", overTLS)
			rnd := mathrand.New(mathrand.NewPCG(1, 2))
			const n = 400
			var all strings.Builder
			sizes := make([]int, n)
			for i := range n {
				sizes[i] = []int{1 + rnd.IntN(50), 1 + rnd.IntN(2000), 8000, 1 + rnd.IntN(40000)}[rnd.IntN(4)]
				fmt.Fprintf(&all, "<message to='juliet@chat.test/balcony' id='m%06d'><body>%s</body></message>", i, strings.Repeat("v", sizes[i]))
			}
			go func() {
				for rest := all.String(); rest != ""; {
					k := min(len(rest), 1+rnd.IntN(20000))
					if _, err := a.conn.Write([]byte(rest[:k])); err != nil {
						t.Error(err)
						return
					}
					rest = rest[k:]
				}
			}()
			for i := range n {
				b.expect(fmt.Sprintf("id='m%06d'", i), "<body>"+strings.Repeat("v", sizes[i])+"</body>")
			}
		})
	}
}

// TestThrottle: a client above its rate is slowed, not punished, and nobody else is.
func TestThrottle(t *testing.T) {
	s := startServer(t, func(c *Config) { c.StanzasPerSecond, c.StanzaBurst = 1000, 10 })
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	for i := range 200 {
		a.send(fmt.Sprintf("<message to='juliet@chat.test/balcony' id='m%d'/>", i))
	}
	for i := range 200 {
		b.expect(fmt.Sprintf("id='m%d'", i))
	}
	b.ping("unhurt")
}

// TestSpoof: RFC 6120 §8.1.2.1.
func TestSpoof(t *testing.T) {
	s := startServer(t, nil)
	for _, from := range []string{"juliet@chat.test", "romeo@chat.test/other", "chat.test"} {
		c := s.login(t, "romeo", "orchard", false)
		c.send("<message from='" + from + "' to='juliet@chat.test'/>")
		c.closed("invalid-from")
	}
	c := s.login(t, "romeo", "orchard", false)
	for _, from := range []string{"romeo@chat.test", "romeo@chat.test/orchard"} {
		c.send("<message from='" + from + "' to='romeo@chat.test/orchard' id='own'/>")
		c.expect("from='romeo@chat.test/orchard'", "id='own'")
	}
}

// TestShutdown: every session hears system-shutdown, and a client in mid-login too.
func TestShutdown(t *testing.T) {
	s := startServer(t, nil)
	bound := s.login(t, "romeo", "orchard", true)
	half := dial(t, s.addr, nil)
	half.open()
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	bound.closed("system-shutdown")
	half.closed("system-shutdown")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("still accepting")
	}
}

// TestSweep: a session whose goroutine was renewed goes on as before.
func TestSweep(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		s := startServer(t, nil)
		a := s.login(t, "romeo", "orchard", overTLS)
		for i := range 5 {
			a.ping(fmt.Sprint("p", i))
			s.sweepOnce()
			s.sweepOnce()
		}
		a.send("<message to='romeo@chat.test/orchard' id='half'><body>")
		s.sweepOnce()
		s.sweepOnce()
		a.send("done</body></message>")
		a.expect("id='half'", "done")
		row, ok := s.router.Table.Row(a.jid)
		if !ok {
			t.Fatal("gone")
		}
		row.Session.Close(stanza.StreamUndefinedCondition)
		a.closed("undefined-condition")
	}
}
