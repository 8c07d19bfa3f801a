package c2s

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// asleep waits until the client's session is without a goroutine.
func (s *testServer) asleep(t *testing.T, c *testClient) *Session {
	t.Helper()
	session := s.session(t, c)
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); {
		if session.wire.(*wire).asleep.Load() {
			return session
		}
		if session.grown.Swap(false) { // as the sweep does, but with this one only
			session.wire.wake()
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the session does not sleep")
	return nil
}

// A session without a goroutine is like any other, whatever it is that happens to it.
func TestSleep(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := startServer(t, webFor(kind))
			juliet := s.login(t, "juliet", "balcony", false)
			romeo := s.loginBy(t, kind, "romeo", "orchard")
			session := s.asleep(t, romeo)

			romeo.ping("nap") // after one input it sleeps again by itself
			for deadline := time.Now().Add(testTimeout); !session.wire.(*wire).asleep.Load(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the session stays up")
				}
			}
			for i := range 3 { // it gets up for input, and goes back to sleep
				romeo.ping(fmt.Sprint("awake", i))
				s.asleep(t, romeo)
			}
			romeo.send("<message to='juliet@chat.test/balcony' type='chat' id='cut'><bo")
			s.asleep(t, romeo) // within a stanza
			romeo.send("dy>wherefore</body></message>")
			juliet.expect("id='cut'", "<body>wherefore</body>")

			s.asleep(t, romeo)
			juliet.send("<message to='romeo@chat.test/orchard' type='chat' id='m'><body>art thou</body></message>")
			romeo.expect("id='m'") // it is written to while it sleeps
			if !session.wire.(*wire).asleep.Load() {
				t.Error("what others send has woken the session")
			}
			s.asleep(t, juliet).areYouThere()
			juliet.expect("urn:xmpp:ping")
		})
	}
}

// A session that sleeps ends as others do.
func TestSleepEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, s *testServer, c *testClient)
	}{
		{"stream", func(_ *testing.T, _ *testServer, c *testClient) {
			c.send("</stream:stream>")
			c.expect("</stream:stream>")
		}},
		{"FIN", func(_ *testing.T, _ *testServer, c *testClient) { c.conn.Close() }},
		{"RST", func(_ *testing.T, _ *testServer, c *testClient) { c.breakOff() }},
		{"replaced", func(t *testing.T, s *testServer, c *testClient) {
			s.login(t, "romeo", "orchard", false)
			c.closed("conflict")
		}},
		{"silent", func(_ *testing.T, s *testServer, _ *testClient) {
			for range quietSweeps + answerSweeps + 4 {
				s.sweepOnce()
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t, nil)
			romeo := s.login(t, "romeo", "orchard", false)
			session := s.asleep(t, romeo)
			tt.end(t, s, romeo)
			ended(t, session, testTimeout)
		})
	}
}

// A session that sleeps can be resumed, by a connection that comes before the old one
// is known to be gone.
func TestSleepResumes(t *testing.T) {
	s := startServer(t, nil)
	romeo := s.login(t, "romeo", "orchard", false)
	id := romeo.enable()
	romeo.available()
	s.asleep(t, romeo)
	again := s.resuming(t, "romeo", id, 0)
	again.expect("<resumed ", id)
}

// Of input and calls of wake that come at once exactly one ends each sleep.
func TestSleepAndWakeRace(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWire(conn.(*net.TCPConn), newGate())
	if err != nil {
		t.Fatal(err)
	}
	w.watch = newWatch()
	var watching sync.WaitGroup
	watching.Go(w.watch.run)

	var runs atomic.Int32
	ran := make(chan struct{})
	slept := 0
	for i := range 2000 {
		w.rest()
		var wakers sync.WaitGroup
		wakers.Go(w.wake)
		if i%2 == 0 {
			wakers.Go(func() { _, _ = client.Write([]byte{'x'}) })
		}
		if w.sleep(func() { runs.Add(1); ran <- struct{}{} }) {
			slept++
			<-ran
		}
		wakers.Wait()
		if i%2 == 0 {
			_ = w.tcp.SetReadDeadline(time.Time{})
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.watch.remove(w)
	w.watch.close()
	watching.Wait()
	if n := int(runs.Load()); n != slept {
		t.Errorf("slept %d times, got up %d times", slept, n)
	}
	if slept == 0 {
		t.Error("it never slept")
	}
}

// Sessions that sleep when the node is drained are heard until it is their turn to leave.
func TestSleepWhileDraining(t *testing.T) {
	const n = 40
	s := startServer(t, func(c *Config) { c.DrainTime = time.Hour }) // the pace counts
	var clients []*testClient
	for i := range n {
		clients = append(clients, s.login(t, "romeo", fmt.Sprint("r", i), false))
	}
	for _, c := range clients {
		s.asleep(t, c)
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	<-s.open.Done()
	for _, c := range clients {
		c.send("<iq type='get' id='p' to='chat.test'><ping xmlns='urn:xmpp:ping'/></iq>")
	}
	answered := 0
	for _, c := range clients {
		if strings.Contains(c.next(), "id='p'") {
			answered++
		}
	}
	if answered < n/2 {
		t.Errorf("%d of %d were heard", answered, n)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
