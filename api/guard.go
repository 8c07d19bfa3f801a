package api

import (
	"context"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// guard is what every request to an operation passes before its handler.
func (s *Server) guard(op operation, h http.Handler) http.Handler {
	if op.method == http.MethodGet && !op.raw {
		h = conditionalGet(h)
	}
	if op.conditional() {
		h = s.ifMatch(h)
	}
	if op.write {
		h = s.replies.once(h)
	}
	seen := s.metrics.operation(op.id)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		defer func() { seen.done(rec.status, time.Since(begun)) }()
		token := s.admit(rec, r, op.scope)
		if token == nil {
			return
		}
		if op.maxBody > 0 && r.Body != nil {
			r.Body = http.MaxBytesReader(rec, r.Body, op.maxBody)
		}
		if op.write {
			// A change that has begun ends, whether or not anybody waits for the answer.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), workTimeout)
			defer cancel()
			r = r.WithContext(withToken(ctx, token))
			defer s.audit(rec, r, op, token)
		}
		s.serve(rec, r, op, h)
	})
}

// serve runs a handler. When it panics the request fails, the process does not.
func (s *Server) serve(rec *recorder, r *http.Request, op operation, h http.Handler) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		s.cfg.Log.Error("api handler panicked", "operation", op.id, "panic", p, "stack", string(debug.Stack()))
		if !rec.begun {
			problem(rec, http.StatusInternalServerError, "the reason is in the log")
		}
		rec.status = http.StatusInternalServerError
	}()
	h.ServeHTTP(rec, r)
}

// acceptsJSON refuses those who cannot read the answer (RFC 9110 §12.5.1), and parameters without a value, before anything is done.
func acceptsJSON(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if values := r.Header.Values("Accept"); len(values) > 0 && !admitsJSON(values) {
			problem(w, http.StatusNotAcceptable, "all that there is here is application/json")
			return
		}
		r.Header.Del("Accept") // huma need not ask again
		if r.URL.RawQuery != "" {
			for name, values := range r.URL.Query() {
				if slices.Contains(values, "") { // huma would take it for one that is not there
					problem(w, http.StatusUnprocessableEntity, strconv.Quote(name)+" is empty")
					return
				}
			}
		}
		h.ServeHTTP(w, r)
	})
}

func admitsJSON(values []string) bool {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			name, weight, _ := strings.Cut(one, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "*/*", "application/*", "application/json", "":
				if !isZero(weight) {
					return true
				}
			}
		}
	}
	return false
}

// audit writes down what was changed, or was to be: who by, and how it went. Contents are not written.
func (s *Server) audit(rec *recorder, r *http.Request, op operation, token *Token) {
	subject := r.PathValue("player")
	if made := rec.Header().Get("Location"); subject == "" {
		subject = strings.TrimPrefix(made, "/players/")
	}
	args := []any{"token", token.Name, "operation", op.id, "player", subject, "status", rec.status, "addr", r.RemoteAddr}
	for _, name := range [...]string{"other", "address", "resource", "id", "node"} {
		if value := r.PathValue(name); value != "" {
			args = append(args, name, value)
		}
	}
	if rec.Header().Get(replayedHeader) != "" {
		args = append(args, "replayed", true)
	}
	s.cfg.Log.Info("api write", args...)
}

// anybody is who sends no token to an operation that needs none.
var anybody = &Token{Name: "none"}

// admit finds the request's token and answers itself, with nil, if it does not suffice (RFC 6750 §2.1, §3.1).
func (s *Server) admit(w http.ResponseWriter, r *http.Request, scope string) *Token {
	if scope == "" {
		return anybody
	}
	token, given := s.bearer(r)
	switch {
	case !given:
		w.Header().Set("WWW-Authenticate", `Bearer realm="chatd"`)
		problem(w, http.StatusUnauthorized, "a bearer token is needed")
	case token == nil:
		w.Header().Set("WWW-Authenticate", `Bearer realm="chatd", error="invalid_token"`)
		problem(w, http.StatusUnauthorized, "the token is not known")
	case !slices.Contains(token.Scopes, scope):
		w.Header().Set("WWW-Authenticate", `Bearer realm="chatd", error="insufficient_scope", scope="`+scope+`"`)
		problem(w, http.StatusForbidden, "the token lacks the scope "+scope)
	default:
		return token
	}
	return nil
}

type tokenKey struct{}

func withToken(ctx context.Context, t *Token) context.Context {
	return context.WithValue(ctx, tokenKey{}, t)
}

// A recorder notes the status. It belongs to the request's goroutine.
type recorder struct {
	http.ResponseWriter
	status int
	begun  bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.begun {
		r.status, r.begun = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.begun = true
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection: profiles extend their deadline.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
