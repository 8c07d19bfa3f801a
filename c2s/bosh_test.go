package c2s

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A boshPair is a session of BOSH without HTTP and without a stream's other end: the test plays both.
type boshPair struct {
	t     *testing.T
	b     *bosh
	books *boshBooks
	rid   int64
}

// newBoshPair makes the session and, unless park is false, brings it past its login.
func newBoshPair(t *testing.T, attrs string, park bool) (*boshPair, boshAnswer) {
	t.Helper()
	p := &boshPair{t: t, rid: 100, books: &boshBooks{domain: testDomain, bySID: map[string]*bosh{}}}
	q := p.parse(100, "to='chat.test' "+attrs, "")
	p.b = newBosh(q, peer{}, p.books)
	if !p.books.enter(p.b) {
		t.Fatal("not entered")
	}
	p.b.submit(q)
	p.wants("<?xml")
	p.put("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
	p.put("<stream:features/>")
	synctest.Wait()
	if park {
		_ = p.b.park()
	}
	return p, <-q.answer
}

// parse reads a request as it comes over HTTP.
func (p *boshPair) parse(rid int64, attrs, payload string) *boshRequest {
	p.t.Helper()
	q, err := readBody(strings.NewReader(fmt.Sprintf("<body rid='%d' %s xmlns='%s' xmlns:xmpp='urn:xmpp:xbosh'>%s</body>", rid, attrs, nsBOSH, payload)),
		func(*boshRequest) (int, int, error) { return 1 << 20, 1 << 20, nil })
	if err != nil {
		p.t.Fatal(err)
	}
	return q
}

// submit sends a request.
func (p *boshPair) submit(rid int64, attrs, payload string) *boshRequest {
	p.t.Helper()
	q := p.parse(rid, "sid='"+p.b.sid+"' "+attrs, payload)
	p.b.submit(q)
	return q
}

// wants reads what begins with this from the stream.
func (p *boshPair) wants(prefix string) {
	p.t.Helper()
	buf := make([]byte, 1<<16)
	n, err := p.b.read(buf)
	if (err != nil && err != error(errAgain)) || !strings.HasPrefix(string(buf[:n]), prefix) {
		p.t.Fatalf("read %q, %v; want %q", buf[:n], err, prefix)
	}
}

// waitForInput makes the reading goroutine wait as it does between two requests.
func (p *boshPair) waitForInput() {
	go func() { _, _ = p.b.await(func() bool { return true }) }()
	synctest.Wait()
}

func (p *boshPair) put(stream string) {
	p.t.Helper()
	if n, _, err := p.b.write([]byte(stream)); err != nil || n != len(stream) {
		p.t.Fatal(n, err)
	}
}

// answered expects an answer with these parts; none: an empty body.
func (p *boshPair) answered(q *boshRequest, parts ...string) {
	p.t.Helper()
	synctest.Wait()
	select {
	case a := <-q.answer:
		for _, part := range parts {
			if !strings.Contains(string(a.body), part) {
				p.t.Errorf("rid %d: %q is missing in %s", q.rid, part, a.body)
			}
		}
		if len(parts) == 0 && !strings.HasSuffix(string(a.body), "/>") {
			p.t.Errorf("rid %d: not empty: %s", q.rid, a.body)
		}
	default:
		p.t.Errorf("rid %d is not answered", q.rid)
	}
}

func (p *boshPair) unanswered(q *boshRequest) {
	p.t.Helper()
	synctest.Wait()
	select {
	case a := <-q.answer:
		p.t.Errorf("rid %d is answered: %s", q.rid, a.body)
	default:
	}
}

const aMessage = "<message from='a@chat.test' id='m'/>"

func inBubble(t *testing.T, attrs string, f func(p *boshPair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p, _ := newBoshPair(t, attrs, true)
		f(p)
		p.b.linger()
		p.b.fail(io.EOF)
		p.b.mu.Lock()
		defer p.b.mu.Unlock()
		if len(p.books.bySID) != 0 || p.books.logins != 0 {
			t.Errorf("left in the books: %d, %d", len(p.books.bySID), p.books.logins)
		}
	})
}

// TestBOSHCreation: what the client asks for and what it gets (XEP-0124 §7).
func TestBOSHCreation(t *testing.T) {
	tests := []struct{ attrs, want string }{
		{"wait='30' hold='1' ver='1.6'", "wait='30' requests='2' hold='1' inactivity='60' polling='5' maxpause='120' from='chat.test' ver='1.6'"},
		{"wait='3600' hold='5' ver='1.12'", "wait='60' requests='2' hold='1' inactivity='60' polling='5' maxpause='120' from='chat.test' ver='1.11'"},
		{"wait='30' hold='0' ver='1.11' ack='1'", "wait='30' requests='1' hold='0' inactivity='70' polling='5' maxpause='120' from='chat.test' ver='1.11' ack='100'"},
		{"wait='0' hold='1' ver='2.0'", "wait='0' requests='1' hold='0' inactivity='70' polling='5' maxpause='120' from='chat.test' ver='1.11'"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			p, a := newBoshPair(t, tt.attrs, true)
			defer p.b.fail(io.EOF)
			if !strings.Contains(string(a.body), tt.want) || !strings.Contains(string(a.body), "<stream:features ") {
				t.Errorf("%s: %s", tt.attrs, a.body)
			}
		})
	}
}

// TestBOSHWaitAndHold: XEP-0124 §5, §8.
func TestBOSHWaitAndHold(t *testing.T) {
	inBubble(t, "wait='20' hold='1' ver='1.6'", func(p *boshPair) {
		p.waitForInput()
		q := p.submit(101, "", "")
		time.Sleep(19 * time.Second)
		p.unanswered(q)
		time.Sleep(time.Second)
		p.answered(q)
		// A second request frees the first, but only once its payload has been dealt with.
		one := p.submit(102, "", "")
		two := p.submit(103, "", aMessage)
		p.unanswered(one)
		p.wants("<message")
		p.unanswered(one)
		p.put(aMessage) // as an answer
		p.answered(one, "<message xmlns='jabber:client'", "id='m'")
		p.unanswered(two)
		p.waitForInput()
		p.unanswered(two)
		p.put(aMessage + aMessage)
		p.answered(two, "id='m'/><message xmlns")
	})
}

// TestBOSHOrder: requests that overtake each other are taken, and answered, in order (XEP-0124 §14.2).
func TestBOSHOrder(t *testing.T) {
	inBubble(t, "wait='20' hold='1' ver='1.6'", func(p *boshPair) {
		late := p.submit(102, "", "<message id='second'/>")
		p.unanswered(late)
		early := p.submit(101, "", "<message id='first'/>")
		p.wants("<message id='first'/><message id='second'/>")
		p.put(aMessage)
		p.answered(early, "id='m'")
		p.unanswered(late)
		p.put(aMessage)
		p.answered(late, "id='m'")
	})
}

// TestBOSHViolations: XEP-0124 §11, §12, §14.2, §15.
func TestBOSHViolations(t *testing.T) {
	const normal, polling = "wait='20' hold='1' ver='1.6'", "wait='20' hold='0' ver='1.6'"
	tests := []struct {
		name, attrs, want string
		do                func(p *boshPair) *boshRequest
	}{
		{"rid beyond the window", normal, "item-not-found", func(p *boshPair) *boshRequest { return p.submit(103, "", "") }},
		{"too many at once", normal, "policy-violation", func(p *boshPair) *boshRequest {
			p.submit(101, "", "<message/>")
			p.submit(102, "", "<message/>")
			return p.submit(103, "", "<message/>")
		}},
		{"empty while one is held", normal, "policy-violation", func(p *boshPair) *boshRequest {
			p.submit(101, "", "")
			return p.submit(102, "", "")
		}},
		{"polls too fast", polling, "policy-violation", func(p *boshPair) *boshRequest {
			p.waitForInput()
			p.answered(p.submit(101, "", ""))
			time.Sleep(4 * time.Second)
			return p.submit(102, "", "")
		}},
		{"too many repeats", normal, "policy-violation", func(p *boshPair) *boshRequest {
			q := p.submit(101, "", "")
			for range boshRepeats + 1 {
				q = p.submit(101, "", "")
			}
			return q
		}},
		{"no key", normal + " newkey='x'", "item-not-found", func(p *boshPair) *boshRequest { return p.submit(101, "", "") }},
		{"a wrong key", normal + " newkey='ca393b51b682f61f98e7877d61146407f3d0a770'", "item-not-found", func(p *boshPair) *boshRequest {
			return p.submit(101, "key='x'", "<message/>")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, tt.attrs, func(p *boshPair) {
				q := tt.do(p)
				p.answered(q, "type='terminate'", "condition='"+tt.want+"'")
				if p.books.find(p.b.sid) != nil {
					t.Error("the session goes on")
				}
				if _, err := p.b.read(make([]byte, 100)); err == nil && tt.want == "item-not-found" {
					t.Error("the stream goes on")
				}
			})
		})
	}
}

// TestBOSHOthers: what the other requests are told when a session ends.
func TestBOSHOthers(t *testing.T) {
	const attrs = "wait='20' hold='1' ver='1.6'"
	inBubble(t, attrs, func(p *boshPair) {
		q := p.submit(101, "", "<message/>")
		p.submit(103, "", "")
		p.answered(q, "type='terminate' condition='other-request'")
	})
	inBubble(t, attrs, func(p *boshPair) {
		q := p.submit(101, "", "<message/>")
		p.b.linger() // the session is broken
		p.answered(q, "type='terminate' condition='remote-connection-failed'")
	})
}

// TestBOSHAllowed: what looks like a violation and is none.
func TestBOSHAllowed(t *testing.T) {
	inBubble(t, "wait='20' hold='0' ver='1.6'", func(p *boshPair) {
		p.waitForInput()
		p.answered(p.submit(101, "", ""))
		time.Sleep(5 * time.Second)
		p.answered(p.submit(102, "", ""))
		p.put(aMessage)
		time.Sleep(5 * time.Second)
		p.answered(p.submit(103, "", ""), "id='m'")
		p.answered(p.submit(104, "", "")) // at once: there may be more
	})
	inBubble(t, "wait='20' hold='1' ver='1.6'", func(p *boshPair) {
		one, two := p.submit(101, "", "<message/>"), p.submit(102, "", "<message/>")
		p.answered(p.submit(103, "pause='30'", "")) // one more than 'requests' (XEP-0124 §11)
		p.answered(one)
		p.answered(two)
	})
}

// TestBOSHRepeats: a response is there until the client shows that it has it (XEP-0124 §14.3).
func TestBOSHRepeats(t *testing.T) {
	inBubble(t, "wait='20' hold='1' ver='1.6'", func(p *boshPair) {
		p.waitForInput()
		q := p.submit(101, "", "")
		again := p.submit(101, "", "") // not answered yet
		if a := <-q.answer; a.rid != 0 || !strings.Contains(string(a.body), "type='error'") {
			t.Errorf("rid %d counts as written with %s", a.rid, a.body)
		}
		p.unanswered(again)
		p.put(aMessage)
		p.answered(again, "id='m'")
		p.answered(p.submit(101, "", ""), "id='m'")
		q = p.submit(102, "", "") // could be sent without having the response to 101
		p.answered(p.submit(101, "", ""), "id='m'")
		if got := string(p.b.unsettledCopy()); !strings.Contains(got, "id='m'") {
			t.Errorf("unsettled %q", got)
		}
		p.put("<message id='n'/>")
		p.answered(q, "id='n'")
		p.submit(103, "", "")
		if got := string(p.b.unsettledCopy()); strings.Contains(got, "id='m'") || !strings.Contains(got, "id='n'") {
			t.Errorf("unsettled %q", got)
		}
		p.answered(p.submit(101, "", ""), "item-not-found")
		if p.books.find(p.b.sid) == nil {
			t.Error("a late duplicate ends the session")
		}
	})
}

// unsettledCopy is unsettled without its consequences.
func (b *bosh) unsettledCopy() []byte {
	sent := b.sent
	defer func() { b.sent = sent }()
	return b.unsettled()
}

// TestBOSHAcks: a client that says what it has is believed (XEP-0124 §9).
func TestBOSHAcks(t *testing.T) {
	inBubble(t, "wait='20' hold='1' ver='1.6' ack='1'", func(p *boshPair) {
		p.waitForInput()
		p.put(aMessage)
		q := p.submit(101, "", "")
		p.answered(q, "id='m'")
		q = p.submit(102, "ack='100'", "") // the response to 101 is on its way
		if p.b.settled() {
			t.Error("settled too early")
		}
		q2 := p.submit(103, "", "<message/>") // it has come meanwhile, and so has all
		if !p.b.settled() {
			t.Error("not settled")
		}
		p.wants("<message/>")
		p.waitForInput()
		p.answered(q, " ack='103'/>")
		p.unanswered(q2)
	})
}

// TestBOSHSettle: a client that is quiet is made to show what it has, at once when somebody waits for that.
func TestBOSHSettle(t *testing.T) {
	inBubble(t, "wait='20' hold='1' ver='1.6'", func(p *boshPair) {
		p.waitForInput()
		p.put(aMessage)
		p.answered(p.submit(101, "", ""), "id='m'")
		q := p.submit(102, "", "")
		time.Sleep(boshConfirmTime - time.Millisecond)
		p.unanswered(q)
		time.Sleep(time.Millisecond)
		p.answered(q)
		q = p.submit(103, "", "")
		if !p.b.settled() {
			t.Error("not settled")
		}
		p.put(aMessage)
		p.answered(q, "id='m'")
		done := make(chan error)
		go func() { done <- p.b.settle(context.Background()) }()
		synctest.Wait()
		p.answered(p.submit(104, "", ""))
		q = p.submit(105, "", "")
		if err := <-done; err != nil {
			t.Error(err)
		}
		p.unanswered(q)
		p.put(aMessage)
		p.answered(q, "id='m'")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := p.b.settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		p.b.writeDeadline(time.Now().Add(time.Second))
		if err := p.b.settle(context.Background()); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestBOSHInactivity: XEP-0124 §10, also for a request whose connection is gone, and for a pause.
func TestBOSHInactivity(t *testing.T) {
	ends := func(p *boshPair, after time.Duration) {
		p.t.Helper()
		time.Sleep(after - time.Millisecond)
		synctest.Wait()
		if p.books.find(p.b.sid) == nil {
			p.t.Errorf("ended before %v", after)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if p.books.find(p.b.sid) != nil {
			p.t.Errorf("not ended after %v", after)
		}
		if _, err := p.b.read(make([]byte, 10)); err != errInactive {
			p.t.Error(err)
		}
		if _, _, err := p.b.write([]byte(aMessage)); err == nil {
			p.t.Error("write succeeds")
		}
	}
	const attrs = "wait='20' hold='1' ver='1.6'"
	inBubble(t, attrs, func(p *boshPair) { ends(p, boshInactivity) })
	inBubble(t, attrs, func(p *boshPair) {
		time.Sleep(time.Minute / 2)
		q := p.submit(101, "", "")
		p.b.abandon(q)
		p.put(aMessage)
		p.unanswered(q) // it waits for somebody to be there
		time.Sleep(time.Minute / 2)
		q = p.submit(101, "", "")
		p.answered(q, "id='m'")
		ends(p, boshInactivity)
	})
	inBubble(t, attrs, func(p *boshPair) {
		p.answered(p.submit(101, "pause='100'", ""))
		p.put(aMessage)
		ends(p, 100*time.Second)
	})
	inBubble(t, attrs, func(p *boshPair) {
		p.waitForInput()
		q := p.submit(101, "", "")
		pause := p.submit(102, "pause='100'", "")
		p.answered(q)
		p.answered(pause)
		q = p.submit(103, "", "") // ends the pause
		time.Sleep(20 * time.Second)
		p.answered(q)
		ends(p, boshInactivity)
	})
	inBubble(t, attrs, func(p *boshPair) {
		p.answered(p.submit(101, "pause='9999'", ""))
		ends(p, boshMaxPause)
	})
}

// TestBOSHTerminate: XEP-0124 §13, from both sides.
func TestBOSHTerminate(t *testing.T) {
	const attrs = "wait='20' hold='1' ver='1.6'"
	inBubble(t, attrs, func(p *boshPair) {
		p.waitForInput()
		q := p.submit(101, "", "")
		last := p.submit(102, "type='terminate'", "<presence type='unavailable'/>")
		p.wants("<presence type='unavailable'/></stream:stream>")
		p.put(aMessage)
		p.unanswered(q)
		p.put("</stream:stream>")
		p.answered(q, "type='terminate'>")
		p.answered(last)
		if got := string(p.b.unsettled()); !strings.Contains(got, "id='m'") {
			t.Errorf("unsettled %q", got)
		}
	})
	inBubble(t, attrs, func(p *boshPair) { // a response that was written counts as received, and nothing turns in circles
		p.put(aMessage)
		p.answered(p.submit(101, "", ""), "id='m'")
		q := p.submit(102, "type='terminate'", "")
		time.Sleep(3 * time.Second)
		p.unanswered(q)
		if p.b.settled() {
			t.Error("settled")
		}
		p.b.wrote(101)
		if !p.b.settled() {
			t.Error("not settled")
		}
		p.put("</stream:stream>")
		p.answered(q, "type='terminate'>")
	})
	inBubble(t, attrs, func(p *boshPair) { // nobody is there: the next request is told
		p.put(aMessage)
		p.put("<a xmlns='urn:xmpp:sm:3' h='1'/><stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
		p.b.abort()
		p.b.linger()
		p.answered(p.submit(101, "", "<message/>"), "type='terminate' condition='remote-stream-error' xmlns:stream='http://etherx.jabber.org/streams'><a xmlns='urn:xmpp:sm:3' h='1'/><stream:error xmlns:stream='http://etherx.jabber.org/streams'><conflict ")
		p.answered(p.submit(102, "", ""), "item-not-found")
	})
	inBubble(t, attrs, func(p *boshPair) { // or nobody ever is
		p.put("</stream:stream>")
		p.b.abort()
		p.b.linger()
		time.Sleep(boshInactivity + time.Second)
		synctest.Wait()
		if p.books.find(p.b.sid) != nil {
			t.Error("kept for good")
		}
	})
}

// TestBOSHKeys: XEP-0124 §15 with the sequence K(3), K(2), K(1) of a seed, and then another one.
func TestBOSHKeys(t *testing.T) {
	k := []string{"seed"}
	for range 3 {
		k = append(k, hashed(k[len(k)-1]))
	}
	inBubble(t, "wait='20' hold='1' ver='1.6' newkey='"+strings.ToUpper(k[3])+"'", func(p *boshPair) {
		p.put(aMessage)
		p.answered(p.submit(101, "key='"+k[2]+"'", ""), "id='m'")
		p.answered(p.submit(101, "key='"+k[1]+"'", ""), "item-not-found") // somebody else's repetition
		p.answered(p.submit(101, "key='"+strings.ToUpper(k[2])+"'", ""), "id='m'")
		p.put(aMessage)
		p.answered(p.submit(102, "key='"+k[1]+"' newkey='"+hashed("other")+"'", ""), "id='m'")
		p.put(aMessage)
		p.answered(p.submit(103, "key='other'", ""), "id='m'")
	})
}

// TestBOSHBounds: whoever writes waits when the client takes nothing, and input waits for whoever reads.
func TestBOSHBounds(t *testing.T) {
	inBubble(t, "wait='20' hold='1' ver='1.6'", func(p *boshPair) {
		big := "<message><body>" + strings.Repeat("x", 10_000) + "</body></message>"
		all := []byte(strings.Repeat(big, 20))
		n, pending, err := p.b.write(all)
		if n != 7*len(big) || pending < boshOutputBytes || err != nil {
			t.Fatal(n, pending, err)
		}
		done := make(chan error)
		go func() { done <- p.b.drain() }()
		synctest.Wait()
		p.answered(p.submit(101, "", ""), "<message xmlns='jabber:client'><body>xxx")
		if err := <-done; err != nil {
			t.Error(err)
		}
		one := p.submit(102, "", strings.Repeat(big, 7))
		two := p.submit(103, "", big)
		synctest.Wait()
		p.b.mu.Lock()
		if len(p.b.in) > 8*len(big) || len(p.b.early) != 1 {
			t.Errorf("%d bytes, %d early", len(p.b.in), len(p.b.early))
		}
		p.b.mu.Unlock()
		p.wants(big)
		p.put(aMessage)
		p.answered(one, "id='m'")
		p.unanswered(two)
	})
}

// TestBOSHDeadlines: negotiation's reads and the session's waiting end by deadlines.
func TestBOSHDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newBoshPair(t, "wait='20' hold='1' ver='1.6'", false)
		defer p.b.fail(io.EOF)
		p.b.deadline(time.Now().Add(time.Hour))
		p.b.deadline(time.Now().Add(5 * time.Second))
		begun := time.Now()
		if _, err := p.b.read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != 5*time.Second {
			t.Error(err, time.Since(begun))
		}
		_ = p.b.park()
		p.b.wake()
		if _, err := p.b.await(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		p.b.rest()
		p.submit(101, "", "<message/>")
		if _, err := p.b.await(func() bool { p.wants("<message/>"); return true }); err != nil {
			t.Error(err)
		}
	})
}

// TestBOSHLegacy: a client without 'ver' gets HTTP errors (XEP-0124 §17.1).
func TestBOSHLegacy(t *testing.T) {
	inBubble(t, "wait='20' hold='1'", func(p *boshPair) {
		q := p.submit(109, "", "")
		if a := <-q.answer; a.status != http.StatusNotFound {
			t.Error(a.status)
		}
	})
}

// TestBOSHPrefixes: what the <body/> declares for all of its children is in the stream again and again, but
// makes it no longer than a request may be.
func TestBOSHPrefixes(t *testing.T) {
	const most = 100_000
	body := "<body xmlns='" + nsBOSH + "' rid='1' xmlns:a='" + strings.Repeat("u", 1900) + "'>" + strings.Repeat("<a:b/>", most/10) + "</body>"
	q, err := readBody(strings.NewReader(body), func(*boshRequest) (element, whole int, err error) { return most, most, nil })
	if err != boshPolicyViolation || len(q.payload) > 2*most {
		t.Errorf("%d bytes have become %d, %v", len(body), len(q.payload), err)
	}
}
