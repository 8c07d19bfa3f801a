// Package c2s serves clients' connections from accept to close: transport
// security, negotiation (RFC 6120), the session, its limits and its outbound queue.
//
// A stanza's way through it: run parks until the socket is readable, readInput
// takes a buffer, consume cuts stanzas out of it, element checks and stamps
// them and calls the router; the router calls Send on another Session, which
// encodes into that session's outbox; the batch's Flush writes it to the socket.
package c2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"chatd/auth"
	"chatd/router"
	"chatd/stanza"
	"chatd/xmlstream"
)

// A ConflictPolicy says what happens when a client asks for a resource that
// another session of the same user has (RFC 6120 §7.7.2.2).
type ConflictPolicy uint8

// The three policies.
const (
	Replace ConflictPolicy = iota // the old session is closed with <conflict/>
	Refuse                        // the new one gets <conflict/> and may ask for another
	Rename                        // the server makes another resource for the new one
)

// Config is what an operator can set. Only main reads files.
type Config struct {
	TLS                    *tls.Config // nil: no TLS at all
	RequireTLS             bool
	MaxStanzaBytes         int // after login; 0 = 262144; before login it is loginStanzaBytes
	Registration           bool
	RegistrationsPerMinute int // per address; 0 = unlimited
	ConnectionsPerAddress  int // IPv6 by /64; 0 = unlimited
	Conflict               ConflictPolicy
	StanzasPerSecond       float64 // per session; 0 = unlimited
	StanzaBurst            int
	BytesPerSecond         float64 // per session; 0 = unlimited
	ByteBurst              int
	LoginsPerSecond        float64 // whole node; 0 = unlimited
}

// A Server serves the clients of one domain. Its exported fields are set before
// Serve.
type Server struct {
	// OnBind prepares a session that has just entered the table: it loads the
	// block list. An error ends the session.
	OnBind func(ctx context.Context, s router.Session) error
	// OnResume is called when a session goes on on another connection, on its reading
	// goroutine: it hands over what was stored meanwhile and then calls attached, at a moment
	// when no message can slip between.
	OnResume func(ctx context.Context, s router.Session, attached func())
	// Features is raw XML for the stream features after login, such as the
	// server's capabilities (XEP-0115 §6.3).
	Features func() []byte
	Metrics  *Metrics

	router *router.Router
	auth   *auth.Service
	log    *slog.Logger
	cfg    atomic.Pointer[Config]
	tls    atomic.Pointer[tlsConfigs]
	ctx    context.Context // ends when Shutdown gives up waiting
	cancel context.CancelFunc
	open   context.Context // ends when Shutdown begins
	shut   context.CancelFunc

	admission     atomic.Pointer[rate.Limiter] // logins, whole node; nil = unlimited
	registrations *addressLimiter
	arrivals      chan arrival // to a negotiator that has nothing to do

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*wire]*Session // nil while it negotiates
	byAddress map[addressKey]int
	byID      map[string]*Session // sessions that can be resumed (XEP-0198)
	closing   bool
	idle      chan struct{} // closed when closing and the last connection has gone
	lastID    uint64
}

// New makes a server, which answers the renewal of tokens by r; Serve starts it.
func New(cfg Config, r *router.Router, a *auth.Service, log *slog.Logger) *Server {
	s := &Server{
		router: r, auth: a, log: log, registrations: newAddressLimiter(), arrivals: make(chan arrival),
		listeners: make(map[net.Listener]struct{}), conns: make(map[*wire]*Session),
		byAddress: make(map[addressKey]int), byID: make(map[string]*Session), idle: make(chan struct{}),
		OnBind:   func(context.Context, router.Session) error { return nil },
		OnResume: func(_ context.Context, _ router.Session, attached func()) { attached() },
		Features: func() []byte { return nil },
	}
	r.Handle(router.ToOwn, nsToken, "token", s.renew)
	s.Metrics = newMetrics(s)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.open, s.shut = context.WithCancel(s.ctx)
	s.Reload(cfg)
	go s.sweep()
	return s
}

// Reload replaces the configuration. Open connections keep their TLS and their rates; all
// else applies from now on.
func (s *Server) Reload(cfg Config) {
	if cfg.MaxStanzaBytes == 0 {
		cfg.MaxStanzaBytes = 262144
	}
	s.admission.Store(newLimiter(cfg.LoginsPerSecond, int(cfg.LoginsPerSecond)))
	if old := s.tls.Load(); old == nil || old.base != cfg.TLS {
		s.tls.Store(newTLSConfigs(cfg.TLS))
	}
	s.cfg.Store(&cfg)
}

// admit waits for the node's turn to log somebody in.
func (s *Server) admit(ctx context.Context) error {
	limit := s.admission.Load()
	if limit == nil || limit.Wait(ctx) == nil {
		return nil
	}
	return &auth.Failure{Condition: "temporary-auth-failure"}
}

// newLimiter is nil for a rate of 0, which is unlimited.
func newLimiter(perSecond float64, burst int) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(1, burst))
}

func (s *Server) limits() xmlstream.Limits {
	return xmlstream.Limits{Bytes: s.cfg.Load().MaxStanzaBytes}
}

// Serve accepts connections until the listener is closed, which Shutdown does.
// With directTLS they begin with a TLS handshake (XEP-0368).
func (s *Server) Serve(l net.Listener, directTLS bool) error {
	s.mu.Lock()
	s.listeners[l] = struct{}{}
	closing := s.closing
	s.mu.Unlock()
	if closing {
		_ = l.Close()
	}
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.welcome(conn, directTLS)
		case errors.Is(err, net.ErrClosed):
			return nil
		default: // most likely out of descriptors: some will come free
			pause = min(2*pause+5*time.Millisecond, time.Second)
			s.log.Warn("accept failed", "err", err, "pause", pause)
			time.Sleep(pause)
		}
	}
}

// welcome admits a connection and starts its negotiation.
func (s *Server) welcome(conn net.Conn, directTLS bool) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		_ = conn.Close()
		return
	}
	w, err := newWire(tcp)
	if err != nil {
		_ = tcp.Close()
		return
	}
	w.host = keyOf(tcp.RemoteAddr())
	limit := s.cfg.Load().ConnectionsPerAddress
	s.mu.Lock()
	refused := s.closing || limit > 0 && s.byAddress[w.host] >= limit
	if !refused {
		s.lastID++
		w.id = s.lastID
		s.byAddress[w.host]++
		s.conns[w] = nil
	}
	s.mu.Unlock()
	if refused {
		s.Metrics.Connections.WithLabelValues("refused").Inc()
		_ = tcp.Close()
		return
	}
	s.Metrics.Connections.WithLabelValues("accepted").Inc()
	a := arrival{w, directTLS}
	select {
	case s.arrivals <- a:
	default: // all are busy
		go s.negotiator(a)
	}
}

// forget takes a connection off the books.
func (s *Server) forget(w *wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conns[w]; !ok {
		return
	}
	delete(s.conns, w)
	if s.byAddress[w.host]--; s.byAddress[w.host] == 0 {
		delete(s.byAddress, w.host)
	}
	if s.closing && len(s.conns) == 0 {
		close(s.idle)
	}
}

// bound notes which session a connection has, nil for none; false when the
// server is closing.
func (s *Server) bound(w *wire, session *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.conns[w] = session
	return true
}

// Shutdown closes the listeners, ends every session with <system-shutdown/>, and waits
// until all have ended or ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	s.shut()
	for l := range s.listeners {
		_ = l.Close()
	}
	left := len(s.conns)
	if left == 0 {
		close(s.idle)
	}
	var sessions []*Session
	for w, session := range s.conns {
		if session != nil {
			sessions = append(sessions, session)
		} else {
			_ = w.tcp.SetDeadline(time.Unix(1, 0)) // negotiation reads an error and says why
		}
	}
	for _, session := range s.byID {
		if _, connected := s.conns[session.wire]; !connected {
			sessions = append(sessions, session)
		}
	}
	s.mu.Unlock()
	s.log.Info("closing sessions", "connections", left, "sessions", len(sessions))
	defer s.cancel()
	for _, session := range sessions {
		session.Close(stanza.StreamSystemShutdown)
	}
	for _, session := range sessions {
		select {
		case <-session.Done():
		case <-ctx.Done():
			return fmt.Errorf("c2s: shutdown: %w", ctx.Err())
		}
	}
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("c2s: shutdown: %w", ctx.Err())
	}
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// sweepInterval is how long a session is quiet before its goroutine is made small again.
const sweepInterval = 15 * time.Second

// When a client says nothing for quietSweeps of them it is asked whether it is
// there, and when it says nothing to that for answerSweeps, its connection is given up.
const (
	quietSweeps  = 10
	answerSweeps = 3
)

var errSilent = errors.New("c2s: client is silent")

// sweep makes sessions that have gone quiet give back the stack that work on
// input grew, and finds clients that are gone. It ends with Shutdown.
func (s *Server) sweep() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.open.Done():
			return
		case <-tick.C:
			s.sweepOnce()
		}
	}
}

func (s *Server) sweepOnce() {
	s.mu.Lock()
	var all, quiet, silent, gone []*Session
	for w, session := range s.conns {
		if session == nil {
			continue
		}
		all = append(all, session)
		if session.active.Swap(false) {
			session.quiet = 0
			continue
		}
		session.quiet++
		if session.grown.Swap(false) {
			quiet = append(quiet, session)
		}
		switch asked := quietSweeps + uint16(w.id%4); session.quiet { // spread
		case asked:
			silent = append(silent, session)
		case asked + answerSweeps:
			gone = append(gone, session)
		}
	}
	s.mu.Unlock()
	for _, session := range all {
		session.askAgain()
	}
	for _, session := range quiet {
		session.wire.wake()
	}
	for _, session := range silent {
		session.areYouThere()
	}
	for _, session := range gone {
		s.Metrics.Silent.Inc()
		session.fail(errSilent)
	}
}
