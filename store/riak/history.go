package riak

import (
	"context"
	"math"
	"slices"

	"chatd/store"
)

// AppendHistory implements store.Rooms.
func (s *Store) AppendHistory(ctx context.Context, room string, m store.HistoryMessage, limit int) (int64, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.end()
	q := s.history(room)
	messages := []message{encodeHistory(&m)}
	// The room's lock is for its deletion to wait, and to be waited for.
	r := roomRef(room)
	k := s.locks.hold(r)
	defer s.locks.let(r, k)
	if err := k.lock(ctx); err != nil {
		return 0, err
	}
	defer k.unlock()
	err := s.locks.with(ctx, q.head(), func() error {
		h, seg, err := q.readWithRoom(ctx)
		if err != nil {
			return err
		}
		seq, err := q.already(ctx, h, m.ID)
		if seq != 0 || err != nil {
			messages[0].seq = seq
			return err
		}
		if limit > 0 {
			if err := q.trim(ctx, h, seg, limit-1); err != nil {
				return err
			}
		}
		return q.addLocked(ctx, h, seg, messages)
	})
	if err != nil {
		return 0, err
	}
	return messages[0].seq, nil
}

// readWithRoom is readEnds of a room that is kept.
func (q queue) readWithRoom(ctx context.Context) (h *value, seg *segmentValue, err error) {
	err = inParallel(ctx, 2, func(ctx context.Context, i int) (err error) {
		if i == 0 {
			h, seg, err = q.readEnds(ctx)
			return err
		}
		v, err := q.s.read(ctx, roomRef(q.owner), q.s.quorums.lasting)
		if err != nil {
			return err
		}
		if _, ok := v.claim(); !ok {
			return store.ErrNotFound
		}
		return nil
	})
	return h, seg, err
}

// trim takes out the oldest messages until limit are left. What it takes out of the open segment is written with what is added to it.
func (q queue) trim(ctx context.Context, h *value, open *segmentValue, limit int) error {
	all, err := h.segments()
	if err != nil {
		return err
	}
	excess := -limit
	for i := range all {
		excess += all[i].count
	}
	for i := range all {
		info, v := &all[i], (*value)(nil)
		switch {
		case excess <= 0:
			return nil
		case open != nil && open.id == info.id:
			v = open.value
		case info.count <= excess:
			excess -= info.count
			info.count = 0
		default:
			if v, err = q.readSegment(ctx, info); err != nil {
				return err
			}
		}
		if v != nil {
			removed := v.removeOldest(h.purged, excess, q.s.clock.next(v.top()))
			excess -= removed
			info.count = info.left(&v.state, h.purged, removed)
		}
		if open != nil && open.id == info.id {
			continue
		}
		if v != nil {
			if err := q.s.store(ctx, q.segment(info.id), v, q.s.quorums.lasting); err != nil {
				return err
			}
		}
		h.setSegment(info, q.s.clock.next(h.top()))
	}
	return nil
}

// removeOldest removes up to n messages, and returns how many.
func (s *state) removeOldest(purged stamp, n int, at stamp) (removed int) {
	for _, key := range s.keys("") {
		if e, _ := s.get(key); removed < n && e.at > purged {
			s.removeMessage(int64(stampOf(key)), at)
			removed++
		}
	}
	return removed
}

func encodeHistory(m *store.HistoryMessage) message {
	var e encoder
	e.number(m.Stored.UnixMilli())
	return message{id: m.ID, body: append(e, m.Stanza...)}
}

// HistoryPage implements store.Rooms.
func (s *Store) HistoryPage(ctx context.Context, room string, before int64, limit int) ([]store.HistoryMessage, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	if before == 0 {
		before = math.MaxInt64
	}
	found, err := s.history(room).pageBefore(ctx, before, limit)
	if err != nil {
		return nil, err
	}
	page := make([]store.HistoryMessage, len(found))
	for i, m := range found {
		d := decoder{rest: m.body}
		page[i] = store.HistoryMessage{Seq: m.seq, ID: m.id, Stored: millis(d.number()), Stanza: slices.Clone(d.rest)}
	}
	return page, nil
}

// HistoryMessage implements store.Rooms.
func (s *Store) HistoryMessage(ctx context.Context, room, id string) (store.HistoryMessage, error) {
	if err := s.begin(ctx); err != nil {
		return store.HistoryMessage{}, err
	}
	defer s.end()
	q := s.history(room)
	h, err := s.read(ctx, q.head(), s.quorums.lasting)
	if err != nil {
		return store.HistoryMessage{}, err
	}
	seg, seq, err := q.find(ctx, h, id)
	if err != nil {
		return store.HistoryMessage{}, err
	}
	if seq == 0 {
		return store.HistoryMessage{}, store.ErrNotFound
	}
	e, _ := seg.get(stamp(seq).key())
	d := decoder{rest: e.value}
	_ = d.text()
	body := decoder{rest: d.slice()}
	m := store.HistoryMessage{Seq: seq, ID: id, Stored: millis(body.number()), Stanza: slices.Clone(body.rest)}
	if d.bad || body.bad {
		return store.HistoryMessage{}, errDamaged
	}
	return m, nil
}

// ReplaceHistory implements store.Rooms.
func (s *Store) ReplaceHistory(ctx context.Context, room, id string, stanza []byte) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	q := s.history(room)
	return s.locks.with(ctx, q.head(), func() error {
		h, err := s.read(ctx, q.head(), s.quorums.lasting)
		if err != nil {
			return err
		}
		seg, seq, err := q.find(ctx, h, id)
		if err != nil {
			return err
		}
		if seq == 0 {
			return store.ErrNotFound
		}
		e, _ := seg.get(stamp(seq).key())
		d := decoder{rest: e.value}
		_ = d.text()
		body := decoder{rest: d.slice()}
		stored := body.number()
		if d.bad || body.bad {
			return errDamaged
		}
		m := encodeHistory(&store.HistoryMessage{ID: id, Stored: millis(stored), Stanza: stanza})
		m.seq = seq
		seg.setMessage(&m, s.clock.next(seg.top()))
		return s.store(ctx, q.segment(seg.id), seg.value, s.quorums.lasting)
	})
}
