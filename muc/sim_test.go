package muc

import (
	"context"
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
	bound   map[string]int64
	rows    map[string]map[string]router.Row // of other nodes, by full JID
	retired map[string]bool
	own     []string                // the peers
	reaches map[string][]string     // whom these have told that they reach
	holes   map[[2]string]time.Time // who does not reach whom, as of when
	hole    time.Time               // the youngest
	tokens  map[string]Token
	all     int // how many nodes there are, as far as anybody says
	leaving map[string]*simGone
	token   Token
	seen    uint64
	homes   []string
	dead    bool
	paused  bool
}

// A simGone is a node that is gone, which the service has not been told.
type simGone struct{ frames []Frame }

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
	n := &simNode{s: s, i: i, name: string(rune('a' + i)), r: rt, peers: map[string]*simEnd{}, bound: map[string]int64{}, rows: map[string]map[string]router.Row{}, retired: map[string]bool{}, reaches: map[string][]string{}, leaving: map[string]*simGone{}, tokens: map[string]Token{}}
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

func (s *sim) noteLocked(format string, args ...any) {
	s.trace = append(s.trace, formatted(s.start, format, args...))
}

func (n *simNode) isDead() bool {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return n.dead
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
	n.placeLocked()
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
