package riaktest

import (
	"errors"
	"slices"
	"strings"

	rpb "github.com/basho/riak-go-client/rpb/riak_kv"
)

// keysPerAnswer is how many keys one streamed answer has, at most.
const keysPerAnswer = 100

var errCoverage = errors.New("insufficient_vnodes_available")

// cover calls each with one replica of every key of the bucket: of each
// partition that of one owner that is up, whichever, and never of fallbacks. So
// a listing may name keys that are deleted and miss keys that this one replica
// has not got.
func (s *session) cover(b bucket, each func(key string, o *object)) error {
	c := s.node.cluster
	p, ok := c.props(b)
	if !ok {
		return errNoType
	}
	chosen := make([]*node, c.partitions()) // by first partition
	at := make([]int, c.partitions())
	for first := range chosen {
		start := c.intn(p.N)
		for i := range p.N {
			partition := (first + (start+i)%p.N) % c.partitions()
			if owner := c.owner(partition); owner.state.Load() == up && c.reaches(s.node.index, owner.index) {
				chosen[first], at[first] = owner, partition
				break
			}
		}
		if chosen[first] == nil {
			return errCoverage
		}
	}
	for _, n := range c.nodes {
		n.scan(b, func(partition int, key string, o *object) {
			if first := c.first(b, key); chosen[first] == n && at[first] == partition {
				each(key, o)
			}
		})
	}
	return nil
}

// scan calls each with what the node holds of a bucket.
func (n *node) scan(b bucket, each func(partition int, key string, o *object)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for partition, v := range n.vnodes {
		if v == nil {
			continue
		}
		for key := range v.buckets[b] {
			if r := v.find(b, key); r != nil {
				each(partition, key, r.object)
			}
		}
	}
}

func serveListKeys(s *session, m *rpb.RpbListKeysReq) {
	b := bucketOf(m.Type, m.Bucket)
	var keys [][]byte
	err := s.cover(b, func(key string, _ *object) { keys = append(keys, []byte(key)) })
	switch {
	case errors.Is(err, errNoType):
		s.failNoType(m.Type)
		return
	case err != nil:
		s.fail(err.Error())
		return
	}
	for part := range slices.Chunk(keys, keysPerAnswer) {
		s.reply(codeListKeysResp, &rpb.RpbListKeysResp{Keys: part})
	}
	done := true
	s.reply(codeListKeysResp, &rpb.RpbListKeysResp{Done: &done})
}

func serveListBuckets(s *session, m *rpb.RpbListBucketsReq) {
	kind := bucketOf(m.Type, nil).kind
	if _, ok := s.node.cluster.props(bucket{kind: kind}); !ok {
		s.failNoType(m.Type)
		return
	}
	var names [][]byte
	for _, name := range s.node.cluster.bucketNames(s.node, kind) {
		names = append(names, []byte(name))
	}
	done := true
	s.reply(codeListBucketsResp, &rpb.RpbListBucketsResp{Buckets: names, Done: &done})
}

// bucketNames are the buckets of a type in which the nodes that are reached have
// any key.
func (c *Cluster) bucketNames(from *node, kind string) []string {
	names := map[string]bool{}
	for _, n := range c.nodes {
		if n.state.Load() != up || !c.reaches(from.index, n.index) {
			continue
		}
		n.mu.Lock()
		for _, v := range n.vnodes {
			if v == nil {
				continue
			}
			for b, keys := range v.buckets {
				if b.kind == kind && len(keys) > 0 {
					names[b.name] = true
				}
			}
		}
		n.mu.Unlock()
	}
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return sorted
}

// An indexed key is one entry of a secondary index.
type indexed struct{ term, key string }

func serveIndex(s *session, m *rpb.RpbIndexReq) {
	b := bucketOf(m.Type, m.Bucket)
	p, ok := s.node.cluster.props(b)
	switch {
	case !ok:
		s.fail(errNoType.Error())
		return
	case !p.indexes():
		text := "{indexes_not_supported,riak_kv_bitcask_backend}"
		if m.GetStream() {
			text = "{error," + text + "}"
		}
		s.fail(text)
		return
	}
	var hits []indexed
	match := matcher(m)
	if err := s.cover(b, func(key string, o *object) { hits = append(hits, match(key, o)...) }); err != nil {
		s.fail(err.Error())
		return
	}
	slices.SortFunc(hits, func(a, b indexed) int { return strings.Compare(a.term+"\x00"+a.key, b.term+"\x00"+b.key) })
	s.replyIndex(m, slices.Compact(hits))
}

// matcher finds an object's entries in the range that is asked. Terms compare as
// bytes, also those of _int indexes.
func matcher(m *rpb.RpbIndexReq) func(key string, o *object) []indexed {
	low, high := string(m.RangeMin), string(m.RangeMax)
	if m.GetQtype() == rpb.RpbIndexReq_eq {
		low, high = string(m.Key), string(m.Key)
	}
	in := func(term string) bool { return low <= term && term <= high }
	return func(key string, o *object) []indexed {
		switch index := string(m.Index); index {
		case "$bucket":
			return []indexed{{"", key}}
		case "$key":
			if in(key) {
				return []indexed{{key, key}}
			}
			return nil
		default:
			return entries(index, key, o, in)
		}
	}
}

func entries(index, key string, o *object, in func(string) bool) (hits []indexed) {
	for _, sib := range o.siblings {
		for _, pair := range sib.pb.Indexes {
			if string(pair.Key) == index && in(string(pair.Value)) {
				hits = append(hits, indexed{string(pair.Value), key})
			}
		}
	}
	return hits
}

func (s *session) replyIndex(m *rpb.RpbIndexReq, hits []indexed) {
	if after := string(m.Continuation); after != "" {
		i, found := slices.BinarySearchFunc(hits, after, func(h indexed, after string) int {
			return strings.Compare(h.term+"\x00"+h.key, after)
		})
		if found {
			i++
		}
		hits = hits[i:]
	}
	resp := &rpb.RpbIndexResp{}
	if most := int(m.GetMaxResults()); most > 0 && len(hits) >= most {
		hits = hits[:most]
		last := hits[most-1]
		resp.Continuation = []byte(last.term + "\x00" + last.key)
	}
	for _, h := range hits {
		resp.Keys = append(resp.Keys, []byte(h.key))
	}
	if m.GetReturnTerms() {
		resp.Results, resp.Keys = pairs(hits), nil
	}
	if m.GetStream() {
		done := true
		resp.Done = &done
	}
	s.reply(codeIndexResp, resp)
}
