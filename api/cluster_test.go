package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"chatd/cluster"
)

func (f *fixture) askAs(token, method, path string) (status int, body string) {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	f.http.Handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// inCluster makes the fixture's server a node, which looks for others at an address.
func (f *fixture) inCluster(join string) *cluster.Service {
	f.t.Helper()
	cfg := cluster.Config{Node: "a", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0", Join: []string{join}, Log: slog.New(slog.DiscardHandler)}
	s := cluster.New(f.router, cfg)
	s.About = func() []byte { return nil }
	s.Sessions.Found = func(context.Context, string) {}
	s.Sessions.Forget = func(string) {}
	if err := s.Start(f.t.Context(), cfg); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = s.Leave(context.Background()) })
	f.cfg.Cluster = s
	return s
}

// TestIsland: a node that finds none of those that it looks for says so wherever it is asked, and is ready all the same.
func TestIsland(t *testing.T) {
	f := newFixture(t, func(context.Context) error { return nil })
	if status, body := f.askAs("scrape", "GET", "/cluster"); status != http.StatusNotFound || !strings.Contains(body, "not part of a cluster") {
		t.Errorf("alone: %d %s", status, body)
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	s := f.inCluster(nobody.Addr().String())
	registry := prometheus.NewRegistry()
	s.Register(registry)
	island := "# HELP chatd_cluster_island 1 if a member is missing that has not left, or none of cluster.join answers.\n# TYPE chatd_cluster_island gauge\nchatd_cluster_island 1\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(island), "chatd_cluster_island"); err != nil {
		t.Error(err)
	}
	if status, body := f.askAs("", "GET", "/readyz"); status != http.StatusOK || body != "ok, on an island: 1 of the other nodes cannot be reached\n" {
		t.Errorf("readyz: %d %s", status, body)
	}
	status, body := f.askAs("scrape", "GET", "/cluster")
	var o cluster.Overview
	if err := json.Unmarshal([]byte(body), &o); err != nil || status != http.StatusOK || o.Node != "a" || !o.Island || len(o.Silent) != 1 {
		t.Errorf("cluster: %d %s", status, body)
	}
}

// TestForgetNode asks for nodes to be forgotten that are there, that are gone, and that never were.
func TestForgetNode(t *testing.T) {
	f := newFixture(t, func(context.Context) error { return nil })
	if status, _ := f.askAs("s3cret", "DELETE", "/cluster/b"); status != http.StatusNotFound {
		t.Errorf("alone: %d", status)
	}
	other := newFixture(t, nil)
	s := f.inCluster("127.0.0.1:1")
	gossip := s.Overview().Gossip
	cfg := cluster.Config{Node: "b", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0", Join: []string{gossip}, Log: slog.New(slog.DiscardHandler)}
	b := cluster.New(other.router, cfg)
	b.About = s.About
	b.Sessions.Found, b.Sessions.Forget = s.Sessions.Found, s.Sessions.Forget
	if err := b.Start(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	is := func(state string) bool { m := s.Overview().Members; return len(m) == 1 && m[0].State == state }
	await(t, "the other node", func() bool { return is(cluster.StateAlive) })
	if status, body := f.askAs("s3cret", "DELETE", "/cluster/b"); status != http.StatusConflict || !strings.Contains(body, "node b is there: have it leave") {
		t.Errorf("while it is there: %d %s", status, body)
	}
	if err := b.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	await(t, "its end", func() bool { return is(cluster.StateLeft) && !s.Overview().Members[0].Gossiped })
	if status, _ := f.askAs("scrape", "DELETE", "/cluster/b"); status != http.StatusForbidden {
		t.Errorf("without the scope: %d", status)
	}
	if status, body := f.askAs("s3cret", "DELETE", "/cluster/b"); status != http.StatusNoContent || len(s.Overview().Members) != 0 {
		t.Errorf("gone: %d %s, %+v", status, body, s.Overview().Members)
	}
	if status, body := f.askAs("s3cret", "DELETE", "/cluster/b"); status != http.StatusNotFound || !strings.Contains(body, "there is no node b") {
		t.Errorf("again: %d %s", status, body)
	}
	if !strings.Contains(f.logged(), "operation=forgetNode") || !strings.Contains(f.logged(), "node=b") {
		t.Error("it is not written down:", f.logged())
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for ", what)
		}
	}
}
