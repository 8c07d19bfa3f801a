package c2s

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"chatd/auth"
)

// Bounds on one HTTP request. A handler that waits, or takes its connection over, sets
// its own deadlines.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 30 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
)

// WebTLS says who sees to TLS on the listeners of ServeWeb.
type WebTLS uint8

// Who may.
const (
	WebOwn   WebTLS = iota // we do: https and wss
	WebProxy               // a proxy that talks to us in plain HTTP does
	WebNone                // nobody: http and ws
)

// A web is the public HTTP server: WebSocket, BOSH and where to find them.
type web struct {
	srv   *Server
	bosh  *boshHandler
	http  http.Server
	serve sync.Once
	ready chan net.Conn // connections past TLS
	done  chan struct{} // closed when no more are taken
	close sync.Once
}

func newWeb(s *Server) *web {
	h := &web{srv: s, bosh: newBoshHandler(s), ready: make(chan net.Conn), done: make(chan struct{})}
	h.http = http.Server{
		Handler:           h.routes(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, webConnKey{}, c)
		},
	}
	return h
}

// routes is everything that the public HTTP server answers.
func (h *web) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET "+WebSocketPath, h.upgrade)
	m.Handle(BOSHPath, h.bosh)
	m.HandleFunc("GET /.well-known/host-meta", h.hostMeta)
	m.HandleFunc("GET /.well-known/host-meta.json", h.hostMetaJSON)
	m.HandleFunc("GET "+NodesPath, h.nodes)
	return m
}

// ServeWeb answers HTTP until the listener is closed, which Shutdown does.
func (s *Server) ServeWeb(l net.Listener) error {
	s.web.serve.Do(func() { go func() { _ = s.web.http.Serve(s.web) }() })
	return s.accept(l, true, func(conn net.Conn) {
		if tcp, ok := conn.(*net.TCPConn); ok {
			go s.web.greet(tcp)
		} else {
			_ = conn.Close()
		}
	})
}

// greet brings a connection to where HTTP begins.
func (h *web) greet(tcp *net.TCPConn) {
	cfg := h.srv.cfg.Load()
	w, err := h.srv.newWire(tcp)
	if err != nil {
		_ = tcp.Close()
		return
	}
	w.from.startTLS = false // RFC 7395 §3.9
	w.deadline(time.Now().Add(loginTimeout))
	if !h.srv.unwrap(w, cfg.WebProxyFrom) {
		_ = tcp.Close()
		return
	}
	c := &webConn{srv: h.srv, wire: w}
	if !h.srv.allow(w) {
		_ = tcp.Close()
		return
	}
	if cfg.WebTLS == WebOwn && cfg.TLS != nil {
		if h.srv.gate.crowded() {
			h.srv.Metrics.Connections.WithLabelValues("deferred").Inc()
			_ = c.Close()
			return
		}
		if err := c.startTLS(h.srv.tls.Load().web); err != nil {
			h.srv.Metrics.Connections.WithLabelValues("tls-failed").Inc()
			h.srv.log.Debug("connection failed before HTTP", "addr", c.RemoteAddr(), "err", err)
			_ = c.Close()
			return
		}
	}
	w.deadline(time.Time{})
	select {
	case h.ready <- c:
	case <-h.done:
		_ = c.Close()
	}
}

// Accept makes web the listener of its HTTP server.
func (h *web) Accept() (net.Conn, error) {
	select {
	case c := <-h.ready:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener.
func (h *web) Close() error {
	h.close.Do(func() { close(h.done) })
	return nil
}

// Addr is net.Listener.
func (h *web) Addr() net.Addr { return &net.TCPAddr{} }

// shutdown ends what is under way; what outlasts ctx is cut off.
func (h *web) shutdown(ctx context.Context) error {
	h.srv.mu.Lock()
	h.srv.closeListenersLocked(true)
	h.srv.mu.Unlock()
	_ = h.Close()
	if err := h.http.Shutdown(ctx); err != nil {
		return errors.Join(err, h.http.Close())
	}
	return nil
}

// A webConn is a wire as HTTP has it, before its WebSocket begins or for good. It counts as one
// connection of its address.
type webConn struct {
	srv    *Server
	wire   *wire
	taken  atomic.Bool // the wire is somebody else's now
	closed atomic.Bool
}

type webConnKey struct{}

func (c *webConn) startTLS(cfg *tls.Config) error {
	_, err := c.wire.startTLS(cfg)
	return err
}

// Close is net.Conn.
func (c *webConn) Close() error {
	if c.taken.Load() || c.closed.Swap(true) {
		return nil
	}
	c.srv.release(c.wire)
	if c.wire.tls != nil {
		return c.wire.tls.conn.Close()
	}
	return c.wire.tcp.Close()
}

func (c *webConn) Read(p []byte) (int, error) { return c.wire.readBelow(p) }

func (c *webConn) Write(p []byte) (int, error) {
	if _, err := c.wire.writeBelow(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *webConn) LocalAddr() net.Addr                { return c.wire.tcp.LocalAddr() }
func (c *webConn) RemoteAddr() net.Addr               { return c.wire.from.addr }
func (c *webConn) SetDeadline(t time.Time) error      { return c.wire.tcp.SetDeadline(t) }
func (c *webConn) SetReadDeadline(t time.Time) error  { return c.wire.tcp.SetReadDeadline(t) }
func (c *webConn) SetWriteDeadline(t time.Time) error { return c.wire.tcp.SetWriteDeadline(t) }

// channelOf is what protects a request's connection. There is nothing in it to bind authentication
// to: pages learn nothing of their TLS, requests of BOSH share no connection, and clients are
// about that choose what binds without being able to.
func (s *Server) channelOf(c *webConn) auth.Channel {
	return auth.Channel{Private: c.wire.tls != nil || s.cfg.Load().WebTLS == WebProxy}
}
