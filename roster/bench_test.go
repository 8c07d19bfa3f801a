package roster

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
	"chatd/store/sqlstore"
)

// crowd is how many friends each player of the benchmarks has.
const crowd = 300

func player(i int) stanza.JID { return stanza.MustJID(fmt.Sprintf("sum%d@chat.test", i)) }

// newCrowd is a service on SQLite where player 0 has as many friends as there are, and each of them as many: sum1 to
// sum300 are friends of sum0, and each of these of sum0 and 299 others out of 3,000.
func newCrowd(b *testing.B, circles bool) *Service {
	b.Helper()
	db, err := sqlstore.Open(b.Context(), sqlstore.Config{Path: filepath.Join(b.TempDir(), "bench.db"), Durability: "normal"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	log := slog.New(slog.DiscardHandler)
	s := New(router.New(stanza.MustJID("chat.test"), log), db, Config{}, log)
	users := 1
	if circles {
		users += crowd
	}
	done := make(chan error, 64)
	for w := range cap(done) {
		go func() {
			var err error
			for u := w; u < users && err == nil; u += cap(done) {
				err = befriendAll(b.Context(), db, u)
			}
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func befriendAll(ctx context.Context, db store.Rosters, u int) error {
	for i := range crowd {
		friend := player(i + 1)
		if u > 0 {
			if i == 0 {
				friend = player(0)
			} else {
				friend = player(crowd + 1 + (u*37+i*10)%3000)
			}
		}
		_, err := db.UpdateItem(ctx, player(u).Local(), friend.String(), 0, func(it *store.RosterItem, _ bool) (store.Verdict, error) {
			it.Name, it.Groups, it.Sub, it.Created = "Friend of mine", []string{"General"}, store.SubBoth, time.Now()
			return store.Keep, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// perCPU reports the processor time of an operation, which on a machine that others use says more than the clock.
// To be deferred after what is to be counted has begun.
func perCPU(b *testing.B) func() {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.ReportAllocs()
	began := used()
	return func() { b.ReportMetric(float64((used()-began).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}

func BenchmarkFriends(b *testing.B) {
	s := newCrowd(b, false)
	for _, cached := range []bool{true, false} {
		b.Run(fmt.Sprintf("cached=%t", cached), func(b *testing.B) {
			defer perCPU(b)()
			for b.Loop() {
				if !cached {
					s.lists.forgetAll()
				}
				if list, err := s.Friends(b.Context(), player(0)); err != nil || len(list) != crowd {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

func BenchmarkFriendship(b *testing.B) {
	s := newCrowd(b, false)
	for _, cached := range []bool{true, false} {
		b.Run(fmt.Sprintf("cached=%t", cached), func(b *testing.B) {
			if cached {
				if _, err := s.Friends(b.Context(), player(0)); err != nil {
					b.Fatal(err)
				}
			} else {
				s.lists.forgetAll()
			}
			other := player(crowd / 2)
			defer perCPU(b)()
			for b.Loop() {
				if f, err := s.Friendship(b.Context(), player0, other); err != nil || !f.Exists {
					b.Fatal(f, err)
				}
			}
		})
	}
	b.Run("thousand", func(b *testing.B) {
		others := make([]stanza.JID, MaxFriendships)
		for i := range others {
			others[i] = player(i)
		}
		defer perCPU(b)()
		for b.Loop() {
			if all, err := s.Friendships(b.Context(), player0, others); err != nil || len(all) != len(others) {
				b.Fatal(err)
			}
		}
	})
}

var player0 = player(0)

func BenchmarkFriendsOfFriends(b *testing.B) {
	s := newCrowd(b, true)
	for _, cached := range []bool{true, false} {
		b.Run(fmt.Sprintf("cached=%t", cached), func(b *testing.B) {
			for i := range crowd + 1 {
				if _, err := s.Friends(b.Context(), player(i)); err != nil {
					b.Fatal(err)
				}
			}
			defer perCPU(b)()
			for b.Loop() {
				if !cached {
					s.lists.forgetAll()
				}
				if all, err := s.FriendsOfFriends(b.Context(), player0, 50); err != nil || len(all) != 50 {
					b.Fatal(len(all), err)
				}
			}
		})
	}
}

// A sink is a session that encodes what it gets as a real one does, into memory that it reuses.
type sink struct {
	client
	buf []byte
}

func (s *sink) Send(_ *router.Batch, st *stanza.Stanza) bool {
	s.buf = st.Append(s.buf[:0])
	return true
}

// newParty is player 0 with all friends online.
func newParty(tb testing.TB) (*Service, []*sink) {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	db := memory.New()
	s := New(router.New(stanza.MustJID("chat.test"), log), db, Config{}, log)
	s.r.Presence, s.r.Rules, s.r.Copies = s, s, noCopies{}
	if err := befriendAll(tb.Context(), db, 0); err != nil {
		tb.Fatal(err)
	}
	sinks := make([]*sink, crowd+1)
	for i := range sinks {
		full, err := player(i).WithResource("game")
		if err != nil {
			tb.Fatal(err)
		}
		sinks[i] = &sink{client: client{jid: full}}
		s.r.Table.Bind(sinks[i], false)
		s.r.Table.SetPresence(sinks[i], true, 0)
		sinks[i].state.Presence.Store(&stanza.Stanza{Kind: stanza.Presence, From: full})
	}
	return s, sinks
}

type noCopies struct{ router.Copies }

const status = "<show>away</show><status>in a ranked game on the rift, back in about half an hour, unless we win early</status>" +
	"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://game.example/client' ver='Y4agQfLFf2Q9bW4ZPL6+znZEjdQ='/>"

// BenchmarkDelivery compares what it costs to give a presence to one of 300 friends with what a
// message of the same content costs.
func BenchmarkDelivery(b *testing.B) {
	s, sinks := newParty(b)
	from := sinks[0]
	batch := &router.Batch{}
	b.Run("message", func(b *testing.B) {
		st := stanza.Stanza{Kind: stanza.Message, Type: stanza.Headline, From: from.jid, Inner: []byte(status)}
		defer perCPU(b)()
		for i := 0; b.Loop(); i++ {
			st.To = sinks[1+i%crowd].jid.Bare()
			s.r.FromClient(b.Context(), batch, from, &st)
		}
	})
	b.Run("presence", func(b *testing.B) {
		st := stanza.Stanza{Kind: stanza.Presence, From: from.jid, Inner: []byte(status)}
		defer perCPU(b)()
		for i := 0; b.Loop(); i++ {
			if i%crowd == 0 {
				out := st
				s.r.FromClient(b.Context(), batch, from, &out)
			}
		}
	})
	for i, peer := range sinks {
		if len(peer.buf) == 0 {
			b.Fatalf("player %d got nothing", i)
		}
	}
}

// BenchmarkRules is what the rules cost for a message to a friend.
func BenchmarkRules(b *testing.B) {
	for _, bb := range []struct {
		name     string
		require  router.Requirement
		audience store.Audience
	}{
		{"none", 0, store.Everyone},
		{"friendship", router.ForMessages, store.Everyone},
		{"privacy", 0, store.Friends},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s, sinks := newParty(b)
			s.r.Require(bb.require)
			if err := befriendAll(b.Context(), s.store, 1); err != nil {
				b.Fatal(err)
			}
			sinks[1].state.Audience.Store(uint32(bb.audience))
			st := stanza.Stanza{Kind: stanza.Message, Type: stanza.Headline, From: sinks[0].jid, To: sinks[1].jid, Inner: []byte("<body>hi</body>")}
			batch := &router.Batch{}
			send := func() { s.r.FromClient(b.Context(), batch, sinks[0], &st) }
			if send(); len(sinks[1].buf) == 0 {
				b.Fatal("not delivered")
			}
			if n := testing.AllocsPerRun(100, send); n != 0 {
				b.Errorf("%v allocations", n)
			}
			defer perCPU(b)()
			for b.Loop() {
				send()
			}
		})
	}
}
