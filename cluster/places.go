package cluster

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Token says under which Placement somebody acts for a room or service. Who keeps something on their behalf refuses a token
// that is fenced by one that it has seen, so that a home that does not know yet that it is one no more does no harm.
type Token struct {
	Epoch uint64 // greater after each change of the nodes
	Nodes uint64 // hash of their names: of two islands at the same epoch
}

// Fences reports whether t is newer than old.
func (t Token) Fences(old Token) bool {
	return cmp.Or(cmp.Compare(t.Epoch, old.Epoch), cmp.Compare(t.Nodes, old.Nodes)) > 0
}

// A Placement says which node each room and service has its home on. It is immutable, depends on nothing but the names of the nodes and the secret,
// and is computed by each node by itself.
type Placement struct {
	Token
	Nodes []string // in order

	key  hashKey
	home []uint16 // by bucket
}

// Home is the node of a room or service, by its bare JID or another name.
func (p *Placement) Home(name string) string {
	return p.Nodes[p.home[p.key.text(name)>>(65-bits.Len(uint(len(p.home))))]]
}

// Buckets counts each node's buckets, in the order of Nodes.
func (p *Placement) Buckets() []int {
	n := make([]int, len(p.Nodes))
	for _, i := range p.home {
		n[i]++
	}
	return n
}

// Places keeps the Placement of the nodes that are up.
//
// How nodes agree: who sees its own list of nodes change makes the epoch one that is greater than all that it has seen, and
// no smaller than the time in milliseconds, which holds across a restart of all nodes. It tells its peers the epoch with the hash of its list. Who has
// the same list takes the greatest epoch told for it; who has not, only remembers that it was seen. So
// nodes that see each other have one epoch a round trip after the last change, and after two islands have
// met it is greater than that of either. While A and C see B but not each other, each goes by its own list.
type Places struct {
	current atomic.Pointer[Placement]

	node    string
	key     hashKey
	buckets func(nodes int) int
	changed func(*Placement)

	mu   sync.Mutex
	seen uint64 // the greatest epoch
}

func newPlaces(node string, key hashKey, buckets func(int) int, changed func(*Placement)) *Places {
	p := &Places{node: node, key: key, buckets: buckets, changed: changed}
	p.set(nil, false)
	return p
}

// Current is the placement by which this node goes now.
func (p *Places) Current() *Placement { return p.current.Load() }

// set makes the placement that of this node and others, or only of the others if there are any and this node is retired; it reports whether that is a change.
func (p *Places) set(others []string, retired bool) bool {
	nodes := slices.Clone(others)
	if !retired || len(others) == 0 {
		nodes = append(nodes, p.node)
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.current.Load(); old != nil && slices.Equal(old.Nodes, nodes) {
		return false
	}
	p.seen = max(p.seen+1, uint64(time.Now().UnixMilli()))
	p.become(&Placement{
		Token: Token{p.seen, p.hash(nodes)},
		Nodes: nodes, key: p.key, home: assignBuckets(nodes, p.buckets(len(nodes))),
	})
	return true
}

// hash is Token.Nodes of a placement on some nodes, in order.
func (p *Places) hash(nodes []string) uint64 { return p.key.text(strings.Join(nodes, "\x00")) }

// without is now as it would be without one of its nodes; nil if that is the only one.
func (p *Places) without(now *Placement, node string) *Placement {
	nodes := slices.DeleteFunc(slices.Clone(now.Nodes), func(n string) bool { return n == node })
	if len(nodes) == 0 {
		return nil
	}
	return &Placement{Token: now.Token, Nodes: nodes, key: p.key, home: assignBuckets(nodes, p.buckets(len(nodes)))}
}

// told takes note of a peer's token.
func (p *Places) told(t Token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = max(p.seen, t.Epoch)
	if old := p.current.Load(); t.Nodes == old.Token.Nodes && t.Epoch > old.Epoch {
		now := *old
		now.Epoch = t.Epoch
		p.become(&now)
	}
}

// become makes it the current one. The caller holds mu.
func (p *Places) become(now *Placement) {
	p.current.Store(now)
	if p.changed != nil {
		p.changed(now)
	}
}
