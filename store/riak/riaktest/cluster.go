package riaktest

import (
	"cmp"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// Config says what cluster Start starts. The zero value is three nodes with
// bitcask, and no bucket type but "default".
type Config struct {
	Nodes int // default 3

	// Types are the bucket types that are created and active: the JSON that
	// `riak admin bucket-type create NAME JSON` takes, by name.
	Types map[string]string

	Backend string // storage_backend: bitcask (default), leveled, leveldb, memory

	Seed uint64 // of every random choice; 0: 1

	// ReapAfter is Riak's delete_mode: how long a tombstone stays that all
	// replicas have; default 3s as Riak's, negative: for ever.
	ReapAfter time.Duration

	// RaceWindow is the longest time between the check and the write of a
	// conditional put; default 1ms, negative: none.
	RaceWindow time.Duration

	// Lag is the longest time by which replicas that a quorum did not need get a
	// write, or a repair, after the answer; default 0: at once after it.
	Lag time.Duration

	// Timeout is how long a request waits for replicas that do not answer, if
	// it does not say itself; default 60s as Riak's.
	Timeout time.Duration

	// MaxSiblings is object.siblings.maximum: a put that would make more fails;
	// default 100 as Riak's.
	MaxSiblings int

	// ManualHandoff leaves what fallbacks hold with them, when nodes come back,
	// until Handoff is called.
	ManualHandoff bool
}

// partitionsPerNode makes the ring: so many partitions that any n_val up to the
// number of nodes has its replicas on nodes of their own.
const partitionsPerNode = 16

// A Cluster is a running double. Its methods are safe for concurrent use.
type Cluster struct {
	config Config
	t      testing.TB
	nodes  []*node // fixed after Start
	conns  sync.WaitGroup

	randomMu sync.Mutex
	random   *rand.Rand

	mu      sync.RWMutex
	types   map[string]Props
	buckets map[bucket]Props // properties set by clients
	side    []int            // the side of the partition on which a node is
	changed chan struct{}    // closed and replaced when a node or a partition changes
	refused bool             // Cut
	closed  bool

	faults faults
	counts counts
}

// Start starts a cluster that ends with the test.
func Start(t testing.TB, config Config) *Cluster {
	t.Helper()
	c, err := open(t, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func open(t testing.TB, config Config) (*Cluster, error) {
	config = config.withDefaults()
	c := &Cluster{
		config:  config,
		t:       t,
		random:  rand.New(rand.NewPCG(config.Seed, 0)),
		types:   map[string]Props{},
		buckets: map[bucket]Props{},
		side:    make([]int, config.Nodes),
		changed: make(chan struct{}),
	}
	for name, props := range config.Types {
		if err := c.CreateType(name, props); err != nil {
			return nil, err
		}
	}
	for i := range config.Nodes {
		n := &node{cluster: c, index: i, vnodes: make([]*vnode, config.Nodes*partitionsPerNode)}
		c.nodes = append(c.nodes, n)
		if err := n.listen("127.0.0.1:0"); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (config Config) withDefaults() Config {
	config.ReapAfter = cmp.Or(config.ReapAfter, 3*time.Second)
	config.RaceWindow = cmp.Or(config.RaceWindow, time.Millisecond)
	config.Timeout = cmp.Or(config.Timeout, time.Minute)
	config.Nodes = cmp.Or(config.Nodes, 3)
	config.Backend = cmp.Or(config.Backend, "bitcask")
	config.Seed = cmp.Or(config.Seed, 1)
	config.MaxSiblings = cmp.Or(config.MaxSiblings, 100)
	return config
}

// close ends every connection and returns when nothing of the cluster runs.
func (c *Cluster) close() {
	c.mu.Lock()
	c.closed = true
	c.notifyLocked()
	c.mu.Unlock()
	for _, n := range c.nodes {
		n.hangUp(true)
	}
	c.conns.Wait()
}

// CreateType is `riak admin bucket-type create` and `activate`.
func (c *Cluster) CreateType(name, props string) error {
	p, err := parseProps(props)
	if err != nil {
		return err
	}
	if p.Backend == "" {
		p.Backend = c.config.Backend
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.types[name] = p
	return nil
}

// Addrs are the nodes' addresses, host:port; they stay when a node restarts.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		addrs[i] = n.addr
	}
	return addrs
}

// Kill ends a node: its connections break, others are refused, and what it was
// doing stops where it is. What it has stored stays.
func (c *Cluster) Kill(i int) { c.nodes[i].setState(dead) }

// Stall makes a node silent, as SIGSTOP does: the others wait for its answers,
// and it does what it was asked when it is restarted.
func (c *Cluster) Stall(i int) { c.nodes[i].setState(stalled) }

// Restart brings a killed or stalled node back, at the same address and with
// what it had. That its port is taken is an error of the test.
func (c *Cluster) Restart(i int) {
	n := c.nodes[i]
	if n.state.Load() == dead {
		c.relisten(n)
	}
	n.setState(up)
	c.handoff()
}

func (c *Cluster) relisten(n *node) {
	if err := n.listen(n.addr); err != nil {
		c.t.Errorf("riaktest: node %d: %v", n.index, err)
	}
}

// Partition cuts the cluster in sides that do not see each other; clients still
// reach every node. Nodes on no side are on one of their own together.
func (c *Cluster) Partition(sides ...[]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.side)
	for s, side := range sides {
		for _, i := range side {
			c.side[i] = s + 1
		}
	}
	c.notifyLocked()
}

// Heal ends the partition.
func (c *Cluster) Heal() {
	c.Partition()
	c.handoff()
}

// reaches says whether node from has node to among those that are up. A stalled
// node is: nobody has noticed yet.
func (c *Cluster) reaches(from, to int) bool {
	if from == to {
		return true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.side[from] == c.side[to] && c.nodes[to].state.Load() != dead
}

func (c *Cluster) notifyLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Cluster) changes() <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed
}

func (c *Cluster) ended() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.closed
}

// props are the properties of a bucket; ok is false if its type does not exist.
func (c *Cluster) props(b bucket) (p Props, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if p, ok := c.buckets[b]; ok {
		return p, true
	}
	return c.typePropsLocked(b.kind)
}

func (c *Cluster) typePropsLocked(kind string) (Props, bool) {
	if p, ok := c.types[kind]; ok {
		return p, true
	}
	p := defaultProps()
	p.Backend = c.config.Backend
	return p, kind == defaultType
}

// intn is a random number below n, by the seed.
func (c *Cluster) intn(n int) int {
	c.randomMu.Lock()
	defer c.randomMu.Unlock()
	return c.random.IntN(n)
}

func (c *Cluster) chance(p float64) bool {
	c.randomMu.Lock()
	defer c.randomMu.Unlock()
	return c.random.Float64() < p
}

func (c *Cluster) shuffle(n int, swap func(i, j int)) {
	c.randomMu.Lock()
	defer c.randomMu.Unlock()
	c.random.Shuffle(n, swap)
}
