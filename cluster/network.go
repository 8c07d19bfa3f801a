package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"github.com/hashicorp/memberlist"
)

// A network is what a node reaches others by. There are two: the machine's, and one that tests
// simulate.
type network interface {
	listen(addr string) (net.Listener, error)
	dial(ctx context.Context, addr string) (net.Conn, error)
	lookup(ctx context.Context, host string) ([]netip.Addr, error)
	// gossip listens for memberlist's packets and streams; what it starts ends with its Shutdown.
	gossip(ctx context.Context, addr string, log *log.Logger) (memberlist.NodeAwareTransport, error)
}

type realNetwork struct{}

func (realNetwork) listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

func (realNetwork) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (realNetwork) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

func (r realNetwork) gossip(ctx context.Context, addr string, log *log.Logger) (memberlist.NodeAwareTransport, error) {
	host, port, err := splitPort(addr)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if net.ParseIP(host) == nil {
		addrs, err := r.lookup(ctx, host)
		if err != nil {
			return nil, err
		}
		host = addrs[0].Unmap().String()
	}
	conf := &memberlist.NetTransportConfig{BindAddrs: []string{host}, BindPort: port, Logger: log}
	t, err := memberlist.NewNetTransport(conf)
	for range 10 {
		if port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		t, err = memberlist.NewNetTransport(conf) // any port, and its UDP twin was taken
	}
	if err != nil {
		return nil, err
	}
	return guard(t), nil
}

func splitPort(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", addr, err)
	}
	return host, int(n), nil
}

const (
	// maxStreams of memberlist at a time; more are closed, and are tried again by who wants them.
	maxStreams = 64
	// maxStreamBytes is many times the state of maxMembers nodes.
	maxStreamBytes = 1 << 20
)

// A guarded transport bounds what streams can make memberlist hold, which decrypts
// them only when it has all.
type guarded struct {
	*memberlist.NetTransport
	streams chan net.Conn
	slots   chan struct{}
	closing context.Context
	close   context.CancelFunc
	closed  chan struct{}
	done    sync.WaitGroup
}

func guard(t *memberlist.NetTransport) *guarded {
	g := &guarded{NetTransport: t, streams: make(chan net.Conn), slots: make(chan struct{}, maxStreams), closed: make(chan struct{})}
	g.closing, g.close = context.WithCancel(context.Background())
	g.done.Go(g.pass)
	return g
}

func (g *guarded) StreamCh() <-chan net.Conn { return g.streams }

// pass hands streams on until the transport is closed, which waits for somebody to take
// what it has.
func (g *guarded) pass() {
	for {
		select {
		case c := <-g.NetTransport.StreamCh():
			g.admit(c)
		case <-g.closed:
			return
		}
	}
}

func (g *guarded) admit(c net.Conn) {
	select {
	case g.slots <- struct{}{}:
	default:
		c.Close()
		return
	}
	s := &stream{Conn: c, input: io.LimitReader(c, maxStreamBytes), release: sync.OnceFunc(func() { <-g.slots })}
	select {
	case g.streams <- s:
	case <-g.closing.Done():
		s.Close()
	}
}

func (g *guarded) Shutdown() error {
	g.close()
	g.done.Go(func() {
		for {
			select {
			case <-g.PacketCh():
			case <-g.closed:
				return
			}
		}
	})
	err := g.NetTransport.Shutdown()
	close(g.closed)
	g.done.Wait()
	return err
}

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
