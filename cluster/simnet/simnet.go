// Package simnet is a network in memory, for tests in bubbles of testing/synctest: packets and streams with delay and loss, paths
// that are cut in one direction or both, hosts that freeze, vanish and return. Chance comes from
// the seed; what remains to chance is the order in which goroutines run.
package simnet

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// A Net is the network. Its methods are safe for concurrent use.
type Net struct {
	mu    sync.Mutex
	rng   *rand.Rand
	base  path
	paths map[[2]string]*path // from, to; made when they differ from base
	hosts map[string]*Host
	names map[string][]netip.Addr // DNS
	conns map[*conn]bool
	moved *sync.Cond // something about paths, hosts or dials has changed
}

// A path is one direction between two hosts.
type path struct {
	delay, jitter time.Duration
	loss          float64 // of packets; in streams it is delay
	cut           bool
	since         time.Time // of the cut
}

const (
	window     = 256 << 10              // bytes on their way in one direction of a stream
	retransmit = 200 * time.Millisecond // what a lost segment costs
	recovery   = 2 * time.Second        // the most that a stream sleeps on after its path is back
)

// New makes a network without hosts.
func New(seed uint64) *Net {
	s := &Net{rng: rand.New(rand.NewPCG(seed, seed)), base: path{delay: 300 * time.Microsecond, jitter: 200 * time.Microsecond},
		paths: make(map[[2]string]*path), hosts: make(map[string]*Host), names: make(map[string][]netip.Addr), conns: make(map[*conn]bool)}
	s.moved = sync.NewCond(&s.mu)
	return s
}

// A Host is a machine: the network as it sees it.
type Host struct {
	net       *Net
	ip        string
	frozen    bool // neither sends nor receives, and comes back
	since     time.Time
	gone      bool
	crashed   bool // its process has ended, and what is left of that reaches nobody
	listeners map[int]*listener
	gossiper  *gossiper
}

// Host makes or finds the machine of that address.
func (s *Net) Host(ip string) *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[ip]
	if h == nil {
		h = &Host{net: s, ip: ip, listeners: make(map[int]*listener)}
		s.hosts[ip] = h
	}
	return h
}

// Name gives a host name addresses.
func (s *Net) Name(name string, addrs ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name] = addrs
}

func (s *Net) pathLocked(from, to string) *path {
	p := s.paths[[2]string{from, to}]
	if p == nil {
		base := s.base
		p = &base
		s.paths[[2]string{from, to}] = p
	}
	return p
}

// Shape sets delay, jitter and loss of one direction.
func (s *Net) Shape(from, to string, delay, jitter time.Duration, loss float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pathLocked(from, to)
	p.delay, p.jitter, p.loss = delay, jitter, loss
}

// Unshape undoes Shape.
func (s *Net) Unshape(from, to string) { s.Shape(from, to, s.base.delay, s.base.jitter, s.base.loss) }

// Cut has nothing pass in one direction any more.
func (s *Net) Cut(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutLocked(from, to)
}

func (s *Net) cutLocked(from, to string) {
	if p := s.pathLocked(from, to); !p.cut {
		p.cut, p.since = true, time.Now()
	}
}

// mendLocked undoes Cut.
func (s *Net) mendLocked(from, to string) {
	if p := s.pathLocked(from, to); p.cut {
		p.cut = false
		s.recoverLocked(time.Since(p.since), func(h *half) bool { return h.from == from && h.to == to })
	}
}

// Split cuts all paths between hosts of different groups, and mends those within one.
func (s *Net) Split(groups ...[]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	group := make(map[string]int)
	for i, g := range groups {
		for _, ip := range g {
			group[ip] = i
		}
	}
	for from := range s.hosts {
		for to := range s.hosts {
			if group[from] != group[to] {
				s.cutLocked(from, to)
			} else {
				s.mendLocked(from, to)
			}
		}
	}
}

// Heal mends every path.
func (s *Net) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.paths {
		s.mendLocked(k[0], k[1])
	}
}

// Freeze stops what a host sends and receives; its clock goes on.
func (s *Net) Freeze(ip string) {
	h := s.Host(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.frozen, h.since = true, time.Now()
}

func (s *Net) Thaw(ip string) {
	h := s.Host(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.frozen = false
	s.recoverLocked(time.Since(h.since), func(f *half) bool { return f.from == ip || f.to == ip })
}

// Vanish has a host fall silent without a word. Close the node afterwards.
func (s *Net) Vanish(ip string) {
	h := s.Host(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.gone = true
}

// Revive has a host that vanished return, remembering nothing.
func (s *Net) Revive(ip string) {
	h := s.Host(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.gone = false
	for c := range s.conns {
		if c.in.from == ip {
			c.in.reset, c.out.reset = true, true
			c.in.moved.Broadcast()
			c.out.moved.Broadcast()
		}
	}
	s.moved.Broadcast()
}

// Crash ends a host's process as kill -9 does: what it has sent arrives, its streams and ports are closed, and whatever
// goroutines are left of it reach nobody. Boot it when these have ended.
func (s *Net) Crash(ip string) {
	h := s.Host(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.crashed, h.gossiper = true, nil
	for _, l := range h.listeners {
		l.closeLocked()
	}
	for c := range s.conns {
		if c.out.from == ip {
			c.closeLocked()
		}
	}
	s.moved.Broadcast()
}

// Boot lets a host that has crashed have another process.
func (s *Net) Boot(ip string) {
	h := s.Host(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.crashed = false
}

// recoverLocked has streams go on some time after their path is back, as retransmission does: the longer
// it was cut, the later.
func (s *Net) recoverLocked(outage time.Duration, which func(*half) bool) {
	for c := range s.conns {
		h := c.in
		if !which(h) {
			continue
		}
		at := time.Now().Add(time.Duration(s.rng.Int64N(int64(min(outage, recovery)) + 1)))
		for i := range h.queue {
			if h.queue[i].at.Before(at) {
				h.queue[i].at = at
			}
		}
		if h.last.Before(at) {
			h.last = at
		}
		h.moved.Broadcast()
	}
	s.moved.Broadcast()
}

func (s *Net) blockedLocked(from, to string) bool {
	a, b := s.hosts[from], s.hosts[to]
	p := s.paths[[2]string{from, to}]
	return a == nil || b == nil || a.frozen || b.frozen || a.gone || b.gone || p != nil && p.cut
}

// travelLocked is how long something takes, and whether it is lost.
func (s *Net) travelLocked(from, to string) (time.Duration, bool) {
	p := s.paths[[2]string{from, to}]
	if p == nil {
		p = &s.base
	}
	d := p.delay
	if p.jitter > 0 {
		d += time.Duration(s.rng.Int64N(int64(p.jitter)))
	}
	return d, p.loss > 0 && s.rng.Float64() < p.loss
}

// What follows is the network of one host, as cluster.Network has it.

func (h *Host) Lookup(_ context.Context, host string) ([]netip.Addr, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if addrs := h.net.names[host]; len(addrs) > 0 {
		return addrs, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (h *Host) Listen(addr string) (net.Listener, error) {
	_, port, err := splitPort(addr)
	if err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.listeners[port] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := &listener{host: h, port: port, conns: make(chan net.Conn, 64), closed: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	to, port, err := splitPort(addr)
	if err != nil {
		return nil, err
	}
	s := h.net
	stop := context.AfterFunc(ctx, func() { s.mu.Lock(); s.moved.Broadcast(); s.mu.Unlock() })
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !h.crashed && (s.blockedLocked(h.ip, to) || s.blockedLocked(to, h.ip)) {
		if ctx.Err() != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
		}
		s.moved.Wait()
	}
	there, _ := s.travelLocked(h.ip, to)
	back, _ := s.travelLocked(to, h.ip)
	s.mu.Unlock()
	select {
	case <-time.After(there + back):
	case <-ctx.Done():
	}
	s.mu.Lock()
	if ctx.Err() != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	l := s.hosts[to].listeners[port]
	if l == nil || h.crashed {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	ours, theirs := s.connLocked(h.ip, to, port)
	select {
	case l.conns <- theirs:
		return ours, nil
	default:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
}

func (h *Host) Gossip(_ context.Context, addr string, _ *slog.Logger) (memberlist.NodeAwareTransport, error) {
	_, port, err := splitPort(addr)
	if err != nil {
		return nil, err
	}
	l, err := h.Listen(addr)
	if err != nil {
		return nil, err
	}
	g := &gossiper{listener: l.(*listener), packets: make(chan *memberlist.Packet, 1024), port: port}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.gossiper = g
	return g, nil
}

type listener struct {
	host   *Host
	port   int
	conns  chan net.Conn
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Addr() net.Addr { return address(l.host.ip, l.port) }

func (l *listener) Close() error {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	l.closeLocked()
	return nil
}

func (l *listener) closeLocked() {
	if l.host.listeners[l.port] != l {
		return
	}
	delete(l.host.listeners, l.port)
	close(l.closed)
	for len(l.conns) > 0 {
		(<-l.conns).(*conn).closeLocked()
	}
}

func address(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }

// A gossiper is memberlist's transport.
type gossiper struct {
	*listener
	packets chan *memberlist.Packet
	port    int
}

func (g *gossiper) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.ParseIP(g.host.ip), g.port, nil
}

func (g *gossiper) PacketCh() <-chan *memberlist.Packet { return g.packets }
func (g *gossiper) StreamCh() <-chan net.Conn           { return g.conns }
func (g *gossiper) Shutdown() error                     { return g.Close() }

func (g *gossiper) WriteTo(b []byte, addr string) (time.Time, error) {
	to, port, err := splitPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	now, b := time.Now(), slices.Clone(b)
	s := g.host.net
	s.mu.Lock()
	defer s.mu.Unlock()
	d, lost := s.travelLocked(g.host.ip, to)
	if lost || g.host.crashed || s.blockedLocked(g.host.ip, to) {
		return now, nil
	}
	time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		dest := s.hosts[to].gossiper
		if s.blockedLocked(g.host.ip, to) || dest == nil || dest.port != port {
			return
		}
		select {
		case dest.packets <- &memberlist.Packet{Buf: b, From: address(g.host.ip, g.port), Timestamp: time.Now()}:
		default: // as a kernel does when nobody reads
		}
	})
	return now, nil
}

func (g *gossiper) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return g.WriteTo(b, a.Addr)
}

func (g *gossiper) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return g.host.Dial(ctx, addr)
}

func (g *gossiper) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return g.DialTimeout(a.Addr, timeout)
}

// A half is one direction of a stream.
type half struct {
	from, to string
	queue    []segment
	bytes    int
	last     time.Time // when the last segment arrives
	fin      bool      // its writer has closed
	deaf     bool      // its reader has closed
	reset    bool
	moved    *sync.Cond
}

type segment struct {
	data []byte
	at   time.Time
}

// A conn is one end of a stream.
type conn struct {
	net           *Net
	local, remote net.Addr
	in, out       *half
	closed        bool
	readBy        deadline
	writeBy       deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (s *Net) connLocked(from, to string, port int) (dialer, acceptor *conn) {
	half := func(a, b string) *half { return &half{from: a, to: b, moved: sync.NewCond(&s.mu)} }
	there, back := half(from, to), half(to, from)
	a, b := address(from, 40000+s.rng.IntN(20000)), address(to, port)
	dialer = &conn{net: s, local: a, remote: b, in: back, out: there}
	acceptor = &conn{net: s, local: b, remote: a, in: there, out: back}
	s.conns[dialer], s.conns[acceptor] = true, true
	return dialer, acceptor
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(b []byte) (int, error) {
	s, h := c.net, c.in
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		now := time.Now()
		blocked := s.blockedLocked(h.from, h.to)
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.readBy.passed(now):
			return 0, os.ErrDeadlineExceeded
		case h.reset:
			return 0, syscall.ECONNRESET
		case !blocked && len(h.queue) > 0 && !h.queue[0].at.After(now):
			return h.takeLocked(b), nil
		case !blocked && len(h.queue) == 0 && h.fin && !h.last.After(now):
			return 0, io.EOF
		}
		var t *time.Timer
		if at := h.nextLocked(); !blocked && !at.IsZero() {
			t = time.AfterFunc(at.Sub(now), c.wake(h))
		}
		h.moved.Wait()
		if t != nil {
			t.Stop()
		}
	}
}

func (h *half) nextLocked() time.Time {
	if len(h.queue) > 0 {
		return h.queue[0].at
	}
	if h.fin {
		return h.last
	}
	return time.Time{}
}

func (h *half) takeLocked(b []byte) int {
	n := 0
	for now := time.Now(); n < len(b) && len(h.queue) > 0 && !h.queue[0].at.After(now); {
		seg := &h.queue[0]
		k := copy(b[n:], seg.data)
		n += k
		if seg.data = seg.data[k:]; len(seg.data) == 0 {
			h.queue = h.queue[1:]
		}
	}
	h.bytes -= n
	h.moved.Broadcast()
	return n
}

func (c *conn) wake(h *half) func() {
	return func() {
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		h.moved.Broadcast()
	}
}

func (c *conn) Write(b []byte) (int, error) {
	s, h := c.net, c.out
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.writeBy.passed(time.Now()):
			return 0, os.ErrDeadlineExceeded
		case h.reset, h.deaf && !s.blockedLocked(h.from, h.to) && !s.blockedLocked(h.to, h.from):
			return 0, syscall.EPIPE
		case h.bytes < window:
			d, lost := s.travelLocked(h.from, h.to)
			if lost {
				d += retransmit
			}
			if at := time.Now().Add(d); at.After(h.last) {
				h.last = at
			}
			h.queue = append(h.queue, segment{slices.Clone(b), h.last})
			h.bytes += len(b)
			h.moved.Broadcast()
			return len(b), nil
		}
		h.moved.Wait()
	}
}

func (c *conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.closeLocked()
	return nil
}

func (c *conn) closeLocked() {
	if c.closed {
		return
	}
	c.closed = true
	delete(c.net.conns, c)
	d, _ := c.net.travelLocked(c.out.from, c.out.to)
	if at := time.Now().Add(d); at.After(c.out.last) {
		c.out.last = at
	}
	c.out.fin, c.in.deaf = true, true
	c.in.queue = nil
	c.in.moved.Broadcast()
	c.out.moved.Broadcast()
	c.readBy.stop()
	c.writeBy.stop()
}

func (c *conn) SetDeadline(t time.Time) error {
	return cmpError(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func cmpError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (c *conn) SetReadDeadline(t time.Time) error  { return c.setDeadline(&c.readBy, c.in, t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeBy, c.out, t) }

func (c *conn) setDeadline(d *deadline, h *half, t time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	d.stop()
	if d.at = t; !t.IsZero() {
		d.timer = time.AfterFunc(max(0, time.Until(t)), c.wake(h))
	}
	h.moved.Broadcast()
	return nil
}

func (d *deadline) passed(now time.Time) bool { return !d.at.IsZero() && !d.at.After(now) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

func splitPort(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}
