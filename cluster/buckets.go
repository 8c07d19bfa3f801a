package cluster

import (
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
)

const (
	leastBuckets   = 1 << 14
	bucketsPerNode = 8
)

// bucketCount is the number of buckets for so many nodes: a power of two, at least 8 a node. It is far more up to 2,048 nodes: the more
// buckets, the less has to move so that all nodes have as many. They are split only beyond.
func bucketCount(nodes int) int {
	least := max(leastBuckets, nodes*bucketsPerNode)
	return 1 << bits.Len(uint(least-1))
}

// assignBuckets gives each bucket to one of the nodes, as the number of its name in the sorted list. It depends on the names only. The
// loads of any two nodes differ by at most one bucket.
//
// Each pair of node and bucket has a score that nothing else enters (rendezvous hashing), and the outcome is the one
// where no bucket and node would both rather have each other than what they got (the stable matching of Gale
// and Shapley, with a quota for each node). What a new node takes are thus its own best buckets, and little else moves to even
// out the rest: for up to 64 nodes at most half as much again as has to.
func assignBuckets(nodes []string, buckets int) []uint16 {
	m := matching{seeds: make([]uint64, len(nodes)), rooms: make([]room, len(nodes))}
	for i, name := range nodes {
		sum := sha256.Sum256([]byte(name))
		m.seeds[i] = binary.LittleEndian.Uint64(sum[:])
	}
	for i, q := range quotas(m.seeds, buckets) {
		m.rooms[i].quota = q
	}
	for b := range buckets {
		m.place(b)
	}
	home := make([]uint16, buckets)
	for i := range m.rooms {
		for _, c := range m.rooms[i].taken {
			home[c.bucket] = uint16(i)
		}
	}
	return home
}

// quotas divides the buckets; who has one more than others is decided by the names, not by their order.
func quotas(seeds []uint64, buckets int) []int {
	order := make([]int, len(seeds))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(seeds[a], seeds[b]), cmp.Compare(a, b)) })
	q := make([]int, len(seeds))
	for rank, i := range order {
		q[i] = buckets / len(seeds)
		if rank < buckets%len(seeds) {
			q[i]++
		}
	}
	return q
}

type matching struct {
	seeds []uint64
	rooms []room
}

// A claim is a bucket and how much it and a node want each other.
type claim struct {
	score  uint64
	bucket int
}

// A room is what one node has room for: a heap with the least wanted bucket first.
type room struct {
	quota int
	taken []claim
}

func (r *room) Len() int           { return len(r.taken) }
func (r *room) Less(i, j int) bool { return r.taken[i].score < r.taken[j].score }
func (r *room) Swap(i, j int)      { r.taken[i], r.taken[j] = r.taken[j], r.taken[i] }
func (r *room) Push(x any)         { r.taken = append(r.taken, x.(claim)) }
func (r *room) Pop() any {
	last := r.taken[len(r.taken)-1]
	r.taken = r.taken[:len(r.taken)-1]
	return last
}

// place offers the bucket to the nodes, the best first, until one takes it; then the bucket that had
// to give way, and so on.
func (m *matching) place(bucket int) {
	for below := ^uint64(0); ; {
		i, score := m.best(bucket, below)
		r := &m.rooms[i]
		if len(r.taken) < r.quota {
			heap.Push(r, claim{score, bucket})
			return
		}
		below = score
		if r.quota > 0 && r.taken[0].score < score {
			out := r.taken[0]
			r.taken[0] = claim{score, bucket}
			heap.Fix(r, 0)
			bucket, below = out.bucket, out.score
		}
	}
}

// best is the node with the greatest score for the bucket below a limit.
func (m *matching) best(bucket int, below uint64) (node int, score uint64) {
	salt := scramble(uint64(bucket) + 1)
	for i, seed := range m.seeds {
		if s := scramble(seed ^ salt); s >= score && s < below {
			node, score = i, s
		}
	}
	return node, score
}

// scramble is the finalizer of MurmurHash3.
func scramble(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
