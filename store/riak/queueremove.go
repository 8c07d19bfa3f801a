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
	v, err := q.readSegment(ctx, info)
	if err != nil {
		return err
	}
	if len(v.context) == 0 {
		return q.missing(ctx, info.id)
	}
	if !info.whole(&v.state) {
		// What is not seen cannot be removed: only those that are responsible may say that it is no more.
		if err := q.readMore(ctx, info, v, q.s.quorums.strict); err != nil {
			return err
		}
		if !info.whole(&v.state) {
			q.s.log.Error("riak: messages of a segment are lost", "queue", q.kind, "segment", int64(info.id))
		}
	}
	removed, at := 0, q.s.clock.next(v.top())
	from, _ := slices.BinarySearch(seqs, info.first)
	for _, seq := range seqs[from:] {
		if seq > info.last {
			break
		}
		if v.removeMessage(seq, at) {
			removed++
		}
	}
	if removed > 0 {
		if err := q.s.store(ctx, r, v, q.s.quorums.lasting); err != nil {
			return err
		}
	}
	info.count = info.left(&v.state, purged, removed)
	return nil
}

// readSegment reads a segment as new as the head says that it is, or at least all that is reachable of it.
func (q queue) readSegment(ctx context.Context, info *segmentInfo) (*value, error) {
	v, err := q.s.fetch(ctx, q.segment(info.id))
	if err != nil || len(v.context) == 0 || info.whole(&v.state) {
		return v, err
	}
	return v, q.readMore(ctx, info, v, q.s.quorums.all)
}

// readMore reads a segment from others too.
func (q queue) readMore(ctx context.Context, info *segmentInfo, v *value, from quorum) error {
	more, err := q.s.readFrom(ctx, q.segment(info.id), from)
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
