package auth

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A keyServer is where an issuer publishes its keys.
type keyServer struct {
	mu     sync.Mutex
	status int
	header http.Header
	doc    []byte
	asked  atomic.Int64
	hold   chan struct{} // if not nil, answers wait for it
}

func (k *keyServer) publish(status int, doc []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status, k.doc = status, doc
}

func (k *keyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.asked.Add(1)
	k.mu.Lock()
	status, doc, hold := k.status, k.doc, k.hold
	for name, v := range k.header {
		w.Header()[name] = v
	}
	k.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write(doc)
}

// RoundTrip serves without a network, for tests in which time is not real.
func (k *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	k.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

func newKeyServer(t *testing.T, doc []byte) (*keyServer, string) {
	k := &keyServer{status: http.StatusOK, doc: doc}
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	return k, server.URL + "/jwks.json"
}

// fastTokens may fetch as often as they like.
func fastTokens(t *testing.T, cfg TokenConfig) *Tokens {
	tokens := NewTokens(slog.New(slog.DiscardHandler))
	tokens.pace = 0
	tokens.Reload(cfg)
	t.Cleanup(tokens.Close)
	return tokens
}

func urlConfig(url string) TokenConfig {
	return TokenConfig{KeysURL: url, Refresh: time.Hour, Leeway: 30 * time.Second}
}

func accepts(t *testing.T, tokens *Tokens, token string) bool {
	t.Helper()
	name, _, err := tokens.verify(t.Context(), token)
	if err == nil && name != "juliet" {
		t.Errorf("token of %q", name)
	}
	return err == nil
}

// TestRotation: a new key is found when the first token of it comes, and an old one is no good once it has
// gone and somebody has looked.
func TestRotation(t *testing.T) {
	k, url := newKeyServer(t, keySet(publicJWK("old", testECDSA())))
	tokens := fastTokens(t, urlConfig(url))
	before := sign("ES256", testECDSA(), kid("old"), goodClaims(nil))
	after := sign("EdDSA", testEd25519(), kid("new"), goodClaims(nil))
	if !accepts(t, tokens, before) { // waits for the first fetch
		t.Fatal("a good token was refused")
	}
	if asked := k.asked.Load(); !accepts(t, tokens, before) || k.asked.Load() != asked {
		t.Error("a known key was asked for")
	}
	if accepts(t, tokens, after) {
		t.Error("a key that is not published was known")
	}
	k.publish(http.StatusOK, keySet(publicJWK("old", testECDSA()), publicJWK("new", testEd25519())))
	if !accepts(t, tokens, after) || !accepts(t, tokens, before) {
		t.Error("after the new key was published beside the old")
	}
	k.publish(http.StatusOK, keySet(publicJWK("new", testEd25519())))
	if accepts(t, tokens, sign("ES256", testECDSA(), kid("newer"), goodClaims(nil))) {
		t.Error("a key that is not published was known")
	}
	if accepts(t, tokens, before) || !accepts(t, tokens, after) {
		t.Error("after the old key was taken away")
	}
}

// TestBadKeyServer: whatever a server of keys says, the keys of before go on to count.
func TestBadKeyServer(t *testing.T) {
	good := keySet(publicJWK("a", testECDSA()))
	k, url := newKeyServer(t, good)
	tokens := fastTokens(t, urlConfig(url))
	token, unknown := sign("ES256", testECDSA(), kid("a"), goodClaims(nil)), sign("ES256", testECDSA(), kid("b"), goodClaims(nil))
	if !accepts(t, tokens, token) {
		t.Fatal("a good token was refused")
	}
	elsewhere, elsewhereURL := newKeyServer(t, keySet(publicJWK("b", testECDSA())))
	k.header = http.Header{"Location": {elsewhereURL}}
	for _, answer := range []struct {
		status int
		doc    []byte
	}{
		{500, good}, {404, nil}, {204, nil}, {301, nil}, {307, good}, {200, nil}, {200, []byte("<html>")}, {200, []byte(`{"keys":[]}`)},
		{200, keySet(publicJWK("b", testRSA()))[:100]}, {200, append(good, strings.Repeat(" ", maxKeySetBytes)...)},
	} {
		k.publish(answer.status, answer.doc)
		asked := k.asked.Load()
		if accepts(t, tokens, unknown) || !accepts(t, tokens, token) || k.asked.Load() != asked+1 {
			t.Errorf("%d %.20q: asked %d times", answer.status, answer.doc, k.asked.Load()-asked)
		}
	}
	if elsewhere.asked.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// TestKeyServerHangs: those whose keys are known do not wait, nor does the end.
func TestKeyServerHangs(t *testing.T) {
	k, url := newKeyServer(t, keySet(publicJWK("a", testECDSA())))
	tokens := fastTokens(t, urlConfig(url))
	token := sign("ES256", testECDSA(), kid("a"), goodClaims(nil))
	if !accepts(t, tokens, token) {
		t.Fatal("a good token was refused")
	}
	k.mu.Lock()
	k.hold = make(chan struct{})
	k.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 10 {
		waiting.Go(func() {
			if _, _, err := tokens.verify(ctx, sign("ES256", testECDSA(), kid("b"), goodClaims(nil))); err == nil {
				t.Error("an unknown key was accepted")
			}
		})
	}
	for k.asked.Load() < 2 {
		if !accepts(t, tokens, token) {
			t.Error("a good token was refused")
		}
	}
	cancel()
	waiting.Wait()
	if n := k.asked.Load(); n != 2 {
		t.Errorf("asked %d times at once", n-1)
	}
	tokens.Close()
	if accepts(t, tokens, token) {
		t.Error("accepted after Close")
	}
}

// TestRefresh: the set is fetched every Refresh, sooner after a failure, and not for every unknown key.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keyServer{status: http.StatusServiceUnavailable}
		tokens := NewTokens(slog.New(slog.DiscardHandler))
		tokens.client = &http.Client{Transport: k, Timeout: fetchTimeout}
		tokens.Reload(urlConfig("https://issuer.test/keys"))
		defer tokens.Close()
		asked := func(want int64) {
			t.Helper()
			synctest.Wait()
			if n := k.asked.Load(); n != want {
				t.Errorf("asked %d times, want %d", n, want)
			}
		}
		asked(1)
		time.Sleep(fetchPace + time.Millisecond)
		asked(2)
		k.publish(http.StatusOK, keySet(publicJWK("a", testECDSA())))
		time.Sleep(fetchPace + time.Millisecond)
		asked(3)
		token := sign("ES256", testECDSA(), kid("a"), goodClaims(nil))
		if !accepts(t, tokens, token) {
			t.Error("a good token was refused")
		}
		k.publish(http.StatusOK, keySet(publicJWK("b", testEd25519())))
		for i := range 100 {
			if accepts(t, tokens, sign("ES256", testECDSA(), kid(fmt.Sprint(i)), goodClaims(nil))) {
				t.Error("an unknown key was accepted")
			}
		}
		asked(3)
		time.Sleep(fetchPace)
		for i := range 100 {
			accepts(t, tokens, sign("ES256", testECDSA(), kid(fmt.Sprint(i)), goodClaims(nil)))
		}
		asked(4)
		if accepts(t, tokens, token) || !accepts(t, tokens, sign("EdDSA", testEd25519(), kid("b"), goodClaims(nil))) {
			t.Error("the fetch for an unknown key brought nothing")
		}
		k.publish(http.StatusOK, keySet(publicJWK("a", testECDSA())))
		time.Sleep(time.Hour)
		asked(5)
		if !accepts(t, tokens, sign("ES256", testECDSA(), kid("a"), goodClaims(nil))) {
			t.Error("the refresh brought nothing")
		}

		// The same server of keys goes on after a reload, at another pace too; another one begins anew.
		k.publish(http.StatusServiceUnavailable, nil)
		cfg := urlConfig("https://issuer.test/keys")
		cfg.Audience = testAudience
		tokens.Reload(cfg)
		asked(5)
		cfg.Refresh = time.Minute
		tokens.Reload(cfg)
		asked(6)
		if !accepts(t, tokens, sign("ES256", testECDSA(), kid("a"), goodClaims(nil))) {
			t.Error("keys were forgotten")
		}
		cfg.KeysURL = "https://other.test/keys"
		tokens.Reload(cfg)
		asked(7)
		if accepts(t, tokens, sign("ES256", testECDSA(), kid("a"), goodClaims(nil))) {
			t.Error("keys of another server count")
		}
		tokens.Reload(TokenConfig{})
		time.Sleep(24 * time.Hour)
		asked(7)
	})
}

// TestNoPasswordInTheLog: a URL may hold one.
func TestNoPasswordInTheLog(t *testing.T) {
	k, url := newKeyServer(t, []byte("x"))
	var lines strings.Builder
	var mu sync.Mutex
	tokens := NewTokens(slog.New(slog.NewTextHandler(writer(func(p []byte) { mu.Lock(); lines.Write(p); mu.Unlock() }), nil)))
	tokens.Reload(urlConfig(strings.Replace(url, "//", "//user:hunter2@", 1)))
	accepts(t, tokens, sign("ES256", testECDSA(), nil, goodClaims(nil)))
	tokens.Close()
	mu.Lock()
	defer mu.Unlock()
	if got := lines.String(); !strings.Contains(got, "not fetched") || strings.Contains(got, "hunter2") || k.asked.Load() == 0 {
		t.Errorf("log: %s", got)
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }
