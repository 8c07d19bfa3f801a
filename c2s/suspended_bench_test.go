package c2s

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/memory"
)

// BenchmarkSuspended imports and keeps 10,000 sessions, each with ten stanzas that are not acknowledged.
func BenchmarkSuspended(b *testing.B) {
	const sessions = 10_000
	st := memory.New()
	var all []*Suspended
	for i := range sessions {
		user := fmt.Sprint("user", i)
		if err := st.CreateAccount(b.Context(), store.Account{User: user}); err != nil {
			b.Fatal(err)
		}
		x := &Suspended{ID: user, JID: user + "@chat.test/r", Until: time.Now().Add(time.Hour), Wait: time.Hour,
			Available: true, Presence: "<presence from='" + user + "@chat.test/r'/>"}
		for j := range 10 {
			x.Unacked = append(x.Unacked, Unacked{Stanza: numbered(j, x.JID, "some words that nobody has acknowledged yet")})
		}
		all = append(all, x)
	}
	for b.Loop() {
		s := startServerOn(b, st, new(testSpool), nil)
		if n := s.Import(b.Context(), all); n != sessions {
			b.Fatal(n)
		}
		s.Keep = func(seq iter.Seq[*Suspended]) error {
			for range seq {
			}
			return nil
		}
		if err := s.Shutdown(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/session")
}
