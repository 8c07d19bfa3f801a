package c2s

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"mellium.im/sasl"

	"chatd/roster"
	"chatd/router"
	"chatd/stanza"
	"chatd/xep"
)

const rebind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>balcony</resource></bind></iq>"

// session is the server's side of a bound client.
func (s *testServer) session(t *testing.T, c *testClient) *Session {
	t.Helper()
	row, ok := s.router.Table.Row(c.jid)
	if !ok {
		t.Fatal("not in the table")
	}
	return row.Session.(*Session)
}

func ended(t *testing.T, sess router.Session, within time.Duration) {
	t.Helper()
	select {
	case <-sess.Done():
	case <-time.After(within):
		t.Fatalf("the session has not ended after %v", within)
	}
}

// stuffed is longer than the system takes to confirm what it has room for (RFC 1122 §4.2.3.2), and to take more.
const stuffed = 100 * time.Millisecond

// stuff sends numbered messages to an address until its client, which does not
// read, has some 200 kB waiting in the session's queue. It is how many.
func (s *testServer) stuff(a *testClient, to string, sess *Session) int {
	a.tb.Helper()
	queued := func() int {
		sess.out.mu.Lock()
		defer sess.out.mu.Unlock()
		if sess.out.queue == nil {
			return 0
		}
		return len(*sess.out.queue)
	}
	n := 0
	for full := time.Now(); time.Since(full) < stuffed; a.ping("stuff") {
		for queued() < 200_000 {
			for range 20 {
				a.send(numbered(n, to, strings.Repeat("y", 8000)))
				n++
			}
			a.ping("stuff")
			full = time.Now()
		}
	}
	return n
}

func numbered(n int, to, body string) string {
	return fmt.Sprintf("<message to='%s' type='chat' id='m%06d'><body>%s</body></message>", to, n, body)
}

// heldIDs is the numbers of what the spool was given.
func (s *testServer) heldIDs() map[string]bool {
	got := map[string]bool{}
	for _, m := range s.spool.take() {
		if i := strings.Index(m, "id='m"); i >= 0 {
			got[m[i+4:][:7]] = true
		}
	}
	return got
}

// allSomewhere checks that each of n messages is in one of the places.
func allSomewhere(t *testing.T, n int, places ...map[string]bool) {
	t.Helper()
	lost := 0
next:
	for i := range n {
		for _, p := range places {
			if p[fmt.Sprintf("m%06d", i)] {
				continue next
			}
		}
		lost++
	}
	if lost > 0 {
		t.Errorf("%d of %d messages are lost", lost, n)
	}
}

// TestUnsentOfCarbonsResource: what a session with carbons was not sent goes another way.
func TestUnsentOfCarbonsResource(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	b.available()
	sess := s.session(t, b)
	s.router.Table.SetFlags(sess, router.Carbons, 0)
	n := s.stuff(a, "juliet@chat.test", sess)
	_ = b.conn.(*net.TCPConn).CloseWrite()
	ended(t, sess, 10*time.Second)
	allSomewhere(t, n, s.heldIDs(), drainIDs(b.conn))
}

// TestUnsentWithLaterResource: a resource that came after a message was queued for another
// one did not get it.
func TestUnsentWithLaterResource(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	b.available()
	sess := s.session(t, b)
	n := s.stuff(a, "juliet@chat.test", sess)
	c := s.login(t, "juliet", "laptop", false)
	c.send("<presence/>")
	c.expect("<presence ")
	c.expect("<presence ")
	_ = b.conn.(*net.TCPConn).CloseWrite()
	ended(t, sess, 10*time.Second)
	c.send("</stream:stream>")
	allSomewhere(t, n, s.heldIDs(), drainIDs(b.conn), drainIDs(c.conn))
}

// TestUnsentOfReplaced: the priority that counts is that of the session that ends, not of
// the one that has its row.
func TestUnsentOfReplaced(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	c := s.login(t, "juliet", "laptop", false)
	c.send("<presence><priority>5</priority></presence>")
	c.expect("<presence ")
	b.send("<presence><priority>10</priority></presence>")
	b.expect("<presence ")
	b.expect("<presence ")
	c.expect("<presence ")
	sess := s.session(t, b)
	n := s.stuff(a, "juliet@chat.test", sess)
	s.loginExisting(t, "juliet", "balcony", false)
	ended(t, sess, 10*time.Second)
	c.send("</stream:stream>")
	allSomewhere(t, n, s.heldIDs(), drainIDs(b.conn), drainIDs(c.conn))
}

// TestUnsentAfterDeepCopy: a copy is deeper than what a client may send; it does not
// keep what is behind it from going another way.
func TestUnsentAfterDeepCopy(t *testing.T) {
	s := startServer(t, nil)
	s.router.Copies = xep.NewCarbons(s.router)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	c := s.login(t, "juliet", "laptop", false)
	b.available()
	sess := s.session(t, b)
	s.router.Table.SetFlags(sess, router.Carbons, 0)
	n := s.stuff(a, "juliet@chat.test/balcony", sess)
	a.send("<message to='juliet@chat.test/laptop' type='chat' id='deep'>" + strings.Repeat("<a xmlns='u:a'>", 63) + strings.Repeat("</a>", 63) + "</message>")
	c.expect("id='deep'")
	for range 5 {
		a.send(numbered(n, "juliet@chat.test/balcony", "x"))
		n++
	}
	a.ping("behind")
	s.router.Table.SetFlags(sess, 0, router.Carbons)
	_ = b.conn.(*net.TCPConn).CloseWrite()
	ended(t, sess, 10*time.Second)
	allSomewhere(t, n, s.heldIDs(), drainIDs(b.conn))
}

// TestUnsentPrivate: a message that asks not to be copied is not a copy.
func TestUnsentPrivate(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	b.available()
	sess := s.session(t, b)
	s.stuff(a, "juliet@chat.test", sess)
	a.send("<message to='juliet@chat.test/balcony' type='chat' id='m-priv1'><private xmlns='urn:xmpp:carbons:2'/><body>x</body></message>")
	a.ping("behind")
	_ = b.conn.(*net.TCPConn).CloseWrite()
	ended(t, sess, 10*time.Second)
	if !s.heldIDs()["m-priv1"] && !drainIDs(b.conn)["m-priv1"] {
		t.Error("lost")
	}
}

// A gatedSpool blocks until it is let go.
type gatedSpool struct {
	*testSpool
	entered, gate chan struct{}
}

func (g *gatedSpool) Hold(ctx context.Context, st *stanza.Stanza) (int64, error) {
	select {
	case g.entered <- struct{}{}:
		<-g.gate
	default:
	}
	return g.testSpool.Hold(ctx, st)
}

// TestFailedWriteIsKept: the connection breaks while the session's reading goroutine is
// busy; each message after that is kept, the first too.
func TestFailedWriteIsKept(t *testing.T) {
	s := startServer(t, nil)
	g := &gatedSpool{s.spool, make(chan struct{}, 1), make(chan struct{})}
	s.router.Spool = g
	b := s.login(t, "juliet", "balcony", false)
	sess := s.session(t, b)
	b.send("<message to='romeo@chat.test/none' type='chat' id='own'/>")
	<-g.entered
	_ = b.conn.(*net.TCPConn).SetLinger(0)
	b.conn.Close()
	taken := map[string]bool{} // what Send refuses its caller keeps
	deliver := func(n int) string {
		id := fmt.Sprintf("m%06d", n)
		taken[id] = sess.Send(nil, &stanza.Stanza{Kind: stanza.Message, Type: stanza.Chat, To: b.jid,
			From: stanza.MustJID("romeo@chat.test/orchard"), ID: []byte(id)})
		return id
	}
	n, failed := 0, ""
	for ; !sess.broken.Load(); n++ {
		failed = deliver(n)
	}
	for range 3 {
		deliver(n)
		n++
	}
	close(g.gate)
	ended(t, sess, 10*time.Second)
	held := s.heldIDs()
	for id, ok := range taken {
		if id >= failed && ok && !held[id] {
			t.Errorf("%s is lost", id)
		}
	}
}

// TestReadingClientIsNotSlow: more than outboxBytes at once is no reason to close a client that reads.
func TestReadingClientIsNotSlow(t *testing.T) {
	s := startServer(t, nil)
	c := s.login(t, "juliet", "balcony", false)
	sess := s.session(t, c)
	text := strings.Repeat("s", outboxBytes/10+3_000) // no more beyond the bound than the system takes, however slowly this test gets to read
	go func() {
		batch := &router.Batch{}
		defer batch.Flush()
		for i := range 10 {
			st := &stanza.Stanza{Kind: stanza.Message, From: c.jid, ID: fmt.Append(nil, i), Inner: []byte("<body>" + text + "</body>")}
			if !sess.Send(batch, st) {
				t.Errorf("message %d was refused", i)
			}
		}
	}()
	for i := range 10 {
		c.expect(fmt.Sprintf("id='%d'", i))
	}
}

// TestCloseDuringSendNow: a client that does not read while it is handed messages does not
// keep its session from ending.
func TestCloseDuringSendNow(t *testing.T) {
	s := startServer(t, nil)
	s.router.Presence.(*roster.Service).HandOver = func(ctx context.Context, sess router.Session, reachable func()) {
		big := &stanza.Stanza{Kind: stanza.Message, From: stanza.MustJID("romeo@chat.test"), Inner: []byte("<body>" + strings.Repeat("x", 16<<20) + "</body>")}
		_, _ = sess.SendNow(ctx, []*stanza.Stanza{big}, []int64{1})
		reachable()
	}
	b := s.login(t, "juliet", "balcony", false)
	sess := s.session(t, b)
	b.send("<presence/>")
	for sess.wire.unwritten() == 0 {
		time.Sleep(time.Millisecond)
	}
	defer b.conn.Close()
	sess.Close(stanza.StreamConflict)
	ended(t, sess, 5*time.Second)
}

// TestLateDrain: a drain that begins when the session is ending already does not keep it
// from ending.
func TestLateDrain(t *testing.T) {
	s := startServer(t, nil)
	b := s.login(t, "juliet", "balcony", false)
	defer b.conn.Close()
	sess := s.session(t, b)
	page := make([]byte, 16<<20)
	sess.out.mu.Lock()
	if err := sess.out.acquireLocked(t.Context()); err != nil { // as writeLocked leaves it
		t.Fatal(err)
	}
	sess.out.mu.Unlock()
	for pending, err := 0, error(nil); pending == 0; {
		if _, pending, err = sess.wire.write(page); err != nil {
			t.Fatal(err)
		}
	}
	_ = b.conn.(*net.TCPConn).CloseWrite()
	for closed := false; !closed; { // until unsent waits for the writer
		sess.out.mu.Lock()
		closed = sess.out.closed && sess.out.idle != nil
		sess.out.mu.Unlock()
	}
	go sess.drain()
	ended(t, sess, 5*time.Second)
}

// TestBlockListWhileReplacing: a session that is about to have its block list does not
// open the others of its user to those who are blocked.
func TestBlockListWhileReplacing(t *testing.T) {
	s := startServer(t, nil)
	list := router.NewBlocklist([]string{"romeo@chat.test"})
	binding, release := make(chan struct{}, 4), make(chan struct{}, 4)
	s.OnBind = func(_ context.Context, sess router.Session) error {
		binding <- struct{}{}
		<-release
		if sess.JID().Local() == "juliet" {
			sess.State().Blocked.Store(list)
		}
		return nil
	}
	defer close(release)
	for range 3 {
		release <- struct{}{}
	}
	a := s.login(t, "romeo", "orchard", false)
	s.login(t, "juliet", "balcony", false)
	s.login(t, "juliet", "laptop", false).available()
	for range 3 {
		<-binding
	}
	again := dial(t, s.addr, nil)
	again.open()
	again.authenticate(sasl.ScramSha256, "juliet", testPassword)
	again.open()
	again.send(rebind)
	<-binding
	a.send(numbered(1, "juliet@chat.test", "x"))
	a.expect("type='error'", "<service-unavailable ")
}

// TestBindByPrefix: RFC 6120 §4.8.5 lets the header declare the payload's prefix.
func TestBindByPrefix(t *testing.T) {
	s := startServer(t, nil)
	if _, err := s.auth.Register(t.Context(), "juliet", testPassword); err != nil {
		t.Fatal(err)
	}
	c := dial(t, s.addr, nil)
	c.open()
	c.authenticate(sasl.ScramSha256, "juliet", testPassword)
	c.scanner.Reset()
	c.send(strings.Replace(header, " xmlns=", " xmlns:b='urn:ietf:params:xml:ns:xmpp-bind' xmlns=", 1))
	c.expect("<stream:stream ")
	c.expect("<stream:features>")
	c.send("<iq type='set' id='b'><b:bind><b:resource>balcony</b:resource></b:bind></iq>")
	c.expect("<jid>juliet@chat.test/balcony</jid>")
}
