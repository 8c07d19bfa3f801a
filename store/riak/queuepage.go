package riak

import (
	"cmp"
	"context"
	"math"
	"slices"
)

// page is up to limit messages with numbers greater than after, oldest first. It reads the segments that it needs, some at
// a time, and holds no more of them than that.
func (q queue) page(ctx context.Context, after int64, limit int) ([]message, error) {
	if limit <= 0 {
		return nil, nil
	}
	h, err := q.s.fetch(ctx, q.head())
	if err != nil {
		return nil, err
	}
	all, err := h.segments()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(i segmentInfo) bool { return i.last <= after })
	var found []message
	for len(all) > 0 {
		// What is smaller than the first number of all others is complete.
		if n := before(found, all[0].first); n >= limit {
			break
		}
		n := wave(all, limit-before(found, all[0].first))
		more, err := q.readMessages(ctx, h.purged, all[:n], after, math.MaxInt64)
		if err != nil {
			return nil, err
		}
		found, all = q.dropRepeated(ctx, sortMessages(append(found, more...))), all[n:]
	}
	return found[:min(limit, len(found))], nil
}

// pageBefore is up to limit messages with numbers smaller than before, the newest of these, oldest first.
func (q queue) pageBefore(ctx context.Context, before int64, limit int) ([]message, error) {
	if limit <= 0 {
		return nil, nil
	}
	h, err := q.s.fetch(ctx, q.head())
	if err != nil {
		return nil, err
	}
	all, err := h.segments()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(i segmentInfo) bool { return i.first >= before })
	slices.SortFunc(all, func(a, b segmentInfo) int { return cmp.Compare(b.last, a.last) })
	var found []message
	for len(all) > 0 {
		// What is greater than the last number of all others is complete.
		newer := len(found)
		for newer > 0 && found[len(found)-newer].seq <= all[0].last {
			newer--
		}
		if newer >= limit {
			break
		}
		n := wave(all, limit-newer)
		more, err := q.readMessages(ctx, h.purged, all[:n], math.MinInt64, before)
		if err != nil {
			return nil, err
		}
		found, all = sortMessages(append(found, more...)), all[n:]
	}
	return found[max(0, len(found)-limit):], nil
}

// dropRepeated drops messages that were added again although they were there, also from the database: an attempt to add them came through, of
// which the node that added them again could not know.
func (q queue) dropRepeated(ctx context.Context, found []message) []message {
	seen := make(map[string]bool, len(found))
	var repeated []int64
	found = slices.DeleteFunc(found, func(m message) bool {
		again := m.again && seen[m.id]
		if seen[m.id] = true; again {
			repeated = append(repeated, m.seq)
		}
		return again
	})
	if err := q.remove(ctx, repeated); err != nil {
		q.s.log.Warn("riak: a repeated message stays for now", "queue", q.kind, "error", err)
	}
	return found
}

// wave is how many of the segments may have this many messages, but no more than are read at once.
func wave(all []segmentInfo, messages int) (n int) {
	for n < len(all) && n < shardsAtOnce && (messages > 0 || n == 0) {
		messages -= all[n].count
		n++
	}
	return n
}

// before is how many of the messages, which are in order, have smaller numbers.
func before(found []message, seq int64) int {
	n, _ := slices.BinarySearchFunc(found, seq, func(m message, seq int64) int { return cmp.Compare(m.seq, seq) })
	return n
}

// sortMessages also drops a message that was moved into the database twice.
func sortMessages(all []message) []message {
	slices.SortStableFunc(all, func(a, b message) int { return cmp.Compare(a.seq, b.seq) })
	return slices.CompactFunc(all, func(a, b message) bool { return a.seq == b.seq })
}

// readMessages is all messages of some segments.
func (q queue) readMessages(ctx context.Context, purged stamp, segments []segmentInfo, after, before int64) ([]message, error) {
	parts := make([][]message, len(segments))
	err := inParallel(ctx, len(segments), func(ctx context.Context, i int) error {
		v, err := q.readSegment(ctx, &segments[i])
		if err != nil {
			return err
		}
		if len(v.context) == 0 {
			return q.missing(ctx, segments[i].id)
		}
		info := &segments[i]
		parts[i], err = v.messages(purged, after, min(before, info.last+1))
		if v.countMessages(purged, info.last) != info.count && info.whole(&v.state) {
			q.recount(ctx, info.id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return slices.Concat(parts...), nil
}

// recount has the head say again what is in a segment, after two nodes changed it at the same time. If it does not
// work out the next reader does it.
func (q queue) recount(ctx context.Context, id stamp) {
	_ = q.s.locks.with(ctx, q.head(), func() error {
		h, err := q.s.read(ctx, q.head(), q.s.quorums.lasting)
		if err != nil {
			return err
		}
		e, ok := h.get(segmentKey + id.key())
		if !ok {
			return nil
		}
		info, err := decodeInfo(segmentKey+id.key(), e)
		if err != nil {
			return err
		}
		v, err := q.s.read(ctx, q.segment(id), q.s.quorums.lasting)
		if err != nil || len(v.context) == 0 {
			return err
		}
		if n := v.countMessages(h.purged, info.last); n != info.count && info.whole(&v.state) {
			info.count = n
			h.setSegment(&info, q.s.clock.next(h.top()))
			return q.writeHead(ctx, h)
		}
		return nil
	})
}

// count is how many messages there are.
func (q queue) count(ctx context.Context) (int, error) {
	h, err := q.s.fetch(ctx, q.head())
	if err != nil {
		return 0, err
	}
	return h.count()
}

// find is the message with this ID and its segment; 0 if it is not there, or not among the newest.
func (q queue) find(ctx context.Context, h *value, id string) (*segmentValue, int64, error) {
	all, err := h.segments()
	if err != nil {
		return nil, 0, err
	}
	all = slices.DeleteFunc(all, func(i segmentInfo) bool { return q.hashed && !i.mayHave(id) })
	slices.SortFunc(all, func(a, b segmentInfo) int { return cmp.Compare(b.last, a.last) })
	for seen := 0; len(all) > 0 && (q.hashed || seen < newestByID); {
		n := wave(all, newestByID-seen)
		segments := make([]*value, n)
		err := inParallel(ctx, n, func(ctx context.Context, i int) (err error) {
			segments[i], err = q.readSegment(ctx, &all[i])
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		for i, v := range segments {
			if seq := v.findMessage(h.purged, all[i].last, id); seq != 0 {
				return &segmentValue{v, all[i]}, seq, nil
			}
			seen += all[i].count
		}
		all = all[n:]
	}
	return nil, 0, nil
}

// findMessage is the number of the message with this ID, 0 if there is none.
func (s *state) findMessage(purged stamp, last int64, id string) int64 {
	for key, e := range s.entries {
		seq, d := int64(stampOf(key)), decoder{rest: e.value}
		if s.shows(e) && e.at > purged && seq <= last && d.text() == id {
			return seq
		}
	}
	return 0
}
