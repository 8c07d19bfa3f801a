package cluster

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// ReplicaStats counts what a replica has done since it began.
type ReplicaStats struct {
	DeltasSent, DeltasApplied       uint64
	SnapshotsSent, SnapshotsApplied uint64
	Gaps                            uint64 // changes that were missing: each led to a snapshot
	Drift, Repaired                 uint64 // segments that differed from their owner's, and were sent again
	Duplicates                      uint64 // rows whose full JID was bound here as well
	Malformed                       uint64 // frames that could not be used
}

type replicaStats struct {
	deltasSent, deltasApplied, snapshotsSent, snapshotsApplied, gaps, drift, repaired, duplicates, malformed atomic.Uint64
}

// Stats are the counters.
func (r *Replica) Stats() ReplicaStats {
	s := &r.stats
	return ReplicaStats{
		DeltasSent: s.deltasSent.Load(), DeltasApplied: s.deltasApplied.Load(),
		SnapshotsSent: s.snapshotsSent.Load(), SnapshotsApplied: s.snapshotsApplied.Load(),
		Gaps: s.gaps.Load(), Drift: s.drift.Load(), Repaired: s.repaired.Load(),
		Duplicates: s.duplicates.Load(), Malformed: s.malformed.Load(),
	}
}

// A ReplicaState is how far replication with a peer is.
type ReplicaState struct {
	Node        string
	Incarnation uint64
	Rows        int       // of it that are seen here
	Complete    bool      // its rows are seen here
	Sent        bool      // a snapshot of this node's rows was sent to it, and deltas follow
	Lag         uint64    // this node's changes that it has not been sent
	Unapplied   uint64    // bytes of rows that it was sent and has not confirmed: less than 128 kB are normal
	Compared    time.Time // when its digest was last compared with its rows here; zero: not yet
	Differing   int       // segments of 256 that then were not as it has them
}

// States are those of all peers, by name.
func (r *Replica) States() []ReplicaState {
	var list []ReplicaState
	for _, p := range r.all() {
		p.mu.Lock()
		st := ReplicaState{
			Node: p.node, Incarnation: p.incarnation, Sent: p.begun && p.whole, Lag: r.log.last.Load() - p.cursor,
			Unapplied: p.sent - p.got, Compared: p.compared, Differing: p.differ,
		}
		p.mu.Unlock()
		for _, o := range r.Rows.Owners() {
			if o.Peer == p.sender {
				st.Complete, st.Rows = true, o.Len()
			}
		}
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b ReplicaState) int { return cmp.Compare(a.Node, b.Node) })
	return list
}
