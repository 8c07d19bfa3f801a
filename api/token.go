package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// Scopes that a token may have.
const (
	ScopeMetrics      = "metrics"       // /metrics
	ScopeDebug        = "debug"         // /debug/pprof
	ScopeAdmin        = "admin"         // /drain
	ScopeFriendsRead  = "friends:read"  // friends lists, block lists, privacy settings
	ScopeFriendsWrite = "friends:write" // changing them on a player's behalf
	ScopeAccounts     = "accounts"      // making, changing, listing, exporting and erasing accounts
	ScopePresence     = "presence"      // who is online
	ScopeSessions     = "sessions"      // sessions, and ending them
	ScopeMessages     = "messages"      // sending messages as a service
	ScopeWebhooks     = "webhooks"      // dead letters of webhooks
	ScopeRooms        = "rooms"         // rooms, their members, occupants and messages
)

// Scopes is every scope there is.
func Scopes() []string {
	return []string{ScopeMetrics, ScopeDebug, ScopeAdmin, ScopeFriendsRead, ScopeFriendsWrite, ScopeAccounts, ScopePresence,
		ScopeSessions, ScopeMessages, ScopeWebhooks, ScopeRooms}
}

// A Token lets its bearer in. The secret itself is not kept.
type Token struct {
	Name   string            // for the log
	Hash   [sha256.Size]byte // SHA-256 of the secret
	Scopes []string
}

// SetTokens replaces the tokens; requests under way are not affected. The
// server keeps the slice.
func (s *Server) SetTokens(tokens []Token) { s.tokens.Store(&tokens) }

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
