package riak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"chatd/store"
)

const (
	dialTimeout    = time.Second
	attemptTimeout = 3 * time.Second // for one answer
	requestTimeout = 8 * time.Second // for all attempts of one request
	tries          = 4
	// atOnce bounds the requests under way, and with them the connections; more wait for their turn.
	atOnce = 128
	// idleLife is below what firewalls and load balancers leave alone.
	idleLife = 30 * time.Second
	// A node that failed is left alone for a while that doubles, unless all have failed.
	firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second
	// minorityPause is for one that is cut off from most others.
	minorityPause = time.Second
)

// A pool is the connections to all nodes. Every request is safe to repeat, so one that fails is asked of another node.
type pool struct {
	nodes []*node
	turns chan struct{}
	puts  atomic.Int64 // under way or waiting for their turn

	mu     sync.Mutex
	next   int
	closed bool
	conns  map[*conn]struct{} // those in use
}

// A node is one of Riak's, guarded by the pool's mu.
type node struct {
	addr  string
	idle  []*conn // the one used last comes last
	pause time.Duration
	until time.Time // of the pause
}

func newPool(addrs []string) *pool {
	p := &pool{turns: make(chan struct{}, atOnce), conns: make(map[*conn]struct{})}
	for _, addr := range addrs {
		p.nodes = append(p.nodes, &node{addr: addr})
	}
	p.next = rand.IntN(len(addrs))
	return p
}

// do asks until there is an answer, ctx ends, or there is no more hope for now.
func (p *pool) do(ctx context.Context, r request) error {
	if r.code == codePutReq {
		p.puts.Add(1)
		defer p.puts.Add(-1)
	}
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var err error
	for i := range tries {
		if err = p.attempt(limited, r); err == nil {
			return nil
		}
		e, answered := errors.AsType[*serverError](err)
		if answered && e.permanent() || limited.Err() != nil || i == tries-1 {
			break
		}
		if answered && e.fewPrimaries() {
			if i >= len(p.nodes)-1 {
				break
			}
			continue
		}
		if i > 0 { // the first other node is asked at once
			sleep(limited, rand.N(firstPause<<i))
		}
	}
	return p.outcome(ctx, r.name, err)
}

// outcome is err in the words of package store.
func (p *pool) outcome(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return store.ErrClosed
	}
	if e, ok := errors.AsType[*serverError](err); ok && e.permanent() {
		return fmt.Errorf("riak: %s: %w", name, err)
	}
	return &unavailable{name, err}
}

// unavailable is a store.ErrUnavailable. It does not unwrap to a timeout of ours, which callers would take for their own.
type unavailable struct {
	name  string
	cause error
}

func (e *unavailable) Error() string {
	return fmt.Sprintf("riak: %s: %v: %v", e.name, store.ErrUnavailable, e.cause)
}

func (e *unavailable) Unwrap() error { return store.ErrUnavailable }

// As finds what Riak answered.
func (e *unavailable) As(target any) bool {
	_, wanted := target.(**serverError)
	return wanted && errors.As(e.cause, target)
}

// sleep ends early with ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// attempt asks one node once, or again if a connection that had been idle was no longer one.
func (p *pool) attempt(ctx context.Context, r request) error {
	n := p.pick()
	for {
		c, err := p.take(ctx, n)
		if err != nil {
			return p.failed(ctx, n, err)
		}
		limited, cancel := context.WithTimeout(ctx, attemptTimeout)
		err = c.call(limited, r)
		late := limited.Err() != nil
		cancel()
		if p.give(n, c, healthy(err)); healthy(err) {
			if e, ok := errors.AsType[*serverError](err); ok && e.fewPrimaries() {
				p.pause(n, minorityPause) // perhaps another is on the larger side
			}
			return err
		}
		if !c.used || late {
			return p.failed(ctx, n, err)
		}
		p.dropIdle(n)
	}
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

// take is an idle connection or a new one.
func (p *pool) take(ctx context.Context, n *node) (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(n.idle) > 0 && !p.closed {
		last := len(n.idle) - 1
		c := n.idle[last]
		n.idle[last], n.idle = nil, n.idle[:last]
		if time.Since(c.idle) < idleLife {
			p.conns[c] = struct{}{}
			return c, nil
		}
		_ = c.Close()
	}
	if p.closed {
		return nil, net.ErrClosed
	}
	p.mu.Unlock()
	c, err := dial(ctx, n.addr)
	p.mu.Lock()
	if err != nil {
		return nil, err
	}
	if p.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	p.conns[c] = struct{}{}
	return c, nil
}

// give takes a connection back.
func (p *pool) give(n *node, c *conn, good bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	if !good || p.closed {
		_ = c.Close()
		return
	}
	c.rest()
	n.idle = append(n.idle, c)
	n.pause, n.until = 0, time.Time{}
	if oldest := n.idle[0]; time.Since(oldest.idle) >= idleLife {
		_ = oldest.Close()
		n.idle = append(n.idle[:0], n.idle[1:]...)
	}
}

func (p *pool) dropIdle(n *node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range n.idle {
		_ = c.Close()
	}
	n.idle = nil
}

// failed leaves the node alone for a while, unless it was the caller who left.
func (p *pool) failed(ctx context.Context, n *node, err error) error {
	if ctx.Err() == nil {
		p.dropIdle(n)
		p.pause(n, 0)
	}
	return fmt.Errorf("%s: %w", n.addr, err)
}

// pause leaves the node alone for a while; 0: for twice as long as the last time.
func (p *pool) pause(n *node, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d == 0 {
		n.pause = min(max(firstPause, 2*n.pause), longestPause)
		d = n.pause
	}
	n.until = time.Now().Add(d)
}

// close ends all connections, also in the middle of what they do.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close()
	}
	for _, n := range p.nodes {
		for _, c := range n.idle {
			_ = c.Close()
		}
		n.idle = nil
	}
}
