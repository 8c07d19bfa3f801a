package riak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	basho "github.com/basho/riak-go-client"

	"chatd/store"
)

const (
	dialTimeout    = time.Second
	attemptTimeout = 3 * time.Second // for one answer
	requestTimeout = 8 * time.Second // for all attempts of one request
	tries          = 4
	// atOnce bounds the commands under way, those included whose callers have left, and with them the goroutines and the
	// connections; more wait for their turn.
	atOnce = 128
	// silentLimit is how many callers leave a node without an answer until it is taken for one that gives none.
	silentLimit = 8
	// idleLife is below what firewalls and load balancers leave alone.
	idleLife = 30 * time.Second
	// A node that failed is left alone for a while that doubles, unless all have failed.
	firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second
	// minorityPause is for one that is cut off from most others.
	minorityPause = time.Second
)

// A request is one question, which can be asked again. Each attempt needs a command of its own: the last one may still be under way.
type request struct {
	name  string
	put   bool
	build func(timeout time.Duration) (basho.Command, error)
}

// A pool is the connections to all nodes, each a client of riak-go-client. Every request is safe to repeat, so one that fails is
// asked of another node. A command runs on a goroutine of its own: the client has no contexts, so when the
// caller's ends the caller leaves, and the command ends by the client's time limits.
type pool struct {
	nodes   []*node
	turns   chan struct{}
	puts    atomic.Int64   // under way or waiting for their turn
	closing chan struct{}  // closed by close
	group   sync.WaitGroup // commands, and clients that are being stopped; grows from outside only while not closed

	mu     sync.Mutex
	next   int
	closed bool
}

// A node is one of Riak's, guarded by the pool's mu.
type node struct {
	addr   string
	idle   []*client // the one used last comes last
	silent int       // commands under way whose callers have left
	pause  time.Duration
	until  time.Time // of the pause
}

func newPool(addrs []string) *pool {
	p := &pool{turns: make(chan struct{}, atOnce), closing: make(chan struct{})}
	for _, addr := range addrs {
		p.nodes = append(p.nodes, &node{addr: addr})
	}
	p.next = rand.IntN(len(addrs))
	return p
}

// do asks until there is an answer, ctx ends, or there is no more hope for now.
func (p *pool) do(ctx context.Context, r request) (basho.Command, error) {
	if r.put {
		p.puts.Add(1)
		defer p.puts.Add(-1)
	}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var err error
	for i := range tries {
		var cmd basho.Command
		if cmd, err = p.attempt(limited, r); err == nil {
			return cmd, nil
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
	return nil, p.outcome(ctx, r.name, err)
}

// outcome is err in the words of package store.
func (p *pool) outcome(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if p.isClosed() {
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
