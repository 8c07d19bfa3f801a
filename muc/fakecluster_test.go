package muc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatd/router"
	"chatd/stanza"
	memstore "chatd/store/memory"
)

const fakeHost = "rooms.chat.test"

// A fakeCluster is several Services with links between them that keep everything in order and lose nothing while both ends are up.
type fakeCluster struct {
	t     testing.TB
	store *memstore.Store
	mu    sync.Mutex
	epoch uint64
	nodes []*fakeNode
}

// A fakeNode is one of them. All about rooms that comes to it one goroutine deals with, in order.
type fakeNode struct {
	*Service
	c       *fakeCluster
	name    string
	table   *router.Table
	view    view // guarded by c.mu
	jobs    chan func(*router.Batch)
	stopped chan struct{}
	sent    [64]int            // frames, by kind; guarded by c.mu
	cast    map[string][]Frame // what rooms here have told other nodes lately; guarded by c.mu
	down    bool               // guarded by c.mu: nothing leaves it or gets there
	deaf    bool               // guarded by c.mu: it does not answer what rooms it has
	full    bool               // guarded by c.mu: it has no room for what other nodes' sessions say
	crowded bool               // guarded by c.mu: it has no room for anything about rooms of other nodes
	watched func(string)       // guarded by c.mu: told of each frame that it sends, by kind, and "unlock" of a room; nil for nobody
	stuffed bool               // guarded by c.mu: what other nodes have for it is so much that they take no more
	refused int                // guarded by c.mu: what they have not taken
	misses  bool               // guarded by c.mu: what rooms tell its sessions does not get there
}

// A view is what a node knows of the placement.
type view struct {
	token Token
	nodes []string // that are up, with this one
	homes []string // those of them that rooms may be on
}

func newFakeCluster(t testing.TB, names ...string) *fakeCluster {
	c := &fakeCluster{t: t, store: memstore.New()}
	for _, name := range names {
		c.start(name)
	}
	c.place(names, names)
	return c
}

func (c *fakeCluster) start(name string) *fakeNode {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	rt := router.New(stanza.MustJID("chat.test"), log)
	n := &fakeNode{c: c, name: name, table: rt.Table, jobs: make(chan func(*router.Batch), 1<<16), stopped: make(chan struct{}), cast: make(map[string][]Frame)}
	n.view = view{nodes: []string{name}, homes: []string{name}}
	rt.Table.Elsewhere = &fakeElsewhere{rt.Table.Elsewhere, n}
	n.Service = New(rt, stanza.MustJID(fakeHost), c.store, Config{HistoryMessages: 20, Create: Anyone, Persistent: Anyone, HistoryStored: 100}, log)
	n.Place = n
	go func() {
		defer close(n.stopped)
		var b router.Batch
		for job := range n.jobs {
			job(&b)
			b.Flush()
		}
	}()
	c.t.Cleanup(func() {
		c.mu.Lock()
		n.down = true
		c.mu.Unlock()
		close(n.jobs)
		<-n.stopped
		n.Close(context.Background())
	})
	c.nodes = append(c.nodes, n)
	return n
}

func (c *fakeCluster) node(name string) *fakeNode {
	i := slices.IndexFunc(c.nodes, func(n *fakeNode) bool { return n.name == name && !n.down })
	if i < 0 {
		return nil
	}
	return c.nodes[i]
}

// place gives these nodes a placement with each other; homes are those that rooms may be on.
func (c *fakeCluster) place(nodes, homes []string) {
	c.mu.Lock()
	c.epoch++
	var told []func()
	for _, name := range nodes {
		n := c.node(name)
		was := n.view.nodes
		n.view = view{Token{c.epoch, 0}, nodes, homes}
		for _, old := range was {
			if !slices.Contains(nodes, old) {
				told = append(told, func() { n.Down(old, false, nil) })
			}
		}
		told = append(told, func() { n.Placed(context.Background()) })
	}
	c.mu.Unlock()
	for _, tell := range told {
		tell()
	}
}

// kill ends a node in the middle of what it does; the others learn of it.
func (c *fakeCluster) kill(name string) {
	c.mu.Lock()
	c.node(name).down = true
	var rest []string
	for _, n := range c.nodes {
		if !n.down {
			rest = append(rest, n.name)
		}
	}
	c.mu.Unlock()
	c.place(rest, rest)
}

// quiet returns when nothing is under way any more.
func (c *fakeCluster) quiet() {
	c.t.Helper()
	for idle := 0; idle < 3; {
		busy := false
		for _, n := range c.nodes {
			if n.down {
				continue
			}
			done := make(chan bool)
			n.jobs <- func(*router.Batch) { done <- len(n.jobs) > 0 || len(n.moves()) > 0 }
			busy = <-done || busy
		}
		if idle++; busy {
			idle = 0
			time.Sleep(time.Millisecond)
		}
	}
}

func (n *fakeNode) Node() string { return n.name }

func (n *fakeNode) pick(room string, homes []string) string {
	h := 0
	for _, c := range room {
		h = h*31 + int(c)
	}
	best, score := "", -1
	for _, name := range homes {
		if s := (h*7919 + int(name[len(name)-1])*104729) % 1009; s > score {
			best, score = name, s
		}
	}
	return best
}

func (n *fakeNode) look() view {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.view
}

func (n *fakeNode) Home(room string) string { return n.pick(room, n.look().homes) }

func (n *fakeNode) Second(room string) string {
	n.c.mu.Lock()
	if n.watched != nil { // which replicate asks for
		n.watched("unlock")
	}
	n.c.mu.Unlock()
	return n.pick(room, slices.DeleteFunc(slices.Clone(n.look().homes), func(h string) bool { return h == n.name }))
}

func (n *fakeNode) Token() Token { return n.look().token }

func (n *fakeNode) Nodes() []string {
	return slices.DeleteFunc(slices.Clone(n.look().nodes), func(h string) bool { return h == n.name })
}

func (n *fakeNode) Split() bool {
	for _, o := range n.c.nodes {
		if !o.down && !slices.Contains(n.look().nodes, o.name) {
			return true
		}
	}
	return false
}

func (n *fakeNode) Send(to string, kind byte, room string, parts ...[]byte) bool {
	payload := bytes.Join(parts, nil)
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	o := n.c.node(to)
	if n.down || o == nil || to != n.name && (!slices.Contains(n.view.nodes, to) || !slices.Contains(o.view.nodes, n.name)) {
		return false
	}
	if o.stuffed && to != n.name {
		o.refused++
		return false
	}
	n.sent[kind]++
	if n.watched != nil {
		n.watched(fmt.Sprint(kind))
	}
	if kind == frameCast {
		n.cast[to] = append(n.cast[to][max(0, len(n.cast[to])-9):], Frame{kind, room, payload})
	}
	if o.deaf && kind == frameList || o.misses && kind == frameCast {
		return true
	}
	if o.full && kind == frameStanza || o.crowded && to != n.name {
		o.jobs <- func(*router.Batch) { o.Overflowed(n.name, kind, room, payload) }
		return true
	}
	o.jobs <- func(b *router.Batch) { o.Frame(context.Background(), b, n.name, kind, room, payload) }
	return true
}

// A fakeElsewhere is the other nodes' tables.
type fakeElsewhere struct {
	router.Elsewhere
	n *fakeNode
}

func (e *fakeElsewhere) Rows(rows []router.Row, user stanza.JID) []router.Row {
	for _, name := range e.n.Nodes() {
		e.n.c.mu.Lock()
		o := e.n.c.node(name)
		e.n.c.mu.Unlock()
		if o == nil {
			continue
		}
		for _, row := range o.table.Local(user) {
			row.Remote = true
			row.Session = &fakeRemote{row.Session, name}
			rows = append(rows, row)
		}
	}
	return rows
}

type fakeRemote struct {
	router.Session
	node string
}

func (r *fakeRemote) Node() string { return r.node }

// A fakeClient is a session that keeps what it gets.
type fakeClient struct {
	n     *fakeNode
	jid   stanza.JID
	state router.State
	done  chan struct{}
	gone  atomic.Bool // it takes nothing more

	mu  sync.Mutex
	got []string
}

func (n *fakeNode) client(full string) *fakeClient { return n.clientSince(full, time.Time{}) }

func (n *fakeNode) clientSince(full string, begun time.Time) *fakeClient {
	c := &fakeClient{n: n, jid: stanza.MustJID(full), done: make(chan struct{}), state: router.State{Begun: begun}}
	n.table.Bind(c, false)
	n.table.SetPresence(c, true, 0)
	return c
}

func (c *fakeClient) JID() stanza.JID { return c.jid }
func (c *fakeClient) Send(_ *router.Batch, st *stanza.Stanza) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone.Load() {
		return false
	}
	c.got = append(c.got, string(st.Append(nil)))
	return true
}
func (c *fakeClient) SendNow(context.Context, []*stanza.Stanza, []int64) (bool, error) {
	return false, nil
}
func (c *fakeClient) Close(*stanza.StreamError) {}
func (c *fakeClient) Done() <-chan struct{}     { return c.done }
func (c *fakeClient) State() *router.State      { return &c.state }

// says has the client's node route a stanza, as raw XML without 'from'.
func (c *fakeClient) says(format string, args ...any) {
	st, err := stanza.Parse(fmt.Appendf(nil, format, args...))
	if err != nil {
		c.n.c.t.Fatal(err)
	}
	st.From = c.jid
	c.n.Handle(context.Background(), nil, c, st)
}

func (c *fakeClient) enter(room, nick string) {
	c.says("<presence to='%s@%s/%s'><x xmlns='%s'/></presence>", room, fakeHost, nick, NS)
}

// makes enters a room that is not there yet, and has it be as rooms are by default (XEP-0045 §10.1.2).
func (c *fakeClient) makes(room, nick string) {
	c.enter(room, nick)
	c.n.c.quiet()
	c.says("<iq type='set' id='u' to='%s@%s'><query xmlns='%s'><x xmlns='%s' type='submit'/></query></iq>", room, fakeHost, nsOwner, nsForms)
	c.n.c.quiet()
}

func (c *fakeClient) shout(room, text string) {
	c.says("<message type='groupchat' id='%[3]s' to='%[1]s@%[2]s'><body>%[3]s</body></message>", room, fakeHost, text)
}

// hears is what has come with a word in it, which is then forgotten with all the rest.
func (c *fakeClient) hears(word string) (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range c.got {
		if strings.Contains(text, word) {
			all = append(all, text)
		}
	}
	c.got = nil
	return all
}

// await waits until so much has come, and a little longer than rooms wait for nodes to tell who is in them.
func (c *fakeClient) await(count int) []string {
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		n := len(c.got)
		c.mu.Unlock()
		if n >= count {
			break
		}
	}
	c.n.c.quiet()
	return c.hears("")
}

// annAndBen is two nodes with a room r0, in which Ann is at its home and Ben on the other one.
func annAndBen(t *testing.T) (c *fakeCluster, home, other *fakeNode, ann, ben *fakeClient) {
	c = newFakeCluster(t, "a", "b")
	home = c.node(c.node("a").Home("r0"))
	other = c.node(home.Second("r0"))
	ann, ben = home.client("ann@chat.test/1"), other.client("ben@chat.test/1")
	ann.makes("r0", "Ann")
	ben.enter("r0", "Ben")
	c.quiet()
	return c, home, other, ann, ben
}
