package riak

import "context"

// An attempt to add a message has failed when the head was written: it may have come through, or may do so later.
type attempt struct {
	message
	listed    bool // the head has it, hence everybody can see it
	calledOff bool // a tombstone was written, or may have been
	through   bool // it has, for good
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

// resolve finds out what has become of attempts. One that has not come through is called off, before anything gets a
// greater number: should it arrive later, it would come behind what was handed over already, or twice. One that turns out to have
// come through nevertheless, when perhaps it was called off, is restored: somebody may have read it.
func (q queue) resolve(ctx context.Context, h *value) error {
	doubts, _ := q.s.doubts.get(q.head())
	if len(doubts) == 0 {
		return nil
	}
	// A write that has failed may be in one replica only, where a reader found it.
	if err := q.readMore(ctx, q.head(), h, q.s.quorums.all); err != nil {
		return err
	}
	var left []attempt
	for i := range doubts {
		a := &doubts[i]
		if err := q.resolveOne(ctx, h, a); err != nil {
			return err
		}
		if a.through && a.id != "" {
			left = append(left, *a)
		}
	}
	q.s.doubts.put(q.head(), left)
	return nil
}

func (q queue) resolveOne(ctx context.Context, h *value, a *attempt) error {
	a.listed = a.listed || h.entries[segmentKey+a.segment.key()].rank >= int64(a.added)
	if a.through || a.listed && !a.calledOff {
		a.through = true
		return nil
	}
	a.calledOff = true
	there := false
	err := q.changeSegment(ctx, a.segment, func(v *value) {
		at := q.s.clock.next(v.top())
		if there = a.listed && a.restore(v, at); !there {
			there = a.callOff(v, at)
		}
	})
	a.through = there && err == nil
	return err
}

// callOff leaves a tombstone, unless the message had come through and was removed, which it reports.
func (a *attempt) callOff(v *value, at stamp) (removed bool) {
	key := stamp(a.seq).key()
	e := v.entries[key]
	if e.rank == rankRemoved {
		return true
	}
	if e.rank < rankRestored {
		v.put(key, entry{rank: rankAdded, at: at, gone: true, value: e.value})
	}
	return false
}

// restore takes the calling off back, and reports false if it is not known any more what was called off.
func (a *attempt) restore(v *value, at stamp) bool {
	key := stamp(a.seq).key()
	e := v.entries[key]
	if e.rank < rankRestored && len(e.value) > 0 {
		e = entry{rank: rankRestored, at: at, value: e.value}
		v.put(key, e)
	}
	return e.rank >= rankRestored
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
		if e := v.entries[stamp(a.seq).key()]; e.rank == rankRemoved && e.at > h.purged {
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
	used := seg.used
	for rest = messages; len(rest) > 0 && !seg.full(); rest = rest[1:] {
		rest[0].segment, rest[0].added = seg.id, at
		seg.setMessage(&rest[0], at)
		seg.add(&rest[0], at, q.hashed)
	}
	if err := q.s.store(ctx, q.segment(seg.id), seg.value, q.s.quorums.lasting); err != nil {
		return nil, err
	}
	seg.count = seg.left(&seg.state, h.purged, used-seg.used)
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

func (q queue) writeHead(ctx context.Context, h *value) error {
	q.dropExpired(ctx, h)
	return q.s.store(ctx, q.head(), h, q.s.quorums.lasting)
}
