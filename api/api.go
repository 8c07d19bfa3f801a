// Package api serves the operators' HTTP interface: health, metrics and
// profiles. It holds only handlers: what it reports is decided below. It speaks
// plain HTTP and is meant for loopback or a private network.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds on one request. Profiles and traces extend writeTimeout by their own
// duration.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
)

// A Config says what the server serves. Its fields are fixed after New.
type Config struct {
	Tokens []Token // who may ask; see SetTokens
	// Metrics is what /metrics shows.
	Metrics prometheus.Gatherer
	// Ready reports why the node cannot do its work, nil if it can. It is called
	// by many goroutines and may block until its context ends.
	Ready func(context.Context) error
	// Drain makes the process send its clients away and end, as SIGTERM does. It returns at once.
	Drain func()
	Log   *slog.Logger
}

// A Server answers on any number of listeners. Its methods are safe for
// concurrent use.
type Server struct {
	cfg    Config
	tokens atomic.Pointer[[]Token]
	http   *http.Server
}

// New makes a server; it opens nothing.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg}
	s.SetTokens(cfg.Tokens)
	s.http = &http.Server{
		Handler:           s.routes(),
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

// routes is everything that the server answers. Health is open to all: load
// balancers and process managers hold no tokens.
func (s *Server) routes() http.Handler {
	metrics := promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelError),
	})
	m := http.NewServeMux()
	m.Handle("/healthz", get(http.HandlerFunc(healthz)))
	m.Handle("/readyz", get(http.HandlerFunc(s.readyz)))
	m.Handle("/metrics", get(s.need(ScopeMetrics, metrics)))
	m.Handle("/debug/pprof/", get(s.need(ScopeDebug, http.HandlerFunc(pprof.Index))))
	m.Handle("/debug/pprof/cmdline", get(s.need(ScopeDebug, http.HandlerFunc(pprof.Cmdline))))
	m.Handle("/debug/pprof/profile", get(s.need(ScopeDebug, http.HandlerFunc(pprof.Profile))))
	m.Handle("/debug/pprof/symbol", get(s.need(ScopeDebug, http.HandlerFunc(pprof.Symbol))))
	m.Handle("/debug/pprof/trace", get(s.need(ScopeDebug, http.HandlerFunc(pprof.Trace))))
	m.Handle("/drain", only(http.MethodPost, s.need(ScopeAdmin, http.HandlerFunc(s.drain))))
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "nothing is served at "+r.URL.Path)
	})
	return m
}

// get lets GET and HEAD through. ServeMux could do it by its patterns, but then
// its own answer to other methods would not be a problem document.
func get(h http.Handler) http.Handler { return only("GET, HEAD", h) }

// only lets the listed methods through.
func only(methods string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(strings.Split(methods, ", "), r.Method) {
			w.Header().Set("Allow", methods)
			problem(w, http.StatusMethodNotAllowed, r.Method+" does not work here")
			return
		}
		h.ServeHTTP(w, r)
	})
}
