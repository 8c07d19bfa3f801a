package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chatd/account"
	"chatd/auth"
	"chatd/muc"
	"chatd/roster"
	"chatd/router"
	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
	"chatd/webhook"
	"chatd/xep"
)

const testDomain = "chat.test"

// A fixture is a server over everything that it serves, with a store in memory.
type fixture struct {
	*Server
	t       testing.TB
	db      store.Store
	router  *router.Router
	friends *roster.Service
	hooks   *webhook.Service
	rooms   *muc.Service
	log     bytes.Buffer // of the API
	at      sync.Mutex
}

// Write is the log's.
func (f *fixture) Write(b []byte) (int, error) {
	f.at.Lock()
	defer f.at.Unlock()
	return f.log.Write(b)
}

func (f *fixture) logged() string {
	f.at.Lock()
	defer f.at.Unlock()
	return f.log.String()
}

func newFixture(t testing.TB, ready func(context.Context) error) *fixture {
	t.Helper()
	return newFixtureOn(t, memory.New(), ready)
}

func newFixtureOn(t testing.TB, db store.Store, ready func(context.Context) error) *fixture {
	t.Helper()
	f := &fixture{t: t, db: db}
	quiet := slog.New(slog.DiscardHandler)
	f.router = router.New(stanza.MustJID(testDomain), quiet)
	accounts := auth.New(db, testDomain, make([]byte, 32))
	f.router.Users = accounts
	f.friends = roster.New(f.router, db, roster.Config{}, quiet)
	f.router.Presence, f.router.Rules = f.friends, f.friends
	blocking := xep.NewBlocking(f.router, db, f.friends.BlocklistChanged)
	f.router.Blocks, f.router.Copies = blocking, xep.NewCarbons(f.router)
	f.router.Spool = xep.NewOffline(f.router, db, 3)
	f.hooks = webhook.New(f.router.Domain, "node-a", db, quiet)
	f.rooms = muc.New(f.router, stanza.MustJID("conference."+testDomain), db, muc.DefaultConfig(), quiet)
	f.rooms.Watcher = f.hooks
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "chatd_test_total", Help: "Test."})
	reg.MustRegister(c)
	f.Server = New(Config{
		Tokens: []Token{
			{Name: "all", Hash: sha256.Sum256([]byte("s3cret")), Scopes: Scopes()},
			{Name: "scraper", Hash: sha256.Sum256([]byte("scrape")), Scopes: []string{ScopeMetrics}},
			{Name: "reader", Hash: sha256.Sum256([]byte("read")), Scopes: []string{ScopeFriendsRead}},
			{Name: "writer", Hash: sha256.Sum256([]byte("write")), Scopes: []string{ScopeFriendsWrite}},
		},
		Metrics: reg, Ready: ready, Log: slog.New(slog.NewTextHandler(f, nil)), Version: "1.2.3", Node: "node-a", PlayerJID: "sum%d",
		Router: f.router, Friends: f.friends, Blocking: blocking, Auth: accounts, Store: db, Webhooks: f.hooks, Rooms: f.rooms,
		Accounts: account.New(f.router, db, accounts, f.friends),
	})
	return f
}

func testServer(t *testing.T, ready func(context.Context) error) *Server {
	t.Helper()
	return newFixture(t, ready).Server
}

// players makes accounts without a password, which would take time to hash.
func (f *fixture) players(names ...string) {
	f.t.Helper()
	for _, name := range names {
		if err := f.db.CreateAccount(f.t.Context(), store.Account{User: name, Created: time.Unix(1435661568, 0).UTC()}); err != nil {
			f.t.Fatal(err)
		}
	}
}

// befriend writes a friendship as it is kept, on both sides.
func (f *fixture) befriend(one, two string, since time.Time) {
	f.t.Helper()
	for _, pair := range [][2]string{{one, two}, {two, one}} {
		f.put(pair[0], store.RosterItem{JID: pair[1] + "@" + testDomain, Sub: store.SubBoth, Created: since})
	}
}

func (f *fixture) put(user string, item store.RosterItem) {
	f.t.Helper()
	_, err := f.db.UpdateItem(f.t.Context(), user, item.JID, 0, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
		*i = item
		return store.Keep, nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// A call is one request; the zero values are GET, the token that may do everything, and no body.
type call struct {
	method, path, token, body string
	header                    map[string]string
}

func (f *fixture) do(c call) *httptest.ResponseRecorder {
	f.t.Helper()
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
	}
	if c.method == "" {
		c.method = "GET"
	}
	r := httptest.NewRequest(c.method, c.path, body)
	if c.token == "" {
		c.token = "s3cret"
	}
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	f.http.Handler.ServeHTTP(w, r)
	return w
}

// want does a call, which has to be answered with this status, and reads the answer into v unless that is nil.
func (f *fixture) want(status int, c call, v any) *httptest.ResponseRecorder {
	f.t.Helper()
	w := f.do(c)
	if w.Code != status {
		f.t.Fatalf("%s %s %s: %d %s, want %d", c.method, c.path, c.body, w.Code, w.Body, status)
	}
	if v != nil {
		if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
			f.t.Fatalf("%s %s: %v in %s", c.method, c.path, err, w.Body)
		}
	}
	return w
}

// A fakeSession keeps what it is sent.
type fakeSession struct {
	jid   stanza.JID
	state router.State
	table *router.Table
	done  chan struct{}

	mu     sync.Mutex
	got    []string
	reason *stanza.StreamError
}

// connect binds a session that is available.
func (f *fixture) connect(jid string) *fakeSession {
	f.t.Helper()
	s := &fakeSession{jid: stanza.MustJID(jid), table: f.router.Table, done: make(chan struct{})}
	s.state.Begun = time.Unix(1435661568, 0)
	if _, ok := s.table.Bind(s, false); !ok {
		f.t.Fatal("bound already")
	}
	s.table.SetPresence(s, true, 0)
	s.table.SetFlags(s, router.Interested|router.BlockPushes, 0)
	return s
}

func (s *fakeSession) JID() stanza.JID { return s.jid }
func (s *fakeSession) Send(_ *router.Batch, st *stanza.Stanza) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, string(st.Append(nil)))
	return true
}
func (s *fakeSession) SendNow(context.Context, []*stanza.Stanza, []int64) (bool, error) {
	return false, errors.New("not in this test")
}
func (s *fakeSession) Close(reason *stanza.StreamError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == nil {
		s.reason = reason
		s.table.Unbind(s)
		close(s.done)
	}
}
func (s *fakeSession) Done() <-chan struct{} { return s.done }
func (s *fakeSession) State() *router.State  { return &s.state }

// take is all that the session got since the last call.
func (s *fakeSession) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := strings.Join(s.got, "\n")
	s.got = nil
	return got
}

func hashOf(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }
