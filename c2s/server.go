// Package c2s serves clients' connections from accept to close: transport
// security, negotiation (RFC 6120), the session, its limits and its outbound queue.
//
// A stanza's way through it: run parks until the socket is readable, readInput
// takes a buffer, consume cuts stanzas out of it, element checks and stamps
// them and calls the router; the router calls Send on another Session, which
// encodes into that session's outbox; the batch's Flush writes it to the socket.
package c2s

import (
	"cmp"
	"context"
	"crypto/tls"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"chatd/auth"
	"chatd/router"
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
	ResourcesPerUser       int     // connected or waiting for resumption, RFC 6120 §13.12; 0 = 50
	// ResumeTime is how long a session without a connection waits for another one at most
	// (XEP-0198 §5, 'max'); 0 = 5 minutes.
	ResumeTime time.Duration
	// UnackedStanzas and UnackedBytes bound what a client may leave unacknowledged (XEP-0198). One
	// that leaves more is taken for a client that does not read. 0 = 5000 and 1 MiB.
	UnackedStanzas, UnackedBytes int
	// Address is where clients reach this node rather than any other, host:port, told to
	// those who may resume (XEP-0198 §5, 'location'); "" = not told.
	Address string
	// DrainTime is over which Shutdown spreads the ends of the sessions; 0 = all at once.
	DrainTime time.Duration
	// DrainTo are the nodes to which it sends the clients, host:port.
	DrainTo []string

	// ProxyFrom is where connections to Serve come from that begin with a header of the PROXY
	// protocol, WebProxyFrom those to ServeWeb.
	ProxyFrom, WebProxyFrom []netip.Prefix
	WebTLS                  WebTLS
	WebURL                  string // how clients reach ServeWeb, up to the path and without a slash; "": as they asked for it
}

// A Server serves the clients of one domain. Its exported fields are set before
// Serve and ServeWeb.
type Server struct {
	// OnBind prepares a session that has just entered the table: it loads the
	// block list. An error ends the session; one that is a *stanza.StreamError tells the client why.
	OnBind func(ctx context.Context, s router.Session) error
	// OnDismiss is called during Shutdown, on its goroutine, with each session that cannot be resumed, before it is told to go. It is
	// to wait for nobody, and may be set until then.
	OnDismiss func(router.Session)
	// OnResume is called when a session goes on on another connection, on its reading
	// goroutine: it hands over what was stored meanwhile and then calls attached, at a moment
	// when no message can slip between.
	OnResume func(ctx context.Context, s router.Session, attached func())
	// Keep, if set, is given what becomes of the sessions that can be resumed at Shutdown. With nil it has
	// taken all of them, and another process may import them; else they end.
	Keep func(iter.Seq[*Suspended]) error
	// Node is this node's name in the cluster, with which the ids of its sessions begin; "" without one.
	Node string
	// HandOver, if set, is given each session that can be resumed at Shutdown, on several goroutines: it calls give, from which
	// on the session is nowhere, and has another node Import what that returns. If there is none it does not call give, and returns an
	// error, as it does if that node does not take it: then the session ends here.
	HandOver func(ctx context.Context, id string, give func() *Suspended) error
	// Fetch, if set, takes a session that can be resumed over from another node, by Yield there. It blocks on that node.
	Fetch func(ctx context.Context, id, user string) (*Suspended, error)
	// Nodes, if set, is all nodes of the cluster that take clients now, this one first. It must not block.
	Nodes func() []Node
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
	gathering     gathering
	web           *web
	gate          *gate         // TLS handshakes
	watched       func() *watch // of all sockets, from the first one on; nil: nobody sleeps

	sweeping sync.Mutex // held by whoever sweeps

	mu        sync.Mutex
	listeners map[net.Listener]bool  // true: of HTTP
	conns     map[transport]*Session // nil while it negotiates
	byAddress map[addressKey]int
	byID      map[string]*Session     // sessions that can be resumed (XEP-0198)
	ended     map[string]endedSession // some of those that could be
	endedIDs  []string                // their keys, a ring
	endedNext int                     // the oldest of them once the ring is full
	closing   bool
	kept      bool          // what can be resumed has been collected, to be kept
	idle      chan struct{} // closed when closing and the last connection has gone
	lastID    uint64
}

// New makes a server, which answers the renewal of tokens by r; Serve starts it.
func New(cfg Config, r *router.Router, a *auth.Service, log *slog.Logger) *Server {
	s := &Server{
		router: r, auth: a, log: log, registrations: newAddressLimiter(), arrivals: make(chan arrival), gate: newGate(),
		listeners: make(map[net.Listener]bool), conns: make(map[transport]*Session),
		byAddress: make(map[addressKey]int), byID: make(map[string]*Session), ended: make(map[string]endedSession), idle: make(chan struct{}),
		OnDismiss: func(router.Session) {},
		OnBind:    func(context.Context, router.Session) error { return nil },
		OnResume:  func(_ context.Context, _ router.Session, attached func()) { attached() },
		Features:  func() []byte { return nil },
	}
	r.Handle(router.ToOwn, nsToken, "token", s.renew)
	s.Metrics = newMetrics(s)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.open, s.shut = context.WithCancel(s.ctx)
	s.web = newWeb(s)
	s.Reload(cfg)
	s.watched = sync.OnceValue(s.startWatch)
	go s.sweep()
	return s
}

// startWatch is nil if there can be none.
func (s *Server) startWatch() *watch {
	k := newWatch()
	if k != nil {
		go k.run()
		context.AfterFunc(s.ctx, k.close) // after Shutdown has woken everybody
	}
	return k
}

// Reload replaces the configuration. Open connections keep their TLS and their rates; all
// else applies from now on.
func (s *Server) Reload(cfg Config) {
	cfg.MaxStanzaBytes = cmp.Or(cfg.MaxStanzaBytes, 262144)
	cfg.ResourcesPerUser = cmp.Or(cfg.ResourcesPerUser, 50)
	cfg.ResumeTime = cmp.Or(cfg.ResumeTime, 5*time.Minute)
	cfg.UnackedStanzas = cmp.Or(cfg.UnackedStanzas, 5000)
	cfg.UnackedBytes = cmp.Or(cfg.UnackedBytes, outboxBytes)
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

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}
