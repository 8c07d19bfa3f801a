// Package storecopy copies all that is in one store to another, and shows by checksums that both have the same. Nobody
// else should write to either meanwhile.
package storecopy

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"chatd/store"
)

// ErrNotEmpty: there is something in the store to copy to.
var ErrNotEmpty = errors.New("the target is not empty")

// Done counts what has been copied or compared so far. Any goroutine may read it.
type Done struct{ Names, Messages atomic.Int64 }

// A Copy is one copy's ends and ways.
type Copy struct {
	From, To store.Store
	// Resume goes on with a copy that was broken off: what the target has already is compared, and copied where it differs.
	// A name that only the target has is an error.
	Resume bool
	// Force is Resume that removes what only the target has.
	Force bool
	Done  Done
}

// Count is how many names there are to copy.
func (c *Copy) Count(ctx context.Context) (n int64, err error) {
	err = walkNames(ctx, c.From, func(string) error { n++; return nil })
	return n, err
}

// Run copies. It may be broken off at any moment and run again with Resume.
func (c *Copy) Run(ctx context.Context) error {
	empty, err := isEmpty(ctx, c.To)
	if err != nil {
		return err
	}
	if !empty {
		if !c.Resume && !c.Force {
			return ErrNotEmpty
		}
		if err := c.clean(ctx); err != nil {
			return err
		}
	}
	err = eachName(ctx, c.From, func(ctx context.Context, _ int, name string) error {
		if err := c.name(ctx, name, empty); err != nil {
			return fmt.Errorf("copying %q: %w", name, err)
		}
		c.Done.Names.Add(1)
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.queues(ctx); err != nil {
		return err
	}
	return c.rooms(ctx)
}

func isEmpty(ctx context.Context, s store.Store) (bool, error) {
	names, err := s.Names(ctx, "", 1)
	if err != nil || len(names) > 0 {
		return false, err
	}
	queues, err := s.Queues(ctx)
	if err != nil || len(queues) > 0 {
		return false, err
	}
	rooms, err := s.ListRooms(ctx, "", 1)
	return len(rooms) == 0, err
}

// clean sees to the names and rooms that only the target has.
func (c *Copy) clean(ctx context.Context) error {
	err := eachName(ctx, c.To, func(ctx context.Context, _ int, name string) error {
		r, err := c.From.Record(ctx, name)
		if err != nil || !r.Empty() {
			return err
		}
		there, err := c.To.Record(ctx, name)
		if err != nil || there.Empty() {
			return err
		}
		if !c.Force {
			return fmt.Errorf("%w, and has %q, which the source has not", ErrNotEmpty, name)
		}
		return c.To.PutRecord(ctx, store.Record{User: name})
	})
	if err != nil {
		return err
	}
	return c.cleanRooms(ctx)
}

// name copies all that is kept under a name.
func (c *Copy) name(ctx context.Context, name string, fresh bool) error {
	r, err := c.From.Record(ctx, name)
	if err != nil || r.Empty() {
		return err
	}
	if fresh {
		return c.whole(ctx, &r)
	}
	there, err := c.To.Record(ctx, name)
	if err != nil {
		return err
	}
	want, have := newSums(), newSums()
	want.addRecord(&r)
	have.addRecord(&there)
	if !want.equal(have) {
		return c.whole(ctx, &r)
	}
	same, last, err := c.agreeing(ctx, name)
	if err != nil {
		return err
	}
	if !same {
		return c.whole(ctx, &r)
	}
	return c.messages(ctx, &r, last)
}

// whole copies a record with its messages, whatever is there.
func (c *Copy) whole(ctx context.Context, r *store.Record) error {
	if err := c.To.PutRecord(ctx, *r); err != nil {
		return err
	}
	return c.messages(ctx, r, 0)
}

// messages copies those behind a number.
func (c *Copy) messages(ctx context.Context, r *store.Record, after int64) error {
	return eachPage(ctx, c.From, r.User, after, func(page []store.OfflineMessage) error {
		if last := page[len(page)-1].Seq; last > r.LastSeq {
			return fmt.Errorf("message %d came while %d was the last: somebody writes to the source", last, r.LastSeq)
		}
		if err := c.To.PutOffline(ctx, r.User, page); err != nil {
			return err
		}
		c.Done.Messages.Add(int64(len(page)))
		return nil
	})
}

// agreeing is the number up to which the target has the messages that the source has. same is false if it has others, or
// others in between.
func (c *Copy) agreeing(ctx context.Context, name string) (same bool, last int64, err error) {
	for {
		theirs, err := c.From.OfflinePage(ctx, name, last, messagePage)
		if err != nil {
			return false, 0, err
		}
		ours, err := c.To.OfflinePage(ctx, name, last, messagePage)
		if err != nil {
			return false, 0, err
		}
		if len(ours) > len(theirs) {
			return false, 0, nil
		}
		want, have := newSums(), newSums()
		for i := range ours {
			want.addMessage(name, &theirs[i])
			have.addMessage(name, &ours[i])
		}
		if !want.equal(have) {
			return false, 0, nil
		}
		if len(ours) == 0 {
			return true, last, nil
		}
		last = ours[len(ours)-1].Seq
		c.Done.Messages.Add(int64(len(ours)))
	}
}

// queues copies the outbox, unless the target has the same: it may be the source under another name.
func (c *Copy) queues(ctx context.Context) error {
	want, have := newSums(), newSums()
	if err := sumQueues(ctx, c.From, want); err != nil {
		return err
	}
	if err := sumQueues(ctx, c.To, have); err != nil || want.equal(have) {
		return err
	}
	queues, err := c.From.Queues(ctx)
	if err != nil {
		return err
	}
	if err := c.emptyQueues(ctx); err != nil {
		return err
	}
	for _, q := range queues {
		if err := c.To.PutEvents(ctx, q, nil); err != nil {
			return err
		}
		err := eachEvents(ctx, c.From, q.Name, func(page []store.Event) error { return c.To.PutEvents(ctx, q, page) })
		if err != nil {
			return fmt.Errorf("copying queue %q: %w", q.Name, err)
		}
	}
	return nil
}

// emptyQueues removes the events of an earlier attempt: they are few beside all else.
func (c *Copy) emptyQueues(ctx context.Context) error {
	queues, err := c.To.Queues(ctx)
	if err != nil {
		return err
	}
	for _, q := range queues {
		err := eachEvents(ctx, c.To, q.Name, func(page []store.Event) error {
			var gone []int64
			for _, e := range page {
				gone = append(gone, e.Seq)
			}
			return c.To.RemoveEvents(ctx, q.Name, gone)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
