package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// maxMembers bounds what a node remembers of others.
	maxMembers = 1024
	// forgetAfter being dead, a member is not looked for any more, unless it is listed in Join.
	forgetAfter = 24 * time.Hour

	rejoinMin = 250 * time.Millisecond
	rejoinMax = 5 * time.Second
	// For so long after it was last seen a node of the same name is spoken of, and asked for often.
	conflictFor    = 30 * time.Second
	rejoinDisputed = time.Second

	joinFor   = 3 * time.Second // what Start waits for at most
	lookupFor = 2 * time.Second
	joinWidth = 8 // attempts at a time
)

// A member is what is known of another node, from gossip and from hellos.
type member struct {
	about  about
	gossip string
	alive  bool // says memberlist
	left   bool
	since  time.Time // of the last change of alive or left
}

// gossipConfig is memberlist's. Measured: these notice a killed node in 1.2 to 1.7 s in clusters of 3 to 30
// and do not take a busy one for dead; probes each 100 ms do so hundreds of times.
func (n *Node) gossipConfig(t memberlist.NodeAwareTransport) (*memberlist.Config, error) {
	host, port, err := n.gossipAddress()
	if err != nil {
		return nil, err
	}
	ip, port, err := t.FinalAdvertiseAddr(host, port)
	if err != nil {
		return nil, err
	}
	c := memberlist.DefaultLANConfig()
	c.Name, c.Transport, c.SecretKey = n.cfg.Node, t, n.keys.gossip
	c.AdvertiseAddr, c.AdvertisePort, c.BindPort = ip.String(), port, port
	c.ProbeInterval, c.ProbeTimeout = 250*time.Millisecond, 120*time.Millisecond
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 3, 2
	c.GossipInterval = 50 * time.Millisecond
	c.PushPullInterval = 15 * time.Second
	c.TCPTimeout = 2 * time.Second
	c.DeadNodeReclaimTime = time.Millisecond // a node may come back under another address at once
	c.EnableCompression = false              // packets are small, and it costs more than all else
	c.Delegate, c.Events, c.Conflict = (*delegate)(n), (*delegate)(n), (*delegate)(n)
	c.Logger = n.gossipLog()
	return c, nil
}

// gossipAddress is what memberlist is to advertise, as far as it is configured.
func (n *Node) gossipAddress() (host string, port int, err error) {
	if n.cfg.AdvertiseGossip == "" {
		return "", 0, nil
	}
	host, port, err = splitPort(n.cfg.AdvertiseGossip)
	if err != nil || net.ParseIP(host) != nil {
		return host, port, err
	}
	ctx, cancel := context.WithTimeout(n.ending, lookupFor)
	defer cancel()
	addrs, err := n.cfg.Network.Lookup(ctx, host)
	if err != nil {
		return "", 0, err
	}
	return addrs[0].Unmap().String(), port, nil
}

// A delegate is the node as memberlist sees it. Its methods are called under memberlist's lock:
// none calls memberlist or waits.
type delegate Node

func (d *delegate) NodeMeta(int) []byte {
	a := d.about
	a.gossip, a.leaving = "", (*Node)(d).leaving.Load()
	return a.append(nil)
}

func (d *delegate) NotifyMsg([]byte)                {}
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d *delegate) LocalState(bool) []byte          { return nil }
func (d *delegate) MergeRemoteState([]byte, bool)   {}

func (d *delegate) NotifyJoin(m *memberlist.Node)   { (*Node)(d).gossiped(m, true) }
func (d *delegate) NotifyUpdate(m *memberlist.Node) { (*Node)(d).gossiped(m, true) }
func (d *delegate) NotifyLeave(m *memberlist.Node)  { (*Node)(d).gossiped(m, false) }

func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	n := (*Node)(d)
	a, ok := aboutMember(other)
	if existing.Name != n.cfg.Node || !ok || a.incarnation == n.Incarnation {
		return
	}
	n.mu.Lock()
	n.conflict, n.conflictAt = &a, time.Now()
	n.mu.Unlock()
	if n.seldom.may("conflict " + a.link) {
		n.log.Error("cluster: another node has this one's name: rename one of them", "name", n.cfg.Node, "other_gossip", other.Address(), "other_link", a.link)
	}
}

// sameName is another node of this one's name, if there was one lately.
func (n *Node) sameName() *about {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conflictLocked()
}

// answers reports whether a node of this one's name takes links there.
func (n *Node) answers(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, dialFor)
	defer cancel()
	s, _, _, err := n.dial(ctx, addr, n.greeting(n.cfg.Node))
	if err == nil {
		s.raw.Close()
	}
	return reasonOf(err) == refusedName
}

func aboutMember(m *memberlist.Node) (a about, ok bool) {
	c := cursor{m.Meta, true}
	a.read(&c)
	a.gossip = m.Address()
	return a, c.ok
}

// gossiped takes what memberlist has found out about a node.
func (n *Node) gossiped(g *memberlist.Node, alive bool) {
	a, ok := aboutMember(g)
	if g.Name == n.cfg.Node {
		return
	}
	if !ok || !GoodName(g.Name) {
		if n.seldom.may("meta " + g.Name) {
			n.log.Warn("cluster: gossip of something that is no node of chatd", "name", g.Name, "address", g.Address())
		}
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.memberLocked(g.Name)
	if m == nil {
		return
	}
	left := a.leaving
	if m.alive != alive || m.left != left {
		m.since = time.Now()
		n.log.Info("cluster: member", "name", g.Name, "alive", alive, "left", left, "address", g.Address())
	}
	if !alive && m.alive {
		n.metrics.deaths.Inc()
	}
	m.about, m.gossip, m.alive, m.left = a, a.gossip, alive, left
	n.newsLocked(g.Name)
}

// heardOf takes what a node said of itself in a hello.
func (n *Node) heardOf(name string, a about) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.memberLocked(name); m != nil {
		m.about, m.gossip, m.left = a, a.gossip, false
	}
}

// goneBye notes that a node said goodbye.
func (n *Node) goneBye(name string, incarnation uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.members[name]; m != nil && m.about.incarnation == incarnation {
		m.left, m.since = true, time.Now()
	}
}

func (n *Node) memberLocked(name string) *member {
	m := n.members[name]
	if m == nil && !n.closed && len(n.members) < maxMembers {
		m = &member{since: time.Now()}
		n.members[name] = m
	}
	return m
}

// newsLocked tells a node's link, which begins with the first news.
func (n *Node) newsLocked(name string) {
	if l := n.linkLocked(name); l != nil {
		select {
		case l.news <- struct{}{}:
		default:
		}
	}
}

// linkAddress is where a node is to be dialled; empty: nowhere.
func (n *Node) linkAddress(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.members[name]; m != nil && !m.left {
		return m.about.link
	}
	return ""
}

// hasLeft reports whether gossip knows that an incarnation left. That it is dead for gossip
// means nothing to its link, which knows better.
func (n *Node) hasLeft(name string, incarnation uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.members[name]
	return m != nil && m.left && m.about.incarnation == incarnation
}

// deadFor is since when gossip has a node for dead.
func (n *Node) deadFor(name string) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.members[name]; m != nil && !m.alive {
		return time.Since(m.since)
	}
	return 0
}

// rejoin looks for nodes for ever: those of Join that are not there, and
// those that were. So islands find each other again whatever memberlist has forgotten.
func (n *Node) rejoin() {
	delay := rejoinMin
	for {
		select {
		case <-time.After(jitter(delay)):
		case <-n.stir:
			delay = rejoinMin
			continue
		case <-n.ending.Done():
			return
		}
		if n.leaving.Load() {
			return
		}
		delay = min(2*delay, rejoinMax)
		n.forget()
		// The name may have been a dead node's, elsewhere: others learn of this one only when they
		// have that one for dead, and are told again.
		disputed := n.disputed()
		if disputed {
			delay = min(delay, rejoinDisputed)
		}
		n.seek(n.ending, disputed)
	}
}

// seek looks for nodes once.
func (n *Node) seek(ctx context.Context, all bool) {
	seeds, silent := n.seeds(ctx)
	failed, err := n.join(ctx, n.missing(seeds, all))
	silent = append(silent, failed...)
	n.mu.Lock()
	n.silent = silent
	if err == nil { // names without addresses
		err = errNoAddress
	}
	alone := len(n.members) == 0 && len(silent) > 0 && time.Since(n.started) > joinFor // others may just be starting
	n.mu.Unlock()
	if alone && !n.leaving.Load() && n.ending.Err() == nil && n.seldom.may("alone") {
		n.log.Warn("cluster: alone: nobody answers at the addresses of cluster.join, or not with this cluster.secret", "addresses", silent, "error", err)
	}
}

var errNoAddress = errors.New("no address is known")

// seeds are the addresses of Join, and its names that have none.
func (n *Node) seeds(ctx context.Context) (seeds, unknown []string) {
	ctx, cancel := context.WithTimeout(ctx, lookupFor)
	defer cancel()
	for _, join := range n.cfg.Join {
		host, port, err := net.SplitHostPort(join)
		if err != nil {
			_, port, _ = net.SplitHostPort(n.about.gossip)
			host = join
		}
		if ip := net.ParseIP(host); ip != nil {
			seeds = append(seeds, net.JoinHostPort(ip.String(), port))
			continue
		}
		addrs, err := n.cfg.Network.Lookup(ctx, host)
		if err != nil && n.seldom.may("join "+join) {
			n.log.Warn("cluster: join", "address", join, "error", err)
		}
		if len(addrs) == 0 {
			unknown = append(unknown, join)
		}
		for _, a := range addrs {
			seeds = append(seeds, net.JoinHostPort(a.Unmap().String(), port))
		}
	}
	return seeds, unknown
}

// disputed reports whether there was another node of this one's name lately.
func (n *Node) disputed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conflictLocked() != nil
}

func (n *Node) conflictLocked() *about {
	if n.conflict != nil && time.Since(n.conflictAt) > conflictFor {
		n.conflict = nil
	}
	return n.conflict
}

// missing is which of the seeds, and of all nodes that ever were members, are not up or not alive for
// memberlist; or all of them. One that was restarted at once is alive for memberlist, and may not know of
// anybody.
func (n *Node) missing(seeds []string, all bool) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	there := map[string]bool{n.about.gossip: true, "": true}
	for name, m := range n.members {
		if l := n.links[name]; m.alive && l != nil && l.isUp() && !all {
			there[m.gossip] = true
		}
	}
	for _, m := range n.members {
		if !m.left {
			seeds = append(seeds, m.gossip)
		}
	}
	var missing []string
	for _, s := range seeds {
		if !there[s] {
			there[s] = true
			missing = append(missing, s)
		}
	}
	return missing
}

// join exchanges the state of membership with nodes, and waits for that as long as ctx and joinFor
// allow. It returns those that have not answered, and why one of them has not.
func (n *Node) join(ctx context.Context, addrs []string) (silent []string, err error) {
	type outcome struct {
		addr string
		err  error
	}
	outcomes := make(chan outcome, len(addrs))
	slots := make(chan struct{}, joinWidth)
	for _, a := range addrs {
		n.work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := n.ending.Err()
			if err == nil {
				err = n.ask(a)
			}
			outcomes <- outcome{a, err}
		})
	}
	silent = slices.Clone(addrs)
	enough := time.NewTimer(joinFor)
	defer enough.Stop()
	for range addrs {
		select {
		case o := <-outcomes:
			if o.err != nil {
				err = o.err
				continue
			}
			silent = slices.DeleteFunc(silent, func(a string) bool { return a == o.addr })
		case <-enough.C:
			return silent, cmp.Or(err, context.DeadlineExceeded)
		case <-ctx.Done():
			return silent, cmp.Or(err, ctx.Err())
		}
	}
	return silent, err
}

// ask exchanges the state of membership with one node.
func (n *Node) ask(addr string) error {
	_, err := n.gossip.Join([]string{addr})
	if one := errors.Unwrap(err); one != nil { // memberlist's list of it, which has several lines
		err = one
	}
	if err != nil {
		n.log.Debug("cluster: join", "address", addr, "error", err)
	}
	return err
}

// Why a node cannot be forgotten.
var (
	ErrNoNode    = errors.New("cluster: there is no such node")
	ErrNodeThere = errors.New("cluster: the node is there")
)

// forget ends what there is with nodes that are gone for long.
func (n *Node) forget() {
	n.mu.Lock()
	var gone []string
	for name, m := range n.members {
		if time.Since(m.since) >= forgetAfter && n.dropLocked(name) == nil {
			gone = append(gone, name)
		}
	}
	n.mu.Unlock()
	n.forgotten(gone...)
}

// Forget does by hand, and at once, what is done for each node that is not there after 24 hours: it is looked for no more,
// and not missed.
func (n *Node) Forget(name string) error {
	n.mu.Lock()
	err := n.dropLocked(name)
	n.mu.Unlock()
	if err == nil {
		n.forgotten(name)
	}
	return err
}

func (n *Node) dropLocked(name string) error {
	m, l := n.members[name], n.links[name]
	switch {
	case m == nil:
		return ErrNoNode
	case m.alive || l != nil && l.isUp():
		return ErrNodeThere
	}
	delete(n.members, name)
	if delete(n.links, name); l != nil {
		close(l.quit)
	}
	return nil
}

func (n *Node) forgotten(names ...string) {
	for _, name := range names {
		n.log.Info("cluster: a node is forgotten", "name", name)
		n.handler.PeerForgotten(name)
	}
}

// gossipLog turns memberlist's lines into ours. It complains of each lost packet: warnings come
// out for each text once in a while.
func (n *Node) gossipLog() *log.Logger {
	return log.New(gossipLog{n.log, &n.seldom}, "", 0)
}

// maxGossipLine is how much of a line is logged, in bytes. Packets of strangers may be in it.
const maxGossipLine = 256

type gossipLog struct {
	log    *slog.Logger
	seldom *seldom
}

func (g gossipLog) Write(b []byte) (int, error) {
	level := slog.LevelDebug
	line := bytes.TrimSpace(b)
	if head, rest, ok := bytes.Cut(line, []byte("] memberlist: ")); ok {
		line = rest
		if string(head) == "[ERR" || string(head) == "[WARN" {
			level = slog.LevelWarn
		}
	}
	if !g.log.Enabled(context.Background(), level) {
		return len(b), nil
	}
	words := bytes.SplitN(line, []byte(" "), 4)
	if level == slog.LevelDebug || g.seldom.may("gossip "+string(bytes.Join(words[:min(len(words), 3)], []byte(" ")))) {
		g.log.Log(context.Background(), level, "cluster: gossip", "said", string(line[:min(len(line), maxGossipLine)]))
	}
	return len(b), nil
}
