package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"chatd/stanza"
	"chatd/webhook"
)

// minHookSecret is the least length of what signs requests to other services, in bytes.
const minHookSecret = 16

// Bounds of what a webhook may say of itself, and what holds if it says nothing.
const (
	defaultHookTimeout, minHookTimeout, maxHookTimeout = 10_000, 100, 30_000 // milliseconds
	defaultHookRetry, maxHookRetry                     = 86_400, 604_800     // seconds
)

var hookKeys = []string{"name", "url", "secret", "events", "bodies", "timeout_ms", "retry_seconds"}

func (r revealer) webhooks(at *[]webhook.Hook) value {
	return value{kind: "array of tables", limits: strings.Join(hookKeys, ", "), at: at, set: func(x any) error {
		list, ok := x.([]any)
		if !ok {
			return errors.New("must be an array of tables, each begun by [[webhooks]]")
		}
		var out []webhook.Hook
		for i, e := range list {
			h, err := r.webhook(e)
			if err == nil && slices.ContainsFunc(out, func(o webhook.Hook) bool { return o.Name == h.Name }) {
				err = fmt.Errorf("another webhook is named %q", h.Name)
			}
			if err != nil {
				return &elementError{i, err}
			}
			out = append(out, h)
		}
		*at = out
		return nil
	}}
}

var hookName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)

func (r revealer) webhook(x any) (h webhook.Hook, err error) {
	m, ok := x.(map[string]any)
	if !ok {
		return h, errors.New("must be a table with name, url, secret and events")
	}
	for k := range m {
		if !slices.Contains(hookKeys, k) {
			return h, fmt.Errorf("unknown key %q%s", k, didYouMean(k, hookKeys))
		}
	}
	if h.Name, _ = m["name"].(string); !hookName.MatchString(h.Name) {
		return h, errors.New("name must be of 1 to 40 letters, digits, - and _")
	}
	timeout, retry := defaultHookTimeout, defaultHookRetry
	for _, s := range []setting{
		{"url", reload, webAddress(&h.URL)},
		{"secret", reload, r.hookSecret(&h.Secret)},
		{"events", reload, choices(&h.Events, webhook.Types()...)},
		{"bodies", reload, boolean(&h.Bodies)},
		{"timeout_ms", reload, number(&timeout, minHookTimeout, maxHookTimeout)},
		{"retry_seconds", reload, number(&retry, 0, maxHookRetry)},
	} {
		if x, given := m[s.key]; given {
			if err := s.set(x); err != nil {
				return h, fmt.Errorf("%s %w", s.key, err)
			}
		}
	}
	h.Timeout, h.Retry = time.Duration(timeout)*time.Millisecond, time.Duration(retry)*time.Second
	switch {
	case h.URL == "":
		return h, errors.New("url is missing")
	case h.Secret == "":
		return h, errors.New("secret is missing: openssl rand -hex 32")
	case len(h.Events) == 0:
		return h, fmt.Errorf("events must have some of %s", strings.Join(webhook.Types(), ", "))
	}
	return h, nil
}

func (r revealer) hookSecret(at *string) value {
	return checked(at, fmt.Sprintf("%d bytes or more", minHookSecret), func(s string) (string, error) {
		secret, err := r.reveal(s)
		if err == nil && secret != "" && len(secret) < minHookSecret {
			return "", fmt.Errorf("must be %d bytes or more: openssl rand -hex 32", minHookSecret)
		}
		return secret, err
	})
}

// filterTypes is the types of message that a filter can be asked about, by their names.
var filterTypes = map[string]stanza.Type{
	"chat": stanza.Chat, "normal": stanza.None, "groupchat": stanza.Groupchat, "headline": stanza.Headline,
}

// filterConflicts finds what does not go together in [message.filter].
func (c *Config) filterConflicts(fail func(key, what string)) {
	f := c.Message.Filter
	if f.URL != "" && f.Secret == "" {
		fail("message.filter.url", "needs message.filter.secret too")
	}
	if f.URL != "" && len(f.Types) == 0 {
		fail("message.filter.types", "is empty: the filter would never be asked")
	}
}

// warnOfHooks says what others on the way could read.
func (c *Config) warnOfHooks(log *slog.Logger) {
	urls := map[string]string{"message.filter.url": c.Message.Filter.URL}
	for i, h := range c.Webhooks {
		urls[fmt.Sprintf("webhooks[%d]", i)] = h.URL
	}
	for key, s := range urls {
		if u, err := url.Parse(s); err == nil && u.Scheme == "http" && !loopback(net.JoinHostPort(u.Hostname(), "80")) {
			log.Warn("whoever is on the way can read what is sent there, unless the network is private: use https", "key", key)
		}
	}
}

// filterConfig is [message.filter] as webhook wants it.
func filterConfig(cfg *Config) webhook.FilterConfig {
	f := cfg.Message.Filter
	c := webhook.FilterConfig{URL: f.URL, Secret: f.Secret, Timeout: time.Duration(f.TimeoutMS) * time.Millisecond, Closed: f.OnFailure == "closed"}
	for _, name := range f.Types {
		c.Types = append(c.Types, filterTypes[name])
	}
	return c
}
