package cluster

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// An Overview is the cluster as this node sees it, with what it keeps of the others.
type Overview struct {
	Status
	Sessions int            `json:"sessions" doc:"sessions of this node"`
	Remote   int            `json:"remote" doc:"sessions of the other nodes, as known here"`
	Epoch    uint64         `json:"epoch" doc:"of the placement of rooms and services"`
	Buckets  map[string]int `json:"buckets" doc:"how many of their buckets each node has"`
	Replicas []ReplicaView  `json:"replicas" doc:"how far replication with each node is"`
	Drift    uint64         `json:"drift" doc:"segments of rows that differed from their owner's, since the start"`
	Repaired uint64         `json:"repaired" doc:"those that were sent again"`
	Gaps     uint64         `json:"gaps" doc:"times that changes were missing and a snapshot was asked for"`
	Twice    uint64         `json:"twice" doc:"rows whose full JID was bound on two nodes"`
}

// A ReplicaView is how far replication with one node is.
type ReplicaView struct {
	Node      string     `json:"node"`
	Sessions  int        `json:"sessions" doc:"of that node, as known here"`
	Complete  bool       `json:"complete" doc:"all its sessions are known here"`
	Sent      bool       `json:"sent" doc:"all sessions of this node have been sent to it"`
	Behind    uint64     `json:"behind" doc:"changes that it has not been sent yet"`
	Compared  *time.Time `json:"compared,omitempty" doc:"when its digest was last compared with what is known here"`
	Differing int        `json:"differing" doc:"segments of 256 that then differed"`
	Agrees    bool       `json:"agrees" doc:"the last comparison found no difference"`
}

// Overview is what the node knows now.
func (s *Service) Overview() Overview {
	placement, stats := s.replica.Places.Current(), s.replica.Stats()
	o := Overview{
		Status: s.node.Status(), Sessions: s.replica.Local(), Remote: s.rows.Len(),
		Epoch: placement.Epoch, Buckets: make(map[string]int), Replicas: []ReplicaView{},
		Drift: stats.Drift, Repaired: stats.Repaired, Gaps: stats.Gaps, Twice: stats.Duplicates,
	}
	if o.Members == nil {
		o.Members = []Member{}
	}
	for i, n := range placement.Buckets() {
		o.Buckets[placement.Nodes[i]] = n
	}
	for _, st := range s.replica.States() {
		v := ReplicaView{
			Node: st.Node, Sessions: st.Rows, Complete: st.Complete, Sent: st.Sent, Behind: st.Lag,
			Differing: st.Differing, Agrees: st.Complete && st.Differing == 0 && !st.Compared.IsZero(),
		}
		if !st.Compared.IsZero() {
			v.Compared = &st.Compared
		}
		o.Replicas = append(o.Replicas, v)
	}
	return o
}

// Missing is the names of the nodes that cannot be reached and have not left, or where nobody answers of whom this node knows only the
// address: with any, it is on an island.
func (s *Service) Missing() []string {
	status := s.node.Status()
	return status.missing()
}

// Register registers the service's metrics, after Start.
func (s *Service) Register(to prometheus.Registerer) {
	to.MustRegister(s.node)
	count := func(name, help string, value func(ReplicaStats) uint64) {
		to.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "chatd_cluster_" + name, Help: help},
			func() float64 { return float64(value(s.replica.Stats())) }))
	}
	count("deltas_sent_total", "Changes of this node's sessions sent to others.", func(st ReplicaStats) uint64 { return st.DeltasSent })
	count("deltas_applied_total", "Changes of other nodes' sessions applied.", func(st ReplicaStats) uint64 { return st.DeltasApplied })
	count("snapshots_sent_total", "Times that a node was sent all sessions of this one.", func(st ReplicaStats) uint64 { return st.SnapshotsSent })
	count("snapshots_applied_total", "Times that all sessions of a node were received.", func(st ReplicaStats) uint64 { return st.SnapshotsApplied })
	count("gaps_total", "Times that changes were missing.", func(st ReplicaStats) uint64 { return st.Gaps })
	count("drift_total", "Segments that differed from their owner's.", func(st ReplicaStats) uint64 { return st.Drift })
	count("repairs_total", "Segments that were repaired.", func(st ReplicaStats) uint64 { return st.Repaired })
	count("duplicates_total", "Sessions of one full JID on two nodes.", func(st ReplicaStats) uint64 { return st.Duplicates })
	count("malformed_frames_total", "Frames of other nodes that could not be used.", func(st ReplicaStats) uint64 { return st.Malformed + s.bad.Load() })
	to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chatd_cluster_remote_sessions",
		Help: "Sessions of other nodes that are known here."}, func() float64 { return float64(s.rows.Len()) }))
}
