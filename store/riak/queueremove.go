package riak

import (
	"context"
	"slices"

	"chatd/store"
)

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
		unseen, err := q.removeLocked(ctx, h, seqs, false)
		if err != nil || len(unseen) == 0 {
			return err
		}
		// Whoever read them saw what is newer, perhaps; only most of those that are responsible may say that they are no more.
		if err := q.readMore(ctx, q.head(), h, q.s.quorums.sure); err != nil {
			return err
		}
		_, err = q.removeLocked(ctx, h, unseen, true)
		return err
	})
}

// removeLocked gets sorted numbers, and returns those that no segment has or had.
func (q queue) removeLocked(ctx context.Context, h *value, seqs []int64, sure bool) (unseen []int64, err error) {
	all, err := h.segments()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(i segmentInfo) bool {
		at, _ := slices.BinarySearch(seqs, i.first)
		return at == len(seqs) || seqs[at] > i.last
	})
	if len(all) == 0 {
		return seqs, nil
	}
	seen := make([]map[int64]bool, len(all))
	err = inParallel(ctx, len(all), func(ctx context.Context, i int) (err error) {
		seen[i], err = q.removeFrom(ctx, h.purged, &all[i], seqs, sure)
		return err
	})
	if err != nil {
		return nil, err
	}
	unseen = slices.DeleteFunc(slices.Clone(seqs), func(seq int64) bool {
		return slices.ContainsFunc(seen, func(s map[int64]bool) bool { return s[seq] })
	})
	at := q.s.clock.next(h.top())
	for i := range all {
		h.setSegment(&all[i], at)
	}
	return unseen, q.writeHead(ctx, h)
}

// removeFrom takes messages out of one segment, says in info what is left, and returns which of them it has or had.
func (q queue) removeFrom(ctx context.Context, purged stamp, info *segmentInfo, seqs []int64, sure bool) (seen map[int64]bool, err error) {
	r := q.segment(info.id)
	v, err := q.readSegment(ctx, info)
	if err != nil {
		return nil, err
	}
	if len(v.context) == 0 {
		return nil, q.missing(ctx, info.id)
	}
	if sure && !info.whole(&v.state) {
		if err := q.readMore(ctx, r, v, q.s.quorums.sure); err != nil {
			return nil, err
		}
		if !info.whole(&v.state) {
			q.s.log.Error("riak: messages of a segment are lost", "queue", q.kind, "segment", int64(info.id))
		}
	}
	before, changed, at := v.countMessages(purged, info.last), false, q.s.clock.next(v.top())
	seen = make(map[int64]bool)
	from, _ := slices.BinarySearch(seqs, info.first)
	for _, seq := range seqs[from:] {
		if _, ok := v.entries[stamp(seq).key()]; ok && seq <= info.last {
			seen[seq] = true
			changed = v.removeMessage(seq, at) || changed
		}
	}
	removed := before - v.countMessages(purged, info.last)
	if changed {
		if err := q.s.store(ctx, r, v, q.s.quorums.lasting); err != nil {
			return nil, err
		}
	}
	info.count = info.left(&v.state, purged, removed)
	return seen, nil
}

// readSegment reads a segment as new as the head says that it is, or at least all that is reachable of it.
func (q queue) readSegment(ctx context.Context, info *segmentInfo) (*value, error) {
	v, err := q.s.fetch(ctx, q.segment(info.id))
	if err != nil || len(v.context) == 0 || info.whole(&v.state) {
		return v, err
	}
	return v, q.readMore(ctx, q.segment(info.id), v, q.s.quorums.all)
}

// readMore reads a value from others too.
func (q queue) readMore(ctx context.Context, r ref, v *value, from quorum) error {
	more, err := q.s.readFrom(ctx, r, from)
	if err != nil || len(more.context) == 0 {
		return err
	}
	v.merge(&more.state)
	v.context = more.context
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
