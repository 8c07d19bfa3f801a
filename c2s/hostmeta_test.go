package c2s

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestHostMeta: both forms say the same (XEP-0156 §2.1), to scripts of any origin.
func TestHostMeta(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		host string
		want string
	}{
		"TLS":                {Config{}, "chat.test:5280", "wss://chat.test:5280/xmpp-websocket"},
		"a proxy":            {Config{WebTLS: WebProxy}, "chat.test", "wss://chat.test/xmpp-websocket"},
		"no TLS":             {Config{WebTLS: WebNone}, "127.0.0.1:5280", "ws://127.0.0.1:5280/xmpp-websocket"},
		"configured":         {Config{WebURL: "https://edge.test/chat"}, "chat.test", "wss://edge.test/chat/xmpp-websocket"},
		"something to quote": {Config{}, `a"<&b`, `wss://a"<&b/xmpp-websocket`},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{}
			s.cfg.Store(&c.cfg)
			h := &web{srv: s}
			ask := func(path, kind string) []byte {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.Host = c.host
				rw := httptest.NewRecorder()
				h.routes().ServeHTTP(rw, r)
				if rw.Code != http.StatusOK || rw.Header().Get("Content-Type") != kind ||
					rw.Header().Get("Access-Control-Allow-Origin") != "*" || rw.Header().Get("Cache-Control") == "" {
					t.Errorf("%s: status %d, %v", path, rw.Code, rw.Header())
				}
				return rw.Body.Bytes()
			}
			var inXML struct {
				XMLName xml.Name   `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD"`
				Links   []metaLink `xml:"Link"`
			}
			if err := xml.Unmarshal(ask("/.well-known/host-meta", "application/xrd+xml"), &inXML); err != nil {
				t.Fatal(err)
			}
			var inJSON struct{ Links []metaLink }
			if err := json.Unmarshal(ask("/.well-known/host-meta.json", "application/json"), &inJSON); err != nil {
				t.Fatal(err)
			}
			for _, links := range [][]metaLink{inXML.Links, inJSON.Links} {
				bosh := "http" + strings.TrimSuffix(strings.TrimPrefix(c.want, "ws"), WebSocketPath) + BOSHPath
				if len(links) != 2 || links[0].Rel != "urn:xmpp:alt-connections:websocket" || links[0].Href != c.want ||
					links[1].Rel != "urn:xmpp:alt-connections:xbosh" || links[1].Href != bosh {
					t.Errorf("links %+v", links)
				}
			}
		})
	}
}
