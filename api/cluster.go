package api

import (
	"context"
	"net/http"

	"chatd/cluster"
)

func (s *Server) addCluster() {
	add(s, operation{id: "cluster", method: http.MethodGet, path: "/cluster", scope: ScopeMetrics, tag: tagOperators,
		summary: "The cluster as this node sees it", errors: []int{http.StatusNotFound},
		about: "Nodes, their state, sessions, links and lag, whether the tables of sessions agree, and where rooms are. 404 where the node is alone."}, s.getCluster)
}

func (s *Server) getCluster(context.Context, *struct{}) (*struct{ Body cluster.Overview }, error) {
	if s.cfg.Cluster == nil {
		return nil, failure(http.StatusNotFound, "this node is not part of a cluster")
	}
	return &struct{ Body cluster.Overview }{s.cfg.Cluster.Overview()}, nil
}
