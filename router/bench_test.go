package router

import (
	"context"
	"fmt"
	"testing"

	"chatd/stanza"
	"chatd/xmlstream"
)

// A sinkSession encodes what it gets as a real one does, into memory that it reuses.
type sinkSession struct {
	fakeSession
	buf []byte
}

func (s *sinkSession) Send(_ *Batch, st *stanza.Stanza) bool {
	s.buf = st.Append(s.buf[:0])
	return true
}

// BenchmarkRoute is one chat message of about 250 bytes from the scanner to the
// peer's queue: scan, load, lookup, rules, encode. It must not allocate.
func BenchmarkRoute(b *testing.B) {
	for _, to := range []string{"full", "bare"} {
		b.Run(to, func(b *testing.B) {
			r, peers := routeFixture(b, 10_000)
			from := peers[0]
			var inputs [][]byte
			for i := range 256 {
				addr := peers[1+i*37].jid
				if to == "bare" {
					addr = addr.Bare()
				}
				inputs = append(inputs, fmt.Appendf(nil, "<message to='%s' type='chat' id='purple%08x' xml:lang='en'>"+
					"<body>push mid in five, I have teleport and the ward is on cooldown</body>"+
					"<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>", addr, i))
			}
			sc := xmlstream.NewScanner(xmlstream.Limits{})
			sc.Resume(xmlstream.ClientScope)
			var st stanza.Stanza
			ctx, batch := context.Background(), &Batch{}
			b.SetBytes(int64(len(inputs[0])))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				tok, _, err := sc.Scan(inputs[i%len(inputs)])
				if err != nil || tok.Kind != xmlstream.Element {
					b.Fatal(tok.Kind, err)
				}
				if err := st.Load(tok, r.Table.Intern); err != nil {
					b.Fatal(err)
				}
				st.From = from.jid
				r.FromClient(ctx, batch, from, &st)
			}
		})
	}
}

func routeFixture(tb testing.TB, n int) (*Router, []*sinkSession) {
	f := newFixture(tb)
	peers := make([]*sinkSession, n)
	for i := range peers {
		peers[i] = &sinkSession{fakeSession: fakeSession{jid: stanza.MustJID(fmt.Sprintf("player%d@chat.test/game", i))}}
		f.Table.Bind(peers[i], false)
		f.Table.SetPresence(peers[i], true, 0)
	}
	return f.Router, peers
}

// TestRouteAllocatesNothing guards the budget of the hot path.
func TestRouteAllocatesNothing(t *testing.T) {
	r, peers := routeFixture(t, 2)
	raw := []byte("<message to='player1@chat.test/game' type='chat' id='1'><body>hi</body></message>")
	sc := xmlstream.NewScanner(xmlstream.Limits{})
	sc.Resume(xmlstream.ClientScope)
	var st stanza.Stanza
	ctx, batch := context.Background(), &Batch{}
	n := testing.AllocsPerRun(200, func() {
		tok, _, err := sc.Scan(raw)
		if err != nil || st.Load(tok, r.Table.Intern) != nil {
			t.Fatal(err)
		}
		st.From = peers[0].jid
		r.FromClient(ctx, batch, peers[0], &st)
	})
	if n != 0 {
		t.Errorf("%v allocations from scanner to queue", n)
	}
	if len(peers[1].buf) == 0 {
		t.Error("not delivered")
	}
}
