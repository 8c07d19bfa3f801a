package muc

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
)

// A fakeSession keeps what it is sent.
type fakeSession struct {
	jid   stanza.JID
	state router.State
	mu    sync.Mutex
	got   []string
	ended bool
}

func (f *fakeSession) JID() stanza.JID { return f.jid }

func (f *fakeSession) Send(_ *router.Batch, st *stanza.Stanza) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return false
	}
	f.got = append(f.got, string(st.Append(nil)))
	return true
}

func (f *fakeSession) SendNow(context.Context, []*stanza.Stanza, []int64) (bool, error) {
	return false, errors.New("not in this test")
}
func (f *fakeSession) Close(*stanza.StreamError) {}
func (f *fakeSession) Done() <-chan struct{}     { return nil }
func (f *fakeSession) State() *router.State      { return &f.state }

// take returns what the session got since the last call.
func (f *fakeSession) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := f.got
	f.got = nil
	return got
}

type everybody struct{}

func (everybody) Exists(context.Context, string) (bool, error) { return true, nil }

type noPresence struct{ router.Presence }

func (noPresence) Directed(router.Session, *stanza.Stanza) {}

type noCopies struct{}

func (noCopies) Sent(*router.Batch, router.Row, *stanza.Stanza)     {}
func (noCopies) Received(*router.Batch, router.Row, *stanza.Stanza) {}
func (noCopies) Original(*stanza.Stanza) *stanza.Stanza             { return nil }

type noSpool struct{}

func (noSpool) Hold(context.Context, *stanza.Stanza) (int64, error) { return 1, nil }
func (noSpool) HoldLater(*stanza.Stanza, error) bool                { return true }
func (noSpool) Withdraw(*stanza.Stanza)                             {}
func (noSpool) Release(context.Context, stanza.JID, []int64, bool)  {}
func (noSpool) Forget(context.Context, string, []int64) error       { return nil }

type fixture struct {
	*Service
	t  testing.TB
	r  *router.Router
	db store.Store
}

// unlimited is a configuration without limits.
func unlimited() Config {
	cfg := DefaultConfig()
	cfg.CreationsPerMinute, cfg.JoinsPerMinute, cfg.NicksPerMinute, cfg.MessagesPerSecond, cfg.RoomMessagesPerSecond = 0, 0, 0, 0, 0
	return cfg
}

func newFixture(t testing.TB, cfg Config) *fixture { return newFixtureOn(t, cfg, memory.New()) }

func newFixtureOn(t testing.TB, cfg Config, db store.Store) *fixture {
	t.Helper()
	r := router.New(stanza.MustJID("chat.test"), slog.New(slog.DiscardHandler))
	r.Users, r.Presence, r.Copies, r.Spool = everybody{}, noPresence{}, noCopies{}, noSpool{}
	f := &fixture{Service: New(r, stanza.MustJID("conference.chat.test"), db, cfg, slog.New(slog.DiscardHandler)), t: t, r: r, db: db}
	t.Cleanup(func() {
		if err := f.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := f.ConsistencyCheck(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// online binds a session.
func (f *fixture) online(jid string) *fakeSession {
	f.t.Helper()
	s := &fakeSession{jid: stanza.MustJID(jid)}
	if _, ok := f.r.Table.Bind(s, false); !ok {
		f.t.Fatalf("%s is taken", jid)
	}
	return s
}

// offline ends a session without a word.
func (f *fixture) offline(s *fakeSession) {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	f.r.Table.Unbind(s)
}

// send routes what s sends.
func (f *fixture) send(s *fakeSession, xml string) {
	f.t.Helper()
	st, err := stanza.Parse([]byte(xml))
	if err != nil {
		f.t.Fatalf("%s: %v", xml, err)
	}
	st.From = s.jid
	var b router.Batch
	f.r.FromClient(context.Background(), &b, s, st)
	b.Flush()
}

func (f *fixture) join(s *fakeSession, room, nick string) {
	f.t.Helper()
	f.send(s, "<presence to='"+room+"@conference.chat.test/"+nick+"'><x xmlns='"+NS+"'/></presence>")
}

func (f *fixture) leave(s *fakeSession, room, nick string) {
	f.t.Helper()
	f.send(s, "<presence type='unavailable' to='"+room+"@conference.chat.test/"+nick+"'/>")
}

func (f *fixture) say(s *fakeSession, room, body string) {
	f.t.Helper()
	f.send(s, "<message type='groupchat' to='"+room+"@conference.chat.test'><body>"+body+"</body></message>")
}

// configure submits fields: name, value, name, value.
func (f *fixture) configure(s *fakeSession, room string, fields ...string) {
	f.t.Helper()
	form := "<x xmlns='jabber:x:data' type='submit'>"
	for i := 0; i < len(fields); i += 2 {
		form += "<field var='" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
	}
	f.send(s, "<iq id='c' type='set' to='"+room+"@conference.chat.test'><query xmlns='"+nsOwner+"'>"+form+"</x></query></iq>")
}

// bodies is what of a session's stanzas are messages with a body.
func bodies(got []string) (all []string) {
	for _, g := range got {
		if _, rest, ok := strings.Cut(g, "<body>"); ok {
			body, _, _ := strings.Cut(rest, "</body>")
			all = append(all, body)
		}
	}
	return all
}

// Keep implements router.Spool.
func (noSpool) Keep(context.Context, *stanza.Stanza) (int64, error) { return 0, nil }

// HoldLater implements router.Spool.

// Waits implements router.Spool.
func (noSpool) Waits(context.Context, string) bool { return false }
