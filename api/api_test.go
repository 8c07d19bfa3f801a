package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRoutes(t *testing.T) {
	s := testServer(t, func(context.Context) error { return nil })
	for _, tt := range []struct {
		name, method, path, auth string
		status                   int
		body                     string // part of it
	}{
		{"health", "GET", "/healthz", "", 200, "ok"},
		{"ready", "GET", "/readyz", "", 200, "ok"},
		{"no token", "GET", "/metrics", "", 401, "a bearer token is needed"},
		{"empty token", "GET", "/metrics", "Bearer ", 401, "a bearer token is needed"},
		{"basic", "GET", "/metrics", "Basic czNjcmV0", 401, "a bearer token is needed"},
		{"wrong token", "GET", "/metrics", "Bearer wrong", 401, "not known"},
		{"hash as token", "GET", "/metrics", "Bearer 1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0", 401, "not known"},
		{"metrics", "GET", "/metrics", "Bearer s3cret", 200, "chatd_test_total 0"},
		{"scheme in lower case", "GET", "/metrics", "bearer s3cret", 200, "chatd_test_total 0"},
		{"one scope", "GET", "/metrics", "Bearer scrape", 200, "chatd_test_total 0"},
		{"other scope", "GET", "/debug/pprof/", "Bearer scrape", 403, "lacks the scope debug"},
		{"pprof without token", "GET", "/debug/pprof/", "", 401, "bearer token"},
		{"pprof index", "GET", "/debug/pprof/", "Bearer s3cret", 200, "goroutine"},
		{"pprof profile", "GET", "/debug/pprof/goroutine?debug=1", "Bearer s3cret", 200, "goroutine profile"},
		{"pprof child without token", "GET", "/debug/pprof/heap", "", 401, "bearer token"},
		{"unknown", "GET", "/nothing", "", 404, "nothing is served at /nothing"},
		{"root", "GET", "/", "", 404, "nothing is served at /"},
		{"below a path", "GET", "/metrics/x", "Bearer s3cret", 404, "nothing is served"},
		{"drain by GET", "GET", "/drain", "Bearer s3cret", 405, "GET does not work here"},
		{"drain without token", "POST", "/drain", "", 401, "bearer token"},
		{"drain without scope", "POST", "/drain", "Bearer scrape", 403, "lacks the scope admin"},
		{"method", "POST", "/metrics", "Bearer s3cret", 405, "POST does not work here"},
		{"method before token", "DELETE", "/debug/pprof/heap", "", 405, "DELETE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, nil)
			if tt.auth != "" {
				r.Header.Set("Authorization", tt.auth)
			}
			w := httptest.NewRecorder()
			s.http.Handler.ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
				t.Fatalf("%d %q, want %d and %q", w.Code, w.Body, tt.status, tt.body)
			}
			if w.Code >= 400 {
				checkProblem(t, w)
			}
		})
	}
}

func checkProblem(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if p.Type != "about:blank" || p.Status != w.Code || p.Title != http.StatusText(w.Code) || p.Detail == "" {
		t.Errorf("problem %+v", p)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type %q", ct)
	}
	switch auth := w.Header().Get("WWW-Authenticate"); {
	case w.Code == 401 && !strings.HasPrefix(auth, "Bearer realm="):
		t.Errorf("401 with WWW-Authenticate %q", auth)
	case w.Code == 405 && w.Header().Get("Allow") == "":
		t.Errorf("405 with Allow %q", w.Header().Get("Allow"))
	}
}

// TestDrain: what /drain starts goes on by itself.
func TestDrain(t *testing.T) {
	s := testServer(t, nil)
	drained := 0
	s.cfg.Drain = func() { drained++ }
	r := httptest.NewRequest("POST", "/drain", nil)
	r.Header.Set("Authorization", "Bearer s3cret")
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	if w.Code != 202 || drained != 1 {
		t.Errorf("%d %s, drained %d times", w.Code, w.Body, drained)
	}
}

func TestNotReady(t *testing.T) {
	s := testServer(t, func(context.Context) error { return errors.New("password of the database is hunter2") })
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	if w.Code != 503 || strings.Contains(w.Body.String(), "hunter2") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	checkProblem(t, w)
}

func TestSetTokens(t *testing.T) {
	s := testServer(t, nil)
	s.SetTokens([]Token{{Name: "new", Hash: sha256.Sum256([]byte("new")), Scopes: Scopes()}})
	for secret, want := range map[string]int{"s3cret": 401, "new": 200} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Authorization", "Bearer "+secret)
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", secret, w.Code, want)
		}
	}
}

func TestServeAndShutdown(t *testing.T) {
	s := testServer(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "ok\n" {
		t.Fatalf("%q, %v", body, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("still listening")
	}
}
