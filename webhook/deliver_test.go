package webhook

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
)

// TestDeliver: one attempt with real receivers, kind and hostile ones.
func TestDeliver(t *testing.T) {
	var elsewhere atomic.Int64
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := Verify(hook.Secret, r.Header.Get(SignatureHeader), time.Now(), time.Minute, body); err != nil || r.Method != "POST" ||
			r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Chatd-Event-Id") != "e1" || r.Header.Get("Chatd-Event-Type") != AccountMade ||
			r.Header.Values("Idempotency-Key") != nil {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		mux.HandleFunc(fmt.Sprintf("/%d", status), func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", status)
		})
	}
	mux.HandleFunc("/500", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret words", 500) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for chunk := make([]byte, 1<<20); r.Context().Err() == nil; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		c.Close()
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer close(release)
	secure := httptest.NewUnstartedServer(mux)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes
	secure.StartTLS()
	defer secure.Close()
	gone := httptest.NewServer(mux)
	gone.Close()

	s := New(stanza.MustJID("chat.test"), "node", memory.New(), slog.New(slog.DiscardHandler))
	e := &store.Event{ID: "e1", Type: AccountMade, Body: []byte(`{"id":"e1"}`)}
	for _, tt := range []struct{ url, label string }{
		{srv.URL + "/ok", delivered},
		{srv.URL + "/301", refused}, {srv.URL + "/302", refused}, {srv.URL + "/303", refused}, {srv.URL + "/307", refused}, {srv.URL + "/308", refused},
		{srv.URL + "/404", refused},
		{srv.URL + "/500", refused},
		{srv.URL + "/hang", timedOut},
		{srv.URL + "/endless", delivered}, // it said 200
		{srv.URL + "/header", unreachable},
		{srv.URL + "/cut", unreachable},
		{secure.URL + "/ok", unreachable}, // a certificate that nobody knows
		{gone.URL, unreachable},
		{"http://nobody.invalid/", unreachable},
	} {
		h := hook
		h.URL, h.Timeout = tt.url, 10*time.Second
		if tt.label == timedOut {
			h.Timeout = 200 * time.Millisecond
		}
		begun := time.Now()
		got := s.deliver(t.Context(), &h, e)
		if got.label != tt.label {
			t.Errorf("%s: %+v, want %s", tt.url, got, tt.label)
		}
		if strings.Contains(got.why, "secret") || strings.Contains(got.why, "/hang") {
			t.Errorf("%s tells %q", tt.url, got.why)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s took %v", tt.url, took)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d redirects followed", n)
	}
}
