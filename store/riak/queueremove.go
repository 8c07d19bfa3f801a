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
