package c2s

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"chatd/stanza"
)

// TestBOSHChat: a client over BOSH and one over TCP, in both directions and in order.
func TestBOSHChat(t *testing.T) {
	s, url := startBOSH(t, nil)
	b := s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
	a := s.login(t, "romeo", "orchard", false)
	b.say("", "<presence xmlns='jabber:client'/>", "<presence xmlns='jabber:client'", "juliet@chat.test/balcony")
	const n = 300
	go func() {
		for i := range n {
			a.send(fmt.Sprintf("<message to='juliet@chat.test' type='chat' id='m%d'><body>%s</body></message>", i, strings.Repeat("x", i%500)))
		}
	}()
	for i := 0; i < n; {
		for _, m := range strings.Split(b.say("", ""), "<message ")[1:] {
			if !strings.HasPrefix(m, "xmlns='jabber:client'") || !strings.Contains(m, fmt.Sprintf("id='m%d'", i)) {
				t.Fatalf("message %d: %s", i, m)
			}
			i++
		}
	}
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "<message to='romeo@chat.test/orchard' id='r%d'/>", i) // as older clients: without a namespace
		if i%50 == 0 || i == n-1 {
			b.say("", all.String()+"<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>", "id='p'")
			all.Reset()
		}
	}
	for i := range n {
		a.expect("from='juliet@chat.test/balcony'", fmt.Sprintf("id='r%d'", i))
	}
	b.say("type='terminate'", "<presence xmlns='jabber:client' type='unavailable'/>", "type='terminate'")
	if got := b.say("", ""); !strings.Contains(got, "item-not-found") {
		t.Errorf("after the end: %s", got)
	}
	if held := s.spool.take(); len(held) > 0 {
		t.Errorf("rerouted although received: %q", held)
	}
}

// A fragileBOSH is a client whose connections break, by chance, in the middle of a response: it sends
// the same request again (XEP-0124 §14.3).
type fragileBOSH struct {
	*boshClient
	host   string
	rnd    *mathrand.Rand
	breaks int
}

// exchange posts a body until the whole response has come.
func (c *fragileBOSH) exchange(body string) string {
	c.tb.Helper()
	for {
		conn, err := net.Dial("tcp", c.host)
		if err != nil {
			c.tb.Fatal(err)
		}
		fmt.Fprintf(conn, "POST "+BOSHPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		_ = conn.SetReadDeadline(time.Now().Add(testTimeout))
		var from io.Reader = conn
		if c.breaks == 0 || c.rnd.IntN(3) == 0 {
			from = io.LimitReader(conn, int64(c.rnd.IntN(max(200, min(1500, 1500*c.breaks)))))
		}
		r, err := http.ReadResponse(bufio.NewReader(from), nil)
		if err == nil {
			var b []byte
			if b, err = io.ReadAll(r.Body); err == nil {
				conn.Close()
				return string(b)
			}
		}
		c.breaks++
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

var messageID = regexp.MustCompile("<message [^>]*id='m([0-9]+)'")

// TestBOSHBrokenResponses: responses that break off lose nothing, and double nothing.
func TestBOSHBrokenResponses(t *testing.T) {
	s, url := startBOSH(t, nil)
	c := &fragileBOSH{boshClient: s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'"), host: s.web, rnd: mathrand.New(mathrand.NewPCG(3, 4))}
	a := s.login(t, "romeo", "orchard", false)
	c.say("", "<presence xmlns='jabber:client'/>", "<presence ")
	const n = 400
	go func() {
		for i := range n {
			a.send(fmt.Sprintf("<message to='juliet@chat.test' type='chat' id='m%d'><body>%s</body></message>", i, strings.Repeat("x", i)))
			if i%7 == 0 {
				a.ping("slowly")
			}
		}
	}()
	next := 0
	for next < n {
		got := c.exchange(c.body("", "<message to='romeo@chat.test/nobody' type='headline'/>"))
		for _, m := range messageID.FindAllStringSubmatch(got, -1) {
			if m[1] != strconv.Itoa(next) {
				t.Fatalf("got %s, want %d", m[1], next)
			}
			next++
		}
	}
	if c.breaks == 0 {
		t.Error("nothing broke")
	}
	for range 2 { // Two requests may be here at once, and the end beside them (XEP-0124 §11): only now does it show that the last message has come.
		c.exchange(c.body("", "<message to='romeo@chat.test/nobody' type='headline'/>"))
	}
	c.say("type='terminate'", "", "type='terminate'")
	if held := s.spool.take(); len(held) > 0 {
		t.Errorf("rerouted although received: %q", held)
	}
}

// sessionOf is the transport behind a client's session.
func (h *boshHandler) sessionOf(c *boshClient) *bosh { return h.books.find(c.sid) }

// TestBOSHGone: what a client that goes away has not shown to have is held for it, once, and nothing else.
func TestBOSHGone(t *testing.T) {
	s, url := startBOSH(t, nil)
	h := s.Server.web.bosh
	a := s.login(t, "romeo", "orchard", false)
	c := s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
	c.say("", "<presence xmlns='jabber:client'/>", "<presence ")
	for i := range 3 {
		a.send(fmt.Sprintf("<message to='juliet@chat.test' type='chat' id='m%d'/>", i))
		c.say("", "", fmt.Sprintf("id='m%d'", i))
	}
	b := h.sessionOf(c)
	a.send("<message to='juliet@chat.test' type='chat' id='m3'/>")
	a.ping("sent")
	b.mu.Lock()
	b.idle = 0
	b.schedule(time.Now())
	b.mu.Unlock()
	row, _ := s.router.Table.Row(c.jid)
	if row.Session != nil {
		ended(t, row.Session, testTimeout)
	}
	// The client has had 0 to 2, but its requests do not show that it has had 1 and 2.
	held := strings.Join(s.spool.take(), "")
	for i, want := range []int{0, 1, 1, 1} {
		if got := strings.Count(held, fmt.Sprintf("id='m%d'", i)); got != want {
			t.Errorf("m%d is held %d times: %s", i, got, held)
		}
	}
	c.say("", "", "item-not-found")
}

// TestBOSHHandOver: messages that waited leave the spool only when a client over BOSH has them.
func TestBOSHHandOver(t *testing.T) {
	s, url := startBOSH(t, nil)
	for _, has := range []bool{true, false} {
		c := s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
		row, _ := s.router.Table.Row(c.jid)
		st, _ := stanza.Parse([]byte("<message from='romeo@chat.test' to='juliet@chat.test' id='m1'/>"))
		if _, err := s.spool.Hold(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			s.spool.handOver(t.Context(), row.Session, func() {})
			close(done)
		}()
		c.say("", "", "id='m1'")
		if has {
			c.say("", "") // this could be sent without having it
			go c.say("", "")
			<-done
		} else {
			row.Session.Close(stanza.StreamConflict)
			ended(t, row.Session, testTimeout)
			<-done
		}
		held := s.spool.take()
		if want := map[bool]int{true: 0, false: 1}[has]; len(held) != want {
			t.Errorf("has it: %t, held %q", has, held)
		}
	}
}

// TestBOSHResume: a session with stream management that began over BOSH goes on over TCP.
func TestBOSHResume(t *testing.T) {
	s, url := startBOSH(t, nil)
	a := s.login(t, "romeo", "orchard", false)
	c := s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
	got := c.say("", "<enable xmlns='urn:xmpp:sm:3' resume='true'/>", "<enabled ")
	id := regexp.MustCompile(" id='([0-9a-f]+)'").FindStringSubmatch(got)[1]
	c.say("", "<presence xmlns='jabber:client'/>", "<presence ")
	for i := range 5 {
		a.send(fmt.Sprintf("<message to='juliet@chat.test/balcony' id='m%d'/>", i))
		c.say("", "", fmt.Sprintf("id='m%d'", i))
	}
	c.say("", "<a xmlns='urn:xmpp:sm:3' h='4'/><r xmlns='urn:xmpp:sm:3'/>", "<a xmlns='urn:xmpp:sm:3' h='1'/>")
	d := s.resuming(t, "juliet", id, 4)
	d.expect("<resumed ", "h='1'")
	d.expect("id='m3'")
	d.expect("id='m4'")
	d.expect("<r ")
	a.send("<message to='juliet@chat.test/balcony' id='m5'/>")
	d.expect("id='m5'")
	c.say("", "", "type='terminate'", "remote-stream-error", "<conflict ")
}

// requested reports whether a request is held.
func (b *bosh) requested() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return held(b.waiting)
}

// TestBOSHEndings: how sessions end from our side.
func TestBOSHEndings(t *testing.T) {
	s, url := startBOSH(t, nil)
	old := s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
	c := s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
	old.say("", "", "type='terminate'", "condition='remote-stream-error'", "<conflict ")
	c.say("", "<message from='romeo@chat.test'/>", "<invalid-from ")
	c = s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
	c.say("", "<body", "condition='bad-request'")
	c.say("", "", "item-not-found")
	c = s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
	c.say("", "<message><body>"+strings.Repeat("x", 300_000)+"</body></message>", "condition='policy-violation'")
	c = s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
	told := make(chan string)
	go func() { told <- c.say("", "") }()
	half := &boshClient{tb: t, url: url, rid: 7}
	half.begin("wait='20' hold='1'")
	go func() { told <- half.say("", "") }()
	for _, sid := range []string{c.sid, half.sid} {
		for b := s.Server.web.bosh.books.find(sid); !b.requested(); time.Sleep(time.Millisecond) {
		}
	}
	go func() { _ = s.Shutdown(context.WithoutCancel(t.Context())) }()
	for range 2 {
		if got := <-told; !strings.Contains(got, "<system-shutdown ") {
			t.Errorf("got %s", got)
		}
	}
}

// TestBOSHHTTP: what is HTTP and not a session.
func TestBOSHHTTP(t *testing.T) {
	_, url := startBOSH(t, func(c *Config) { c.ConnectionsPerAddress = 2 })
	http.DefaultClient.CloseIdleConnections() // of other tests
	tests := []struct {
		method, body string
		status       int
		want         string
	}{
		{"OPTIONS", "", 204, ""},
		{"GET", "", 405, "XEP-0124"},
		{"POST", "", 200, "bad-request"},
		{"POST", "<body rid='1' xmlns='http://jabber.org/protocol/httpbind'/>", 200, "improper-addressing"},
		{"POST", "<body rid='1' ver='1.6' xmlns='http://jabber.org/protocol/httpbind'/>", 200, "improper-addressing"},
		{"POST", "<body rid='1' ver='1.6' to='other.test' xmlns='http://jabber.org/protocol/httpbind'/>", 200, "host-unknown"},
		{"POST", "<body rid='1' sid='x' xmlns='http://jabber.org/protocol/httpbind'/>", 200, "item-not-found"},
		{"POST", "<body rid='9007199254740992' sid='x' ver='1.6' xmlns='http://jabber.org/protocol/httpbind'/>", 200, "bad-request"},
		{"POST", "<body rid='1' to='chat.test' xmlns='jabber:client'/>", 200, "bad-request"},
		{"POST", "<!DOCTYPE body><body rid='1'/>", 200, "bad-request"},
		{"POST", "<body rid='1' to='chat.test' xmlns='http://jabber.org/protocol/httpbind'>?</body>", 400, "bad-request"},
		{"POST", "<body rid='1' ver='1.6' to='chat.test' content='text/plain' xmlns='http://jabber.org/protocol/httpbind'/>", 200, "<stream:features "},
		{"POST", "<body rid='1' ver='1.6' to='chat.test' xmlns='http://jabber.org/protocol/httpbind'/>", 200, "policy-violation"},
		{"POST", "<body rid='1' to='chat.test' xmlns='http://jabber.org/protocol/httpbind'/>", 403, "policy-violation"},
	}
	for _, tt := range tests {
		t.Run(tt.body, func(t *testing.T) {
			q, _ := http.NewRequest(tt.method, url, strings.NewReader(tt.body))
			r, err := http.DefaultClient.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			b, _ := io.ReadAll(r.Body)
			if !strings.Contains(string(b), tt.want) || r.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%d %v %s", r.StatusCode, r.Header, b)
			}
			if r.StatusCode != tt.status {
				t.Errorf("status %d, want %d", r.StatusCode, tt.status)
			}
			want := "text/xml; charset=utf-8"
			if strings.Contains(tt.body, "text/plain") {
				want = "text/plain"
			}
			if got := r.Header.Get("Content-Type"); tt.method == "POST" && got != want {
				t.Errorf("type %s", got)
			}
		})
	}
}

// TestBOSHFlood: sessions without a user are bounded, and cost little.
func TestBOSHFlood(t *testing.T) {
	s, url := startBOSH(t, nil)
	h := s.Server.web.bosh
	logins := func(n int) (before int) {
		h.books.mu.Lock()
		defer h.books.mu.Unlock()
		before, h.books.logins = h.books.logins, n
		return before
	}
	logins(boshLogins - 20)
	open := func(want string) {
		t.Helper()
		c := &boshClient{tb: t, url: url}
		c.say("to='chat.test' ver='1.6' wait='60' hold='1'", "", want)
	}
	for range 20 {
		open("<stream:features ")
	}
	open("condition='policy-violation'")
	logins(0)
	s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(time.Millisecond) { // until the negotiation is off the books
		h.books.mu.Lock()
		n := h.books.logins
		h.books.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d logins", n)
		}
	}
	logins(20)
}

// TestBOSHOverTLS: passwords in the clear are offered where the channel is private, and nothing that
// binds to a connection.
func TestBOSHOverTLS(t *testing.T) {
	for _, tt := range []struct {
		tls     WebTLS
		scheme  string
		private bool
	}{{WebOwn, "https", true}, {WebProxy, "http", true}, {WebNone, "http", false}} {
		s := startServer(t, func(c *Config) { c.WebTLS, c.RequireTLS = tt.tls, true })
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		r, err := client.Post(tt.scheme+"://"+s.web+BOSHPath, "text/xml",
			strings.NewReader("<body rid='1' ver='1.6' to='chat.test' hold='1' wait='9' xmlns='http://jabber.org/protocol/httpbind'/>"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		got := string(b)
		if !strings.Contains(got, ">SCRAM-SHA-256<") || strings.Contains(got, "-PLUS<") || strings.Contains(got, ">PLAIN<") != tt.private {
			t.Errorf("TLS %d: %s", tt.tls, got)
		}
		client.CloseIdleConnections()
	}
}

// TestHTTPSReadsWhileItWrites: HTTP waits for the end of a connection while it answers on it. TLS must not
// mind, also not with what is left of the handshake.
func TestHTTPSReadsWhileItWrites(t *testing.T) {
	s := startServer(t, nil)
	client := &http.Client{Timeout: testTimeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	for i := range 50 {
		resp, err := client.Get("https://" + s.web + "/.well-known/host-meta.json")
		if err != nil {
			t.Fatal(i, err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Fatal(i, err)
		}
		resp.Body.Close()
		if i%5 == 0 {
			client.CloseIdleConnections()
		}
	}
}

// TestBOSHHalfRequests: what one session may have read at once is bounded, on however many connections.
func TestBOSHHalfRequests(t *testing.T) {
	s, url := startBOSH(t, nil)
	c := s.loginBOSH(t, url, "juliet", "balcony", "wait='20' hold='1'")
	b := s.Server.web.bosh.sessionOf(c)
	begin := func() net.Conn {
		conn, err := net.Dial("tcp", s.web)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(testTimeout))
		fmt.Fprintf(conn, "POST /http-bind HTTP/1.1\r\nHost: chat.test\r\nContent-Length: 9000\r\n\r\n<body rid='%d' sid='%s' xmlns='%s'><message><body>", c.rid+1, c.sid, nsBOSH)
		return conn
	}
	for i := range int32(boshReading) {
		begin()
		for deadline := time.Now().Add(testTimeout); b.reading.Load() <= i; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d requests are read", b.reading.Load())
			}
		}
	}
	begin()
	for deadline := time.Now().Add(testTimeout); s.Server.web.bosh.sessionOf(c) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("one more is read")
		}
	}
}

// TestBOSHUnfinished: HTTP waits for the rest of a request before it answers, but not without end.
func TestBOSHUnfinished(t *testing.T) {
	for _, body := range []string{
		"<body rid='1' sid='x' xmlns='" + nsBOSH + "'>",                   // wrong from the start
		"<body rid='1' ver='1.6' to='chat.test' xmlns='" + nsBOSH + "'/>", // right
		"<body rid='1'",
	} {
		s, _ := startBOSH(t, nil)
		s.Server.web.bosh.readTime = 100 * time.Millisecond
		conn, err := net.Dial("tcp", s.web)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(testTimeout))
		fmt.Fprintf(conn, "POST /http-bind HTTP/1.1\r\nHost: chat.test\r\nContent-Length: 9000\r\n\r\n%s", body)
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}
