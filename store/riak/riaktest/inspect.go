package riaktest

import (
	"maps"
	"sync"

	rpbriak "github.com/basho/riak-go-client/rpb/riak"
	"github.com/cespare/xxhash/v2"
)

// Counts are what the cluster has been asked and has done.
type Counts struct {
	Requests map[Op]int
	Siblings int // puts that left more than one value
	Repeats  int // puts and deletes that came byte for byte as one before
}

// repeatsKnown bounds the requests remembered to recognise repeats; older ones
// are forgotten all at once.
const repeatsKnown = 1 << 16

type counts struct {
	mu    sync.Mutex
	total Counts
	known map[uint64]struct{}
}

func (c *counts) request(op Op, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total.Requests == nil {
		c.total.Requests = map[Op]int{}
	}
	c.total.Requests[op]++
	if op != Put && op != Del {
		return
	}
	if c.known == nil || len(c.known) >= repeatsKnown {
		c.known = map[uint64]struct{}{}
	}
	h := xxhash.Sum64(body)
	if _, again := c.known[h]; again {
		c.total.Repeats++
	}
	c.known[h] = struct{}{}
}

func (c *counts) siblings(o *object) {
	if len(o.siblings) < 2 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total.Siblings++
}

// Counts is a copy of the counters.
func (c *Cluster) Counts() Counts {
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	total := c.counts.total
	total.Requests = maps.Clone(total.Requests)
	return total
}

// A Value is one sibling as a replica has it.
type Value struct {
	Bytes   []byte
	Deleted bool
}

// Siblings are a key's values as all replicas together have them, whatever is
// reached; type "" is "default".
func (c *Cluster) Siblings(kind, name, key string) []Value {
	b := bucketOf([]byte(kind), []byte(name))
	p, _ := c.props(b)
	var o *object
	for _, n := range c.nodes {
		for partition := range c.partitions() {
			o = reconcile(o, n.peek(partition, b, key), p)
		}
	}
	if o == nil {
		return nil
	}
	var values []Value
	for _, s := range o.single(p).siblings {
		values = append(values, Value{s.pb.Value, s.deleted()})
	}
	return values
}

// peek is what the node has, without making anything.
func (n *node) peek(partition int, b bucket, key string) *object {
	n.mu.Lock()
	defer n.mu.Unlock()
	if v := n.vnodes[partition]; v != nil {
		if r := v.find(b, key); r != nil {
			return r.object
		}
	}
	return nil
}

func pairs(hits []indexed) []*rpbriak.RpbPair {
	var out []*rpbriak.RpbPair
	for _, h := range hits {
		out = append(out, &rpbriak.RpbPair{Key: []byte(h.term), Value: []byte(h.key)})
	}
	return out
}
