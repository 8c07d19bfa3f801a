package cluster

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// maxStreams of memberlist at a time, and maxStreamsAddress of one address; more are closed, and are tried again by who wants them.
	maxStreams        = 64
	maxStreamsAddress = 32
	// maxStreamBytes is many times the state of maxMembers nodes.
	maxStreamBytes = 1 << 20
	maxPacket      = 64 << 10
	packetBuffer   = 1 << 20 // asked of the kernel
)

// A gossipPort is memberlist's transport: packets and streams on one port. It bounds what streams can
// make memberlist hold, which decrypts them only when it has all; and it takes packets of their own size,
// where memberlist's own transport allocates 64 KiB for each.
type gossipPort struct {
	tcp     *net.TCPListener
	udp     *net.UDPConn
	log     *slog.Logger
	packets chan *memberlist.Packet
	streams chan net.Conn
	gate    gate
	closing context.Context
	close   context.CancelFunc
	work    sync.WaitGroup
}

func openGossip(host string, port int, log *slog.Logger) (*gossipPort, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	addr := l.Addr().(*net.TCPAddr)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: addr.IP, Port: addr.Port})
	if err != nil {
		l.Close()
		return nil, err
	}
	if err := udp.SetReadBuffer(packetBuffer); err != nil {
		log.Warn("cluster: gossip", "error", err)
	}
	g := &gossipPort{tcp: l.(*net.TCPListener), udp: udp, log: log, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		gate: gate{most: maxStreams, mostOfOne: maxStreamsAddress}}
	g.closing, g.close = context.WithCancel(context.Background())
	g.work.Go(g.receive)
	g.work.Go(g.accept)
	return g, nil
}

func (g *gossipPort) PacketCh() <-chan *memberlist.Packet { return g.packets }
func (g *gossipPort) StreamCh() <-chan net.Conn           { return g.streams }

// receive takes packets until the port is closed.
func (g *gossipPort) receive() {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := g.udp.ReadFromUDP(buf)
		if g.closing.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == 0 {
			continue // of a packet that was sent earlier: nobody takes it
		}
		select {
		case g.packets <- &memberlist.Packet{Buf: slices.Clone(buf[:n]), From: from, Timestamp: time.Now()}:
		case <-g.closing.Done():
			return
		}
	}
}

// accept takes streams until the port is closed.
func (g *gossipPort) accept() {
	for {
		c, err := g.tcp.Accept()
		if g.closing.Err() != nil || errors.Is(err, net.ErrClosed) {
			if err == nil {
				c.Close()
			}
			return
		}
		if err != nil { // out of descriptors, most likely
			g.log.Error("cluster: gossip: accept", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		g.admit(c)
	}
}

func (g *gossipPort) admit(c net.Conn) {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	if !g.gate.enter(host) {
		c.Close()
		return
	}
	s := &stream{Conn: c, input: io.LimitReader(c, maxStreamBytes), release: sync.OnceFunc(func() { g.gate.leave(host) })}
	select {
	case g.streams <- s:
	case <-g.closing.Done():
		s.Close()
	}
}

// FinalAdvertiseAddr is what is configured, or where the port listens, or the first address of
// this machine that others may reach.
func (g *gossipPort) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	if ip != "" {
		return net.ParseIP(ip), port, nil
	}
	local := g.tcp.Addr().(*net.TCPAddr)
	if !local.IP.IsUnspecified() {
		return local.IP, local.Port, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, 0, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return n.IP, local.Port, nil
		}
	}
	return nil, 0, errors.New("no address to advertise: configure one")
}

func (g *gossipPort) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err == nil {
		_, err = g.udp.WriteToUDPAddrPort(b, to)
	}
	return time.Now(), err
}

func (g *gossipPort) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return g.WriteTo(b, a.Addr)
}

func (g *gossipPort) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(g.closing, timeout)
	defer cancel()
	return realNetwork{}.Dial(ctx, addr)
}

func (g *gossipPort) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return g.DialTimeout(a.Addr, timeout)
}

func (g *gossipPort) Shutdown() error {
	g.close()
	err := errors.Join(g.tcp.Close(), g.udp.Close())
	g.work.Wait()
	return err
}

// A stream reads no more than its bound and gives its place back.
type stream struct {
	net.Conn
	input   io.Reader
	release func()
}

func (s *stream) Read(b []byte) (int, error) { return s.input.Read(b) }

func (s *stream) Close() error {
	s.release()
	return s.Conn.Close()
}
