package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/memory"
	"chatd/store/sqlstore"
	"chatd/store/storetest/mariadb"
)

// eachStore runs a benchmark against every backend; MariaDB is started for it.
func eachStore(b *testing.B, run func(b *testing.B, s store.Store)) {
	b.Run("memory", func(b *testing.B) { run(b, memory.New()) })
	b.Run("sqlite", func(b *testing.B) {
		s, err := sqlstore.Open(b.Context(), sqlstore.Config{Path: filepath.Join(b.TempDir(), "bench.db")})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		run(b, s)
	})
	b.Run("mariadb", func(b *testing.B) {
		s, err := sqlstore.OpenMySQL(b.Context(), sqlstore.MySQL{DSN: mariadb.Start(b, mariadb.Durable).Database(b)})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		run(b, s)
	})
}

var message = store.OfflineMessage{
	Stored: time.Unix(1700000000, 0),
	Stanza: fmt.Appendf(nil, "<message from='anna@chat.test/phone' to='bob@chat.test' type='chat' id='%032d'><body>%0128d</body></message>", 1, 2),
}

// BenchmarkAppendOffline stores durable messages of 250 bytes for 10,000
// users with a limit of 1,000 each.
func BenchmarkAppendOffline(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			eachStore(b, func(b *testing.B, s store.Store) {
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ReportAllocs()
				b.ResetTimer()
				for range writers {
					wg.Go(func() {
						for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
							user := fmt.Sprintf("user%d", i*7919%10000)
							if _, err := s.AppendOffline(context.Background(), user, message, 1000); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			})
		})
	}
}

// BenchmarkOfflinePage50 reads pages from the middle of a queue of 10,000.
func BenchmarkOfflinePage50(b *testing.B) {
	eachStore(b, func(b *testing.B, s store.Store) {
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				for range 100 {
					if _, err := s.AppendOffline(b.Context(), "anna", message, 0); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		page, err := s.OfflinePage(b.Context(), "anna", 0, 5000)
		if err != nil || len(page) != 5000 {
			b.Fatal(len(page), err)
		}
		after := page[4999].Seq
		b.ReportAllocs()
		for b.Loop() {
			if page, err := s.OfflinePage(b.Context(), "anna", after, 50); err != nil || len(page) != 50 {
				b.Fatal(len(page), err)
			}
		}
	})
}

// BenchmarkRoster300 reads a friends list of 300.
func BenchmarkRoster300(b *testing.B) {
	eachStore(b, func(b *testing.B, s store.Store) {
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				_, err := s.UpdateItem(b.Context(), "anna", fmt.Sprintf("friend%d@chat.test", i), 0,
					func(item *store.RosterItem, _ bool) (store.Verdict, error) {
						*item = store.RosterItem{Name: "A friend", Groups: []string{"Friends"}, Sub: store.SubBoth, Created: message.Stored}
						return store.Keep, nil
					})
				if err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.ReportAllocs()
		for b.Loop() {
			if r, err := s.Roster(b.Context(), "anna"); err != nil || len(r.Items) != 300 {
				b.Fatal(len(r.Items), err)
			}
		}
	})
}

// BenchmarkAccount reads what a login needs.
func BenchmarkAccount(b *testing.B) {
	eachStore(b, func(b *testing.B, s store.Store) {
		cred := store.Credential{Salt: make([]byte, 16), Iterations: 4096, StoredKey: make([]byte, 32), ServerKey: make([]byte, 32)}
		creds := []store.Credential{cred, cred}
		creds[0].Mechanism, creds[1].Mechanism = "SCRAM-SHA-256", "SCRAM-SHA-1"
		if err := s.CreateAccount(b.Context(), store.Account{User: "anna", Credentials: creds}); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Account(b.Context(), "anna"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLogin reads what a login needs of a player with and without contacts, at once and part by part.
func BenchmarkLogin(b *testing.B) {
	ctx := context.Background()
	parts := func(s store.Store) error {
		_, account := s.Account(ctx, "anna")
		_, blocked := s.Blocklist(ctx, "anna")
		_, privacy := s.Privacy(ctx, "anna")
		_, roster := s.Roster(ctx, "anna")
		s.VCard(ctx, "anna") // there is none
		_, waiting := s.CountOffline(ctx, "anna")
		return errors.Join(account, blocked, privacy, roster, waiting)
	}
	player := func(s store.Store) error {
		_, err := s.Player(ctx, "anna")
		return err
	}
	for _, contacts := range []int{0, 50} {
		for name, read := range map[string]func(store.Store) error{"parts": parts, "player": player} {
			b.Run(fmt.Sprintf("contacts=%d/%s", contacts, name), func(b *testing.B) {
				eachStore(b, func(b *testing.B, s store.Store) {
					if err := s.CreateAccount(ctx, store.Account{User: "anna"}); err != nil {
						b.Fatal(err)
					}
					for i := range contacts {
						_, err := s.UpdateItem(ctx, "anna", fmt.Sprintf("friend%d@chat.test", i), 0, func(item *store.RosterItem, _ bool) (store.Verdict, error) {
							item.Name, item.Sub = "A Friend", store.SubBoth
							return store.Keep, nil
						})
						if err != nil {
							b.Fatal(err)
						}
					}
					b.ReportAllocs()
					for b.Loop() {
						if err := read(s); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}
