package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// maxMembers bounds what a node remembers of others.
	maxMembers = 1024
	// forgetAfter being dead, a member is not looked for any more, unless it is listed in Join.
	forgetAfter = 24 * time.Hour
	// conflictFor is how long after it was last seen a node of the same name is spoken of, and asked for often.
	conflictFor = 30 * time.Second
)

// A member is what is known of another node, from gossip and from hellos.
type member struct {
	about  about
	gossip string
	alive  bool // says memberlist
	left   bool
	since  time.Time // of the last change of alive or left
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
