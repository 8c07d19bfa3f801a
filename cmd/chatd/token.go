package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"time"

	"chatd/auth"
)

func (r revealer) tokenSecret(at *string) value {
	return checked(at, fmt.Sprintf("%d bytes or more", auth.MinTokenSecret), func(s string) (string, error) {
		secret, err := r.reveal(s)
		if err == nil && secret != "" && len(secret) < auth.MinTokenSecret { // RFC 7518 §3.2
			return "", fmt.Errorf("must be %d bytes or more: openssl rand -hex 32", auth.MinTokenSecret)
		}
		return secret, err
	})
}

func webAddress(at *string) value {
	return checked(at, "http or https", func(s string) (string, error) {
		u, err := url.Parse(s)
		if s != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "") {
			return "", errors.New("must be a URL that begins with https:// or http://")
		}
		return s, nil
	})
}

func claimName(at *string) value {
	return checked(at, "", func(s string) (string, error) {
		if s == "" {
			return "", errors.New("must name a claim")
		}
		return s, nil
	})
}

// tokenConflicts finds what does not go together in [auth.token].
func (c *Config) tokenConflicts(fail func(key, what string)) {
	t := c.Auth.Token
	if t.JWKSFile != "" && t.JWKSURL != "" {
		fail("auth.token.jwks_url", "and auth.token.jwks_file exclude each other")
	}
	keys := t.Secret != "" || t.JWKSFile != "" || t.JWKSURL != ""
	for key, set := range map[string]bool{"auth.token.issuer": t.Issuer != "", "auth.token.audience": t.Audience != ""} {
		if set && !keys {
			fail(key, "needs auth.token.secret, jwks_file or jwks_url too")
		}
	}
	if keys && c.C2S.TLS == "off" {
		fail("auth.token", `needs TLS, but c2s.tls is "off"`)
	}
}

// warnOfTokens logs what would let more tokens in than are meant for this server.
func (c *Config) warnOfTokens(log *slog.Logger) {
	t := c.Auth.Token
	if (t.JWKSFile != "" || t.JWKSURL != "") && t.Audience == "" {
		log.Warn("tokens that are meant for another service are accepted", "key", "auth.token.audience")
	}
	if u, err := url.Parse(t.JWKSURL); err == nil && u.Scheme == "http" && !loopback(net.JoinHostPort(u.Hostname(), "80")) {
		log.Warn("whoever is on the way to the server of keys can log in as anybody: use https", "key", "auth.token.jwks_url")
	}
	if t.Secret+t.JWKSFile+t.JWKSURL != "" && c.C2S.Registration {
		log.Warn("a name that somebody registers gives them what the user of a token has under it", "key", "c2s.registration")
	}
}

// tokenConfig is [auth.token] as auth wants it.
func tokenConfig(cfg *Config) (auth.TokenConfig, error) {
	t := cfg.Auth.Token
	keys, err := tokenKeys(cfg)
	if err != nil {
		return auth.TokenConfig{}, fmt.Errorf("auth.token.jwks_file: %w", err)
	}
	return auth.TokenConfig{
		Issuer: t.Issuer, Audience: t.Audience, Secret: t.Secret, Keys: keys, KeysURL: t.JWKSURL,
		Refresh: time.Duration(t.Refresh) * time.Second, Leeway: time.Duration(t.Leeway) * time.Second,
		UserClaim: t.UserClaim,
	}, nil
}

// tokenKeys reads jwks_file; nil if there is none.
func tokenKeys(cfg *Config) (*auth.KeySet, error) {
	file := cfg.Auth.Token.JWKSFile
	if file == "" {
		return nil, nil
	}
	doc, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	keys, err := auth.ParseKeySet(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}
