package riak

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"time"

	"chatd/store"
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
	// segment is where it is being added, and added when.
	segment, added stamp
}

// An attempt to add a message has failed when the head was written: it may have come through, or may do so later.
type attempt struct {
	message
	through bool // it has, as was found out since
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

// add keeps messages, in their order, behind all that are there, and gives each its number. It returns how many there was room for.
func (q queue) add(ctx context.Context, messages []message, max int) (kept int, err error) {
	err = q.s.locks.with(ctx, q.head(), func() error {
		h, seg, err := q.readEnds(ctx)
		if err != nil {
			return err
		}
		if kept, err = h.room(len(messages), max); kept == 0 || err != nil {
			return err
		}
		return q.addLocked(ctx, h, seg, messages[:kept])
	})
	return kept, err
}

// A segmentValue is a segment as it was read.
type segmentValue struct {
	*value
	segmentInfo // as the head has it
}

// readEnds reads the head and, at the same time, the segment that this process adds to; nil if there is none or it is full.
func (q queue) readEnds(ctx context.Context) (h *value, seg *segmentValue, err error) {
	open, ok := q.s.open.get(q.head())
	if !ok {
		if h, err = q.s.read(ctx, q.head(), q.s.quorums.lasting); err == nil {
			err = q.resolve(ctx, h)
		}
		return h, nil, err
	}
	var v *value
	err = inParallel(ctx, 2, func(ctx context.Context, i int) (err error) {
		if i == 0 {
			h, err = q.s.read(ctx, q.head(), q.s.quorums.lasting)
		} else {
			v, err = q.s.read(ctx, q.segment(open.id), q.s.quorums.lasting)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	e, listed := h.get(segmentKey + open.id.key())
	if !listed || len(v.context) == 0 {
		return h, nil, nil
	}
	info, err := decodeInfo(segmentKey+open.id.key(), e)
	if info.full() {
		return h, nil, err
	}
	return h, &segmentValue{v, info}, err
}

// full reports that nothing more is to be added.
func (i *segmentInfo) full() bool { return i.used >= segmentMessages || i.bytes >= segmentBytes }

// room is how many of n messages there is room for.
func (s *state) room(n, limit int) (int, error) {
	there, err := s.count()
	if limit > 0 {
		n = min(n, max(0, limit-there))
	}
	return n, err
}

// addLocked adds messages to the open segment and to new ones.
func (q queue) addLocked(ctx context.Context, h *value, seg *segmentValue, messages []message) (err error) {
	if len(h.context) == 0 {
		if err := q.s.enlist(ctx, q.index, q.owner); err != nil {
			return err
		}
	}
	for i := range messages {
		messages[i].seq = h.grow(q.s.clock)
	}
	for rest := messages; len(rest) > 0 && err == nil; {
		rest, err = q.fill(ctx, h, seg, rest)
		seg = nil
	}
	if err == nil {
		if err = q.writeHead(ctx, h); err != nil {
			q.doubt(messages)
		}
	}
	if err != nil {
		// What of it is there is not known. No other message may make it appear.
		q.s.open.forget(q.head())
	}
	return err
}

// doubtsKept bounds what is remembered of one queue. Callers wait for one another, so few can fail at the same time.
const doubtsKept = 64

// doubt remembers attempts.
func (q queue) doubt(messages []message) {
	doubts, _ := q.s.doubts.get(q.head())
	for _, m := range messages {
		m.body = nil
		doubts = append(doubts, attempt{message: m})
	}
	q.s.doubts.put(q.head(), doubts[max(0, len(doubts)-doubtsKept):])
}

// revoked marks the tombstone of an attempt that has been called off, to tell it from a message that was there and was removed.
var revoked = []byte{1}

// resolve finds out what has become of attempts. One that has not come through is called off, before anything gets a
// greater number: should it arrive later, it would come behind what was handed over already, or twice.
func (q queue) resolve(ctx context.Context, h *value) error {
	doubts, _ := q.s.doubts.get(q.head())
	if len(doubts) == 0 {
		return nil
	}
	var left []attempt
	for _, a := range doubts {
		a.through = a.through || h.entries[segmentKey+a.segment.key()].rank >= int64(a.added)
		if a.through && a.id != "" {
			left = append(left, a)
		}
		if a.through {
			continue
		}
		err := q.changeSegment(ctx, a.segment, func(v *value) {
			v.put(stamp(a.seq).key(), entry{rank: 1, at: q.s.clock.next(v.top()), gone: true, value: revoked})
		})
		if err != nil {
			return err
		}
	}
	q.s.doubts.put(q.head(), left)
	return nil
}

func (q queue) changeSegment(ctx context.Context, id stamp, change func(v *value)) error {
	v, err := q.s.read(ctx, q.segment(id), q.s.quorums.lasting)
	if err != nil {
		return err
	}
	change(v)
	return q.s.store(ctx, q.segment(id), v, q.s.quorums.lasting)
}

// already is the number of the message with this ID, 0 if it has to be added. One that was added by an attempt of which its caller was not
// told counts also when it has been handed over and removed since.
func (q queue) already(ctx context.Context, h *value, id string) (int64, error) {
	_, seq, err := q.find(ctx, h, id)
	if seq != 0 || err != nil {
		return seq, err
	}
	doubts, _ := q.s.doubts.get(q.head())
	for _, a := range doubts {
		if a.id != id || !a.through {
			continue
		}
		v, err := q.s.read(ctx, q.segment(a.segment), q.s.quorums.lasting)
		if err != nil {
			return 0, err
		}
		if e := v.entries[stamp(a.seq).key()]; e.gone && e.at > h.purged && len(e.value) == 0 {
			return a.seq, nil
		}
	}
	return 0, nil
}

// fill writes one segment, a new one if seg is nil, with as many messages as it takes, and lists it in h.
func (q queue) fill(ctx context.Context, h *value, seg *segmentValue, messages []message) (rest []message, err error) {
	if seg == nil {
		seg = &segmentValue{new(value), segmentInfo{id: q.s.clock.next(h.top())}}
	}
	at := q.s.clock.next(max(h.top(), seg.top()))
	for rest = messages; len(rest) > 0 && !seg.full(); rest = rest[1:] {
		rest[0].segment, rest[0].added = seg.id, at
		seg.setMessage(&rest[0], at)
		seg.add(&rest[0], at, q.hashed)
	}
	if err := q.s.store(ctx, q.segment(seg.id), seg.value, q.s.quorums.lasting); err != nil {
		return nil, err
	}
	seg.count = seg.countMessages(h.purged, seg.last)
	h.setSegment(&seg.segmentInfo, q.s.clock.next(h.top()))
	q.s.open.put(q.head(), openSegment{seg.id})
	return rest, nil
}

// add counts one more message.
func (i *segmentInfo) add(m *message, at stamp, hashed bool) {
	if i.used == 0 {
		i.first, i.last = m.seq, m.seq
	}
	i.first, i.last = min(i.first, m.seq), max(i.last, m.seq)
	i.rank = int64(at)
	i.used++
	i.bytes += len(m.body)
	if hashed {
		i.hashes = append(i.hashes, hashOf(m.id)...)
	}
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

func (q queue) writeHead(ctx context.Context, h *value) error {
	q.dropExpired(ctx, h)
	return q.s.store(ctx, q.head(), h, q.s.quorums.lasting)
}

// droppedAtOnce bounds what one verb cleans up.
const droppedAtOnce = 4

// dropExpired deletes segments that have been empty for so long that nobody can bring anything back.
func (q queue) dropExpired(ctx context.Context, h *value) {
	now, n := q.s.clock.now(), 0
	for key, e := range h.entries {
		if !e.expired(now, segmentLife) && e.at > h.purged {
			continue
		}
		if n++; n > droppedAtOnce {
			return
		}
		if q.dropSegment(ctx, stampOf(key[1:])) == nil {
			delete(h.entries, key)
		}
	}
}

func (q queue) dropSegment(ctx context.Context, id stamp) error {
	r := q.segment(id)
	v, err := q.s.read(ctx, r, q.s.quorums.lasting)
	if err != nil || len(v.context) == 0 {
		return err
	}
	return q.s.delete(ctx, r, v)
}

// purge takes back all messages that were added until then.
func (q queue) purge(ctx context.Context, until stamp) error {
	return q.s.locks.with(ctx, q.head(), func() error {
		h, err := q.s.read(ctx, q.head(), q.s.quorums.lasting)
		if err != nil || h.purged >= until || len(h.entries) == 0 {
			return err
		}
		q.s.open.forget(q.head())
		gone := make([]stamp, 0, len(h.entries))
		for key, e := range h.entries {
			if e.at <= until {
				gone = append(gone, stampOf(key[1:]))
			}
		}
		h.purge(until)
		if err := q.s.store(ctx, q.head(), h, q.s.quorums.lasting); err != nil {
			return err
		}
		return inParallel(ctx, len(gone), func(ctx context.Context, i int) error { return q.dropSegment(ctx, gone[i]) })
	})
}

// remove takes messages out; unknown numbers are no error.
func (q queue) remove(ctx context.Context, seqs []int64) error {
	if len(seqs) == 0 {
		return nil
	}
	seqs = slices.Compact(slices.Sorted(slices.Values(seqs)))
	return q.s.locks.with(ctx, q.head(), func() error {
		h, err := q.s.read(ctx, q.head(), q.s.quorums.lasting)
		if err != nil {
			return err
		}
		return q.removeLocked(ctx, h, seqs)
	})
}

// removeLocked gets sorted numbers.
func (q queue) removeLocked(ctx context.Context, h *value, seqs []int64) error {
	all, err := h.segments()
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(i segmentInfo) bool {
		at, _ := slices.BinarySearch(seqs, i.first)
		return at == len(seqs) || seqs[at] > i.last
	})
	if len(all) == 0 {
		return nil
	}
	err = inParallel(ctx, len(all), func(ctx context.Context, i int) error { return q.removeFrom(ctx, h.purged, &all[i], seqs) })
	if err != nil {
		return err
	}
	at := q.s.clock.next(h.top())
	for i := range all {
		h.setSegment(&all[i], at)
	}
	return q.writeHead(ctx, h)
}

// removeFrom takes messages out of one segment, and says in info what is left.
func (q queue) removeFrom(ctx context.Context, purged stamp, info *segmentInfo, seqs []int64) error {
	r := q.segment(info.id)
	v, err := q.s.read(ctx, r, q.s.quorums.lasting)
	if err != nil {
		return err
	}
	if len(v.context) == 0 {
		return q.missing(ctx, info.id)
	}
	removed, at := false, q.s.clock.next(v.top())
	from, _ := slices.BinarySearch(seqs, info.first)
	for _, seq := range seqs[from:] {
		if seq > info.last {
			break
		}
		removed = v.removeMessage(seq, at) || removed
	}
	if removed {
		if err := q.s.store(ctx, r, v, q.s.quorums.lasting); err != nil {
			return err
		}
	}
	info.count = v.countMessages(purged, info.last)
	return nil
}

// missing is called when a segment that is listed was not found. Either its replicas are not reachable, or they have lost it.
func (q queue) missing(ctx context.Context, id stamp) error {
	v, err := q.s.read(ctx, q.segment(id), q.s.quorums.strict)
	if err != nil {
		return err
	}
	if len(v.context) > 0 {
		return store.ErrUnavailable // it is there now
	}
	q.s.log.Error("riak: a segment of messages is lost", "queue", q.kind, "segment", int64(id))
	return nil
}

// Entries of a segment.

func (s *state) setMessage(m *message, at stamp) {
	var e encoder
	e.text(m.id)
	e.bytes(m.body)
	s.put(stamp(m.seq).key(), entry{rank: 1, at: at, value: e})
}

func (s *state) removeMessage(seq int64, at stamp) bool {
	return s.remove(stamp(seq).key(), at)
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

// messages are those with numbers between two, excluding both, in their order.
func (s *state) messages(purged stamp, after, before int64) ([]message, error) {
	var all []message
	for key, e := range s.entries {
		seq := int64(stampOf(key))
		if !s.shows(e) || e.at <= purged || seq <= after || seq >= before {
			continue
		}
		d := decoder{rest: e.value}
		all = append(all, message{seq: seq, id: d.text(), body: d.slice()})
		if d.bad {
			return nil, errDamaged
		}
	}
	slices.SortFunc(all, func(a, b message) int { return cmp.Compare(a.seq, b.seq) })
	return all, nil
}
