package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// What does not prove itself in time is closed, and no more than so many are waited for:
	// 30 kB each.
	maxUnproven        = 256
	maxUnprovenAddress = 32 // of one address: a whole cluster behind one, and one that means ill

	// seldomEvery is how often the log has the same complaint about the same address.
	seldomEvery = time.Minute
)

var errTLS = errors.New("tls")

// The sides of a handshake, in its proofs.
const (
	sideDialer   = "dialer"
	sideAcceptor = "acceptor"
)

// accept takes connections until the listener is closed.
func (n *Node) accept() {
	for delay := time.Millisecond; ; {
		conn, err := n.listener.Accept()
		if n.ending.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return
		}
		if err != nil { // out of descriptors, most likely
			n.log.Error("cluster: accept", "error", err)
			time.Sleep(delay)
			delay = min(2*delay, time.Second)
			continue
		}
		delay = time.Millisecond
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		if !n.gate.enter(host) {
			n.refused(conn.RemoteAddr(), "", refusal{reason: refusedCrowd})
			conn.Close()
			continue
		}
		n.work.Go(func() {
			defer n.gate.leave(host)
			n.welcome(conn)
		})
	}
}

// welcome has a connection prove itself and gives it to its link.
func (n *Node) welcome(conn net.Conn) {
	ctx, cancel := context.WithTimeout(n.ending, handshakeFor)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	o, err := n.greeted(ctx, conn)
	if !stop() { // too late in any case
		n.refused(conn.RemoteAddr(), "", fmt.Errorf("handshake: %w", context.DeadlineExceeded))
		return
	}
	if err != nil {
		n.refused(conn.RemoteAddr(), nameOf(o), err)
		if o != nil {
			closeRefused(o.conn, err)
		}
		conn.Close()
		return
	}
	n.heardOf(o.hello.name, o.hello.about)
	l := n.link(o.hello.name)
	if l == nil {
		conn.Close()
		return
	}
	l.offer(o)
	select {
	case <-l.done:
		l.turnAway()
	default:
	}
}

func nameOf(o *offer) string {
	if o == nil || o.hello == nil {
		return ""
	}
	return o.hello.name
}

// greeted does TLS and reads the dialer's hello. With an error there may be an offer
// all the same, to refuse.
func (n *Node) greeted(ctx context.Context, conn net.Conn) (*offer, error) {
	s, err := secure(ctx, conn, n.tls, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errTLS, err)
	}
	o := &offer{conn: s, at: time.Now()}
	kind, payload, err := readShort(s)
	if err == nil && kind != kindHello {
		err = errGarbled
	}
	if err != nil {
		return o, err
	}
	if o.hello, err = decodeHello(payload, prover(n.keys.link, s.binding, sideDialer)); err != nil {
		return o, err
	}
	h := o.hello
	switch {
	case h.name == n.cfg.Node:
		return o, refusal{refusedName, "this node has the same name"}
	case h.to != n.cfg.Node:
		return o, refusal{refusedTarget, "this is " + n.cfg.Node}
	case h.name > n.cfg.Node:
		return o, refusal{refusedTarget, "the lesser name connects"}
	case n.leaving.Load():
		return o, refusal{reason: refusedLeaving}
	}
	if o.version, err = h.suits(n.greeting(h.name)); err != nil {
		n.heardOf(h.name, h.about)
		if l := n.link(h.name); l != nil {
			l.noteRefused(err)
		}
	}
	return o, err
}

// dial connects and shakes hands. What is said has to be of the present.
func (n *Node) dial(ctx context.Context, addr string, said *hello) (s secured, h *hello, version int, err error) {
	connecting, connected := context.WithTimeout(ctx, connectLongest)
	conn, err := n.cfg.Network.Dial(connecting, addr)
	connected()
	if err != nil {
		return secured{}, nil, 0, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	if s, err = secure(ctx, conn, n.tls, true); err == nil {
		h, version, err = n.greet(s, said)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
	}
	return s, h, version, err
}

func (n *Node) greet(s secured, said *hello) (*hello, int, error) {
	if _, err := s.Write(appendFrame(nil, kindHello, said.encode(prover(n.keys.link, s.binding, sideDialer)))); err != nil {
		return nil, 0, err
	}
	kind, payload, err := readShort(s)
	if err != nil {
		return nil, 0, err
	}
	if kind == kindRefused {
		return nil, 0, decodeRefusal(payload)
	}
	h, err := decodeHello(payload, prover(n.keys.link, s.binding, sideAcceptor))
	if err != nil {
		return nil, 0, err
	}
	if h.name != said.to || h.to != n.cfg.Node {
		return nil, 0, refusal{refusedTarget, "it is " + h.name}
	}
	version, err := h.suits(said)
	return h, version, err
}

// closeRefused tells why and closes; the other side is given a moment to read it.
func closeRefused(s secured, err error) {
	refuse(s, err)
	if c, ok := s.raw.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		s.raw.SetReadDeadline(time.Now().Add(time.Second))
		var b [64]byte
		s.raw.Read(b[:])
	}
	s.raw.Close()
}

// refused counts and, once in a while for each address, logs.
func (n *Node) refused(from net.Addr, name string, err error) {
	reason := reasonOf(err)
	n.metrics.refused.WithLabelValues(reason).Inc()
	host, _, _ := net.SplitHostPort(from.String())
	if n.seldom.may(host + " " + reason) {
		n.log.Warn("cluster: connection refused", "address", from, "name", name, "reason", reason, "error", err)
	}
}

// A gate bounds how many connections may be unproven at a time, in all and of one address.
type gate struct {
	most, mostOfOne int // fixed

	mu     sync.Mutex
	all    int
	byHost map[string]int
}

func (g *gate) enter(host string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= g.most || g.byHost[host] >= g.mostOfOne {
		return false
	}
	if g.byHost == nil {
		g.byHost = make(map[string]int)
	}
	g.all++
	g.byHost[host]++
	return true
}

func (g *gate) leave(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.byHost[host]--; g.byHost[host] == 0 {
		delete(g.byHost, host)
	}
}

// seldom remembers what was said lately. At most 1,024 things: beyond that it is
// silent until some are old.
type seldom struct {
	mu   sync.Mutex
	said map[string]time.Time
}

func (s *seldom) may(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at, ok := s.said[what]; ok && now.Sub(at) < seldomEvery {
		return false
	}
	if s.said == nil {
		s.said = make(map[string]time.Time)
	}
	if len(s.said) >= 1024 {
		for k, at := range s.said {
			if now.Sub(at) >= seldomEvery {
				delete(s.said, k)
			}
		}
		if len(s.said) >= 1024 {
			return false
		}
	}
	s.said[what] = now
	return true
}
