package api

import (
	"context"
	"errors"
	"net/http"

	"chatd/cluster"
)

func (s *Server) addCluster() {
	add(s, operation{id: "cluster", method: http.MethodGet, path: "/cluster", scope: ScopeMetrics, tag: tagOperators,
		summary: "The cluster as this node sees it", errors: []int{http.StatusNotFound},
		about: "Nodes, their state, sessions, links and lag, whether the tables of sessions agree, and where rooms are. 404 where the node is alone."}, s.getCluster)
	add(s, operation{id: "forgetNode", method: http.MethodDelete, path: "/cluster/{node}", scope: ScopeAdmin, tag: tagOperators, write: true,
		summary: "Give up a node that is gone for good", errors: []int{http.StatusNotFound, http.StatusConflict},
		about: "This node, and those that it reaches, look for it no more and do not miss it. 409 while it is there: have it leave."}, s.forgetNode)
}

var errAlone = failure(http.StatusNotFound, "this node is not part of a cluster")

func (s *Server) getCluster(context.Context, *struct{}) (*struct{ Body cluster.Overview }, error) {
	if s.cfg.Cluster == nil {
		return nil, errAlone
	}
	return &struct{ Body cluster.Overview }{s.cfg.Cluster.Overview()}, nil
}

func (s *Server) forgetNode(_ context.Context, in *struct {
	Node string `path:"node" maxLength:"64" doc:"its name"`
}) (*struct{}, error) {
	if s.cfg.Cluster == nil {
		return nil, errAlone
	}
	switch err := s.cfg.Cluster.ForgetNode(in.Node); {
	case errors.Is(err, cluster.ErrNoNode):
		return nil, failure(http.StatusNotFound, "there is no node "+in.Node)
	case errors.Is(err, cluster.ErrNodeThere):
		return nil, failure(http.StatusConflict, "node "+in.Node+" is there: have it leave")
	}
	return nil, nil
}
