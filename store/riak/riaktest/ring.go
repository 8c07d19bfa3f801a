package riaktest

import "github.com/cespare/xxhash/v2"

// A place is one entry of a preference list: a partition, the node that keeps
// it now, and whether that is its owner (a primary) or a fallback.
type place struct {
	partition int
	node      *node
	primary   bool
}

func (c *Cluster) partitions() int { return len(c.nodes) * partitionsPerNode }

// first is the partition at which a key's replicas begin.
func (c *Cluster) first(b bucket, key string) int {
	h := xxhash.New()
	for _, s := range []string{b.kind, b.name, key} {
		h.WriteString(s)
		h.Write([]byte{0})
	}
	return int(h.Sum64() % uint64(c.partitions()))
}

func (c *Cluster) owner(partition int) *node { return c.nodes[partition%len(c.nodes)] }

// preflist is where n replicas of the key are, as node from sees the cluster:
// the owners it reaches first, then fallbacks for the others if the quorum may
// be sloppy.
func (c *Cluster) preflist(from *node, first, n int, sloppy bool) []place {
	var places []place
	var missing []int
	for i := range n {
		partition := (first + i) % c.partitions()
		if owner := c.owner(partition); c.reaches(from.index, owner.index) {
			places = append(places, place{partition, owner, true})
		} else {
			missing = append(missing, partition)
		}
	}
	if !sloppy {
		return places
	}
	for i := n; i < c.partitions() && len(missing) > 0; i++ {
		if fallback := c.owner((first + i) % c.partitions()); c.reaches(from.index, fallback.index) {
			places = append(places, place{missing[0], fallback, false})
			missing = missing[1:]
		}
	}
	return places
}

func primaries(places []place) int {
	n := 0
	for _, p := range places {
		if p.primary {
			n++
		}
	}
	return n
}

// Handoff gives what fallbacks hold to the owners that they reach.
func (c *Cluster) Handoff() {
	for _, n := range c.nodes {
		if n.state.Load() != up {
			continue
		}
		for partition := range n.vnodes {
			if owner := c.owner(partition); owner != n && owner.state.Load() == up && c.reaches(n.index, owner.index) {
				c.handOver(n, owner, partition)
			}
		}
	}
}

func (c *Cluster) handoff() {
	if !c.config.ManualHandoff {
		c.Handoff()
	}
}

// handOver sends what one node holds of a partition and then forgets it, unless
// it changed meanwhile.
func (c *Cluster) handOver(from, to *node, partition int) {
	for b, keys := range from.held(partition) {
		p, _ := c.props(b)
		p.LastWriteWins = false
		for key, o := range keys {
			to.store(partition, b, key, o, p)
			from.forget(partition, b, key, o)
		}
	}
}

// held is a copy of what the node holds of a partition.
func (n *node) held(partition int) map[bucket]map[string]*object {
	n.mu.Lock()
	defer n.mu.Unlock()
	v := n.vnodes[partition]
	if v == nil {
		return nil
	}
	held := map[bucket]map[string]*object{}
	for b, keys := range v.buckets {
		held[b] = make(map[string]*object, len(keys))
		for key, r := range keys {
			held[b][key] = r.object
		}
	}
	return held
}

func (n *node) forget(partition int, b bucket, key string, o *object) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.vnodes[partition].buckets[b][key]; r != nil && r.object == o {
		delete(n.vnodes[partition].buckets[b], key)
	}
}
