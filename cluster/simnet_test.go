package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// A simNet is a network in memory, for bubbles of testing/synctest: packets and streams with delay and loss, paths
// that are cut in one direction or both, hosts that freeze, vanish and return. Chance comes from
// the seed; what remains to chance is the order in which goroutines run.
type simNet struct {
	mu    sync.Mutex
	rng   *rand.Rand
	base  simPath
	paths map[[2]string]*simPath // from, to; made when they differ from base
	hosts map[string]*simHost
	names map[string][]netip.Addr // DNS
	conns map[*simConn]bool
	moved *sync.Cond // something about paths, hosts or dials has changed
}

// A simPath is one direction between two hosts.
type simPath struct {
	delay, jitter time.Duration
	loss          float64 // of packets; in streams it is delay
	cut           bool
	since         time.Time // of the cut
}

const (
	simWindow     = 256 << 10              // bytes on their way in one direction of a stream
	simRetransmit = 200 * time.Millisecond // what a lost segment costs
	simRecovery   = 2 * time.Second        // the most that a stream sleeps on after its path is back
)

func newSimNet(seed uint64) *simNet {
	s := &simNet{rng: rand.New(rand.NewPCG(seed, seed)), base: simPath{delay: 300 * time.Microsecond, jitter: 200 * time.Microsecond},
		paths: make(map[[2]string]*simPath), hosts: make(map[string]*simHost), names: make(map[string][]netip.Addr), conns: make(map[*simConn]bool)}
	s.moved = sync.NewCond(&s.mu)
	return s
}

// A simHost is a machine: the network as it sees it.
type simHost struct {
	net       *simNet
	ip        string
	frozen    bool // neither sends nor receives, and comes back
	since     time.Time
	gone      bool
	listeners map[int]*simListener
	gossiper  *simGossip
}

// host makes or finds the machine of that address.
func (s *simNet) host(ip string) *simHost {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[ip]
	if h == nil {
		h = &simHost{net: s, ip: ip, listeners: make(map[int]*simListener)}
		s.hosts[ip] = h
	}
	return h
}

func (s *simNet) pathLocked(from, to string) *simPath {
	p := s.paths[[2]string{from, to}]
	if p == nil {
		base := s.base
		p = &base
		s.paths[[2]string{from, to}] = p
	}
	return p
}

// shape sets delay, jitter and loss of one direction.
func (s *simNet) shape(from, to string, delay, jitter time.Duration, loss float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pathLocked(from, to)
	p.delay, p.jitter, p.loss = delay, jitter, loss
}

// cut has nothing pass in one direction any more.
func (s *simNet) cut(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutLocked(from, to)
}

func (s *simNet) cutLocked(from, to string) {
	if p := s.pathLocked(from, to); !p.cut {
		p.cut, p.since = true, time.Now()
	}
}

// mendLocked undoes cut.
func (s *simNet) mendLocked(from, to string) {
	if p := s.pathLocked(from, to); p.cut {
		p.cut = false
		s.recoverLocked(time.Since(p.since), func(h *simHalf) bool { return h.from == from && h.to == to })
	}
}

// split cuts all paths between hosts of different groups, and mends those within one.
func (s *simNet) split(groups ...[]string) {
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

// heal mends every path.
func (s *simNet) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.paths {
		s.mendLocked(k[0], k[1])
	}
}

// freeze stops what a host sends and receives; its clock goes on.
func (s *simNet) freeze(ip string) {
	h := s.host(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.frozen, h.since = true, time.Now()
}

func (s *simNet) thaw(ip string) {
	h := s.host(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.frozen = false
	s.recoverLocked(time.Since(h.since), func(f *simHalf) bool { return f.from == ip || f.to == ip })
}

// vanish has a host fall silent without a word. Close the node afterwards.
func (s *simNet) vanish(ip string) {
	h := s.host(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.gone = true
}

// revive has a host that vanished return, remembering nothing.
func (s *simNet) revive(ip string) {
	h := s.host(ip)
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

// recoverLocked has streams go on some time after their path is back, as retransmission does: the longer
// it was cut, the later.
func (s *simNet) recoverLocked(outage time.Duration, which func(*simHalf) bool) {
	for c := range s.conns {
		h := c.in
		if !which(h) {
			continue
		}
		at := time.Now().Add(time.Duration(s.rng.Int64N(int64(min(outage, simRecovery)) + 1)))
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

func (s *simNet) blockedLocked(from, to string) bool {
	a, b := s.hosts[from], s.hosts[to]
	p := s.paths[[2]string{from, to}]
	return a == nil || b == nil || a.frozen || b.frozen || a.gone || b.gone || p != nil && p.cut
}

// travelLocked is how long something takes, and whether it is lost.
func (s *simNet) travelLocked(from, to string) (time.Duration, bool) {
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

// What follows is the network of one host.

func (h *simHost) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if addrs := h.net.names[host]; len(addrs) > 0 {
		return addrs, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (h *simHost) listen(addr string) (net.Listener, error) {
	_, port, err := splitPort(addr)
	if err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.listeners[port] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := &simListener{host: h, port: port, conns: make(chan net.Conn, 64), closed: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

func (h *simHost) dial(ctx context.Context, addr string) (net.Conn, error) {
	to, port, err := splitPort(addr)
	if err != nil {
		return nil, err
	}
	s := h.net
	stop := context.AfterFunc(ctx, func() { s.mu.Lock(); s.moved.Broadcast(); s.mu.Unlock() })
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.blockedLocked(h.ip, to) || s.blockedLocked(to, h.ip) {
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
	if l == nil {
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

func (h *simHost) gossip(_ context.Context, addr string, _ *slog.Logger) (memberlist.NodeAwareTransport, error) {
	_, port, err := splitPort(addr)
	if err != nil {
		return nil, err
	}
	l, err := h.listen(addr)
	if err != nil {
		return nil, err
	}
	g := &simGossip{simListener: l.(*simListener), packets: make(chan *memberlist.Packet, 1024), port: port}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.gossiper = g
	return g, nil
}

type simListener struct {
	host   *simHost
	port   int
	conns  chan net.Conn
	closed chan struct{}
}

func (l *simListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *simListener) Addr() net.Addr { return simAddr(l.host.ip, l.port) }

func (l *simListener) Close() error {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	if l.host.listeners[l.port] == l {
		delete(l.host.listeners, l.port)
		close(l.closed)
		for len(l.conns) > 0 {
			(<-l.conns).(*simConn).closeLocked()
		}
	}
	return nil
}

func simAddr(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }

// A simGossip is memberlist's transport.
type simGossip struct {
	*simListener
	packets chan *memberlist.Packet
	port    int
}

func (g *simGossip) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.ParseIP(g.host.ip), g.port, nil
}

func (g *simGossip) PacketCh() <-chan *memberlist.Packet { return g.packets }
func (g *simGossip) StreamCh() <-chan net.Conn           { return g.conns }
func (g *simGossip) Shutdown() error                     { return g.Close() }

func (g *simGossip) WriteTo(b []byte, addr string) (time.Time, error) {
	to, port, err := splitPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	now, b := time.Now(), slices.Clone(b)
	s := g.host.net
	s.mu.Lock()
	defer s.mu.Unlock()
	d, lost := s.travelLocked(g.host.ip, to)
	if lost || s.blockedLocked(g.host.ip, to) {
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
		case dest.packets <- &memberlist.Packet{Buf: b, From: simAddr(g.host.ip, g.port), Timestamp: time.Now()}:
		default: // as a kernel does when nobody reads
		}
	})
	return now, nil
}

func (g *simGossip) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return g.WriteTo(b, a.Addr)
}

func (g *simGossip) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return g.host.dial(ctx, addr)
}

func (g *simGossip) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return g.DialTimeout(a.Addr, timeout)
}

// A simHalf is one direction of a stream.
type simHalf struct {
	from, to string
	queue    []simSegment
	bytes    int
	last     time.Time // when the last segment arrives
	fin      bool      // its writer has closed
	deaf     bool      // its reader has closed
	reset    bool
	moved    *sync.Cond
}

type simSegment struct {
	data []byte
	at   time.Time
}

// A simConn is one end of a stream.
type simConn struct {
	net           *simNet
	local, remote net.Addr
	in, out       *simHalf
	closed        bool
	readBy        simDeadline
	writeBy       simDeadline
}

type simDeadline struct {
	at    time.Time
	timer *time.Timer
}

func (s *simNet) connLocked(from, to string, port int) (dialer, acceptor *simConn) {
	half := func(a, b string) *simHalf { return &simHalf{from: a, to: b, moved: sync.NewCond(&s.mu)} }
	there, back := half(from, to), half(to, from)
	a, b := simAddr(from, 40000+s.rng.IntN(20000)), simAddr(to, port)
	dialer = &simConn{net: s, local: a, remote: b, in: back, out: there}
	acceptor = &simConn{net: s, local: b, remote: a, in: there, out: back}
	s.conns[dialer], s.conns[acceptor] = true, true
	return dialer, acceptor
}

func (c *simConn) LocalAddr() net.Addr  { return c.local }
func (c *simConn) RemoteAddr() net.Addr { return c.remote }

func (c *simConn) Read(b []byte) (int, error) {
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

func (h *simHalf) nextLocked() time.Time {
	if len(h.queue) > 0 {
		return h.queue[0].at
	}
	if h.fin {
		return h.last
	}
	return time.Time{}
}

func (h *simHalf) takeLocked(b []byte) int {
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

func (c *simConn) wake(h *simHalf) func() {
	return func() {
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		h.moved.Broadcast()
	}
}

func (c *simConn) Write(b []byte) (int, error) {
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
		case h.bytes < simWindow:
			d, lost := s.travelLocked(h.from, h.to)
			if lost {
				d += simRetransmit
			}
			if at := time.Now().Add(d); at.After(h.last) {
				h.last = at
			}
			h.queue = append(h.queue, simSegment{slices.Clone(b), h.last})
			h.bytes += len(b)
			h.moved.Broadcast()
			return len(b), nil
		}
		h.moved.Wait()
	}
}

func (c *simConn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.closeLocked()
	return nil
}

func (c *simConn) closeLocked() {
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

func (c *simConn) SetDeadline(t time.Time) error {
	return cmpError(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func cmpError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (c *simConn) SetReadDeadline(t time.Time) error  { return c.setDeadline(&c.readBy, c.in, t) }
func (c *simConn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeBy, c.out, t) }

func (c *simConn) setDeadline(d *simDeadline, h *simHalf, t time.Time) error {
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

func (d *simDeadline) passed(now time.Time) bool { return !d.at.IsZero() && !d.at.After(now) }

func (d *simDeadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

// simConfig is of node number i, 1..250, whose name is "n" and the number.
func (s *simNet) config(i int, join ...int) Config {
	ip := simIP(i)
	c := Config{Node: simName(i), Gossip: ip + ":7946", Link: ip + ":7947", Secret: testSecret, Log: quiet(simName(i)), net: s.host(ip)}
	for _, j := range join {
		c.Join = append(c.Join, simIP(j)+":7946")
	}
	return c
}

func simIP(i int) string   { return fmt.Sprintf("10.0.0.%d", i) }
func simName(i int) string { return fmt.Sprintf("n%02d", i) }

func mustAddrs(ips ...string) []netip.Addr {
	var as []netip.Addr
	for _, ip := range ips {
		as = append(as, netip.MustParseAddr(ip))
	}
	return as
}
