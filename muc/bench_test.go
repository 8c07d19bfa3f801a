package muc

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"

	"chatd/router"
	"chatd/stanza"
	"chatd/store/memory"
	"chatd/store/sqlstore"
)

// A sinkSession encodes what it gets as a real one does, into memory that it reuses.
type sinkSession struct {
	fakeSession
	buf []byte
}

func (s *sinkSession) Send(_ *router.Batch, st *stanza.Stanza) bool {
	s.buf = st.Append(s.buf[:0])
	return true
}

func sinks(b testing.TB, f *fixture, n int) []*sinkSession {
	all := make([]*sinkSession, n)
	for i := range all {
		all[i] = &sinkSession{fakeSession: fakeSession{jid: stanza.MustJID(fmt.Sprintf("player%d@chat.test/game", i))}}
		if _, ok := f.r.Table.Bind(all[i], false); !ok {
			b.Fatal("taken")
		}
	}
	return all
}

func from(b testing.TB, s router.Session, xml string) *stanza.Stanza {
	st, err := stanza.Parse([]byte(xml))
	if err != nil {
		b.Fatal(err)
	}
	st.From = s.JID()
	return st
}

// spent is the CPU time of the process: on a busy machine the clock says little.
func spent() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

const joinXML = "<presence to='%s@conference.chat.test/%s'><x xmlns='" + NS + "'/></presence>"
const unlockXML = "<iq type='set' id='u' to='%s@conference.chat.test'><query xmlns='" + nsOwner + "'><x xmlns='jabber:x:data' type='submit'/></query></iq>"

// BenchmarkDelivery is one message of about 250 bytes to all occupants; cpu-ns is that of one delivery.
func BenchmarkDelivery(b *testing.B) {
	for _, n := range []int{3, 20, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := newFixture(b, unlimited())
			all := sinks(b, f, n)
			ctx, batch := context.Background(), &router.Batch{}
			for i, s := range all {
				f.Handle(ctx, batch, s, from(b, s, fmt.Sprintf(joinXML, "verona", fmt.Sprint("p", i))))
				if i == 0 {
					f.Handle(ctx, batch, s, from(b, s, fmt.Sprintf(unlockXML, "verona")))
				}
			}
			st := from(b, all[0], "<message to='verona@conference.chat.test' type='groupchat' id='purple00000001'>"+
				"<body>push mid in five, I have teleport and the ward is on cooldown</body><origin-id xmlns='urn:xmpp:sid:1' id='8a7b6c5d'/></message>")
			b.ReportAllocs()
			begun := spent()
			for b.Loop() {
				f.r.FromClient(ctx, batch, all[0], st)
			}
			b.ReportMetric((spent()-begun)/float64(b.N)/float64(n), "cpu-ns/delivery")
		})
	}
}

// BenchmarkClusterDelivery is BenchmarkDelivery with all occupants on one node and their room on the other: frames/message is what goes over the
// link, cpu-ns that of both nodes for one delivery, without the link's own.
func BenchmarkClusterDelivery(b *testing.B) {
	for _, n := range []int{3, 20, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newFakeCluster(b, "a", "b")
			home, away := c.nodes[0], c.nodes[1]
			room := "verona"
			for i := 0; home.Home(room) != home.name; i++ {
				room = fmt.Sprint("verona", i)
			}
			all := make([]*sinkSession, n)
			batch := new(router.Batch)
			tell := func(s *sinkSession, format string, args ...any) {
				st, err := stanza.Parse(fmt.Appendf(nil, format, args...))
				if err != nil {
					b.Fatal(err)
				}
				st.From = s.JID()
				away.Handle(b.Context(), batch, s, st)
			}
			for i := range all {
				all[i] = &sinkSession{fakeSession: fakeSession{jid: stanza.MustJID(fmt.Sprintf("player%d@chat.test/game", i))}}
				away.table.Bind(all[i], false)
				tell(all[i], "<presence to='%s@%s/p%d'><x xmlns='%s'/></presence>", room, fakeHost, i, NS)
				if i == 0 {
					tell(all[i], "<iq type='set' id='u' to='%s@%s'><query xmlns='%s'><x xmlns='jabber:x:data' type='submit'/></query></iq>", room, fakeHost, nsOwner)
				}
			}
			c.quiet()
			if r := home.find(room); r == nil || r.seats != n {
				b.Fatal("not all are in the room")
			}
			frames := home.sent[frameCast]
			begun := spent()
			for b.Loop() {
				tell(all[0], "<message to='%s@%s' type='groupchat' id='purple00000001'><body>push mid in five, I have teleport and the ward is on cooldown</body>"+
					"<origin-id xmlns='urn:xmpp:sid:1' id='8a7b6c5d'/></message>", room, fakeHost)
			}
			c.quiet()
			b.ReportMetric((spent()-begun)/float64(b.N)/float64(n), "cpu-ns/delivery")
			b.ReportMetric(float64(home.sent[frameCast]-frames)/float64(b.N), "frames/message")
		})
	}
}

// BenchmarkRoomCreation is a room that is made, entered by three, and left by all.
func BenchmarkRoomCreation(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchmarkCreation(b, newFixture(b, unlimited())) })
	b.Run("sqlite", func(b *testing.B) {
		db, err := sqlstore.Open(b.Context(), sqlstore.Config{Path: b.TempDir() + "/chatd.db"})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		benchmarkCreation(b, newFixtureOn(b, unlimited(), db))
	})
}

func benchmarkCreation(b *testing.B, f *fixture) {
	all := sinks(b, f, 3)
	for i := range 1000 { // what is made once is no room's
		comeAndGo(b, f, all, fmt.Sprint("before", i))
	}
	before, begun := heapBytes(), spent()
	for i := 0; b.Loop(); i++ {
		comeAndGo(b, f, all, fmt.Sprint("game", i))
	}
	b.ReportMetric((spent()-begun)/float64(b.N)/1000, "cpu-us/room")
	b.ReportMetric((heapBytes()-before)/float64(b.N), "bytes-left/room")
}

// BenchmarkMemory is bytes of heap: of a room in memory that nobody is in, and of an occupant beyond its session, in rooms of several sizes, with presences of
// about 150 bytes.
func BenchmarkMemory(b *testing.B) {
	const rooms = 10_000
	b.Run("room", func(b *testing.B) {
		for b.Loop() {
			f := newFixtureOn(b, unlimited(), memory.New())
			before := heapBytes()
			for i := range rooms {
				name := fmt.Sprint("room", i)
				r := &room{at: f.address(name)}
				if !f.insert(name, r) {
					b.Fatal("there already")
				}
				r.affiliates.set(affiliate{jid: fmt.Sprint("owner", i, "@chat.test"), as: Owner})
				if err := f.begin(r, stanza.JID{}); err != nil {
					b.Fatal(err)
				}
				r.phase, r.expected = open, true
			}
			b.ReportMetric((heapBytes()-before)/rooms, "bytes/room")
			runtime.KeepAlive(f)
		}
	})
	for _, n := range []int{3, 20, 200} {
		b.Run(fmt.Sprint("occupant/", n), func(b *testing.B) {
			for b.Loop() {
				f := newFixture(b, unlimited())
				all := sinks(b, f, n)
				ctx, batch := context.Background(), &router.Batch{}
				const occupants = 12_000
				var empty, full float64
				for _, full_ := range []bool{false, true} {
					before := heapBytes()
					for i := range occupants / n {
						name := fmt.Sprintf("room-%t-%d", full_, i)
						for k, s := range all {
							if !full_ && k > 0 {
								break
							}
							f.Handle(ctx, batch, s, from(b, s, fmt.Sprintf("<presence to='%s@conference.chat.test/%s'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://pidgin.im/' ver='AcN1/PEN8nq7AHD+9jpxMV4U6YM='/><x xmlns='%s'/></presence>", name, fmt.Sprint("player", k), NS)))
							if k == 0 {
								f.Handle(ctx, batch, s, from(b, s, fmt.Sprintf(unlockXML, name)))
							}
						}
					}
					if full_ {
						full = heapBytes() - before
					} else {
						empty = heapBytes() - before
					}
				}
				b.ReportMetric((full-empty)/float64(occupants/n*(n-1)), "bytes/occupant")
				b.ReportMetric(empty/float64(occupants/n), "bytes/room-of-one")
				runtime.KeepAlive(f)
			}
		})
	}
}
