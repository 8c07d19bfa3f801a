package riak

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"
)

// A queue is numbered messages of one owner: those that wait for a user, the events of the outbox, or the history of a
// room. It is one head and any number of segments, each a value.
//
// A segment has up to segmentMessages messages, which only the process that made it adds. A message is an entry by its number; among
// such, removal is final. The head has an entry for each segment, which
// says what is in it, and in high the last number.
//
// To add a message is two writes, of its segment and then of the head: until the head has its segment it does not exist. Two nodes that add at
// the same time write different segments, and each its own entry of the head, so that nothing has to be judged. To remove is the same:
// a tombstone in the segment, and in the head what is left there. An entry of the head is ranked by the last message
// that was added to its segment: whoever finds a segment empty drops it by that rank, and that counts for
// nothing if its owner has added another one.
//
// Numbers are stamps, hence grow on each node, are never given twice, and are greater than those of any message that the node could
// see when it gave them.
type queue struct {
	s     *Store
	kind  string
	owner string
	index index
	// hashed: the head has a hash of each ID, for messages of which every one has to be known by it.
	hashed bool
}

const (
	segmentMessages = 250
	segmentBytes    = 64 << 10
	newestByID      = 1000 // how many are searched for an ID
	// segmentLife is tombstoneLife for segments that are empty: shorter, because a busy queue leaves hundreds a day. One that came back
	// still holds its own tombstones.
	segmentLife = 3 * 24 * time.Hour
)

func (q queue) head() ref            { return ref{q.kind, q.owner} }
func (q queue) segment(id stamp) ref { return ref{q.kind + ".segment", q.owner + id.key()} }

// A message is what all queues keep.
type message struct {
	seq  int64
	id   string
	body []byte
	// again: an earlier attempt to add it failed, perhaps on another node.
	again bool
	// segment is where it is being added, and added when.
	segment, added stamp
}

// A segmentInfo is what the head has of a segment.
type segmentInfo struct {
	id          stamp
	rank        int64 // stamp of the last message that was added
	first, last int64 // numbers
	count       int   // messages that are there
	used        int   // messages that were ever added
	bytes       int   // of all that were added
	hashes      []byte
}

// An openSegment is the one that this process adds to.
type openSegment struct{ id stamp }

func (i *segmentInfo) encode() []byte {
	var e encoder
	e.number(i.first)
	e.number(i.last)
	e.number(int64(i.count))
	e.number(int64(i.used))
	e.number(int64(i.bytes))
	e.bytes(i.hashes)
	return e
}

const segmentKey = "s"

// segments are those that are listed, by their first numbers.
func (s *state) segments() ([]segmentInfo, error) {
	var all []segmentInfo
	for key, e := range s.entries {
		if !s.shows(e) || key[:1] != segmentKey {
			continue
		}
		i, err := decodeInfo(key, e)
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b segmentInfo) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.id, b.id)) })
	return all, nil
}

func decodeInfo(key string, e entry) (segmentInfo, error) {
	d := decoder{rest: e.value}
	i := segmentInfo{id: stampOf(key[1:]), rank: e.rank, first: d.number(), last: d.number(),
		count: int(d.number()), used: int(d.number()), bytes: int(d.number())}
	i.hashes = d.bytes()
	return i, d.err()
}

// count is how many messages there are.
func (s *state) count() (n int, err error) {
	all, err := s.segments()
	for _, i := range all {
		n += i.count
	}
	return n, err
}

// setSegment lists a segment, or drops it when nothing is left.
func (s *state) setSegment(i *segmentInfo, at stamp) {
	e := entry{rank: i.rank, at: at, gone: i.count == 0}
	if !e.gone {
		e.value = i.encode()
	}
	s.put(segmentKey+i.id.key(), e)
}

const hashBytes = 4

func hashOf(id string) []byte {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return h.Sum(nil)
}

// mayHave reports whether a message with this ID was ever added, or one that hashes alike.
func (i *segmentInfo) mayHave(id string) bool {
	hash := hashOf(id)
	for at := 0; at+hashBytes <= len(i.hashes); at += hashBytes {
		if string(i.hashes[at:at+hashBytes]) == string(hash) {
			return true
		}
	}
	return false
}

// Entries of a segment have one of these ranks, by which one follows another whoever writes what when: a message that was added may be
// called off (resolve), may be restored after that, and once removed stays so.
const (
	rankAdded    = 1 // a tombstone of this rank has what was called off as its value
	rankRestored = 2
	rankRemoved  = 3
)

func (s *state) setMessage(m *message, at stamp) {
	var e encoder
	e.text(m.id)
	e.bytes(m.body)
	if m.again {
		e.flag(true)
	}
	key := stamp(m.seq).key()
	s.put(key, entry{rank: max(rankAdded, s.entries[key].rank), at: at, value: e})
}

// removeMessage reports whether that was to be written. One that was called off is removed too, so that it is known to have been handed over.
func (s *state) removeMessage(seq int64, at stamp) bool {
	key := stamp(seq).key()
	e, ok := s.entries[key]
	if !ok || e.rank == rankRemoved {
		return false
	}
	s.put(key, entry{rank: rankRemoved, at: at, gone: true})
	return true
}

// countMessages is how many are there of a queue that was purged then, up to the last one that the head knows of. What comes
// after it was never added: its writer did not get to write the head.
func (s *state) countMessages(purged stamp, last int64) (n int) {
	for key, e := range s.entries {
		if s.shows(e) && e.at > purged && int64(stampOf(key)) <= last {
			n++
		}
	}
	return n
}

// whole reports that a segment was read new enough to know of all messages that the head says were added to it.
func (i *segmentInfo) whole(s *state) bool {
	n := 0
	for key := range s.entries {
		if int64(stampOf(key)) <= i.last {
			n++
		}
	}
	return n >= i.used
}

// left is how many messages are there after some were removed. What was not read whole may have more than can be seen.
func (i *segmentInfo) left(s *state, purged stamp, removed int) int {
	n := s.countMessages(purged, i.last)
	if !i.whole(s) {
		n = max(n, i.count-removed)
	}
	return n
}

// messages are those with numbers between two, excluding both, in their order.
func (s *state) messages(purged stamp, after, before int64) ([]message, error) {
	var all []message
	for key, e := range s.entries {
		seq := int64(stampOf(key))
		if !s.shows(e) || e.at <= purged || seq <= after || seq >= before {
			continue
		}
		d := decoder{rest: e.value}
		m := message{seq: seq, id: d.text(), body: d.slice()}
		m.again = len(d.rest) > 0
		all = append(all, m)
		if d.bad {
			return nil, errDamaged
		}
	}
	slices.SortFunc(all, func(a, b message) int { return cmp.Compare(a.seq, b.seq) })
	return all, nil
}
