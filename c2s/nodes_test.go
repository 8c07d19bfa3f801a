package c2s

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// TestNodes: clients are told of all nodes, and of the ways to each over HTTP.
func TestNodes(t *testing.T) {
	for name, c := range map[string]struct {
		nodes  []Node
		listed string
		hosts  []string // in host-meta; the first has answered
	}{
		"a server that is alone": {nil, `{"nodes":[]}`, []string{"a.test"}},
		"a cluster": {
			[]Node{{Name: "a", Address: "a.test:5222", URL: "https://a.test", Weight: 1}, {Name: "b", Weight: 2}, {Name: "c", URL: "https://c.test:5443", Weight: 1}},
			`{"nodes":[{"name":"a","address":"a.test:5222","url":"https://a.test","weight":1},{"name":"b","weight":2},{"name":"c","url":"https://c.test:5443","weight":1}]}`,
			[]string{"a.test", "c.test:5443"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{}
			if c.nodes != nil {
				s.Nodes = func() []Node { return c.nodes }
			}
			s.cfg.Store(&Config{WebURL: "https://a.test"})
			ask := func(path string) []byte {
				rw := httptest.NewRecorder()
				(&web{srv: s}).routes().ServeHTTP(rw, httptest.NewRequest(http.MethodGet, path, nil))
				if rw.Code != http.StatusOK || rw.Header().Get("Access-Control-Allow-Origin") != "*" ||
					c.nodes != nil && rw.Header().Get("Cache-Control") != "public, max-age=10" {
					t.Errorf("%s: status %d, %v", path, rw.Code, rw.Header())
				}
				return rw.Body.Bytes()
			}
			if got := string(ask(NodesPath)); got != c.listed+"\n" {
				t.Errorf("nodes: %s", got)
			}
			var meta struct{ Links []metaLink }
			if err := json.Unmarshal(ask("/.well-known/host-meta.json"), &meta); err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for _, l := range meta.Links {
				got = append(got, l.Href)
			}
			for _, host := range c.hosts {
				want = append(want, "wss://"+host+WebSocketPath, "https://"+host+BOSHPath)
			}
			if !slices.Equal(got, want) {
				t.Errorf("host-meta: %q", got)
			}
		})
	}
}
