package roster

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
)

// A world is a router with a roster on a store that forgets, and its clients.
type world struct {
	t     *testing.T
	r     *router.Router
	s     *Service
	store *memory.Store
}

type users map[string]bool

func (u users) Exists(_ context.Context, user string) (bool, error) { return u[user], nil }

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	w := &world{t: t, r: router.New(stanza.MustJID("chat.test"), log), store: memory.New()}
	w.s = New(w.r, w.store, cfg, log)
	w.s.Register()
	w.r.Presence = w.s
	w.r.Users = users{"juliet": true, "romeo": true, "nurse": true, "tybalt": true}
	return w
}

// A client is a router.Session that keeps what it is sent.
type client struct {
	w     *world
	jid   stanza.JID
	state router.State
	batch router.Batch
	// strict clients get only what is sent in order: no directed presence, no answers to probes.
	strict bool
	done   chan struct{}

	mu    sync.Mutex
	got   []*stanza.Stanza
	ended bool
}

func (c *client) JID() stanza.JID { return c.jid }
func (c *client) SendNow(context.Context, []*stanza.Stanza, []int64) (bool, error) {
	return false, errors.New("not here")
}
func (c *client) Close(*stanza.StreamError) {}
func (c *client) Done() <-chan struct{}     { return c.done }
func (c *client) State() *router.State      { return &c.state }
func (c *client) Send(_ *router.Batch, st *stanza.Stanza) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if c.strict {
		c.checkLocked(st)
	}
	c.got = append(c.got, st.Clone())
	return true
}

// checkLocked verifies that what must stay in order is sent under a lock: a
// presence under that of its sender's account, the roster under that of its owner's.
func (c *client) checkLocked(st *stanza.Stanza) {
	if string(st.ID) == "s" {
		return // the empty result of a set
	}
	account := st.From.Bare()
	if st.Kind == stanza.IQ {
		account = c.jid.Bare()
	}
	if a := c.w.s.accounts.of(account); a.TryLock() {
		a.Unlock()
		c.w.t.Errorf("sent without lock: %s", st.Append(nil))
	}
}

// connect binds a resource that has sent nothing yet.
func (w *world) connect(jid string) *client {
	w.t.Helper()
	c := &client{w: w, jid: stanza.MustJID(jid), done: make(chan struct{})}
	list, err := w.store.Blocklist(w.t.Context(), c.jid.Local())
	if err != nil {
		w.t.Fatal(err)
	}
	c.state.Blocked.Store(router.NewBlocklist(list))
	if _, ok := w.r.Table.Bind(c, true); !ok {
		w.t.Fatalf("%s not bound", jid)
	}
	return c
}

// login connects, fetches the roster and sends initial presence. What that brings is
// dropped.
func (w *world) login(jid string) *client {
	w.t.Helper()
	c := w.connect(jid)
	c.send("<iq id='r' type='get'><query xmlns='jabber:iq:roster'/></iq>")
	c.send("<presence/>")
	c.take()
	return c
}

// send is what the client sends, through the router.
func (c *client) send(xml string) {
	c.w.t.Helper()
	st, err := stanza.Parse([]byte(xml))
	if err != nil {
		c.w.t.Fatalf("%s: %v", xml, err)
	}
	st.From = c.jid
	c.w.r.FromClient(c.w.t.Context(), &c.batch, c, st)
}

// end is the client's connection breaking.
func (c *client) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.w.r.Table.Unbind(c)
	c.w.r.Ended(c.w.t.Context(), c)
	close(c.done)
}

var (
	pushID  = regexp.MustCompile(` id='push-[0-9a-z]+'`)
	version = regexp.MustCompile(` ver='[0-9]+'`)
)

// take is what the client got since the last call, without ids of pushes and
// versions.
func (c *client) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, st := range c.got {
		x := string(st.Append(nil))
		x = pushID.ReplaceAllString(x, "")
		all = append(all, version.ReplaceAllString(x, ""))
	}
	c.got = nil
	return all
}

// expect compares what the client got since the last look, in order.
func (c *client) expect(want ...string) {
	c.w.t.Helper()
	if got := c.take(); !slices.Equal(got, want) {
		c.w.t.Errorf("%s got\n\t%s\nwant\n\t%s", c.jid, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// push is a roster push as take shows it.
func (c *client) push(item string) string {
	return "<iq to='" + c.jid.String() + "' type='set'><query xmlns='jabber:iq:roster'>" + item + "</query></iq>"
}

// item reads what the store has of a contact.
func (w *world) item(user, contact string) (store.RosterItem, bool) {
	w.t.Helper()
	list, err := w.store.Roster(context.Background(), user)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, it := range list.Items {
		if it.JID == contact {
			return it, true
		}
	}
	return store.RosterItem{JID: contact}, false
}

// given writes an item past the service, before anybody is online.
func (w *world) given(user, contact string, st state, more ...func(*store.RosterItem)) {
	w.t.Helper()
	_, err := w.store.UpdateItem(w.t.Context(), user, contact, 0, func(it *store.RosterItem, _ bool) (store.Verdict, error) {
		st.put(it)
		for _, f := range more {
			f(it)
		}
		return store.Keep, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func hidden(it *store.RosterItem)   { it.Hidden = true }
func approved(it *store.RosterItem) { it.Approved = true }

// friends makes two users see each other.
func (w *world) friends(one, two string) {
	w.t.Helper()
	w.given(one, two+"@chat.test", both)
	w.given(two, one+"@chat.test", both)
}
