// Package api serves the operators' and services' HTTP interface: friends, accounts, presence, sessions and
// messages as JSON, described by an OpenAPI document that is made from the handlers' own
// types; health, metrics and profiles. It holds only handlers: what they report and change is
// decided below. It speaks plain HTTP and is meant for loopback or a private network.
//
// A request passes, from the outside in: its operation's guard (guard.go: measured, token and scope, bounded,
// written down), idempotency.go for writes, conditional.go for what is read, huma, which parses and checks it, and
// one handler. Each operation is added by one call in the file of its subject.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"

	"chatd/account"
	"chatd/auth"
	"chatd/cluster"
	"chatd/muc"
	"chatd/roster"
	"chatd/router"
	"chatd/store"
	"chatd/webhook"
	"chatd/xep"
)

// Bounds on one request. Profiles and traces extend writeTimeout by their own
// duration.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 64 << 10 // two addresses, percent-encoded
	// workTimeout is how long a handler may take.
	workTimeout = 20 * time.Second
)

// A Config says what the server serves. Its fields are fixed after New.
type Config struct {
	Tokens []Token // who may ask; see SetTokens
	// Metrics is what /metrics shows, with the server's own.
	Metrics *prometheus.Registry
	// Ready reports why the node cannot do its work, nil if it can. It is called
	// by many goroutines and may block until its context ends.
	Ready func(context.Context) error
	// Drain makes the process send its clients away and end, as SIGTERM does. It returns at once.
	Drain func()
	Log   *slog.Logger

	Version string // of the program, for the document
	Node    string // this node's name, for where somebody is online

	// PlayerJID is how a player's number becomes a localpart: text with one %d.
	PlayerJID string
	Router    *router.Router
	Friends   *roster.Service
	Blocking  *xep.Blocking
	Auth      *auth.Service
	Accounts  *account.Service
	Webhooks  *webhook.Service
	Rooms     *muc.Service
	Store     store.Accounts
	Cluster   *cluster.Service // nil: this node is alone
}

// A Server answers on any number of listeners. Its methods are safe for
// concurrent use.
type Server struct {
	cfg      Config
	tokens   atomic.Pointer[[]Token]
	numbers  playerNumbers
	mux      *http.ServeMux
	huma     huma.API
	metrics  *metrics
	replies  *replies
	readable map[string]bool // paths of what GET reads; only during New
	building *operation      // the one that is being added; nil after New
	http     *http.Server
}

// New makes a server; it opens nothing. It registers metrics of its own.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, numbers: newPlayerNumbers(cfg.PlayerJID), metrics: newMetrics(cfg.Metrics), replies: newReplies(), readable: make(map[string]bool)}
	s.SetTokens(cfg.Tokens)
	s.routes()
	s.http = &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve answers on l until Shutdown; it then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown closes the listeners and waits for requests under way; those that
// outlast ctx are cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}
