package c2s

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"chatd/stanza"
	"chatd/xmlstream"
)

// FuzzBOSHBody: whatever comes in a request, the stream gets whole elements or nothing, and the
// pieces in which it comes make no difference.
func FuzzBOSHBody(f *testing.F) {
	for _, s := range []string{
		"<body rid='1' sid='x' xmlns='http://jabber.org/protocol/httpbind'/>",
		"<body rid='1' to='chat.test' ver='1.6' wait='60' hold='1' ack='1' xmlns:x='urn:xmpp:xbosh' x:version='1.0' xmlns='http://jabber.org/protocol/httpbind'> </body>",
		"<?xml version='1.0'?><b:body rid='1' sid='x' key='a' newkey='b' xmlns:b='http://jabber.org/protocol/httpbind' xmlns='jabber:client'><iq/><b:x><iq/></b:x></b:body>",
		"<body rid='1' sid='x' xmlns='http://jabber.org/protocol/httpbind' xmlns:p='u'><message><body p:a=''>&lt;</body></message><p:q/><iq xmlns='jabber:client'/><![CDATA[</body>",
		"<body rid='9007199254740991' type='terminate' pause='5' sid='x' xmlns='http://jabber.org/protocol/httpbind'><presence/>text</body>",
	} {
		f.Add([]byte(s))
	}
	read := func(r io.Reader) (*boshRequest, error) {
		return readBody(r, func(*boshRequest) (int, int, error) { return 2000, 4000, nil })
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := read(bytes.NewReader(data))
		other, err2 := read(iotest.OneByteReader(bytes.NewReader(data)))
		if err != err2 || !bytes.Equal(q.payload, other.payload) || q.rid != other.rid || q.sid != other.sid {
			t.Fatalf("%+v, %v; byte by byte %+v, %v", q, err, other, err2)
		}
		if err != nil {
			return
		}
		if q.rid < 1 || q.rid > boshMaxRID {
			t.Errorf("rid %d", q.rid)
		}
		sc := xmlstream.NewScanner(stanza.RescanLimits(2*len(q.payload) + 4000))
		header := q.appendHeader(nil, "1.0")
		if tok, n, err := sc.Scan(header); err != nil || tok.Kind != xmlstream.Open || n != len(header) {
			t.Fatalf("header %s: %v", header, err)
		}
		for rest := q.payload; len(rest) > 0; {
			tok, n, err := sc.Scan(rest)
			if err != nil || tok.Kind != xmlstream.Element {
				t.Fatalf("payload %s: %v", q.payload, err)
			}
			rest = rest[n:]
		}
	})
}

// A boshModel is a client that loses responses, repeats its requests and keeps the rules.
type boshModel struct {
	*boshPair
	sent     map[int64]*boshRequest // requests without a response
	have     int64                  // it has the responses up to this one
	bodies   map[int64]string       // responses that came before their turn
	wrote    int
	received int
	requests int64
	acks     bool
}

// request sends a new request, if the rules allow one.
func (m *boshModel) request(payload bool) {
	if m.rid >= m.have+m.requests || !payload && len(m.sent) > 0 {
		return
	}
	m.rid++
	content := ""
	if payload {
		content = "<presence/>"
	}
	attrs := ""
	if m.acks && m.have < m.rid-1 {
		attrs = fmt.Sprintf("ack='%d'", m.have)
	}
	m.sent[m.rid] = m.submit(m.rid, attrs, content)
}

// again repeats all that has no response, on new connections.
func (m *boshModel) again() {
	for rid := m.have + 1; rid <= m.rid; rid++ {
		if old := m.sent[rid]; old != nil {
			m.b.abandon(old)
			m.sent[rid] = m.submit(rid, "", "<presence/>")
		}
	}
}

// collect takes the responses that have come, or loses them.
func (m *boshModel) collect(lose bool) {
	synctest.Wait()
	for rid := m.have + 1; rid <= m.rid; rid++ {
		q := m.sent[rid]
		if q == nil {
			continue
		}
		select {
		case a := <-q.answer:
			if lose {
				m.sent[rid] = m.submit(rid, "", "<presence/>")
				continue
			}
			if strings.Contains(string(a.body), "type=") {
				m.t.Fatalf("rid %d: %s", rid, a.body)
			}
			m.bodies[rid] = string(a.body)
			delete(m.sent, rid)
		default:
		}
	}
	for body, ok := m.bodies[m.have+1]; ok; body, ok = m.bodies[m.have+1] {
		m.have++
		for _, id := range messageID.FindAllStringSubmatch(body, -1) {
			if n, _ := strconv.Atoi(id[1]); n != m.received {
				m.t.Fatalf("got m%d, want m%d", n, m.received)
			}
			m.received++
		}
	}
}

// FuzzBOSHRequests: a client that keeps the rules gets each message once and in order, however its
// requests and their responses get lost; what it did not get is known in the end; and nothing grows.
func FuzzBOSHRequests(f *testing.F) {
	f.Add([]byte("rwcrwlcarwpwcsrc"), true, false)
	f.Add([]byte("wwrcwarlacrpirpicssrwsc"), false, true)
	f.Add([]byte("prwpwcprcwprcwlprcat"), true, true)
	f.Fuzz(func(t *testing.T, ops []byte, held, acks bool) {
		if len(ops) > 300 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			attrs := "wait='20' hold='1' ver='1.6'"
			if !held {
				attrs = "wait='20' hold='0' ver='1.6'"
			}
			if acks {
				attrs += " ack='1'"
			}
			p, _ := newBoshPair(t, attrs, true)
			m := &boshModel{boshPair: p, sent: map[int64]*boshRequest{}, have: 100, bodies: map[int64]string{}, requests: int64(p.b.requests), acks: acks}
			defer p.b.fail(io.EOF)
			go func() { // the session's reading goroutine
				buf := make([]byte, 1<<12)
				for {
					if _, err := p.b.await(func() bool { n, err := p.b.read(buf); return n > 0 || err != error(errAgain) }); err != nil || p.b.closing() {
						return
					}
				}
			}()
			for _, op := range ops {
				switch op {
				case 'r':
					m.request(false)
				case 'p':
					m.request(true)
				case 'w':
					m.put(fmt.Sprintf("<message id='m%d'/>", m.wrote))
					m.wrote++
				case 'c':
					m.collect(false)
				case 'l':
					m.collect(true)
				case 'a':
					m.again()
				case 's':
					time.Sleep(time.Second)
				case 't':
					time.Sleep(9 * time.Second)
				}
				synctest.Wait()
				if p.b.closing() {
					break // too many repetitions, or inactive
				}
				p.b.mu.Lock()
				if len(p.b.sent) > p.b.requests+1 || len(p.b.waiting)+len(p.b.early) > p.b.requests+1 {
					t.Fatalf("%d responses, %d + %d requests", len(p.b.sent), len(p.b.waiting), len(p.b.early))
				}
				p.b.mu.Unlock()
			}
			if !p.b.closing() {
				m.collect(false)
			}
			p.b.abort()
			left := string(p.b.unsettled())
			for i := m.received; i < m.wrote; i++ {
				if strings.Count(left, fmt.Sprintf("id='m%d'", i)) != 1 {
					t.Fatalf("m%d of %d, %d received, is not in %s", i, m.wrote, m.received, left)
				}
			}
		})
	})
}

func (b *bosh) closing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}
