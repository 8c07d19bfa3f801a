package c2s

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mellium.im/sasl"

	"chatd/auth"
	"chatd/roster"
	"chatd/router"
	"chatd/stanza"
	"chatd/store/memory"
	"chatd/xmlstream"
)

const (
	testDomain   = "chat.test"
	testPassword = "r0m30myr0m30"
	testTimeout  = 20 * time.Second
)

// A testServer is a whole chatd without a configuration file, on loopback.
type testServer struct {
	*Server
	router *router.Router
	store  *memory.Store
	spool  *testSpool
	addr   string // STARTTLS or plain
	direct string // direct TLS
	web    string // HTTP or HTTPS
	wait   func()
}

// A testSpool remembers what it holds, until it is taken.
type testSpool struct {
	table *router.Table
	mu    sync.Mutex
	held  map[int64]string
	last  int64

	released []int64 // by sessions that have ended
}

func (s *testSpool) Hold(_ context.Context, st *stanza.Stanza) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range s.table.Rows(st.To) {
		if row.Reachable() {
			return 0, router.ErrReachable
		}
	}
	s.last++
	if s.held == nil {
		s.held = make(map[int64]string)
	}
	s.held[s.last] = string(st.Append(nil))
	return s.last, nil
}

func (s *testSpool) Keep(_ context.Context, st *stanza.Stanza) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = make(map[int64]string)
	}
	s.last++
	s.held[s.last] = string(st.Append(nil))
	return s.last, nil
}

func (*testSpool) HoldLater(*stanza.Stanza, error) bool { return false }
func (*testSpool) Withdraw(*stanza.Stanza)              {}

func (s *testSpool) Release(_ context.Context, _ stanza.JID, seqs []int64, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ended {
		s.released = append(s.released, seqs...)
	}
}

func (s *testSpool) Forget(_ context.Context, _ string, seqs []int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seq := range seqs {
		delete(s.held, seq)
	}
	return nil
}

// take empties the spool, oldest first.
func (s *testSpool) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, seq := range slices.Sorted(maps.Keys(s.held)) {
		all = append(all, s.held[seq])
	}
	s.held = nil
	return all
}

// handOver gives a resumed session what is held, as xep.Offline does for its user.
func (s *testSpool) handOver(ctx context.Context, session router.Session, reachable func()) {
	for last := int64(0); ; {
		var sts []*stanza.Stanza
		var seqs []int64
		s.mu.Lock()
		for _, seq := range slices.Sorted(maps.Keys(s.held)) {
			if seq > last && len(seqs) < 50 {
				st, err := stanza.Parse([]byte(s.held[seq]))
				if err != nil {
					panic(err)
				}
				sts, seqs = append(sts, st), append(seqs, seq)
			}
		}
		if len(seqs) == 0 {
			reachable() // nobody can hold another one meanwhile
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		last = seqs[len(seqs)-1]
		kept, err := session.SendNow(ctx, sts, seqs)
		if err != nil {
			reachable()
			return
		}
		if !kept {
			_ = s.Forget(ctx, "", seqs)
		}
	}
}

type noCopies struct{}

func (noCopies) Sent(*router.Batch, router.Row, *stanza.Stanza)     {}
func (noCopies) Received(*router.Batch, router.Row, *stanza.Stanza) {}
func (noCopies) Original(*stanza.Stanza) *stanza.Stanza             { return nil }

var testCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{testDomain}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func startServer(tb testing.TB, change func(*Config)) *testServer {
	tb.Helper()
	return startServerOn(tb, memory.New(), new(testSpool), change)
}

// startServerOn is startServer on a store and a spool that another server may have had before.
func startServerOn(tb testing.TB, st *memory.Store, spool *testSpool, change func(*Config)) *testServer {
	tb.Helper()
	cfg := Config{TLS: &tls.Config{Certificates: []tls.Certificate{testCertificate()}, MinVersion: tls.VersionTLS12}, Registration: true}
	if change != nil {
		change(&cfg)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(testWriter{tb}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	accounts := auth.New(st, testDomain, bytes.Repeat([]byte("d"), 32))
	r := router.New(stanza.MustJID(testDomain), log)
	spool.table = r.Table
	friends := roster.New(r, st, roster.Config{}, log)
	friends.Register()
	r.Presence = friends
	r.Spool, r.Copies, r.Users = spool, noCopies{}, accounts
	s := &testServer{Server: New(cfg, r, accounts, log), router: r, store: st, spool: spool}
	s.OnResume = spool.handOver
	var wg sync.WaitGroup
	listen := func(direct bool) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		wg.Go(func() {
			if err := s.Serve(l, direct); err != nil {
				tb.Error(err)
			}
		})
		return l.Addr().String()
	}
	s.addr = listen(false)
	s.web = serveWeb(tb, s, &wg)
	if cfg.TLS != nil {
		s.direct = listen(true)
	}
	s.wait = wg.Wait
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
		s.wait()
		if err := r.Table.ConsistencyCheck(); err != nil {
			tb.Error(err)
		}
		if n := r.Table.Len(); n != 0 {
			tb.Errorf("%d sessions left in the table", n)
		}
	})
	return s
}

type testWriter struct{ tb testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.tb.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// A testClient is a raw stream: it says exactly what it is told and sees exactly
// what comes.
type testClient struct {
	tb      testing.TB
	conn    net.Conn
	scanner *xmlstream.Scanner
	buf     []byte
	jid     stanza.JID
}

func dial(tb testing.TB, addr string, cfg *tls.Config) *testClient {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", addr, testTimeout)
	if err != nil {
		tb.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(testTimeout))
	if cfg != nil {
		conn = tls.Client(conn, cfg)
	}
	c := &testClient{tb: tb, conn: conn, scanner: xmlstream.NewScanner(xmlstream.Limits{Bytes: 1 << 22})}
	tb.Cleanup(func() { conn.Close() })
	return c
}

func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"xmpp-client"}}
}

func (c *testClient) send(s string) {
	c.tb.Helper()
	if _, err := c.conn.Write([]byte(s)); err != nil {
		c.tb.Fatalf("send: %v", err)
	}
}

const header = "<?xml version='1.0'?><stream:stream to='chat.test' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

// open sends a header and returns the features.
func (c *testClient) open() string {
	c.tb.Helper()
	c.scanner.Reset()
	c.send(header)
	if got := c.next(); !strings.HasPrefix(got, "<stream:stream ") {
		c.tb.Fatalf("want a stream header, got %q", got)
	}
	return c.next()
}

// next is the next token as it came; "" at the end of the connection.
func (c *testClient) next() string {
	c.tb.Helper()
	chunk := make([]byte, 32<<10)
	for {
		tok, n, err := c.scanner.Scan(c.buf)
		if err != nil {
			c.tb.Fatalf("server sent %q: %v", c.buf, err)
		}
		raw := ""
		if tok.Kind != xmlstream.None {
			raw = string(tok.Raw)
		}
		c.buf = c.buf[n:]
		if raw != "" {
			return raw
		}
		n, err = c.conn.Read(chunk)
		c.buf = append(c.buf, chunk[:n]...)
		if n == 0 && err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				c.tb.Fatal("nothing came in time")
			}
			return ""
		}
	}
}

// expect reads one token and checks that it holds all of the parts.
func (c *testClient) expect(parts ...string) string {
	c.tb.Helper()
	got := c.next()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			c.tb.Fatalf("got %q, want %q in it", got, p)
		}
	}
	return got
}

// closed checks that the stream ends with a stream error, which it returns, and the connection with it.
func (c *testClient) closed(condition string) string {
	c.tb.Helper()
	got := c.next()
	if strings.HasPrefix(got, "<a ") { // of a session with stream management
		got = c.next()
	}
	if !strings.Contains(got, "<stream:error>") || !strings.Contains(got, "<"+condition+" ") {
		c.tb.Fatalf("got %q, want a stream error %s", got, condition)
	}
	c.expect("</stream:stream>")
	if after := c.next(); after != "" {
		c.tb.Errorf("after the end came %q", after)
	}
	return got
}

// authenticate runs one SASL exchange by mellium's client and returns the last element.
func (c *testClient) authenticate(m sasl.Mechanism, user, password string) string {
	c.tb.Helper()
	n := sasl.NewClient(m, sasl.Credentials(func() ([]byte, []byte, []byte) { return []byte(user), []byte(password), nil }),
		sasl.RemoteMechanisms(m.Name))
	more, resp, err := n.Step(nil)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.send(fmt.Sprintf("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>", m.Name, base64.StdEncoding.EncodeToString(resp)))
	for {
		got := c.next()
		i, j := strings.IndexByte(got, '>'), strings.LastIndex(got, "</")
		if strings.HasPrefix(got, "<failure") || i < 0 || j < i {
			return got
		}
		data, err := base64.StdEncoding.DecodeString(got[i+1 : j])
		if err != nil {
			c.tb.Fatal(err)
		}
		if more {
			if more, resp, err = n.Step(data); err != nil {
				c.tb.Fatal(err)
			}
		}
		if strings.HasPrefix(got, "<success") {
			return got
		}
		c.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + base64.StdEncoding.EncodeToString(resp) + "</response>")
	}
}

// login makes the account if need be and binds the resource.
func (s *testServer) login(tb testing.TB, user, resource string, overTLS bool) *testClient {
	tb.Helper()
	if _, err := s.auth.Register(context.Background(), user, testPassword); err != nil && err != auth.ErrExists {
		tb.Fatal(err)
	}
	return s.loginExisting(tb, user, resource, overTLS)
}

func (s *testServer) loginExisting(tb testing.TB, user, resource string, overTLS bool) *testClient {
	tb.Helper()
	if overTLS {
		return loginOn(tb, dial(tb, s.direct, clientTLS()), user, resource)
	}
	return loginOn(tb, dial(tb, s.addr, nil), user, resource)
}

// loginOn logs in on an open connection.
func loginOn(tb testing.TB, c *testClient, user, resource string) *testClient {
	tb.Helper()
	c.open()
	if got := c.authenticate(sasl.ScramSha256, user, testPassword); !strings.HasPrefix(got, "<success") {
		tb.Fatalf("login: %s", got)
	}
	c.open()
	c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>")
	c.expect("type='result'", "<jid>"+user+"@"+testDomain)
	c.jid = stanza.MustJID(user + "@" + testDomain + "/" + resource)
	c.ping("begun") // the answer to bind comes before the session has begun
	return c
}

// ping is the barrier: all that the server did for this client before is seen after it.
func (c *testClient) ping(id string) {
	c.tb.Helper()
	c.send("<iq type='get' id='" + id + "' to='chat.test'><ping xmlns='urn:xmpp:ping'/></iq>")
	c.expect("<iq ", "id='"+id+"'")
}

func (c *testClient) available() {
	c.tb.Helper()
	c.send("<presence/>")
	c.expect("<presence ", "from='"+c.jid.String()+"'") // RFC 6121 §4.2.2: also to the resource itself
	c.ping("available")
}

// sweepOnce looks at all sessions.
func (s *Server) sweepOnce() {
	for slice := range uint64(sweepSlices) {
		s.sweepSlice(slice)
	}
}

// Waits implements router.Spool.
func (*testSpool) Waits(context.Context, string) bool { return false }
