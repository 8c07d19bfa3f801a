package memory

import (
	"bytes"
	"context"
	"slices"
	"sort"
	"time"

	"chatd/store"
)

// A queue is one of the outbox.
type queue struct {
	lastSeq int64
	events  []store.Event // by Seq
	holder  string
	until   time.Time // of the holder's lease
}

// Announce implements store.Outbox.
func (s *Store) Announce(a store.Announcer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announcer = a
}

// Post implements store.Outbox.
func (s *Store) Post(ctx context.Context, postings []store.Posting) (full []string, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for i := range postings {
		if !s.postLocked(&postings[i]) {
			full = append(full, postings[i].Queue)
		}
	}
	return full, nil
}

// postLocked reports false if the queue is full.
func (s *Store) postLocked(p *store.Posting) bool {
	q := s.queues[p.Queue]
	if q == nil {
		q = new(queue)
		s.queues[p.Queue] = q
	}
	if p.Max > 0 && len(q.events) >= p.Max {
		return false
	}
	q.lastSeq++
	e := p.Event
	e.Seq, e.Queued, e.Body = q.lastSeq, e.Queued.UTC().Truncate(time.Millisecond), bytes.Clone(e.Body)
	q.events = append(q.events, e)
	return true
}

// announcedLocked puts the events of a change into their queues.
func (s *Store) announcedLocked(postings []store.Posting) {
	for i := range postings {
		if !s.postLocked(&postings[i]) {
			s.announcer.Dropped(postings[i].Queue)
		}
	}
}

// itemChangedLocked announces what became of an item.
func (s *Store) itemChangedLocked(user string, before, after *store.RosterItem) {
	if s.announcer != nil {
		s.announcedLocked(s.announcer.ItemChanged(user, before, after))
	}
}

// Events implements store.Outbox.
func (s *Store) Events(ctx context.Context, name string, after int64, limit int) ([]store.Event, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	q := s.queues[name]
	if q == nil {
		return nil, nil
	}
	first := sort.Search(len(q.events), func(i int) bool { return q.events[i].Seq > after })
	page := slices.Clone(q.events[first:][:max(0, min(limit, len(q.events)-first))])
	for i := range page {
		page[i].Body = bytes.Clone(page[i].Body)
	}
	return page, nil
}

// RemoveEvents implements store.Outbox.
func (s *Store) RemoveEvents(ctx context.Context, name string, seqs []int64) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if q := s.queues[name]; q != nil {
		gone := make(map[int64]bool, len(seqs))
		for _, seq := range seqs {
			gone[seq] = true
		}
		q.events = slices.DeleteFunc(q.events, func(e store.Event) bool { return gone[e.Seq] })
	}
	return nil
}

// CountEvents implements store.Outbox.
func (s *Store) CountEvents(ctx context.Context, name string) (int, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if q := s.queues[name]; q != nil {
		return len(q.events), nil
	}
	return 0, nil
}

// LeaseQueue implements store.Outbox.
func (s *Store) LeaseQueue(ctx context.Context, name, holder string, now, until time.Time) (bool, error) {
	if err := s.lock(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	q := s.queues[name]
	if q == nil {
		q = new(queue)
		s.queues[name] = q
	}
	if q.holder != holder && q.until.After(now) {
		return false, nil
	}
	q.holder, q.until = holder, until
	return true, nil
}
