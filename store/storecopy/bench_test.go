package storecopy

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/sqlstore"
)

// BenchmarkCopy copies from SQLite to SQLite at full durability, and compares: names with an account, a profile and 20 contacts
// each, and messages that wait for one of them.
func BenchmarkCopy(b *testing.B) {
	for _, bench := range []struct {
		name            string
		users, messages int
	}{{"names", 2000, 0}, {"messages", 1, 50_000}} {
		b.Run(bench.name, func(b *testing.B) {
			from := openFile(b, "normal")
			fillBench(b, from, bench.users, bench.messages)
			var copying, comparing time.Duration
			for b.Loop() {
				b.StopTimer()
				to := openFile(b, "full")
				b.StartTimer()
				begun := time.Now()
				if err := (&Copy{From: from, To: to}).Run(b.Context()); err != nil {
					b.Fatal(err)
				}
				copying += time.Since(begun)
				begun = time.Now()
				if _, err := Summed(b.Context(), to, new(Done)); err != nil {
					b.Fatal(err)
				}
				comparing += time.Since(begun)
			}
			n := float64(b.N * max(bench.messages, bench.users))
			b.ReportMetric(n/copying.Seconds(), bench.name+"-copied/s")
			b.ReportMetric(n/comparing.Seconds(), bench.name+"-read/s")
		})
	}
}

func openFile(b *testing.B, durability string) store.Store {
	b.Helper()
	s, err := sqlstore.Open(b.Context(), sqlstore.Config{Path: filepath.Join(b.TempDir(), "chatd.db"), Durability: durability})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func fillBench(b *testing.B, s store.Store, users, messages int) {
	b.Helper()
	name := func(i int) string { return fmt.Sprintf("user%06d", i) }
	for i := range users {
		r := store.Record{User: name(i), LastSeq: int64(messages), VCard: []byte("<vCard>" + strings.Repeat("x", 300) + "</vCard>"),
			Account: &store.Account{User: name(i), Credentials: []store.Credential{{Mechanism: "SCRAM-SHA-256", Salt: make([]byte, 16), StoredKey: make([]byte, 32), ServerKey: make([]byte, 32)}}},
			Roster:  store.Roster{Version: 1}}
		for contact := range 20 {
			r.Roster.Items = append(r.Roster.Items, store.RosterItem{JID: name(i+contact+1) + "@chat.test", Sub: store.SubBoth, Groups: []string{"Friends"}})
		}
		if err := s.PutRecord(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	var page []store.OfflineMessage
	for seq := range messages {
		page = append(page, store.OfflineMessage{Seq: int64(seq + 1), Stored: noon,
			Stanza: fmt.Appendf(nil, "<message from='a@chat.test/r' to='b@chat.test' type='chat' id='%d'><body>%s</body></message>", seq, strings.Repeat("hello ", 30))})
		if len(page) == 1000 || seq == messages-1 {
			if err := s.PutOffline(b.Context(), name(0), page); err != nil {
				b.Fatal(err)
			}
			page = nil
		}
	}
}
