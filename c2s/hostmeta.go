package c2s

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"slices"
	"strings"
)

// WebSocketPath is where the WebSocket is.
const WebSocketPath = "/xmpp-websocket"

// A metaLink is one way to connect (XEP-0156 §2.1).
type metaLink struct {
	XMLName xml.Name `xml:"Link" json:"-"`
	Rel     string   `xml:"rel,attr" json:"rel"`
	Href    string   `xml:"href,attr" json:"href"`
}

// metaLinks are the ways to connect, for a client that has asked by r: those of this node, and of each other one that says
// how it is reached.
func (h *web) metaLinks(r *http.Request) []metaLink {
	bases := []string{h.baseURL(r)} // of http or https
	if h.srv.Nodes != nil {
		for _, n := range h.srv.Nodes() {
			if n.URL != "" && !slices.Contains(bases, n.URL) {
				bases = append(bases, n.URL)
			}
		}
	}
	var links []metaLink
	for _, base := range bases {
		links = append(links,
			metaLink{Rel: "urn:xmpp:alt-connections:websocket", Href: "ws" + strings.TrimPrefix(base, "http") + WebSocketPath},
			metaLink{Rel: "urn:xmpp:alt-connections:xbosh", Href: base + BOSHPath})
	}
	return links
}

// baseURL is how clients reach us: as configured, else as this one has.
func (h *web) baseURL(r *http.Request) string {
	cfg := h.srv.cfg.Load()
	switch {
	case cfg.WebURL != "":
		return cfg.WebURL
	case cfg.WebTLS == WebNone:
		return "http://" + r.Host
	}
	return "https://" + r.Host
}

// hostMeta is XEP-0156 §2.1 in XML (RFC 6415 §2).
func (h *web) hostMeta(rw http.ResponseWriter, r *http.Request) {
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD"`
		Links   []metaLink
	}{Links: h.metaLinks(r)})
	h.answerMeta(rw, "application/xrd+xml", append([]byte(xml.Header), body...), err)
}

// hostMetaJSON is the same in JSON.
func (h *web) hostMetaJSON(rw http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(map[string][]metaLink{"links": h.metaLinks(r)})
	h.answerMeta(rw, "application/json", body, err)
}

func (h *web) answerMeta(rw http.ResponseWriter, kind string, body []byte, err error) {
	if err != nil {
		h.srv.log.Error("host-meta", "err", err)
		http.Error(rw, "internal error", http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", kind)
	rw.Header().Set("Access-Control-Allow-Origin", "*") // XEP-0156 §3
	age := "3600"
	if h.srv.Nodes != nil { // they come and go
		age = nodesAge
	}
	rw.Header().Set("Cache-Control", "public, max-age="+age)
	rw.Header().Set("Vary", "Host")
	_, _ = rw.Write(body)
}
