package muc

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/fnv"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/router"
	"chatd/stanza"
	memstore "chatd/store/memory"
)

// A sim is nodes with rooms on a simulated network, in a synctest bubble: time is its, chance comes from a seed.
//
// Of links it simulates what rooms depend on: frames of a pair come in order and late, and those of two pairs in any order; a link that is cut is
// given up by both ends, each in its own time, which get back what was not confirmed, dealt with or not.
type sim struct {
	t     testing.TB
	start time.Time
	store *memstore.Store

	seed  uint64
	rng   *rand.Rand // of the goroutine that makes the schedule
	mu    sync.Mutex
	drawn map[string]uint64 // how often within was asked, by what for
	nodes []*simNode
	cut   map[[2]int]int // by direction: number of the cut, 0: none
	cuts  int
	trace []string
}

// A simNode is one process of a node.
type simNode struct {
	*Service
	s       *sim
	i       int
	name    string
	r       *router.Router
	workers [4]simWorker
	clients []*simClient

	// Guarded by s.mu.
	peers   map[string]*simEnd
	bound   map[string]bool
	rows    map[string]map[string]router.Row // of other nodes, by full JID
	retired map[string]bool
	token   Token
	seen    uint64
	homes   []string
	dead    bool
	paused  bool
}

// A simEnd is one end of a link, from its coming up to its going down.
type simEnd struct {
	from, to *simNode
	other    *simEnd
	up, gone bool
	sent     []simFrame // not confirmed
	next     int        // of sent: the first that is not on its way
	first    uint64     // number of the first of sent
	got      uint64     // number of the last frame of the other end's that has come
	dealt    uint64     // ... up to which they are dealt with
	done     map[uint64]bool
	last     time.Time // when the last frame comes
}

type simFrame struct {
	kind    byte
	room    string
	payload []byte
}

// Kinds of what links carry besides frames about rooms.
const (
	simRow   = 100 + iota // a row: '+' or '-', full JID
	simRoute              // full JID, stanza
	simToken
	simRetire
)

type simWorker struct {
	mu   sync.Mutex
	come sync.Cond
	jobs []func(*router.Batch)
	end  bool
}

func (w *simWorker) put(job func(*router.Batch)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs = append(w.jobs, job)
	w.come.Signal()
}

func (w *simWorker) run() {
	var b router.Batch
	for {
		w.mu.Lock()
		for len(w.jobs) == 0 && !w.end {
			w.come.Wait()
		}
		if len(w.jobs) == 0 {
			w.mu.Unlock()
			return
		}
		jobs := w.jobs
		w.jobs = nil
		w.mu.Unlock()
		for _, job := range jobs {
			job(&b)
			b.Flush()
		}
	}
}

func newSim(t testing.TB, seed uint64) *sim {
	return &sim{t: t, start: time.Now(), store: memstore.New(), seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), drawn: map[string]uint64{}, cut: map[[2]int]int{}}
}

func (s *sim) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(format, args...)
}

// chance is a number below n.
func (s *sim) chance(n int) int { return s.rng.IntN(n) }

// within is a time up to max, the next one for something: it does not depend on what else happens at the same time, in whatever order.
func (s *sim) within(max time.Duration, what ...string) time.Duration {
	key := strings.Join(what, " ")
	s.drawn[key]++
	h := fnv.New64a()
	io.WriteString(h, key)
	return time.Duration(rand.New(rand.NewPCG(s.seed^h.Sum64(), s.drawn[key])).Int64N(int64(max)) + 1)
}

// boot starts a process of node i.
func (s *sim) boot(i int) *simNode {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	rt := router.New(stanza.MustJID("chat.test"), log)
	rt.Users, rt.Presence, rt.Copies, rt.Spool = everybody{}, noPresence{}, noCopies{}, noSpool{}
	n := &simNode{s: s, i: i, name: string(rune('a' + i)), r: rt, peers: map[string]*simEnd{}, bound: map[string]bool{}, rows: map[string]map[string]router.Row{}, retired: map[string]bool{}}
	rt.Table.Elsewhere = simRows{rt.Table.Elsewhere, n}
	n.Service = New(rt, stanza.MustJID(fakeHost), s.store, Config{HistoryMessages: 1000, Create: Anyone, Persistent: Anyone, HistoryStored: 10000}, log)
	n.Place = n
	for i := range n.workers {
		w := &n.workers[i]
		w.come.L = &w.mu
		go w.run()
	}
	s.mu.Lock()
	if i == len(s.nodes) {
		s.nodes = append(s.nodes, n)
	} else {
		s.nodes[i] = n
	}
	n.placeLocked()
	others := slices.Clone(s.nodes)
	s.mu.Unlock()
	for _, o := range others {
		if o != n {
			s.meet(min(i, o.i), max(i, o.i))
		}
	}
	return n
}

// end stops the goroutines of a process that is dead.
func (n *simNode) end() {
	for i := range n.workers {
		w := &n.workers[i]
		w.mu.Lock()
		w.end = true
		w.come.Signal()
		w.mu.Unlock()
	}
	for _, c := range n.clients {
		c.stop()
	}
	n.Service.Close(context.Background())
}

// meet has two nodes connect soon, if nothing keeps them from it then.
func (s *sim) meet(i, k int) {
	s.mu.Lock()
	after := s.within(300*time.Millisecond, "meet", s.nodes[i].name, s.nodes[k].name)
	s.mu.Unlock()
	time.AfterFunc(after, func() {
		s.mu.Lock()
		a, b := s.nodes[i], s.nodes[k]
		if a.dead || b.dead || a.paused || b.paused || s.cut[[2]int{i, k}] != 0 || s.cut[[2]int{k, i}] != 0 {
			s.mu.Unlock()
			return
		}
		x, y := a.peers[b.name], b.peers[a.name]
		if x != nil && y != nil && x.other == y { // it goes on
			s.mu.Unlock()
			return
		}
		var downs []func()
		for _, end := range []*simEnd{x, y} {
			if end != nil {
				end.confirmedLocked(end.other.dealt)
				downs = append(downs, end.downLocked())
			}
		}
		s.mu.Unlock()
		for _, down := range downs {
			down()
		}
		s.connect(a, b)
	})
}

// connect begins a link.
func (s *sim) connect(a, b *simNode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.within(2, "first", a.name, b.name) == 1 {
		a, b = b, a
	}
	x := &simEnd{from: a, to: b, first: 1, done: map[uint64]bool{}}
	y := &simEnd{from: b, to: a, first: 1, done: map[uint64]bool{}}
	x.other, y.other = y, x
	x.upLocked()
	time.AfterFunc(s.within(3*time.Millisecond, "connect", a.name, b.name), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if y.from.dead || y.from.peers[a.name] != nil {
			return
		}
		y.upLocked()
		x.flowLocked()
	})
}

func (e *simEnd) upLocked() {
	n := e.from
	n.s.noteLocked("%s sees %s", n.name, e.to.name)
	e.up = true
	n.peers[e.to.name] = e
	if n.retired[n.name] {
		e.sendLocked(simRetire, "", nil)
	}
	for _, full := range slices.Sorted(maps.Keys(n.bound)) {
		e.sendLocked(simRow, "", []byte("+"+full))
	}
	delete(n.retired, e.to.name)
	n.placeLocked()
	e.sendLocked(simToken, "", n.token.append(nil))
}

var frameNames = [...]string{"stanza", "cast", "missed", "seats", "copy", "change", "history", "forget", "flush", "flushed", "state", "arrived", "claim", "none", "mine", "rejoin", "who",
	"not lent", "dealt", "elsewhere", "check", "down", "frozen", "overdue", "again", "returned", "list", "listed"}

// frameLocked notes a frame, if very much is to be told.
func (s *sim) frameLocked(what, from, to string, kind byte, room string, payload []byte) {
	if *scheduleTrace < 1000 || int(kind) >= len(frameNames) {
		return
	}
	s.noteLocked("  %s %s>%s %s %s %q", what, from, to, frameNames[kind], room, payload)
}

func (s *sim) noteLocked(format string, args ...any) {
	s.trace = append(s.trace, formatted(s.start, format, args...))
}

// downLocked ends one end. What is returned tells the node, without the lock.
func (e *simEnd) downLocked() func() {
	n := e.from
	if e.gone {
		return func() {}
	}
	n.s.noteLocked("%s misses %s, %d frames not confirmed", n.name, e.to.name, len(e.sent))
	e.gone = true
	if n.peers[e.to.name] == e {
		delete(n.peers, e.to.name)
	}
	delete(n.rows, e.to.name)
	n.placeLocked()
	var unacked []Frame
	for _, f := range e.sent {
		if f.kind < simRow {
			unacked = append(unacked, Frame{f.kind, f.room, f.payload})
		}
	}
	e.sent = nil
	return func() { n.Down(e.to.name, unacked) }
}

// placeLocked makes the placement that of the nodes that are up, and has the others told of it.
func (n *simNode) placeLocked() {
	homes := []string{}
	for name := range n.peers {
		if !n.retired[name] {
			homes = append(homes, name)
		}
	}
	if !n.retired[n.name] || len(homes) == 0 {
		homes = append(homes, n.name)
	}
	slices.Sort(homes)
	if slices.Equal(homes, n.homes) {
		return
	}
	h := fnv.New64a()
	io.WriteString(h, strings.Join(homes, " "))
	n.seen = max(n.seen+1, uint64(time.Now().UnixMilli()))
	n.homes = homes
	n.becomeLocked(Token{n.seen, h.Sum64()})
	for _, e := range n.peersLocked() {
		e.sendLocked(simToken, "", n.token.append(nil))
	}
}

// peersLocked is the ends of the links that are up, in order of the other nodes' names.
func (n *simNode) peersLocked() (all []*simEnd) {
	for _, name := range slices.Sorted(maps.Keys(n.peers)) {
		all = append(all, n.peers[name])
	}
	return all
}

func (n *simNode) becomeLocked(t Token) {
	n.token = t
	time.AfterFunc(n.s.within(2*time.Millisecond, "placed", n.name), func() {
		if !n.isDead() {
			n.Placed(context.Background())
		}
	})
}

func (n *simNode) isDead() bool {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return n.dead
}

func (e *simEnd) sendLocked(kind byte, room string, payload []byte) bool {
	if e.gone || e.from.dead {
		return false
	}
	e.sent = append(e.sent, simFrame{kind, room, payload})
	e.flowLocked()
	return true
}

// flowLocked puts on the way what may be.
func (e *simEnd) flowLocked() {
	s := e.from.s
	if e.gone || !e.other.up || e.from.paused || e.to.paused || s.cut[[2]int{e.from.i, e.to.i}] != 0 {
		return
	}
	for ; e.next < len(e.sent); e.next++ {
		f, seq := e.sent[e.next], e.first+uint64(e.next)
		what := []string{e.from.name, e.to.name, string(f.kind), f.room}
		d := s.within(2*time.Millisecond, what...)
		if s.within(50, what...) == 1 {
			d = s.within(100*time.Millisecond, what...)
		}
		e.last = e.last.Add(1)
		if at := time.Now().Add(d); at.After(e.last) {
			e.last = at
		}
		number := s.cut[[2]int{e.from.i, e.to.i}]
		time.AfterFunc(time.Until(e.last), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.cut[[2]int{e.from.i, e.to.i}] == number && !e.to.dead && !e.to.paused {
				e.other.receiveLocked(seq, f)
			}
		})
	}
}

// receiveLocked takes a frame of the other end's.
func (e *simEnd) receiveLocked(seq uint64, f simFrame) {
	n := e.from
	if e.gone || seq != e.got+1 {
		return
	}
	e.got++
	switch f.kind {
	case simRow:
		full := stanza.MustJID(string(f.payload[1:]))
		rows := n.rows[e.to.name]
		if rows == nil {
			rows = map[string]router.Row{}
			n.rows[e.to.name] = rows
		}
		delete(rows, full.String())
		if f.payload[0] == '+' {
			rows[full.String()] = router.Row{Session: &simRemote{end: e, jid: full}, Available: true, Remote: true}
		}
	case simRetire:
		n.retired[e.to.name] = true
		n.placeLocked()
	case simToken:
		t, _, _ := cutToken(f.payload)
		n.seen = max(n.seen, t.Epoch)
		if t.Nodes == n.token.Nodes && t.Epoch > n.token.Epoch {
			n.becomeLocked(t)
		}
	default:
		n.s.frameLocked("put  ", e.to.name, n.name, f.kind, f.room, f.payload)
		n.worker(f.room).put(func(b *router.Batch) {
			if f.kind == simRoute {
				n.routed(b, f.payload)
			} else {
				n.Frame(context.Background(), b, e.to.name, f.kind, f.room, f.payload)
			}
			n.s.mu.Lock()
			defer n.s.mu.Unlock()
			e.settledLocked(seq)
		})
		return
	}
	e.settledLocked(seq)
}

func (e *simEnd) settledLocked(seq uint64) {
	e.done[seq] = true
	for e.done[e.dealt+1] {
		e.dealt++
		delete(e.done, e.dealt)
	}
	s, upTo := e.from.s, e.dealt
	time.AfterFunc(s.within(5*time.Millisecond, "confirm", e.from.name, e.to.name), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.cut[[2]int{e.from.i, e.to.i}] == 0 && !e.gone && !e.from.dead {
			e.other.confirmedLocked(upTo)
		}
	})
}

func (e *simEnd) confirmedLocked(upTo uint64) {
	if n := int(upTo) - int(e.first) + 1; n > 0 && !e.gone {
		e.sent = e.sent[n:]
		e.first += uint64(n)
		e.next = max(0, e.next-n)
	}
}

func (n *simNode) worker(key string) *simWorker {
	h := fnv.New32a()
	io.WriteString(h, key)
	return &n.workers[h.Sum32()%uint32(len(n.workers))]
}

// split cuts what gets from some nodes to others, in one direction, until heal.
func (s *sim) split(from, to []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts++
	for _, i := range from {
		for _, k := range to {
			if i != k && s.cut[[2]int{i, k}] == 0 {
				s.cut[[2]int{i, k}] = s.cuts
				s.giveUpLocked(i, k, s.cuts)
			}
		}
	}
}

// giveUpLocked has both ends of a link be down when it has been cut for so long.
func (s *sim) giveUpLocked(i, k, number int) {
	for _, at := range [2][2]int{{i, k}, {k, i}} {
		if e := s.nodes[at[0]].peers[s.nodes[at[1]].name]; e != nil {
			time.AfterFunc(1600*time.Millisecond+s.within(400*time.Millisecond, "miss", e.from.name, e.to.name), func() {
				s.mu.Lock()
				down := func() {}
				if s.cut[[2]int{i, k}] == number && !e.from.dead && !e.from.paused {
					down = e.downLocked()
				}
				s.mu.Unlock()
				down()
			})
		}
	}
}

// heal ends all cuts.
func (s *sim) heal() {
	s.mu.Lock()
	cut := s.cut
	s.cut = map[[2]int]int{}
	pairs := slices.SortedFunc(maps.Keys(cut), func(p, q [2]int) int { return slices.Compare(p[:], q[:]) })
	for _, at := range pairs {
		for _, pair := range [2][2]int{at, {at[1], at[0]}} {
			if e := s.nodes[pair[0]].peers[s.nodes[pair[1]].name]; e != nil && !e.gone && !e.other.gone {
				e.next = 0 // again
				e.flowLocked()
			}
		}
	}
	s.mu.Unlock()
	for i := range s.nodes {
		for k := range i {
			s.meet(k, i)
		}
	}
}

// pause stops a process; resume has it go on.
func (s *sim) pause(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[i]
	n.paused = true
	for _, o := range s.nodes {
		if e := o.peers[n.name]; e != nil {
			time.AfterFunc(1600*time.Millisecond+s.within(400*time.Millisecond, "miss", e.from.name, e.to.name), func() {
				s.mu.Lock()
				down := func() {}
				if n.paused && !o.dead {
					down = e.downLocked()
				}
				s.mu.Unlock()
				down()
			})
		}
	}
}

func (s *sim) resume(i int) {
	s.mu.Lock()
	n := s.nodes[i]
	n.paused = false
	for _, e := range n.peersLocked() {
		if !e.other.gone {
			e.next, e.other.next = 0, 0
			e.flowLocked()
			e.other.flowLocked()
		}
	}
	s.mu.Unlock()
	for k := range s.nodes {
		if k != i {
			s.meet(min(i, k), max(i, k))
		}
	}
}

// kill ends a process as kill -9 does, or when it has left.
func (s *sim) kill(i int, left bool) {
	s.mu.Lock()
	n := s.nodes[i]
	n.dead = true
	for _, o := range s.nodes {
		if e := o.peers[n.name]; e != nil && o != n {
			after := 1200*time.Millisecond + s.within(600*time.Millisecond, "bury", o.name, n.name)
			if left {
				after = s.within(3*time.Millisecond, "left", o.name, n.name)
			}
			time.AfterFunc(after, func() {
				s.mu.Lock()
				down := func() {}
				if !o.dead {
					down = e.downLocked()
				}
				s.mu.Unlock()
				down()
			})
		}
	}
	s.mu.Unlock()
	n.end()
}

// Node implements Place, and so do the others.
func (n *simNode) Node() string { return n.name }

func pick(room string, homes []string) (best string) {
	var most uint64
	for _, name := range homes {
		h := fnv.New64a()
		io.WriteString(h, room+" "+name+" "+room)
		if score := h.Sum64() * 0x9e3779b97f4a7c15; best == "" || score > most {
			best, most = name, score
		}
	}
	return best
}

func (n *simNode) Home(room string) string {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return pick(room, n.homes)
}

func (n *simNode) Second(room string) string {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return pick(room, slices.DeleteFunc(slices.Clone(n.homes), func(h string) bool { return h == n.name }))
}

func (n *simNode) Token() Token {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return n.token
}

func (n *simNode) Nodes() (names []string) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	for name := range n.peers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (n *simNode) Send(to string, kind byte, room string, parts ...[]byte) bool {
	payload := bytes.Join(parts, nil)
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	if n.dead {
		return false
	}
	n.s.frameLocked("sends", n.name, to, kind, room, payload)
	if to == n.name {
		n.worker(room).put(func(b *router.Batch) { n.Frame(context.Background(), b, n.name, kind, room, payload) })
		return true
	}
	e := n.peers[to]
	return e != nil && e.sendLocked(kind, room, payload)
}

// simRows is the rows of other nodes.
type simRows struct {
	router.Elsewhere
	n *simNode
}

func (e simRows) Rows(rows []router.Row, user stanza.JID) []router.Row {
	e.n.s.mu.Lock()
	defer e.n.s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(e.n.rows)) {
		theirs := e.n.rows[name]
		for _, full := range slices.Sorted(maps.Keys(theirs)) {
			if row := theirs[full]; row.Session.JID().Bare() == user.Bare() {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

func (e simRows) Changed(row router.Row) { e.tell("+", row) }
func (e simRows) Gone(row router.Row)    { e.tell("-", row) }

func (e simRows) tell(what string, row router.Row) {
	e.n.s.mu.Lock()
	defer e.n.s.mu.Unlock()
	full := row.Session.JID().String()
	if (what == "+") == e.n.bound[full] {
		return
	}
	e.n.bound[full] = what == "+"
	if what == "-" {
		delete(e.n.bound, full)
	}
	for _, end := range e.n.peersLocked() {
		end.sendLocked(simRow, "", []byte(what+row.Session.JID().String()))
	}
}

// A simRemote is a session of another node.
type simRemote struct {
	router.Session
	end *simEnd
	jid stanza.JID
}

func (r *simRemote) JID() stanza.JID { return r.jid }
func (r *simRemote) Node() string    { return r.end.to.name }
func (r *simRemote) Send(_ *router.Batch, st *stanza.Stanza) bool {
	n := r.end.from
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	full := r.jid.String()
	payload := binary.AppendUvarint(nil, uint64(len(full)))
	return r.end.sendLocked(simRoute, r.jid.Bare().String(), st.Append(append(payload, full...)))
}

func (n *simNode) routed(b *router.Batch, payload []byte) {
	full, raw, _ := cutText(payload)
	st, err := stanza.Parse(raw)
	if err != nil {
		panic(err)
	}
	n.r.Arrived(context.Background(), b, st, stanza.MustJID(string(full)))
}
