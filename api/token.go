package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
)

// Scopes that a token may have.
const (
	ScopeMetrics = "metrics" // /metrics
	ScopeDebug   = "debug"   // /debug/pprof
	ScopeAdmin   = "admin"   // /drain
)

// Scopes is every scope there is.
func Scopes() []string { return []string{ScopeMetrics, ScopeDebug, ScopeAdmin} }

// A Token lets its bearer in. The secret itself is not kept.
type Token struct {
	Name   string            // for the log
	Hash   [sha256.Size]byte // SHA-256 of the secret
	Scopes []string
}

// SetTokens replaces the tokens; requests under way are not affected. The
// server keeps the slice.
func (s *Server) SetTokens(tokens []Token) { s.tokens.Store(&tokens) }

// need lets only bearers of a token with the scope through (RFC 6750 §2.1,
// §3.1).
func (s *Server) need(scope string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			s.cfg.Log.Debug("api request", "token", token.Name, "path", r.URL.Path)
			h.ServeHTTP(w, r)
		}
	})
}

// bearer finds the request's token, and says whether it has one at all. The
// time it takes tells nothing about the known secrets: hashes are compared, all
// of them, in constant time.
func (s *Server) bearer(r *http.Request) (found *Token, given bool) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return nil, false
	}
	hash := sha256.Sum256([]byte(secret))
	tokens := *s.tokens.Load()
	for i := range tokens {
		if subtle.ConstantTimeCompare(hash[:], tokens[i].Hash[:]) == 1 {
			found = &tokens[i]
		}
	}
	return found, true
}
