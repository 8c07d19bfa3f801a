package riak

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"chatd/store"
)

func (s *Store) events(name string) queue {
	return queue{s: s, kind: "events", owner: name, index: queueIndex}
}

// Announce implements store.Outbox.
func (s *Store) Announce(a store.Announcer) {
	if a == nil {
		s.announcer.Store(nil)
		return
	}
	s.announcer.Store(&announcing{a})
}

// announce puts the events of a change that is done into their queues.
func (s *Store) announce(ctx context.Context, events func(store.Announcer) []store.Posting) error {
	a := s.announcer.Load()
	if a == nil {
		return nil
	}
	full, err := s.post(ctx, events(a.Announcer))
	for _, queue := range full {
		a.Dropped(queue)
	}
	return err
}

// Post implements store.Outbox.
func (s *Store) Post(ctx context.Context, postings []store.Posting) (full []string, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	return s.post(ctx, postings)
}

// post adds what follows one another in one queue, and has one limit, at once.
func (s *Store) post(ctx context.Context, postings []store.Posting) (full []string, err error) {
	for len(postings) > 0 {
		first, n := &postings[0], 0
		var messages []message
		for ; n < len(postings) && postings[n].Queue == first.Queue && postings[n].Max == first.Max; n++ {
			messages = append(messages, encodeEvent(&postings[n].Event))
		}
		kept, err := s.events(first.Queue).add(ctx, messages, first.Max)
		if err != nil {
			return full, err
		}
		for range n - kept {
			full = append(full, first.Queue)
		}
		postings = postings[n:]
	}
	return full, nil
}

func encodeEvent(ev *store.Event) message {
	var e encoder
	e.text(ev.Type)
	e.text(ev.Key)
	e.number(ev.Queued.UnixMilli())
	e.text(ev.Fault)
	return message{seq: ev.Seq, id: ev.ID, body: append(e, ev.Body...)}
}

func decodeEvent(m *message) (store.Event, error) {
	d := decoder{rest: m.body}
	ev := store.Event{Seq: m.seq, ID: m.id, Type: d.text(), Key: d.text(), Queued: millis(d.number()), Fault: d.text()}
	ev.Body = slices.Clone(d.rest)
	return ev, d.err()
}

// Events implements store.Outbox.
func (s *Store) Events(ctx context.Context, queue string, after int64, limit int) ([]store.Event, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	found, err := s.events(queue).page(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	events := make([]store.Event, len(found))
	for i := range found {
		if events[i], err = decodeEvent(&found[i]); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// RemoveEvents implements store.Outbox.
func (s *Store) RemoveEvents(ctx context.Context, queue string, seqs []int64) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	return s.events(queue).remove(ctx, seqs)
}

// CountEvents implements store.Outbox.
func (s *Store) CountEvents(ctx context.Context, queue string) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.end()
	return s.events(queue).count(ctx)
}

func leaseRef(queue string) ref { return ref{"lease", queue} }

// leaseRounds is how often two who want a lease at the same moment try again.
const leaseRounds = 4

// LeaseQueue implements store.Outbox. The lease is a value with an entry for each holder. Who wants it writes its own
// and looks again, both at most of the replicas that are responsible: of two at least one sees the other, and withdraws. So
// there are never two, as long as writes that were answered stay and clocks agree; there may be none for
// a moment. On the smaller side of a partition of the database nobody gets it.
func (s *Store) LeaseQueue(ctx context.Context, queue, holder string, now, until time.Time) (bool, error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	defer s.end()
	if err := s.enlist(ctx, queueIndex, queue); err != nil {
		return false, err
	}
	for i := range leaseRounds {
		held, raced, err := s.tryLease(ctx, queue, holder, now, until)
		if held || !raced || err != nil {
			return held, err
		}
		sleep(ctx, rand.N(10*time.Millisecond<<i))
	}
	return false, ctx.Err()
}

func (s *Store) tryLease(ctx context.Context, queue, holder string, now, until time.Time) (held, raced bool, err error) {
	r := leaseRef(queue)
	err = s.locks.with(ctx, r, func() error {
		v, err := s.read(ctx, r, s.quorums.strict)
		if err != nil || v.leased(holder, now) {
			return err
		}
		var e encoder
		e.number(until.UnixMilli())
		for _, other := range v.keys("") { // they are over
			v.remove(other, s.clock.next(v.top()))
		}
		v.set(holder, s.clock.next(v.top()), e)
		v.prune(s.clock.now())
		if err := s.store(ctx, r, v, s.quorums.strict); err != nil {
			return err
		}
		if v, err = s.read(ctx, r, s.quorums.strict); err != nil {
			return err
		}
		if raced = v.leased(holder, now); !raced {
			held = true
			return nil
		}
		v.remove(holder, s.clock.next(v.top()))
		return s.store(ctx, r, v, s.quorums.strict)
	})
	return held && err == nil, raced, err
}

// leased reports that another than holder has the lease beyond now.
func (s *state) leased(holder string, now time.Time) bool {
	for _, other := range s.keys("") {
		e, _ := s.get(other)
		d := decoder{rest: e.value}
		if other != holder && millis(d.number()).After(now) {
			return true
		}
	}
	return false
}
