package riak

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	basho "github.com/basho/riak-go-client"
)

// A call is one command of one node.
type call struct {
	n    *node
	cmd  basho.Command
	err  error
	done chan struct{} // closed after cmd and err were set

	ended, left bool // guarded by the pool's mu: the command, its caller
}

// attempt asks one node once. When it returns because ctx has ended the command may still be under way, and reach Riak.
func (p *pool) attempt(ctx context.Context, r request) (basho.Command, error) {
	select {
	case p.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closing:
		return nil, net.ErrClosed
	}
	limited, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	c := &call{n: p.pick(), done: make(chan struct{})}
	if !p.start(limited, c, r) {
		<-p.turns
		return nil, net.ErrClosed
	}
	select {
	case <-c.done:
		return c.cmd, c.err
	case <-limited.Done():
		p.leave(c, ctx.Err() == nil)
		return nil, fmt.Errorf("%s: %w", c.n.addr, limited.Err())
	case <-p.closing:
		return nil, net.ErrClosed
	}
}

// start runs a call on its own goroutine, which gives the turn back.
func (p *pool) start(ctx context.Context, c *call, r request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.group.Go(func() {
		defer func() { <-p.turns }()
		c.cmd, c.err = p.ask(ctx, c.n, r)
		p.mu.Lock()
		if c.ended = true; c.left {
			c.n.silent--
		}
		p.mu.Unlock()
		close(c.done)
	})
	return true
}

// leave is for a caller that has no more time. late: the node has had all of it.
func (p *pool) leave(c *call, late bool) {
	p.mu.Lock()
	if !c.ended {
		c.left = true
		c.n.silent++
	}
	late = late || c.n.silent >= silentLimit
	p.mu.Unlock()
	if late {
		p.failed(c.n)
	}
}

// ask asks one node once, or again if a connection that had been idle was no longer one.
func (p *pool) ask(ctx context.Context, n *node, r request) (basho.Command, error) {
	for {
		c, err := p.take(ctx, n)
		if err != nil {
			if ctx.Err() == nil {
				p.failed(n)
			}
			return nil, fmt.Errorf("%s: %w", n.addr, err)
		}
		cmd, err := r.build(riakTimeout(ctx))
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			p.give(n, c, true)
			return nil, err
		}
		err = c.run(cmd)
		keep := healthy(err)
		if p.give(n, c, keep && answerSize(cmd) <= keptAnswer); keep {
			if e, ok := errors.AsType[*serverError](err); ok && e.fewPrimaries() {
				p.pause(n, minorityPause) // perhaps another is on the larger side
			}
			return cmd, err
		}
		if !c.used || ctx.Err() != nil {
			p.failed(n)
			return nil, fmt.Errorf("%s: %w", n.addr, err)
		}
		p.dropIdle(n)
	}
}

// riakTimeout has Riak give up a little before we do, so that it is Riak who says what it waited for.
func riakTimeout(ctx context.Context) time.Duration {
	left := attemptTimeout
	if end, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(end))
	}
	return max(left-left/8, time.Millisecond)
}

// pick is the next node that is not paused; if all are, the one whose pause ends first.
func (p *pool) pick() *node {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var best *node
	for range p.nodes {
		p.next = (p.next + 1) % len(p.nodes)
		n := p.nodes[p.next]
		if !n.until.After(now) {
			return n
		}
		if best == nil || n.until.Before(best.until) {
			best = n
		}
	}
	return best
}

// take is an idle client or a new one.
func (p *pool) take(ctx context.Context, n *node) (*client, error) {
	p.mu.Lock()
	for len(n.idle) > 0 {
		last := len(n.idle) - 1
		c := n.idle[last]
		n.idle[last], n.idle = nil, n.idle[:last]
		if time.Since(c.idle) < idleLife {
			p.mu.Unlock()
			return c, nil
		}
		c.stop(&p.group, false)
	}
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return nil, net.ErrClosed
	}
	return newClient(ctx, n.addr)
}

// give takes a client back. The commands' goroutines call it.
func (p *pool) give(n *node, c *client, good bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !good || p.closed {
		c.stop(&p.group, !good)
		return
	}
	c.used, c.idle = true, time.Now()
	n.idle = append(n.idle, c)
	n.pause, n.until = 0, time.Time{}
	if oldest := n.idle[0]; time.Since(oldest.idle) >= idleLife {
		oldest.stop(&p.group, false)
		n.idle = append(n.idle[:0], n.idle[1:]...)
	}
}

func (p *pool) dropIdle(n *node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopIdle(n)
}

// stopIdle is called with mu locked, and not after close.
func (p *pool) stopIdle(n *node) {
	for _, c := range n.idle {
		c.stop(&p.group, false)
	}
	n.idle = nil
}

// failed leaves the node alone for a while.
func (p *pool) failed(n *node) {
	p.dropIdle(n)
	p.pause(n, 0)
}

// pause leaves the node alone for a while; 0: for twice as long as the last time, unless it is left alone already.
func (p *pool) pause(n *node, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if d == 0 {
		if n.until.After(now) {
			return
		}
		n.pause = min(max(firstPause, 2*n.pause), longestPause)
		d = n.pause
	}
	n.until = now.Add(d)
}

func (p *pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// close sends the callers away, and returns when the commands that were under way have ended, for which the client may take some
// seconds if a node is silent.
func (p *pool) close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.closing)
		for _, n := range p.nodes {
			p.stopIdle(n)
		}
	}
	p.mu.Unlock()
	p.group.Wait()
}
