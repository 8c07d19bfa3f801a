package cluster

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Nodes tell each other whom they reach. While they do not agree, since one has noticed something that others are about to, nothing moves; and where they stay
// in disagreement, as A and C do that both reach B and not each other, rooms and services have their homes on those nodes alone that all
// others reach: so all can use them. Who is not among those goes by their word, as it does not hear when the one that it misses noticed that: so they all change at once.

const (
	// holeAfter is how long nodes may disagree until they are taken at their word. They notice the end of a node within half a second of each other.
	holeAfter = time.Second
	// fewest of all nodes, one in so many, are given what the others cannot have. If fewer are reached by all, each node goes by whom it reaches itself: one that is
	// hardly reached must not draw everything to who does reach it.
	fewest = 3
)

// A hole is two nodes of which the first does not reach the second, or has not told yet whom it reaches.
type hole struct{ from, to string }

const unknown = ""

// A reach is what is known of who reaches whom. All but encode and stop is for who holds Replica.placing.
type reach struct {
	own   atomic.Pointer[[]string] // the nodes that this one reaches, in order
	all   int                      // how many nodes there are, as far as anybody says
	holes map[hole]time.Time       // since when
	last  time.Time                // when the youngest was noticed; zero: there is none

	mu      sync.Mutex
	look    *time.Timer // when the youngest hole is old
	stopped bool
}

// become notes whom this node reaches, and reports whether that is a change.
func (c *reach) become(nodes map[string]bool) bool {
	own := slices.Sorted(maps.Keys(nodes))
	if old := c.own.Load(); old != nil && slices.Equal(*old, own) {
		return false
	}
	c.own.Store(&own)
	return true
}

// encode is the payload of kindReach.
func (c *reach) encode() []byte {
	b := []byte{}
	for _, n := range *c.own.Load() {
		b = appendText(b, n)
	}
	return b
}

// settle takes whom each node reaches that this one does, and itself, nil being what is not known. It reports whether they agree or have not for long; else again is
// called when it is time to look once more.
func (c *reach) settle(views map[string]map[string]bool, again func()) bool {
	known := make(map[string]bool)
	for node, view := range views {
		known[node] = true
		maps.Copy(known, view)
	}
	c.all = len(known)
	now, was := time.Now(), c.holes
	c.holes = make(map[hole]time.Time)
	c.last = time.Time{}
	add := func(h hole) {
		since, ok := was[h]
		if !ok {
			since = now
		}
		c.holes[h] = since
		if since.After(c.last) {
			c.last = since
		}
	}
	for from, view := range views {
		if view == nil {
			add(hole{from, unknown})
			continue
		}
		for to := range known {
			if from != to && !view[to] {
				add(hole{from, to})
			}
		}
	}
	return c.isOld(holeAfter, again)
}

// isOld reports whether no hole is younger than an age; else again is called when it is time to look once more.
func (c *reach) isOld(age time.Duration, again func()) bool {
	wait := age - time.Since(c.last)
	if wait > 0 {
		c.after(wait, again)
	}
	return wait <= 0
}

// after has something done after a time, and nothing that was to be done before.
func (c *reach) after(wait time.Duration, do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.look != nil {
		c.look.Stop()
	}
	if !c.stopped {
		c.look = time.AfterFunc(wait, do)
	}
}

// stop ends the wait. Any goroutine may call it.
func (c *reach) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.look != nil {
		c.look.Stop()
	}
}

// core is which of the nodes that may be homes are, as Places.set has them: those that miss nobody.
func (c *reach) core(homes []string, self string, retired bool) (others []string, without bool) {
	misses := make(map[string]bool)
	for h := range c.holes {
		misses[h.from] = misses[h.from] || h.to != unknown
	}
	others = slices.DeleteFunc(slices.Clone(homes), func(n string) bool { return misses[n] })
	count := len(others)
	if !retired && !misses[self] {
		count++
	}
	if count == 0 || count*fewest < c.all {
		return homes, retired
	}
	return others, retired || misses[self]
}

// told reports whether one of some peers goes by a placement on just these nodes.
func (r *Replica) told(peers []*replicaPeer, nodes []string) bool {
	hash := r.Places.hash(slices.Sorted(slices.Values(nodes)))
	return slices.ContainsFunc(peers, func(p *replicaPeer) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.placement == hash && slices.Contains(nodes, p.node)
	})
}

// onReach takes whom a peer reaches.
func (r *Replica) onReach(p *replicaPeer, b []byte) error {
	reaches := make(map[string]bool)
	for len(b) > 0 {
		name, rest, ok := cutTo(b)
		if !ok || len(reaches) > maxMembers {
			return errFrame
		}
		reaches[string(name)] = true
		b = rest
	}
	p.mu.Lock()
	news := p.reaches == nil || !maps.Equal(p.reaches, reaches)
	p.reaches = reaches
	p.mu.Unlock()
	if news {
		r.place(nil)
	}
	return nil
}
