package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatd/store"
)

const (
	// MinTokenSecret is the least length of the secret of HS256 in bytes (RFC 7518 §3.2).
	MinTokenSecret = 32
	// maxToken is in bytes. What carries a token has to fit in an element before login.
	maxToken = 6144
)

// tokenAlgorithms is all that may sign a token. "none" is not among them (RFC 8725 §3.2).
var tokenAlgorithms = []string{"HS256", "RS256", "ES256", "EdDSA"}

// A TokenConfig says which tokens (JWT, RFC 7519) are accepted. Without any key, as in the zero
// TokenConfig, none is.
type TokenConfig struct {
	Issuer    string        // what "iss" must be; "": anything
	Audience  string        // what "aud" must contain; "": anything
	Secret    string        // the key of HS256, MinTokenSecret bytes or more; "": none
	Keys      *KeySet       // nil: none
	KeysURL   string        // where a JWK set is, http or https; "": nowhere
	Refresh   time.Duration // how often it is fetched
	UserClaim string        // the claim with the user name; "": "sub"
	Leeway    time.Duration // how far the issuer's clock may be off
}

// Tokens verifies tokens. It is safe for concurrent use; Reload and Close have one caller.
type Tokens struct {
	log    *slog.Logger
	client *http.Client
	pace   time.Duration
	rules  atomic.Pointer[tokenRules] // nil: no token is accepted
}

// tokenRules is a TokenConfig in force.
type tokenRules struct {
	TokenConfig
	parser *jwt.Parser
	remote *remoteKeys // nil without KeysURL
}

// NewTokens accepts no token until Reload.
func NewTokens(log *slog.Logger) *Tokens {
	return &Tokens{log: log, client: newKeyClient(), pace: fetchPace}
}

// Reload replaces the configuration, which must be sound. It does not wait for KeysURL; keys that were
// fetched from the same URL before are kept.
func (t *Tokens) Reload(cfg TokenConfig) {
	old := t.rules.Load()
	if cfg.Secret == "" && cfg.Keys == nil && cfg.KeysURL == "" {
		t.rules.Store(nil)
		old.close(nil)
		return
	}
	if cfg.UserClaim == "" {
		cfg.UserClaim = "sub"
	}
	rules := &tokenRules{TokenConfig: cfg, parser: newTokenParser(cfg)}
	if cfg.KeysURL != "" {
		rules.remote = t.remote(cfg, old)
	}
	t.rules.Store(rules)
	old.close(rules.remote)
}

// remote is the old one if it is still right.
func (t *Tokens) remote(cfg TokenConfig, old *tokenRules) *remoteKeys {
	var known *KeySet
	if old != nil && old.remote != nil && old.remote.url == cfg.KeysURL {
		if old.remote.refresh == cfg.Refresh {
			return old.remote
		}
		known = old.remote.keys.Load()
	}
	r := &remoteKeys{url: cfg.KeysURL, refresh: cfg.Refresh, client: t.client, log: t.log, pace: t.pace}
	r.start(known)
	return r
}

// close ends what the successor does not use.
func (r *tokenRules) close(successor *remoteKeys) {
	if r != nil && r.remote != nil && r.remote != successor {
		r.remote.close()
	}
}

// Close ends all fetching. Tokens are not accepted afterwards.
func (t *Tokens) Close() { t.Reload(TokenConfig{}) }

func (t *Tokens) accepted() bool { return t != nil && t.rules.Load() != nil }

func newTokenParser(cfg TokenConfig) *jwt.Parser {
	options := []jwt.ParserOption{
		jwt.WithValidMethods(tokenAlgorithms), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(cfg.Leeway),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	return jwt.NewParser(options...)
}

var errNoToken = errors.New("not a token")

// verify checks a token (RFC 7519 §7.2) and returns whom it names and until when it counts.
// It may wait for the server of keys.
func (t *Tokens) verify(ctx context.Context, token string) (name string, expires time.Time, err error) {
	rules := t.rules.Load()
	if rules == nil || !tokenShaped(token) {
		return "", time.Time{}, errNoToken
	}
	claims := jwt.MapClaims{}
	_, err = rules.parser.ParseWithClaims(token, claims, func(unverified *jwt.Token) (any, error) {
		return rules.keysFor(ctx, unverified.Header)
	})
	if err != nil {
		return "", time.Time{}, err
	}
	exp, err := claims.GetExpirationTime()
	if err != nil {
		return "", time.Time{}, err
	}
	name, ok := claims[rules.UserClaim].(string)
	if !ok {
		return "", time.Time{}, fmt.Errorf("claim %q is no string", rules.UserClaim)
	}
	return name, exp.Add(rules.Leeway), nil
}

// keysFor is the keys that may have signed a token with this header, all of the type that its
// algorithm needs.
func (r *tokenRules) keysFor(ctx context.Context, header map[string]any) (any, error) {
	if _, critical := header["crit"]; critical {
		return nil, errors.New("a critical extension") // RFC 7515 §4.1.11: we know none
	}
	alg, _ := header["alg"].(string)
	id, _ := header["kid"].(string)
	if alg == "HS256" {
		if r.Secret == "" {
			return nil, errors.New("no secret is configured")
		}
		return []byte(r.Secret), nil
	}
	found := r.Keys.find(alg, id)
	if len(found) == 0 && r.remote != nil {
		found = r.remote.find(ctx, alg, id)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no %s key with the id %.64q", alg, id)
	}
	return jwt.VerificationKeySet{Keys: found}, nil
}

// tokenShaped reports whether s could be a signed token (RFC 7515 §7.1): three parts of base64url.
func tokenShaped(s string) bool {
	if len(s) > maxToken || strings.Count(s, ".") != 2 || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// TokensAccepted reports whether users may prove by a token who they are.
func (s *Service) TokensAccepted() bool { return s.tokens.Load().accepted() }

// SetTokens makes tokens a way to log in; nil takes it away.
func (s *Service) SetTokens(t *Tokens) { s.tokens.Store(t) }

// Renew verifies another token of a user who is logged in, a normalized localpart, and returns until
// when it counts. The error is a *Failure. It may wait for the server of keys.
func (s *Service) Renew(ctx context.Context, user, token string) (expires time.Time, err error) {
	named, expires, failure := s.verifyToken(ctx, token)
	if failure != nil {
		return time.Time{}, failure
	}
	if named != user {
		return time.Time{}, &Failure{Condition: "not-authorized", Cause: errors.New("a token of somebody else")}
	}
	return expires, nil
}

// verifyToken returns the localpart of the user whom a token names and until when it counts.
func (s *Service) verifyToken(ctx context.Context, token string) (user string, expires time.Time, failure *Failure) {
	t := s.tokens.Load()
	if !t.accepted() {
		return "", time.Time{}, &Failure{Condition: "not-authorized", Cause: errNoToken}
	}
	name, expires, err := t.verify(ctx, token)
	if err == nil {
		user, err = s.localpart(name)
	}
	if errors.Is(err, jwt.ErrTokenExpired) { // its signature is good
		return "", time.Time{}, &Failure{Condition: "credentials-expired", Text: "token expired", Cause: err} // RFC 6120 §6.5.3
	}
	if err != nil {
		return "", time.Time{}, &Failure{Condition: "not-authorized", Cause: err}
	}
	return user, expires, nil
}

// admit ends an exchange in which a token has proven a user. The first time it makes an account without
// credentials, in which no password can log in.
func (e *Exchange) admit(ctx context.Context, user string, expires time.Time) error {
	accounts := e.service.accounts
	player, err := accounts.Player(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		err = accounts.CreateAccount(ctx, store.Account{User: user, Created: time.Now().UTC().Truncate(time.Second)})
		if errors.Is(err, store.ErrExists) { // another login was faster
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("auth: account of a token: %w", err)
	}
	e.user, e.expires, e.disabled = user, expires, player.Account.Disabled
	return nil
}
