package cluster

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"time"
)

const (
	rejoinMin      = 250 * time.Millisecond
	rejoinMax      = 5 * time.Second
	rejoinDisputed = time.Second

	joinFor   = 3 * time.Second // what Start waits for at most
	lookupFor = 2 * time.Second
	joinWidth = 8 // attempts at a time
)

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
