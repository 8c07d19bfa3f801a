package router

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"chatd/stanza"
)

// A fakeSession keeps what it is sent.
type fakeSession struct {
	jid   stanza.JID
	state State
	done  chan struct{}

	mu     sync.Mutex
	got    []*stanza.Stanza
	refuse bool // is ending: takes nothing
	reason *stanza.StreamError
}

func newFake(jid string) *fakeSession {
	return &fakeSession{jid: stanza.MustJID(jid), done: make(chan struct{})}
}

func (f *fakeSession) JID() stanza.JID { return f.jid }
func (f *fakeSession) Send(_ *Batch, st *stanza.Stanza) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse {
		return false
	}
	f.got = append(f.got, st.Clone())
	return true
}
func (f *fakeSession) SendNow(context.Context, []*stanza.Stanza, []int64) (bool, error) {
	return false, errors.New("not in this test")
}
func (f *fakeSession) Close(reason *stanza.StreamError) { f.reason = reason }
func (f *fakeSession) Done() <-chan struct{}            { return f.done }
func (f *fakeSession) State() *State                    { return &f.state }

// end makes the session refuse everything, as one that has just ended.
func (f *fakeSession) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = true
	close(f.done)
}

// take returns what the session got since the last call, encoded.
func (f *fakeSession) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, st := range f.got {
		out = append(out, string(st.Append(nil)))
	}
	f.got = nil
	return out
}

type fakeSpool struct {
	held    []*stanza.Stanza
	err     func() error
	waiting bool
}

func (f *fakeSpool) Waits(context.Context, string) bool { return f.waiting }

func (f *fakeSpool) Hold(_ context.Context, st *stanza.Stanza) (int64, error) {
	if f.err != nil {
		if err := f.err(); err != nil {
			return 0, err
		}
	}
	f.held = append(f.held, st.Clone())
	return int64(len(f.held)), nil
}

func (*fakeSpool) Keep(context.Context, *stanza.Stanza) (int64, error) { return 0, nil }

func (*fakeSpool) HoldLater(*stanza.Stanza, error) bool { return false }
func (*fakeSpool) Withdraw(*stanza.Stanza)              {}

func (*fakeSpool) Release(context.Context, stanza.JID, []int64, bool) {}

func (f *fakeSpool) Forget(context.Context, string, []int64) error { return nil }

type fakePresence struct{ calls []string }

func (f *fakePresence) note(what string, st *stanza.Stanza) {
	f.calls = append(f.calls, what+" "+string(st.Append(nil)))
}
func (f *fakePresence) Broadcast(_ context.Context, _ *Batch, _ Session, st *stanza.Stanza) {
	f.note("broadcast", st)
}
func (f *fakePresence) Directed(_ Session, st *stanza.Stanza) { f.note("directed", st) }
func (f *fakePresence) Outbound(_ context.Context, _ *Batch, _ Session, st *stanza.Stanza) {
	f.note("outbound", st)
}
func (f *fakePresence) Inbound(_ context.Context, _ *Batch, st *stanza.Stanza) { f.note("inbound", st) }
func (f *fakePresence) Probe(_ context.Context, _ *Batch, st *stanza.Stanza)   { f.note("probe", st) }
func (f *fakePresence) Ended(context.Context, Session)                         {}

type fakeCopies struct{ sent, received []string }

func (f *fakeCopies) Sent(_ *Batch, to Row, _ *stanza.Stanza) {
	f.sent = append(f.sent, to.Resource())
}
func (f *fakeCopies) Received(_ *Batch, to Row, _ *stanza.Stanza) {
	f.received = append(f.received, to.Resource())
}

func (*fakeCopies) Original(*stanza.Stanza) *stanza.Stanza { return nil }

type fakeUsers map[string]bool

func (f fakeUsers) Exists(_ context.Context, user string) (bool, error) { return f[user], nil }

type fixture struct {
	*Router
	spool    *fakeSpool
	presence *fakePresence
	copies   *fakeCopies
	romeo    *fakeSession // the sender
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{
		Router: New(stanza.MustJID("chat.test"), slog.New(slog.DiscardHandler)),
		spool:  &fakeSpool{}, presence: &fakePresence{}, copies: &fakeCopies{},
	}
	f.Router.Spool, f.Router.Presence, f.Router.Copies = f.spool, f.presence, f.copies
	f.Router.Users = fakeUsers{"romeo": true, "juliet": true}
	f.romeo = f.online("romeo@chat.test/orchard", 0)
	t.Cleanup(func() {
		if err := f.Table.ConsistencyCheck(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// online enters a session; offline means bound without presence.
func (f *fixture) online(jid string, priority int8) *fakeSession {
	s := newFake(jid)
	f.Table.Bind(s, true)
	if priority != noPresence {
		f.Table.SetPresence(s, true, priority)
	}
	return s
}

const noPresence = -128

func (f *fixture) fromRomeo(t testing.TB, xml string) {
	t.Helper()
	st, err := stanza.Parse([]byte(xml))
	if err != nil {
		t.Fatalf("%s: %v", xml, err)
	}
	st.From = f.romeo.jid
	f.FromClient(context.Background(), nil, f.romeo, st)
}
