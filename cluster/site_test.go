package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatd/cluster/simnet"
	"chatd/router"
	"chatd/stanza"
	"chatd/xep"
)

// Sites are whole nodes, router and all, on a simulated network and one store. What is above the router is faked.
type sites struct {
	*simnet.Net
	t     *testing.T
	all   []*site
	store sharedStore
}

// A site is one node.
type site struct {
	*router.Router
	*Service
	of    *sites
	name  string
	stale func(user stanza.JID, what router.Kept) // may block
	slow  time.Duration                           // of the database, as this node has it
	out   atomic.Bool                             // it is out of this node's reach

	mu    sync.Mutex
	heard []string // of Lost, Found and Stale
}

// onSites runs a test in a bubble with so many nodes. Whatever goroutine a node leaves behind ends the test.
func onSites(t *testing.T, count int, test func(t *testing.T, c *sites)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &sites{Net: simnet.New(1), t: t}
		for i := 1; i <= count; i++ {
			c.start(i)
		}
		time.Sleep(5 * time.Second)
		for _, s := range c.all {
			if len(s.Overview().Replicas) != count-1 {
				t.Fatalf("%s: %+v", s.name, s.Overview())
			}
		}
		test(t, c)
		for _, s := range c.all {
			if err := s.rows.ConsistencyCheck(); err != nil {
				t.Error(err)
			}
			if err := s.Leave(context.Background()); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute) // memberlist's timers
	})
}

func (c *sites) start(i int) {
	cfg := simConfig(c.Net, i, 1)
	r := router.New(stanza.MustJID("chat.test"), cfg.Log)
	s := &site{Router: r, Service: New(r, cfg), of: c, name: cfg.Node}
	r.Spool, r.Presence, r.Copies, r.Users = s, noPresence{}, wrapped{}, anybody{}
	s.About = func() []byte { return []byte("this is " + s.name) }
	s.Sessions = Sessions{
		Appeared: func(stanza.JID) func(context.Context) { return nil },
		Stale: func(_ context.Context, user stanza.JID, what router.Kept) {
			s.note(fmt.Sprint("stale ", user, " ", what))
			if s.stale != nil {
				s.stale(user, what)
			}
		},
		Forget: func(user string) { s.note("forget " + cmp.Or(user, "all")) },
		Look:   s.look,
		Yield: func(id, user string) ([]byte, error) {
			s.note("yield " + id)
			return []byte("session " + id + " of " + user), nil
		},
		Restore: func(_ context.Context, session []byte) { s.note("restore " + string(session)) },
		Adopt:   func(_ context.Context, session []byte) error { s.note("adopt " + string(session)); return nil },
		Lost: func(_ context.Context, gone func(stanza.JID) []stanza.JID) {
			for _, user := range []string{"alice@chat.test", "bob@chat.test", "carol@chat.test"} {
				if lost := gone(stanza.MustJID(user)); len(lost) > 0 {
					s.note(fmt.Sprint("lost ", lost))
				}
			}
		},
		Found: func(_ context.Context, node string) { s.note("found " + node) },
	}
	if err := s.Start(context.Background(), cfg); err != nil {
		c.t.Fatal(err)
	}
	c.all = append(c.all, s)
}

func (s *site) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, what)
}

func (s *site) notes(prefix string) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.heard {
		if strings.HasPrefix(h, prefix) {
			found = append(found, h)
		}
	}
	return found
}

// bind enters a session, bound now and available.
func (s *site) bind(full string, priority int8, flags router.Flags) *fakeSession {
	f := &fakeSession{jid: stanza.MustJID(full), done: make(chan struct{}), site: s}
	f.state.Begun = s.Now()
	s.Table.Bind(f, true)
	s.Table.SetPresence(f, true, priority)
	s.Table.SetFlags(f, flags, 0)
	return f
}

// say is a stanza from a client.
func (f *fakeSession) say(format string, args ...any) {
	st, err := stanza.Parse(fmt.Appendf(nil, format, args...))
	if err != nil {
		f.site.of.t.Fatal(err)
	}
	st.From = f.jid
	f.site.FromClient(context.Background(), nil, f, st)
}

// look hands over what waits, as a login would.
func (s *site) look(_ context.Context, user stanza.JID) {
	s.note("look " + user.String())
	for _, m := range s.of.store.take(user.Local()) {
		st, err := stanza.Parse(m)
		if err != nil {
			s.of.t.Error(err)
			continue
		}
		for _, row := range s.Table.Local(user) {
			row.Session.Send(nil, st)
		}
	}
}

// Hold and Forget are router.Spool.
func (s *site) Hold(_ context.Context, st *stanza.Stanza) (int64, error) {
	for _, row := range s.Table.Local(st.To) {
		if row.Reachable() {
			return 0, router.ErrReachable
		}
	}
	time.Sleep(time.Millisecond + s.slow) // of a database
	if s.out.Load() {
		return 0, errOut
	}
	return s.of.store.add(st.To.Local(), st.Append(nil)), nil
}

func (s *site) Forget(_ context.Context, user string, seqs []int64) error {
	s.of.store.remove(user, seqs)
	return nil
}

var errOut = errors.New("the store is out")

// A sharedStore is what waits for users.
type sharedStore struct {
	mu      sync.Mutex
	last    int64
	waiting map[string][]heldMessage
}

type heldMessage struct {
	seq int64
	raw []byte
}

func (t *sharedStore) add(user string, raw []byte) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = make(map[string][]heldMessage)
	}
	t.last++
	t.waiting[user] = append(t.waiting[user], heldMessage{t.last, raw})
	return t.last
}

func (t *sharedStore) remove(user string, seqs []int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting[user] = slices.DeleteFunc(t.waiting[user], func(m heldMessage) bool { return slices.Contains(seqs, m.seq) })
}

func (t *sharedStore) take(user string) (all [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.waiting[user] {
		all = append(all, m.raw)
	}
	delete(t.waiting, user)
	return all
}

func (t *sharedStore) bodies(user string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for _, m := range t.waiting[user] {
		all = append(all, body(m.raw))
	}
	return all
}

var bodyText = regexp.MustCompile(`<body>(.*?)</body>`)

// body is a message's, with a mark if it is a copy or an error.
func body(raw []byte) string {
	text := ""
	if m := bodyText.FindSubmatch(raw); m != nil {
		text = string(m[1])
	}
	switch {
	case bytes.Contains(raw, []byte("type='error'")):
		return "error " + text
	case bytes.Contains(raw, []byte(nsCarbonsTest)):
		return "copy " + text
	}
	return text
}

// A fakeSession keeps what it is sent.
type fakeSession struct {
	jid   stanza.JID
	site  *site
	state router.State
	done  chan struct{}

	parting chan struct{} // its end takes until this is closed; nil: no time

	mu     sync.Mutex
	got    [][]byte
	reason *stanza.StreamError
}

func (f *fakeSession) JID() stanza.JID       { return f.jid }
func (f *fakeSession) State() *router.State  { return &f.state }
func (f *fakeSession) Done() <-chan struct{} { return f.done }
func (f *fakeSession) SendNow(context.Context, []*stanza.Stanza, []int64) (bool, error) {
	return false, errElsewhere
}

func (f *fakeSession) Send(_ *router.Batch, st *stanza.Stanza) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reason != nil {
		return false
	}
	f.got = append(f.got, st.Append(nil))
	return true
}

func (f *fakeSession) Close(reason *stanza.StreamError) {
	f.mu.Lock()
	was := f.reason
	f.reason = reason
	f.mu.Unlock()
	if was == nil {
		go func() {
			if f.parting != nil {
				<-f.parting
			}
			f.site.Table.Unbind(f)
			close(f.done)
		}()
	}
}

func (f *fakeSession) closed() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reason == nil {
		return ""
	}
	return f.reason.Condition
}

// took is what has come since it was last called.
func (f *fakeSession) took() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, raw := range f.got {
		all = append(all, string(raw))
	}
	f.got = nil
	return all
}

// bodies is took, of messages.
func (f *fakeSession) bodies() []string {
	var all []string
	for _, raw := range f.took() {
		all = append(all, body([]byte(raw)))
	}
	return all
}

type anybody struct{}

func (anybody) Exists(context.Context, string) (bool, error) { return true, nil }

type noPresence struct{}

func (noPresence) Broadcast(context.Context, *router.Batch, router.Session, *stanza.Stanza) {}
func (noPresence) Directed(router.Session, *stanza.Stanza)                                  {}
func (noPresence) Outbound(context.Context, *router.Batch, router.Session, *stanza.Stanza)  {}
func (noPresence) Inbound(context.Context, *router.Batch, *stanza.Stanza)                   {}
func (noPresence) Probe(context.Context, *router.Batch, *stanza.Stanza)                     {}
func (noPresence) Ended(context.Context, router.Session)                                    {}

const nsCarbonsTest = "urn:xmpp:carbons:2"

// wrapped makes copies as XEP-0280 does.
type wrapped struct{ *xep.Carbons }

func (wrapped) Sent(b *router.Batch, to router.Row, st *stanza.Stanza) { wrap("sent", b, to, st) }
func (wrapped) Received(b *router.Batch, to router.Row, st *stanza.Stanza) {
	wrap("received", b, to, st)
}

func wrap(how string, b *router.Batch, to router.Row, st *stanza.Stanza) {
	full := to.Session.JID()
	text := fmt.Sprintf("<message from='%s' to='%s' type='chat'><%s xmlns='%s'><forwarded xmlns='urn:xmpp:forward:0'>%s</forwarded></%s></message>",
		full.Bare(), full, how, nsCarbonsTest, bytes.Replace(st.Append(nil), []byte("<message"), []byte("<message xmlns='jabber:client'"), 1), how)
	copied, err := stanza.Parse([]byte(text))
	if err != nil {
		panic(err)
	}
	to.Session.Send(b, copied)
}

// Keep implements router.Spool. Nobody here is slow.
func (*site) Keep(context.Context, *stanza.Stanza) (int64, error) { return 0, nil }

// HoldLater implements router.Spool. This store does not fail.
func (*site) HoldLater(*stanza.Stanza, error) bool { return false }
func (*site) Withdraw(*stanza.Stanza)              {}

func (*site) Release(context.Context, stanza.JID, []int64, bool) {}

// Waits implements router.Spool.
func (*site) Waits(context.Context, string) bool { return false }
