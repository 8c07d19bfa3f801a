package webhook

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"chatd/stanza"
	"chatd/store/sqlstore"
)

// BenchmarkEvents: from what happens, by way of SQLite, to a receiver on loopback that has answered.
func BenchmarkEvents(b *testing.B) {
	db, err := sqlstore.Open(b.Context(), sqlstore.Config{Path: filepath.Join(b.TempDir(), "chatd.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var got atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
		got.Add(1)
	}))
	defer srv.Close()
	s := New(stanza.MustJID("chat.test"), "node", db, slog.New(slog.DiscardHandler))
	h := hook
	h.URL = srv.URL
	s.Reload([]Hook{h})
	s.Start()
	defer s.Close(context.Background())
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		for int64(i)-got.Load() > maxBuffered/2 { // faster than it can be delivered
			time.Sleep(time.Millisecond)
		}
		s.Presence(stanza.MustJID(fmt.Sprintf("p%d@chat.test", i%1000)), i/1000%2 == 0)
	}
	for got.Load() < int64(b.N) {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkPresence is what a player's coming costs the one who waits for it.
func BenchmarkPresence(b *testing.B) {
	s := idle(Types()...)
	anna := stanza.MustJID("anna@chat.test")
	b.ReportAllocs()
	for b.Loop() {
		s.Presence(anna, true)
		s.buffer.take()
	}
}
