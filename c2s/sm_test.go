package c2s

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mellium.im/sasl"

	"chatd/stanza"
)

// enable turns stream management on and returns the id to resume with.
func (c *testClient) enable() string {
	c.tb.Helper()
	c.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	got := c.expect("<enabled ", "resume='true'", "max='")
	_, id, _ := strings.Cut(got, "id='")
	id, _, _ = strings.Cut(id, "'")
	return id
}

// breakOff ends the connection as a network does.
func (c *testClient) breakOff() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.conn.Close()
}

// resuming opens a new connection and asks to go on.
func (s *testServer) resuming(tb testing.TB, user, id string, h int) *testClient {
	tb.Helper()
	c := dial(tb, s.addr, nil)
	c.open()
	c.authenticate(sasl.ScramSha256, user, testPassword)
	if features := c.open(); !strings.Contains(features, "<sm xmlns='urn:xmpp:sm:3'/>") {
		tb.Fatalf("features %s", features)
	}
	c.send(fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/>", id, h))
	return c
}

func (s *testServer) detached(tb testing.TB, jid stanza.JID) *Session {
	tb.Helper()
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); {
		if row, ok := s.router.Table.Row(jid); ok {
			session := row.Session.(*Session)
			session.out.mu.Lock()
			detached := session.out.detached
			session.out.mu.Unlock()
			if detached {
				return session
			}
		}
		time.Sleep(time.Millisecond)
	}
	tb.Fatal("the session does not wait for resumption")
	return nil
}

// TestAcks: XEP-0198 §4 in both directions.
func TestAcks(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	a.send("<r xmlns='urn:xmpp:sm:3'/>")
	a.expect("<failed ", "<unexpected-request ")
	a.enable()
	a.send("<enable xmlns='urn:xmpp:sm:3'/>")
	a.expect("<failed ", "<unexpected-request ")
	for i := range 3 {
		a.send(fmt.Sprintf("<message to='juliet@chat.test/balcony' id='m%d'/>", i))
		b.expect(fmt.Sprintf("id='m%d'", i))
	}
	a.send("<iq type='get' id='bad'/><r xmlns='urn:xmpp:sm:3'/>")
	a.expect("id='bad'", "<bad-request ")
	a.expect("<a ", "h='4'")
	for i := range askEvery - 2 {
		b.send(fmt.Sprintf("<message to='romeo@chat.test/orchard' id='n%d'/>", i))
		a.expect(fmt.Sprintf("id='n%d'", i))
	}
	b.send("<message to='romeo@chat.test/orchard' id='last'/>") // the eighth, with the answer to the bad request
	a.expect("id='last'")
	a.expect("<r ")
	a.send("<a xmlns='urn:xmpp:sm:3' h='8'/>")
	a.ping("still")
	row, _ := s.router.Table.Row(a.jid)
	o := &row.Session.(*Session).out
	o.mu.Lock()
	if n := len(o.managed.sizes); n != 1 { // the answer to the ping
		t.Errorf("%d stanzas kept after an acknowledgement", n)
	}
	o.mu.Unlock()
	a.send("<a xmlns='urn:xmpp:sm:3' h='80'/>")
	a.closedWith("undefined-condition", "<handled-count-too-high ", "h='80'", "send-count='9'")
}

func (c *testClient) closedWith(parts ...string) {
	c.tb.Helper()
	c.expect(parts...)
	c.expect("</stream:stream>")
}

// TestResume: XEP-0198 §5. What was not acknowledged and what came meanwhile arrives, once
// and in order, and nobody saw the session go.
func TestResume(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	b.available()
	id := b.enable()
	message := func(i int) string {
		return fmt.Sprintf("<message to='juliet@chat.test/balcony' type='chat' id='m%d'><body>hi</body></message>", i)
	}
	for i := range 4 {
		a.send(message(i))
		b.expect(fmt.Sprintf("id='m%d'", i))
	}
	b.send("<message to='romeo@chat.test/orchard' id='x'/>")
	a.expect("id='x'")
	b.breakOff()
	s.detached(t, b.jid)
	a.send(message(4) + message(5))
	a.ping("sent")
	b = s.resuming(t, "juliet", id, 2)
	b.expect("<resumed ", "previd='"+id+"'", "h='1'")
	for i := 2; i < 6; i++ {
		b.expect(fmt.Sprintf("id='m%d'", i))
	}
	b.expect("<r ")
	a.send(message(6))
	b.expect("id='m6'")
	b.jid = stanza.MustJID("juliet@chat.test/balcony")
	s.spool.mu.Lock()
	if n := len(s.spool.held); n < 4 { // and the last, if it came before the session had caught up
		t.Errorf("%d of 4 messages would survive this process before they are acknowledged", n)
	}
	s.spool.mu.Unlock()
	b.send("<a xmlns='urn:xmpp:sm:3' h='7'/>")
	b.ping("mine")
	if held := s.spool.take(); len(held) != 0 {
		t.Errorf("held %q", held)
	}
	if row, _ := s.router.Table.Row(b.jid); !row.Available {
		t.Error("the resumed session has lost its presence")
	}
}

// TestResumeRefused: ids that mean nothing, ids of others, counts that cannot be.
func TestResumeRefused(t *testing.T) {
	s := startServer(t, nil)
	s.login(t, "romeo", "orchard", false)
	b := s.login(t, "juliet", "balcony", false)
	id := b.enable()
	b.breakOff()
	old := s.detached(t, stanza.MustJID("juliet@chat.test/balcony"))
	for _, tt := range []struct{ user, id string }{{"romeo", id}, {"juliet", "nonsense"}} {
		c := s.resuming(t, tt.user, tt.id, 0)
		c.expect("<failed ", "<item-not-found ")
		c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
		c.expect("<jid>" + tt.user + "@")
	}
	c := s.resuming(t, "juliet", id, 7)
	c.expect("<stream:error>", "<handled-count-too-high ", "h='7'", "send-count='0'")
	<-old.Done()
	c = s.resuming(t, "juliet", id, 0)
	c.expect("<failed ", "<item-not-found ")
}

// TestResumeRaces: while the old connection still lives, and by several at once:
// one gets the session.
func TestResumeRaces(t *testing.T) {
	s := startServer(t, nil)
	b := s.login(t, "juliet", "balcony", false)
	id := b.enable()
	const n = 8
	answers := make(chan string, n)
	var wg sync.WaitGroup
	for range n {
		c := dial(t, s.addr, nil)
		c.open()
		c.authenticate(sasl.ScramSha256, "juliet", testPassword)
		c.open()
		wg.Go(func() {
			c.send("<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='0'/>")
			answers <- c.next()
		})
	}
	wg.Wait()
	close(answers)
	resumed := 0
	for a := range answers {
		if strings.HasPrefix(a, "<resumed ") {
			resumed++
		}
	}
	b.expect("<stream:error>", "<conflict ")
	if resumed == 0 || s.router.Table.Len() != 1 {
		t.Errorf("%d resumed, %d sessions", resumed, s.router.Table.Len())
	}
}

// TestNotResumed: a session that nobody comes back to ends in every way, and what
// it had not acknowledged goes another way, once, in order.
func TestNotResumed(t *testing.T) {
	ends := map[string]func(t *testing.T, s *testServer, old *Session){
		"expiry": func(_ *testing.T, _ *testServer, old *Session) { old.expire() },
		"conflict": func(t *testing.T, s *testServer, _ *Session) {
			s.loginExisting(t, "juliet", "balcony", false)
		},
		"shutdown": func(t *testing.T, s *testServer, _ *Session) {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"closed by an operator": func(_ *testing.T, _ *testServer, old *Session) { old.Close(stanza.StreamPolicyViolation) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, nil)
			a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
			b.available()
			b.enable()
			for i := range 3 {
				a.send(fmt.Sprintf("<message to='juliet@chat.test' type='chat' id='m%d'><body>hi</body></message>", i))
				b.expect(fmt.Sprintf("id='m%d'", i))
			}
			b.send("<a xmlns='urn:xmpp:sm:3' h='1'/>")
			b.ping("one") // which is another stanza that stays unacknowledged
			b.breakOff()
			old := s.detached(t, b.jid)
			a.send("<message to='juliet@chat.test' type='chat' id='m3'><body>hi</body></message>")
			a.ping("sent")
			s.spool.mu.Lock()
			if n := len(s.spool.held); n != 3 {
				t.Errorf("%d of 3 messages would survive this process", n)
			}
			s.spool.mu.Unlock()
			end(t, s, old)
			<-old.Done()
			held := s.spool.take()
			if len(held) != 3 {
				t.Fatalf("held %q", held)
			}
			for i, m := range held {
				if !strings.Contains(m, fmt.Sprintf("id='m%d'", i+1)) {
					t.Errorf("%d. is %s", i, m)
				}
			}
		})
	}
}

// TestResumeTorture: connections break at any time, again and again; everything arrives
// exactly once and in order.
func TestResumeTorture(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	id := b.enable()
	const n = 3000
	go func() {
		for i := range n {
			if _, err := fmt.Fprintf(a.conn, "<message to='juliet@chat.test/balcony' type='chat' id='m%d'><body>%s</body></message>", i, strings.Repeat("x", i%300)); err != nil {
				t.Error(err)
				return
			}
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	rnd := rand.New(rand.NewPCG(3, 4))
	resumptions := 0
	for handled := 0; handled < n; {
		for range 1 + rnd.IntN(200) {
			got := b.next()
			if strings.HasPrefix(got, "<r ") {
				b.send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", handled))
				continue
			}
			if want := fmt.Sprintf("id='m%d'", handled); !strings.Contains(got, want) {
				t.Fatalf("got %q, want %s after %d resumptions", got, want, resumptions)
			}
			if handled++; handled == n {
				break
			}
		}
		if rnd.IntN(2) == 0 {
			b.breakOff()
		}
		b = s.resuming(t, "juliet", id, handled)
		b.expect("<resumed ")
		resumptions++
	}
	if held := s.spool.take(); len(held) != 0 {
		t.Errorf("held %d", len(held))
	}
}

// TestSilence: who answers stays, who does not is given up, within a bounded
// number of sweeps.
func TestSilence(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	b.enable()
	rowA, _ := s.router.Table.Row(a.jid)
	for range 1 + quietSweeps + 3 {
		s.sweepOnce()
	}
	a.expect("<iq ", "type='get'", "id='alive'", "<ping xmlns='urn:xmpp:ping'/>")
	b.expect("<r ")
	b.send("<a xmlns='urn:xmpp:sm:3' h='0'/>")
	b.ping("here")
	for range answerSweeps + 1 {
		s.sweepOnce()
	}
	<-rowA.Session.Done()
	b.expect("<r ") // for the answer to the ping
	b.send("<a xmlns='urn:xmpp:sm:3' h='1'/>")
	b.ping("still here")
}

// TestSilenceAdapts: a client that owes an acknowledgement is given up sooner, one that is inactive
// is asked later.
func TestSilenceAdapts(t *testing.T) {
	s := startServer(t, nil)
	busy, idle, inactive := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false), s.login(t, "mercutio", "street", false)
	busy.enable()
	inactive.send("<inactive xmlns='urn:xmpp:csi:0'/>")
	inactive.ping("inactive")
	idle.send("<message to='romeo@chat.test/orchard' id='m1'/>")
	idle.ping("sent")
	for range answerSweeps + 2 { // the first one asks
		s.sweepOnce()
	}
	s.detached(t, busy.jid)
	for range quietSweeps - 2 {
		s.sweepOnce()
	}
	idle.expect("id='alive'")
	idle.send("<iq type='result' id='alive'/>")
	inactive.send("<iq type='get' id='first' to='chat.test'><ping xmlns='urn:xmpp:ping'/></iq>")
	inactive.expect("id='first'") // nothing came before
}

// TestHugeStanza: a stanza larger than what may stay unacknowledged is taken when nothing
// else is.
func TestHugeStanza(t *testing.T) {
	s := startServer(t, func(c *Config) { c.MaxStanzaBytes = 4 << 20 })
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	b.enable()
	a.send("<message to='juliet@chat.test/balcony' id='huge'><body>" + strings.Repeat("h", 2*outboxBytes) + "</body></message>")
	b.expect("id='huge'")
	b.send("<a xmlns='urn:xmpp:sm:3' h='1'/>")
	b.ping("alive")
}

// TestResumeBrokenAtOnce: a client that resumes and is gone before it hears of it leaves
// a session that can be resumed again, not a ghost.
func TestResumeBrokenAtOnce(t *testing.T) {
	s := startServer(t, nil)
	b := s.login(t, "juliet", "balcony", false)
	id := b.enable()
	for range 30 {
		c := dial(t, s.addr, nil)
		c.open()
		c.authenticate(sasl.ScramSha256, "juliet", testPassword)
		c.open()
		c.send("<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='0'/>")
		c.breakOff()
	}
	s.resuming(t, "juliet", id, 0).expect("<resumed ")
}

// TestResumeTooLate: who comes back to a session that has ended learns what was dealt with
// (XEP-0198 §5); somebody else does not.
func TestResumeTooLate(t *testing.T) {
	s := startServer(t, nil)
	a := s.login(t, "romeo", "orchard", false)
	id := a.enable()
	a.send("<message to='juliet@chat.test' id='m1'/><message to='juliet@chat.test' id='m2'/>")
	a.ping("sent")
	a.breakOff()
	session := s.detached(t, a.jid)
	session.expire()
	<-session.Done()
	s.login(t, "juliet", "balcony", false)
	s.resuming(t, "romeo", id, 0).expect("<failed xmlns='urn:xmpp:sm:3' h='3'>", "<item-not-found")
	s.resuming(t, "juliet", id, 0).expect("<failed xmlns='urn:xmpp:sm:3'>", "<item-not-found")
}

// TestResumptionTerms: the client is told where to come back and for how long, which may be
// less than the server would wait (XEP-0198 §3).
func TestResumptionTerms(t *testing.T) {
	s := startServer(t, func(c *Config) { c.ResumeTime, c.Address = time.Minute, "node1.chat.test:5222" })
	for max, want := range map[string]string{"": "60", "5": "5", "600": "60", "x": "60"} {
		c := s.login(t, "romeo", "r"+max, false)
		c.send("<enable xmlns='urn:xmpp:sm:3' resume='true' max='" + max + "'/>")
		c.expect("<enabled ", "max='"+want+"'", "location='node1.chat.test:5222'")
	}
	c := s.login(t, "romeo", "brief", false)
	c.send("<enable xmlns='urn:xmpp:sm:3' resume='true' max='1'/>")
	c.expect("<enabled ")
	session := s.session(t, c)
	c.breakOff()
	<-session.Done()
}

// TestUnackedBound: a client that acknowledges nothing is closed, and what it did not
// acknowledge is not lost.
func TestUnackedBound(t *testing.T) {
	s := startServer(t, func(c *Config) { c.UnackedStanzas = 20 })
	a := s.login(t, "romeo", "orchard", false)
	a.enable()
	session := s.session(t, a)
	b := s.login(t, "juliet", "balcony", false)
	const n = 25
	for i := range n {
		b.send(numbered(i, "romeo@chat.test/orchard", ""))
		b.ping("sent")
	}
	<-session.Done()
	allSomewhere(t, n, s.heldIDs())
}

// TestResumeSwept: a session is swept while it takes another one over.
func TestResumeSwept(t *testing.T) {
	s := startServer(t, nil)
	romeo := s.login(t, "romeo", "orchard", false)
	id := romeo.enable()
	stop := make(chan struct{})
	var sweeping sync.WaitGroup
	sweeping.Go(func() {
		for slice := uint64(0); ; slice = (slice + 1) % sweepSlices {
			select {
			case <-stop:
				return
			default:
				for _, session := range s.sliceOf(slice) {
					session.askAgain()
				}
			}
		}
	})
	for range 15 {
		again := s.resuming(t, "romeo", id, 0)
		again.expect("<resumed ", id)
		romeo.conn.Close()
		romeo = again
	}
	close(stop)
	sweeping.Wait()
}

// TestDetachedKeepsNoBuffer: when a network fails, many sessions wait for resumption.
func TestDetachedKeepsNoBuffer(t *testing.T) {
	s := startServer(t, nil)
	for i, last := range []string{"", "<message", "<message><body>" + strings.Repeat("x", 2*smallRest)} {
		romeo := s.login(t, "romeo", fmt.Sprint("r", i), false)
		romeo.enable()
		romeo.send(last)
		romeo.conn.Close()
		if session := s.detached(t, romeo.jid); session.scratch != nil || session.rest != nil {
			t.Errorf("%q: a buffer of %d bytes is kept, and %d bytes", last, len(session.scratch.in), len(session.rest))
		}
	}
}

// TestWaitsBesideAnother: also while another resource of the user can be reached, what a client had not acknowledged when its connection broke is
// in the spool for as long as it may come back. If it does not, the spool has it find another way.
func TestWaitsBesideAnother(t *testing.T) {
	s := startServer(t, nil)
	a, phone, desk := s.login(t, "romeo", "a", false), s.login(t, "juliet", "phone", false), s.loginExisting(t, "juliet", "desk", false)
	phone.available()
	id := phone.enable()
	desk.send("<presence/>")
	phone.expect("<presence ", "desk")
	a.send(numbered(0, phone.jid.String(), "hi") + numbered(1, phone.jid.String(), "hi"))
	phone.expect("id='m000000'")
	phone.expect("id='m000001'")
	waits := func() {
		t.Helper()
		phone.breakOff()
		s.detached(t, phone.jid)
		if have := s.count(); len(have) != 2 {
			t.Fatalf("%v are in the spool", have)
		}
	}
	waits()
	phone = s.resuming(t, "juliet", id, 0)
	phone.expect("<resumed ")
	phone.until("id='m000000'")
	phone.until("id='m000001'")
	phone.jid = stanza.MustJID("juliet@chat.test/phone")
	waits()
	s.detached(t, phone.jid).Close(stanza.StreamConflict)
	eventually(t, "both are released", func() bool {
		s.spool.mu.Lock()
		defer s.spool.mu.Unlock()
		return len(s.spool.released) == 2
	})
}
