package c2s

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"chatd/stanza"
)

// When all clients come back in the same moment, their logins would keep every processor busy, and
// those who are online would wait. So only some negotiations compute at once, TLS handshakes among
// them, the rest in the order in which they came, and those that would wait too long are told to come
// back later. Nobody is at the gate who waits for the network or for another session.

const (
	// waitingPerSlot is how many negotiations may wait for each that is computed at once: some
	// seconds of work.
	waitingPerSlot = 5000
	// retryLeast and retrySpread are when those who are turned away are to come back.
	retryLeast  = 5 * time.Second
	retrySpread = 25 * time.Second
)

// A gate lets a few negotiations compute at once. Its methods are safe for concurrent use.
type gate struct {
	mu      sync.Mutex
	free    int
	most    int // how many may wait
	waiting turns
	came    uint64 // turns so far
}

// newGate leaves one processor to those who are online, if there are several.
func newGate() *gate {
	slots := max(1, runtime.GOMAXPROCS(0)-1)
	return &gate{free: slots, most: slots * waitingPerSlot}
}

// turn is for one negotiation, later than all turns before.
func (g *gate) turn() *turn {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.came++
	return &turn{gate: g, number: g.came}
}

var errCrowded = errors.New("c2s: too many logins")

// enter blocks until it is the turn's time; of those that wait the one that came
// first goes first. Whoever is in computes and does not wait for the network. It fails at once when
// too many wait.
func (g *gate) enter(t *turn) error {
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		g.mu.Unlock()
		return nil
	}
	if len(g.waiting) >= g.most {
		g.mu.Unlock()
		return errCrowded
	}
	t.ready = make(chan struct{})
	heap.Push(&g.waiting, t)
	g.mu.Unlock()
	<-t.ready
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.free++
		return
	}
	close(heap.Pop(&g.waiting).(*turn).ready)
}

func (g *gate) queued() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

// crowded reports whether newcomers would wait too long. It turns them away before the
// queue is full, so that those who are in negotiation already get through.
func (g *gate) crowded() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting) >= g.most/2
}

// A turn is one negotiation's place at the gate. It belongs to the negotiating goroutine.
type turn struct {
	gate   *gate
	number uint64 // among all turns
	in     bool
	ready  chan struct{}
}

// read reads from the connection, outside of the gate; what comes of it is computed inside. The
// nil turn knows no gate.
func (t *turn) read(conn io.Reader, p []byte) (int, error) {
	if t == nil {
		return conn.Read(p)
	}
	t.end()
	n, err := conn.Read(p)
	if err != nil {
		return n, err
	}
	return n, t.begin()
}

// begin waits at the gate.
func (t *turn) begin() error {
	if t.in {
		return nil
	}
	if err := t.gate.enter(t); err != nil {
		return err
	}
	t.in = true
	return nil
}

// end leaves the gate.
func (t *turn) end() {
	if t.in {
		t.in = false
		t.gate.leave()
	}
}

// turns is a heap: the oldest is on top.
type turns []*turn

func (q turns) Len() int           { return len(q) }
func (q turns) Less(i, j int) bool { return q[i].number < q[j].number }
func (q turns) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *turns) Push(x any)        { *q = append(*q, x.(*turn)) }
func (q *turns) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return t
}

// turnAway makes a client come back later, each at another time so that they do not all return at
// once. One that begins with TLS cannot be told without the work that there is no time for.
func (n *negotiation) turnAway(directTLS bool) error {
	n.srv.Metrics.Connections.WithLabelValues("deferred").Inc()
	if directTLS {
		return errCrowded
	}
	seconds := int((retryLeast + rand.N(retrySpread)).Seconds())
	e := *stanza.StreamResourceConstraint.WithText(fmt.Sprintf("too many logins at once: come back in %d seconds", seconds))
	e.App = fmt.Sprintf("<retry xmlns='urn:x-chatd:retry' after='%d'/>", seconds)
	return &e
}
