package main

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"chatd/cluster"
	"chatd/router"
	"chatd/stanza"
)

// TestClusterMetrics: docs/operations.md has every metric of a node of a cluster, and no other.
func TestClusterMetrics(t *testing.T) {
	cfg := cluster.Config{Node: "a", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
	s := cluster.New(router.New(stanza.MustJID("chat.test"), cfg.Log), cfg)
	if err := s.Start(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer s.Leave(t.Context())
	registry := prometheus.NewRegistry()
	s.Register(registry)
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := string(text)
	descs := make(chan *prometheus.Desc)
	go func() { registry.Describe(descs); close(descs) }()
	count := 0
	for d := range descs {
		name := strings.Split(d.String(), `"`)[1]
		if count++; !strings.Contains(documented, "`"+name+"`") {
			t.Errorf("docs/operations.md does not have %s", name)
		}
		documented = strings.ReplaceAll(documented, "`"+name+"`", "")
	}
	if count < 20 {
		t.Errorf("%d metrics only", count)
	}
	if _, rest, ok := strings.Cut(documented, "| `chatd_cluster_"); ok {
		t.Errorf("docs/operations.md has chatd_cluster_%s, which there is not", rest[:strings.IndexByte(rest, '`')])
	}
}
