package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// readyTimeout bounds how long /readyz waits for the store.
const readyTimeout = 2 * time.Second

// healthz says that the process runs and answers.
func healthz(w http.ResponseWriter, _ *http.Request) { ok(w) }

// NotReady is an error that says in one word, which everybody may know, why a node is not ready.
func NotReady(what string, cause error) error { return &notReady{what, cause} }

type notReady struct {
	what  string
	cause error
}

func (n *notReady) Error() string { return n.what + ": " + n.cause.Error() }

func (n *notReady) Unwrap() error { return n.cause }

// readyz says whether clients should be sent here.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.cfg.Ready(ctx); err != nil {
		// The path is open to all: the reason in full is for the log.
		s.cfg.Log.Warn("not ready", "err", err)
		what := "not ready"
		if n, ok := errors.AsType[*notReady](err); ok {
			what += ": " + n.what
		}
		problem(w, http.StatusServiceUnavailable, what)
		return
	}
	if s.cfg.Cluster != nil {
		if missing := s.cfg.Cluster.Missing(); len(missing) > 0 {
			// It works, for its own players and those of the nodes that it reaches: still the place for clients.
			answer(w, fmt.Sprintf("ok, on an island: %d of the other nodes cannot be reached\n", len(missing)))
			return
		}
	}
	ok(w)
}

// drain answers before the draining begins to show.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	s.cfg.Log.Info("drain asked for", "addr", r.RemoteAddr)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusAccepted)
	io.WriteString(w, "draining\n")
	s.cfg.Drain()
}

func ok(w http.ResponseWriter) { answer(w, "ok\n") }

func answer(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	io.WriteString(w, text)
}
