package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// A Node is this process as a member of the cluster.
type Node struct {
	// Incarnation is of this process: nanoseconds since 1970 when it started.
	Incarnation uint64

	cfg     Config
	handler Handler
	log     *slog.Logger
	clock   *clock
	keys    keys
	tls     *tls.Config
	metrics *metrics
	started time.Time

	listener net.Listener
	about    about // what is said of this node, but leaving
	leaving  atomic.Bool
	gossip   *memberlist.Memberlist

	ending context.Context // done: everything ends
	end    context.CancelFunc
	work   sync.WaitGroup // every goroutine of the node
	peers  atomic.Pointer[[]*Peer]
	gate   gate
	seldom seldom
	stir   chan struct{} // a peer is down: look for it soon
	dials  chan struct{} // slots for attempts to connect

	mu         sync.Mutex
	members    map[string]*member
	links      map[string]*link
	silent     []string  // where Join was asked for nodes and nobody answered, the last time
	conflict   *about    // of another node that has this one's name
	conflictAt time.Time // when it was last seen
	closed     bool
}

// ErrNameInUse is why a node does not start: another one that is alive has its name.
var ErrNameInUse = errors.New("cluster: the node's name is in use by another one that is alive")

// Start joins the cluster. From then on, even before it returns, h is called. ctx
// bounds the start only; a cluster that can't be reached now is joined later.
func Start(ctx context.Context, cfg Config, h Handler) (*Node, error) {
	n, err := newNode(cfg, h)
	if err != nil {
		return nil, err
	}
	if err := n.open(); err != nil {
		n.Close()
		return nil, err
	}
	n.work.Go(func() { n.clock.run(n.ending) })
	n.work.Go(n.accept)
	n.seek(ctx, false)
	if other := n.sameName(); other != nil && n.answers(ctx, other.link) {
		n.Close()
		return nil, fmt.Errorf("%w: %s, links on %s", ErrNameInUse, n.cfg.Node, other.link)
	}
	n.work.Go(n.rejoin)
	return n, nil
}

func newNode(cfg Config, h Handler) (*Node, error) {
	if !GoodName(cfg.Node) {
		return nil, fmt.Errorf("cluster node name %q: 1 to %d lower-case letters, digits, \"-\", \"_\" and \".\"", cfg.Node, maxNodeName)
	}
	if len(cfg.AdvertiseLink) > maxAddress || len(cfg.Domain) > maxAddress {
		return nil, fmt.Errorf("cluster link address or domain: more than %d bytes", maxAddress)
	}
	if err := CheckSecret(&cfg); err != nil {
		return nil, fmt.Errorf("cluster secret: %w", err)
	}
	if cfg.Network == nil {
		cfg.Network = realNetwork{}
	}
	if cfg.speaks == [2]byte{} {
		cfg.speaks = [2]byte{versionMin, versionMax}
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Weight = min(max(cfg.Weight, 1), 1<<16-1)
	n := &Node{Incarnation: uint64(time.Now().UnixNano()), cfg: cfg, handler: h, log: cfg.Log, clock: newClock(), started: time.Now(),
		gate: gate{most: maxUnproven, mostOfOne: maxUnprovenAddress}, metrics: newMetrics(), stir: make(chan struct{}, 1), dials: make(chan struct{}, dialWidth), members: make(map[string]*member), links: make(map[string]*link)}
	n.peers.Store(&[]*Peer{})
	n.ending, n.end = context.WithCancel(context.Background())
	var err error
	if n.keys, err = deriveKeys(cfg.Secret); err != nil {
		return nil, fmt.Errorf("cluster secret: %w", err)
	}
	if n.tls, err = linkTLS(); err != nil {
		return nil, fmt.Errorf("cluster certificate: %w", err)
	}
	return n, nil
}

// open listens for links, and then for gossip, which tells where.
func (n *Node) open() error {
	var err error
	if n.listener, err = n.cfg.Network.Listen(n.cfg.Link); err != nil {
		return fmt.Errorf("cluster link: %w", err)
	}
	g, err := n.cfg.Network.Gossip(n.ending, n.cfg.Gossip, n.log)
	if err != nil {
		return fmt.Errorf("cluster gossip: %w", err)
	}
	conf, err := n.gossipConfig(g)
	if err != nil {
		g.Shutdown()
		return fmt.Errorf("cluster gossip: %w", err)
	}
	gossip := net.JoinHostPort(conf.AdvertiseAddr, fmt.Sprint(conf.AdvertisePort))
	n.about = about{versionMin: n.cfg.speaks[0], versionMax: n.cfg.speaks[1], weight: uint16(n.cfg.Weight), incarnation: n.Incarnation,
		link: n.advertisedLink(conf.AdvertiseAddr), gossip: gossip}
	if n.gossip, err = memberlist.Create(conf); err != nil {
		g.Shutdown()
		return fmt.Errorf("cluster gossip: %w", err)
	}
	return nil
}

// advertisedLink is where others reach this node's links: where it listens, unless
// that is every address.
func (n *Node) advertisedLink(gossipHost string) string {
	if n.cfg.AdvertiseLink != "" {
		return n.cfg.AdvertiseLink
	}
	addr := n.listener.Addr().String()
	if host, port, err := net.SplitHostPort(addr); err == nil {
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			return net.JoinHostPort(gossipHost, port)
		}
	}
	return addr
}

// Leave tells the others that this node goes, after they have acknowledged what is on its way to them
// or ctx is done, and closes the node. Whoever leaves sends nothing any more.
func (n *Node) Leave(ctx context.Context) error {
	for _, p := range n.Peers() {
		p.Room(ctx, 1)
	}
	n.leaving.Store(true)
	wait := time.Second
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, max(time.Until(deadline), time.Millisecond))
	}
	// The flag first: memberlist's own word for leaving is not told apart from death.
	if err := errors.Join(n.gossip.UpdateNode(wait), n.gossip.Leave(wait)); err != nil {
		n.log.Warn("cluster: leaving: gossip", "error", err)
	}
	n.mu.Lock()
	n.closed = true
	links := n.links
	n.links = nil
	n.mu.Unlock()
	for _, l := range links {
		close(l.quit)
	}
	var err error
	for _, l := range links {
		select {
		case <-l.done:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	n.Close()
	return err
}

// Close ends everything at once; the others find out by themselves. Handlers have seen PeerDown for
// every peer when it returns.
func (n *Node) Close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.end()
	if n.listener != nil {
		n.listener.Close()
	}
	if n.gossip != nil {
		n.gossip.Shutdown()
	}
	n.work.Wait()
}

// Name is this node's.
func (n *Node) Name() string { return n.cfg.Node }

// Peers are those that are up, ordered by name. The caller must not change the slice.
func (n *Node) Peers() []*Peer { return *n.peers.Load() }

// rise lists a peer, before its PeerUp.
func (n *Node) rise(p *Peer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	peers := append(slices.Clone(n.Peers()), p)
	slices.SortFunc(peers, func(a, b *Peer) int { return strings.Compare(a.Name, b.Name) })
	n.peers.Store(&peers)
	n.log.Info("cluster: peer is up", "peer", p.Name, "incarnation", p.Incarnation, "version", p.Version)
}

// fall takes a peer off the list, before its PeerDown.
func (n *Node) fall(p *Peer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	peers := slices.DeleteFunc(slices.Clone(n.Peers()), func(q *Peer) bool { return q == p })
	n.peers.Store(&peers)
	select {
	case n.stir <- struct{}{}:
	default:
	}
}

// link finds or begins what there is with a node of that name; nil: the node ends, or there are
// more names than can be true.
func (n *Node) link(name string) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.linkLocked(name)
}

func (n *Node) linkLocked(name string) *link {
	l := n.links[name]
	if l == nil && !n.closed && name != n.cfg.Node && len(n.links) < maxMembers {
		l = newLink(n, name)
		n.links[name] = l
		n.work.Go(l.run)
	}
	return l
}

// greeting begins what this node says in every hello.
func (n *Node) greeting(to string) *hello {
	return &hello{versionMin: n.about.versionMin, versionMax: n.about.versionMax, name: n.cfg.Node, to: to, incarnation: n.Incarnation, about: n.about, domain: n.cfg.Domain}
}

// jitter is between half and all of d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
