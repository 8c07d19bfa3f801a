package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/hashicorp/memberlist"
)

// A Network is what a node reaches others by. There are two: the machine's, and the one that tests
// simulate.
type Network interface {
	Listen(addr string) (net.Listener, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
	Lookup(ctx context.Context, host string) ([]netip.Addr, error)
	// Gossip listens for memberlist's packets and streams; what it starts ends with its Shutdown.
	Gossip(ctx context.Context, addr string, log *slog.Logger) (memberlist.NodeAwareTransport, error)
}

type realNetwork struct{}

func (realNetwork) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

func (realNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (realNetwork) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

func (r realNetwork) Gossip(ctx context.Context, addr string, log *slog.Logger) (memberlist.NodeAwareTransport, error) {
	host, port, err := splitPort(addr)
	if err != nil {
		return nil, err
	}
	if host != "" && net.ParseIP(host) == nil {
		addrs, err := r.Lookup(ctx, host)
		if err != nil {
			return nil, err
		}
		host = addrs[0].Unmap().String()
	}
	g, err := openGossip(host, port, log)
	for range 10 {
		if port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		g, err = openGossip(host, port, log) // any port, and its UDP twin was taken
	}
	return g, err
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
