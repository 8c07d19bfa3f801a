package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/sqlstore"
)

// The budgets are for the whole handler, from the parsed request to the written answer, on a store on disk that has been
// asked before. docs/benchmarks.md has the numbers.

// discard is a ResponseWriter that keeps nothing.
type discard struct {
	header http.Header
	status int
	n      int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { d.n += len(b); return len(b), nil }

func benchFixture(b *testing.B) *fixture {
	b.Helper()
	db, err := sqlstore.Open(b.Context(), sqlstore.Config{Path: filepath.Join(b.TempDir(), "chatd.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return newFixtureOn(b, db, nil)
}

// serve asks the same over and over, and reports the median.
func (f *fixture) serve(b *testing.B, method, path, body string) {
	b.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Authorization", "Bearer s3cret")
	r.Header.Set("Content-Type", "application/json")
	took := make([]time.Duration, 0, 1<<16)
	w := &discard{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		if body != "" {
			r.Body = http.NoBody
			r = withBody(r, body)
		}
		begun := time.Now()
		f.http.Handler.ServeHTTP(w, r)
		if len(took) < cap(took) {
			took = append(took, time.Since(begun))
		}
	}
	if w.status != 200 {
		b.Fatalf("status %d", w.status)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

func withBody(r *http.Request, body string) *http.Request {
	next := httptest.NewRequest(r.Method, r.URL.String(), strings.NewReader(body))
	next.Header = r.Header
	return next
}

func (f *fixture) friendsOf(user string, from, n int) {
	for i := range n {
		f.put(user, store.RosterItem{
			JID: fmt.Sprintf("sum%d@chat.test", from+i), Sub: store.SubBoth, Name: fmt.Sprintf("Player %d", i), Groups: []string{"Friends"},
			Created: time.Unix(1435661546+int64(i), 0),
		})
	}
}

func BenchmarkFriendsList(b *testing.B) {
	f := benchFixture(b)
	f.players("sum1")
	f.friendsOf("sum1", 1000, 300)
	for _, path := range []string{"/friends/summoner/1", "/players/1/friends"} {
		b.Run(strings.Split(path, "/")[1], func(b *testing.B) { f.serve(b, "GET", path, "") })
	}
	b.Run("unchanged", func(b *testing.B) {
		tag := f.do(call{path: "/friends/summoner/1"}).Header().Get("ETag")
		for b.Loop() {
			if w := f.do(call{path: "/friends/summoner/1", header: map[string]string{"If-None-Match": tag}}); w.Code != 304 {
				b.Fatal(w.Code)
			}
		}
	})
}

func BenchmarkFriendship(b *testing.B) {
	f := benchFixture(b)
	f.players("sum1")
	f.friendsOf("sum1", 1000, 300)
	b.Run("friends", func(b *testing.B) { f.serve(b, "GET", "/players/1/friendships/1100", "") })
	b.Run("strangers", func(b *testing.B) { f.serve(b, "GET", "/players/1/friendships/5", "") })
	others := `"1000"`
	for i := range 999 {
		others += fmt.Sprintf(`,"%d"`, 900+i)
	}
	b.Run("batch-1000", func(b *testing.B) { f.serve(b, "POST", "/players/1/friendships", `{"others":[`+others+`]}`) })
}

func BenchmarkFriendsOfFriends(b *testing.B) {
	f := benchFixture(b)
	f.players("sum1")
	f.friendsOf("sum1", 1000, 300)
	for i := range 300 {
		f.friendsOf(fmt.Sprintf("sum%d", 1000+i), 5000+i*10, 299)
		f.put(fmt.Sprintf("sum%d", 1000+i), store.RosterItem{JID: "sum1@chat.test", Sub: store.SubBoth})
	}
	b.ResetTimer()
	b.Run("300x300", func(b *testing.B) { f.serve(b, "GET", "/players/1/friends-of-friends?limit=50", "") })
}

func BenchmarkPresence(b *testing.B) {
	f := benchFixture(b)
	players := ""
	for i := range 1000 {
		if i%3 == 0 {
			f.connect(fmt.Sprintf("sum%d@chat.test/a", i))
		}
		players += fmt.Sprintf(`,"%d"`, i)
	}
	b.Run("batch-1000", func(b *testing.B) { f.serve(b, "POST", "/presence", `{"players":[`+players[1:]+`]}`) })
}
