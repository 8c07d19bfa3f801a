package c2s

import (
	"encoding/json"
	"net/http"
)

// A Node is how clients reach one node of the cluster.
type Node struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"` // of Config: host:port
	URL     string `json:"url,omitempty"`     // of Config: WebURL
	Weight  int    `json:"weight"`            // how many clients it can take compared with the others; 1 or more
}

// NodesPath is where clients find the nodes that they can choose from.
const NodesPath = "/.well-known/chatd-nodes.json"

// nodesAge is for how many seconds the list may be kept.
const nodesAge = "10"

// nodes answers with the nodes that are there now, so that clients can spread over them and go on when one is
// gone without a balancer between.
func (h *web) nodes(rw http.ResponseWriter, _ *http.Request) {
	all := []Node{}
	if h.srv.Nodes != nil {
		all = h.srv.Nodes()
	}
	body, err := json.Marshal(map[string][]Node{"nodes": all})
	if err != nil {
		h.srv.log.Error("list of nodes", "err", err)
		http.Error(rw, "internal error", http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Access-Control-Allow-Origin", "*")
	rw.Header().Set("Cache-Control", "public, max-age="+nodesAge)
	_, _ = rw.Write(append(body, '\n'))
}
