package xep

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
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
	done  chan struct{}

	mu      sync.Mutex
	got     []string
	reason  *stanza.StreamError
	keeps   bool                             // acknowledges later
	sendNow func(sts []*stanza.Stanza) error // called before SendNow's stanzas are got
}

func (f *fakeSession) JID() stanza.JID { return f.jid }

func (f *fakeSession) Send(_ *router.Batch, st *stanza.Stanza) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reason != nil {
		return false
	}
	f.got = append(f.got, string(st.Append(nil)))
	return true
}

func (f *fakeSession) SendNow(ctx context.Context, sts []*stanza.Stanza, _ []int64) (bool, error) {
	if f.sendNow != nil {
		if err := f.sendNow(sts); err != nil {
			return false, err
		}
	}
	for _, st := range sts {
		if !f.Send(nil, st) {
			return false, errors.New("closed")
		}
	}
	return f.keeps, ctx.Err()
}

func (f *fakeSession) Close(reason *stanza.StreamError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reason = reason
}

func (f *fakeSession) Done() <-chan struct{} { return f.done }
func (f *fakeSession) State() *router.State  { return &f.state }

// take returns what the session got since the last call.
func (f *fakeSession) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := f.got
	f.got = nil
	return got
}

// users knows the accounts of a store.
type users struct{ store.Accounts }

func (u users) Exists(ctx context.Context, user string) (bool, error) {
	_, err := u.Account(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// friends is who sees whom: "owner viewer" by localpart.
type friends map[string]bool

func (f friends) SeesPresence(_ context.Context, owner, viewer stanza.JID) (bool, error) {
	return f[owner.Local()+" "+viewer.Local()], nil
}

// noPresence is a router.Presence for tests that are not about it.
type noPresence struct{ router.Presence }

func (noPresence) Broadcast(context.Context, *router.Batch, router.Session, *stanza.Stanza) {}
func (noPresence) Directed(router.Session, *stanza.Stanza)                                  {}
func (noPresence) Ended(context.Context, router.Session)                                    {}

type fixture struct {
	*router.Router
	t       testing.TB
	db      *memory.Store
	friends friends
}

// newFixture makes a router with the accounts romeo, juliet and tybalt; romeo
// and juliet see each other's presence.
func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{
		Router:  router.New(stanza.MustJID("chat.test"), slog.New(slog.DiscardHandler)),
		t:       t,
		db:      memory.New(),
		friends: friends{"romeo juliet": true, "juliet romeo": true},
	}
	f.Users = users{f.db}
	f.Presence = noPresence{}
	f.Copies = NewCarbons(f.Router)
	f.Spool = NewOffline(f.Router, f.db, 0)
	for _, u := range []string{"romeo", "juliet", "tybalt"} {
		if err := f.db.CreateAccount(t.Context(), store.Account{User: u}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := f.Table.ConsistencyCheck(); err != nil {
			t.Error(err)
		}
		if err := f.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// connect binds a session that has sent no presence.
func (f *fixture) connect(jid string) *fakeSession {
	f.t.Helper()
	s := &fakeSession{jid: stanza.MustJID(jid), done: make(chan struct{})}
	if _, ok := f.Table.Bind(s, false); !ok {
		f.t.Fatalf("%s is taken", jid)
	}
	return s
}

// online binds a session and makes it available.
func (f *fixture) online(jid string, priority int8) *fakeSession {
	f.t.Helper()
	s := f.connect(jid)
	s.state.Presence.Store(&stanza.Stanza{Kind: stanza.Presence, From: s.jid})
	f.Table.SetPresence(s, true, priority)
	return s
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
	f.FromClient(f.t.Context(), &b, s, st)
	b.Flush()
}

// ask routes a request with the id q and returns the answer.
func (f *fixture) ask(s *fakeSession, typ, to, payload string) string {
	f.t.Helper()
	if to != "" {
		to = " to='" + to + "'"
	}
	s.take()
	f.send(s, "<iq id='q' type='"+typ+"'"+to+">"+payload+"</iq>")
	for _, got := range s.take() {
		if strings.HasPrefix(got, "<iq ") && strings.Contains(got, " id='q'") {
			return got
		}
	}
	return ""
}

// result fails the test unless the answer is a result with this payload.
func (f *fixture) result(got, want string) {
	f.t.Helper()
	_, inner, _ := strings.Cut(got, ">")
	inner = strings.TrimSuffix(inner, "</iq>")
	if !strings.Contains(got, "type='result'") || inner != want {
		f.t.Errorf("got  %s\nwant result %s", got, want)
	}
}

// refused fails the test unless the answer is this stanza error.
func (f *fixture) refused(got, condition string) {
	f.t.Helper()
	if !strings.Contains(got, "type='error'") || !strings.Contains(got, "<"+condition+" xmlns='"+stanza.NSStanzas+"'/>") {
		f.t.Errorf("got  %s\nwant error %s", got, condition)
	}
}

var stanzaID = regexp.MustCompile(`<stanza-id xmlns='urn:xmpp:sid:0' by='[a-z]+@chat.test' id='[^']+'/>`)

// withoutIDs is stanzas without the ids that the router gave them.
func withoutIDs(stanzas []string) string {
	all := stanzaID.ReplaceAllString(strings.Join(stanzas, "\n"), "")
	return strings.ReplaceAll(all, "></message>", "/>")
}

// equal fails the test unless the stanzas are these, besides the ids of messages.
func (f *fixture) equal(what string, got []string, want ...string) {
	f.t.Helper()
	if withoutIDs(got) != withoutIDs(want) {
		f.t.Errorf("%s:\ngot  %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}
