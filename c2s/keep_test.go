package c2s

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatd/stanza"
)

var numberIn = regexp.MustCompile(`id='(m\d{6})'`)

// count is how many messages the spool has, by number.
func (s *testServer) count() map[string]int {
	s.spool.mu.Lock()
	defer s.spool.mu.Unlock()
	got := make(map[string]int)
	for _, m := range s.spool.held {
		got[numberIn.FindStringSubmatch(m)[1]]++
	}
	return got
}

// eventually waits for what goes on in the background.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not so: ", what)
		}
	}
}

// slowClient is a client that does not read, on a server of its own, and its session: it was sent n messages, and their sender has heard that
// all were dealt with.
func slowClient(t *testing.T, managed bool) (s *testServer, b *testClient, sess *Session, n int) {
	t.Helper()
	s = startServer(t, func(c *Config) { c.UnackedStanzas, c.UnackedBytes = 1<<20, 1<<30 })
	a := s.login(t, "romeo", "a", false)
	b = s.login(t, "juliet", "b", false)
	if managed {
		b.enable()
	}
	b.available()
	sess = s.session(t, b)
	n = s.stuff(a, b.jid.String(), sess) + 1
	a.enable()
	a.send(numbered(n-1, b.jid.String(), "the last one") + "<r xmlns='urn:xmpp:sm:3'/>")
	a.expect("<a ")
	return s, b, sess, n
}

// TestAcknowledgedBehindSlowClient: what a client is slow to take is in the spool, too, before its sender hears that it was dealt with,
// which is soon, and no more when the client has it. Each message comes once.
func TestAcknowledgedBehindSlowClient(t *testing.T) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprint("managed=", managed), func(t *testing.T) {
			s, b, sess, n := slowClient(t, managed)
			have := s.count()
			sess.out.mu.Lock()
			waiting := append(bytes.Clone(sess.out.sendingLocked()[min(len(sess.out.sendingLocked()), sess.out.sent):]), sess.out.queueLocked()...)
			sess.out.mu.Unlock()
			for _, m := range numberIn.FindAllSubmatch(waiting, -1) {
				if have[string(m[1])] != 1 {
					t.Fatalf("%s is acknowledged, in memory, and %d times in the spool", m[1], have[string(m[1])])
				}
			}
			if len(have) < 20 {
				t.Errorf("%d copies only", len(have))
			}
			for i := range n { // b reads
				got := b.next()
				for strings.HasPrefix(got, "<r ") {
					got = b.next()
				}
				if !strings.Contains(got, fmt.Sprintf("id='m%06d'", i)) {
					t.Fatalf("instead of message %d came %.100s", i, got)
				}
			}
			eventually(t, "the copies are gone", func() bool { return len(s.count()) == 0 })
		})
	}
}

// TestSlowClientEnds: when the client of which there are copies is gone each message is in the spool once.
func TestSlowClientEnds(t *testing.T) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprint("managed=", managed), func(t *testing.T) {
			s, b, sess, n := slowClient(t, managed)
			b.breakOff()
			if managed {
				s.detached(t, b.jid)
			} else {
				ended(t, sess, testTimeout)
			}
			eventually(t, "each is there once, and the last one is", func() bool {
				have := s.count()
				for _, times := range have {
					if times != 1 {
						return false
					}
				}
				return have[fmt.Sprintf("m%06d", n-1)] == 1
			})
			if held := len(s.count()); managed && held != n {
				t.Errorf("%d of %d unacknowledged messages are in the spool", held, n)
			}
		})
	}
}

// A slowSpool keeps nothing before it is let go, and says when it is first asked.
type slowSpool struct {
	*testSpool
	keep, hold     chan struct{} // closed: go on
	keeps          atomic.Int32
	holding        chan struct{}
	holdingForSure sync.Once
}

func (s *slowSpool) Keep(ctx context.Context, st *stanza.Stanza) (int64, error) {
	s.keeps.Add(1)
	<-s.keep
	return s.testSpool.Keep(ctx, st)
}

func (s *slowSpool) Hold(ctx context.Context, st *stanza.Stanza) (int64, error) {
	s.holdingForSure.Do(func() { close(s.holding) })
	<-s.hold
	return s.testSpool.Hold(ctx, st)
}

// A watchedContext tells when somebody waits for its end.
type watchedContext struct {
	context.Context
	waited func()
}

func (c watchedContext) Done() <-chan struct{} {
	c.waited()
	return c.Context.Done()
}

// TestSlowClientBreaksOff: while what a client has not acknowledged is being stored, since its connection is gone, no more copies are made
// of it, however long that takes.
func TestSlowClientBreaksOff(t *testing.T) {
	s := startServer(t, func(c *Config) { c.UnackedStanzas, c.UnackedBytes = 1<<20, 1<<30 })
	spool := &slowSpool{testSpool: s.spool, keep: make(chan struct{}), hold: make(chan struct{}), holding: make(chan struct{})}
	s.router.Spool = spool
	a := s.login(t, "romeo", "a", false)
	b := s.login(t, "juliet", "b", false)
	b.enable()
	b.available()
	sess := s.session(t, b)
	n := s.stuff(a, b.jid.String(), sess)
	confirmed := make(chan bool, 2)
	confirm := func() {
		waits := make(chan struct{})
		ctx := watchedContext{t.Context(), sync.OnceFunc(func() { close(waits) })}
		go func() { confirmed <- sess.Confirm(ctx) }()
		<-waits
	}
	go func() { confirmed <- sess.Confirm(t.Context()) }()
	eventually(t, "copies are being made", func() bool { return spool.keeps.Load() > 0 })
	sess.Send(nil, &stanza.Stanza{Kind: stanza.Message, Type: stanza.Chat, From: a.jid, To: b.jid, ID: fmt.Appendf(nil, "m%06d", n)})
	confirm() // also of that one
	b.breakOff()
	<-spool.holding
	close(spool.keep)
	if !<-confirmed {
		t.Error("no copies of what was sent at first")
	}
	close(spool.hold)
	if !<-confirmed {
		t.Error("not confirmed when all is stored")
	}
	s.detached(t, b.jid)
	if keeps := int(spool.keeps.Load()); keeps > n {
		t.Errorf("%d copies of %d messages", keeps, n)
	}
	eventually(t, "each is there once", func() bool {
		have := s.count()
		for _, times := range have {
			if times != 1 {
				return false
			}
		}
		return len(have) == n+1
	})
}
