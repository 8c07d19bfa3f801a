package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// A socket is open, and serve answers on it until it is closed.
type socket struct {
	net.Listener
	kind  string // starttls, directtls, http or api: the log's word
	serve func(net.Listener) error
}

// listen opens the configured sockets, all or none.
func (s *server) listen() (open []socket, err error) {
	startTLS := func(l net.Listener) error { return s.clients.Serve(l, false) }
	directTLS := func(l net.Listener) error { return s.clients.Serve(l, true) }
	for _, group := range []struct {
		kind, key string
		addrs     []string
		serve     func(net.Listener) error
	}{
		{"starttls", "c2s.listen", s.cfg.C2S.Listen, startTLS},
		{"directtls", "c2s.listen_tls", s.cfg.C2S.ListenTLS, directTLS},
		{"http", "http.listen", s.cfg.HTTP.Listen, s.clients.ServeWeb},
		{"api", "api.listen", s.cfg.API.Listen, s.operators.Serve},
	} {
		for _, addr := range group.addrs {
			l, err := net.Listen(network(addr), addr)
			if err != nil && s.cfg.File == "" && network(addr) == "tcp6" && !errors.Is(err, syscall.EADDRINUSE) {
				continue // this machine has no IPv6, and nobody asked for it
			}
			if err != nil {
				for _, k := range open {
					k.Close()
				}
				return nil, listenError(group.key, addr, err)
			}
			open = append(open, socket{l, group.kind, group.serve})
		}
	}
	return open, nil
}

// network keeps an IPv6 address to IPv6, so that 0.0.0.0 and [::] can be had
// both. An address without a host means every address of both.
func network(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	switch {
	case strings.Contains(host, ":"):
		return "tcp6"
	case net.ParseIP(host) != nil:
		return "tcp4"
	}
	return "tcp"
}

func listenError(key, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: %s is in use already; is another chatd running?", key, addr)
	}
	return fmt.Errorf("%s: %w", key, err)
}
