package riaktest

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/protoadapt"
)

// An Action is what a fault does to a request.
type Action int

// The faults.
const (
	// Delay makes the request wait for Fault.For before it is done.
	Delay Action = iota
	// Reorder holds the request until another that the fault is for has been
	// done, or for Fault.For (default 20ms).
	Reorder
	// Refuse answers Fault.Error (default "timeout") and does nothing.
	Refuse
	// FailAfter does the request and answers Fault.Error all the same.
	FailAfter
	// CutBefore ends the connection before anything is done.
	CutBefore
	// LoseAnswer does the request and ends the connection without an answer, so
	// that a client that tries again does it twice.
	LoseAnswer
	// CutMiddle does the request and ends the connection in the middle of the
	// answer.
	CutMiddle
	// Hang does the request and never answers, until the fault is removed.
	Hang
	// HalfWrite lets a put or delete reach the replica that coordinates it only,
	// and answers "timeout"; other requests are not touched.
	HalfWrite
)

// A Fault says which requests fail, and how.
type Fault struct {
	Do    Action
	Op    Op                            // Any: every kind
	Nodes []int                         // empty: all
	Type  string                        // bucket type; empty: any
	Match func(bucket, key string) bool // nil: any

	Skip   int     // the first so many are left alone
	Times  int     // so many fail; 0: all
	Chance float64 // of each to fail, by Config.Seed; 0: all

	For   time.Duration
	Error string
}

// An Injected is a fault at work.
type Injected struct {
	Fault
	owner *faults

	// Guarded by owner.mu.
	seen, hits int
	gone       chan struct{} // closed when removed
	passed     chan struct{} // closed and replaced when a request has been done
}

type faults struct {
	mu     sync.Mutex
	active []*Injected
}

// Fault begins a fault. Of several that are for a request the first takes it.
func (c *Cluster) Fault(f Fault) *Injected {
	in := &Injected{Fault: f, owner: &c.faults, gone: make(chan struct{}), passed: make(chan struct{})}
	if in.Error == "" {
		in.Error = errTimeout.Error()
	}
	if in.Do == Reorder && in.For == 0 {
		in.For = 20 * time.Millisecond
	}
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.active = append(c.faults.active, in)
	return in
}

// Remove ends the fault; what hangs by it goes on.
func (in *Injected) Remove() {
	in.owner.mu.Lock()
	defer in.owner.mu.Unlock()
	if i := slices.Index(in.owner.active, in); i >= 0 {
		in.owner.active = slices.Delete(in.owner.active, i, i+1)
		close(in.gone)
	}
}

// Hits is how many requests it was done to.
func (in *Injected) Hits() int {
	in.owner.mu.Lock()
	defer in.owner.mu.Unlock()
	return in.hits
}

// hit is the fault that is due for a request, or nil.
func (f *faults) hit(n *node, op Op, m protoadapt.MessageV1) *Injected {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, in := range f.active {
		if in.due(n, op, m) {
			in.hits++
			return in
		}
	}
	return nil
}

func (in *Injected) due(n *node, op Op, m protoadapt.MessageV1) bool {
	if !in.concerns(n, op, m) {
		return false
	}
	in.seen++
	return in.seen > in.Skip && (in.Times == 0 || in.hits < in.Times) &&
		(in.Chance == 0 || n.cluster.chance(in.Chance))
}

func (in *Injected) concerns(n *node, op Op, m protoadapt.MessageV1) bool {
	if in.Op != Any && in.Op != op || len(in.Nodes) > 0 && !slices.Contains(in.Nodes, n.index) {
		return false
	}
	if in.Do == HalfWrite && op != Put && op != Del {
		return false
	}
	if in.Type == "" && in.Match == nil {
		return true
	}
	named, ok := m.(interface {
		GetType() []byte
		GetBucket() []byte
		GetKey() []byte
	})
	if !ok {
		return false
	}
	return (in.Type == "" || in.Type == bucketOf(named.GetType(), nil).kind) &&
		(in.Match == nil || in.Match(string(named.GetBucket()), string(named.GetKey())))
}

// before is what happens before the request is done; false: it is not done.
func (in *Injected) before(s *session) bool {
	s.pause(time.Duration(s.node.slow.Load()))
	if in == nil {
		return true
	}
	switch in.Do {
	case Delay:
		s.pause(in.For)
	case Reorder:
		in.overtaken(s)
	case HalfWrite:
		s.half = true
	case Refuse:
		s.fail(in.Error)
		return false
	case CutBefore:
		return false
	}
	return true
}

// answer is what happens once it is done; false: the connection ends.
func (in *Injected) answer(s *session) bool {
	if in == nil {
		return true
	}
	switch in.Do {
	case Reorder:
		in.pass()
	case FailAfter:
		s.out = s.out[:0]
		s.fail(in.Error)
	case CutBefore, LoseAnswer:
		return false
	case CutMiddle:
		s.out = s.out[:len(s.out)/2]
		s.flush()
		return false
	case Hang:
		return in.hang(s)
	}
	return true
}

// overtaken waits until another request has been done.
func (in *Injected) overtaken(s *session) {
	in.owner.mu.Lock()
	passed, odd := in.passed, in.hits%2 == 1
	in.owner.mu.Unlock()
	if !odd {
		return
	}
	timer := time.NewTimer(in.For)
	defer timer.Stop()
	for {
		changed := s.node.cluster.changes()
		if !s.alive() {
			return
		}
		select {
		case <-passed:
			return
		case <-timer.C:
			return
		case <-changed:
		}
	}
}

func (in *Injected) pass() {
	in.owner.mu.Lock()
	defer in.owner.mu.Unlock()
	close(in.passed)
	in.passed = make(chan struct{})
}

func (in *Injected) hang(s *session) bool {
	for {
		changed := s.node.cluster.changes()
		if !s.alive() {
			return false
		}
		select {
		case <-in.gone:
			return true
		case <-changed:
		}
	}
}

// Slow makes a node take so much longer for each request; 0 ends it.
func (c *Cluster) Slow(i int, d time.Duration) { c.nodes[i].slow.Store(int64(d)) }

// Cut ends every connection, in the middle of what it does, and refuses others
// until Mend. What the servers were doing they do.
func (c *Cluster) Cut() {
	c.mu.Lock()
	c.refused = true
	c.mu.Unlock()
	for _, n := range c.nodes {
		n.hangUp(true)
	}
}

// StallAll makes every node that is up silent, until Mend.
func (c *Cluster) StallAll() {
	for i, n := range c.nodes {
		if n.state.Load() == up {
			c.Stall(i)
		}
	}
}

// Mend ends every fault, partition, cut and stall, and brings every node back.
func (c *Cluster) Mend() {
	c.faults.mu.Lock()
	active := slices.Clone(c.faults.active)
	c.faults.mu.Unlock()
	for _, in := range active {
		in.Remove()
	}
	c.mu.Lock()
	cut := c.refused
	c.refused = false
	c.mu.Unlock()
	for i, n := range c.nodes {
		n.slow.Store(0)
		if cut && n.state.Load() != dead {
			c.relisten(n)
		}
		if n.state.Load() != up {
			c.Restart(i)
		}
	}
	c.Heal()
}
