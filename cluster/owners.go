package cluster

import (
	"errors"
	"slices"
	"sync/atomic"
)

// An Owner is one incarnation of a node with rows. Its fields do not change.
type Owner struct {
	Node        string
	Incarnation uint64
	// Peer is what leads to the node, as it was given to Replica.PeerUp.
	Peer Sender

	id   uint16
	rows atomic.Int64
}

// owners are all by their numbers; nil is a number that is free, or an owner that is not in the set.
type owners struct {
	all     []*Owner
	current []*Owner // those that are seen, or are being built
	seen    []*Owner
}

// Len counts the owner's rows.
func (o *Owner) Len() int { return int(o.rows.Load()) }

// Owners are those whose rows are seen.
func (r *Rows) Owners() []*Owner {
	return slices.DeleteFunc(slices.Clone(r.owners.Load().seen), func(o *Owner) bool { return o == nil })
}

var errOwners = errors.New("cluster: too many owners of rows")

// open begins the slice of an owner, unseen.
func (r *Rows) open(node string, incarnation uint64, peer Sender) (*Owner, error) {
	o := &Owner{Node: node, Incarnation: incarnation, Peer: peer}
	full := false
	r.change(func(set *owners) {
		id := slices.Index(set.all, nil)
		if id < 0 {
			if id = len(set.all); id > 0xffff {
				full = true
				return
			}
			set.all, set.current, set.seen = append(set.all, nil), append(set.current, nil), append(set.seen, nil)
		}
		o.id = uint16(id)
		set.all[id], set.current[id] = o, o
	})
	if full {
		return nil, errOwners
	}
	return o, nil
}

// swap shows one owner's slice and hides another's, at once; each may be nil.
func (r *Rows) swap(show, hide *Owner) {
	r.change(func(set *owners) {
		if show != nil {
			set.current[show.id], set.seen[show.id] = show, show
		}
		if hide != nil {
			set.current[hide.id], set.seen[hide.id] = nil, nil
		}
	})
	r.clock.Add(1)
}

// change replaces the set of owners.
func (r *Rows) change(do func(*owners)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.owners.Load()
	set := &owners{slices.Clone(old.all), slices.Clone(old.current), slices.Clone(old.seen)}
	do(set)
	r.owners.Store(set)
}

// reclaimPlaces is how many places of a shard's index are gone through under one lock: some tens of microseconds.
const reclaimPlaces = 1024

// reclaim frees what an owner has that is not seen any more. It takes time, but holds no lock for long.
func (r *Rows) reclaim(o *Owner) {
	r.reclaiming.Lock()
	defer r.reclaiming.Unlock()
	for i := range r.shards {
		sh := &r.shards[i]
		for place, n := 0, 0; place >= 0; {
			sh.mu.Lock()
			if place, n = sh.clear(o.id, place, reclaimPlaces); place < 0 {
				*sh.seg(o.id) = segment{}
				sh.shrink()
			}
			sh.mu.Unlock()
			o.rows.Add(int64(-n))
		}
	}
	r.change(func(set *owners) { set.all[o.id] = nil })
}
