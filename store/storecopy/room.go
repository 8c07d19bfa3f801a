package storecopy

import (
	"context"
	"fmt"
	"slices"

	"chatd/store"
)

// rooms copies the rooms, each with its affiliations and history, whose numbers the target gives anew.
func (c *Copy) rooms(ctx context.Context) error {
	return walkRooms(ctx, c.From, func(name string) error {
		if err := c.room(ctx, name); err != nil {
			return fmt.Errorf("copying room %q: %w", name, err)
		}
		return nil
	})
}

func (c *Copy) room(ctx context.Context, name string) error {
	want, have := newSums(), newSums()
	if err := sumRoom(ctx, c.From, name, want); err != nil {
		return err
	}
	switch err := sumRoom(ctx, c.To, name, have); {
	case err == nil && want.equal(have):
		return nil
	case err == nil:
		if err := c.To.DeleteRoom(ctx, name); err != nil {
			return err
		}
	case err != store.ErrNotFound:
		return err
	}
	r, err := c.From.Room(ctx, name)
	if err != nil {
		return err
	}
	affiliations, err := c.From.Affiliations(ctx, name)
	if err != nil {
		return err
	}
	if err := c.To.CreateRoom(ctx, r, affiliations); err != nil {
		return err
	}
	return c.history(ctx, name)
}

// history copies a room's, oldest first.
func (c *Copy) history(ctx context.Context, room string) error {
	var ends []int64 // where the pages end that are read backwards
	err := eachHistory(ctx, c.From, room, func(end int64, _ []store.HistoryMessage) { ends = append(ends, end) })
	if err != nil {
		return err
	}
	for _, end := range slices.Backward(ends) {
		page, err := c.From.HistoryPage(ctx, room, end, messagePage)
		if err != nil {
			return err
		}
		for _, m := range page {
			if _, err := c.To.AppendHistory(ctx, room, m, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// cleanRooms sees to the rooms that only the target has.
func (c *Copy) cleanRooms(ctx context.Context) error {
	return walkRooms(ctx, c.To, func(name string) error {
		_, err := c.From.Room(ctx, name)
		switch {
		case err != store.ErrNotFound:
			return err
		case !c.Force:
			return fmt.Errorf("%w, and has the room %q, which the source has not", ErrNotEmpty, name)
		}
		return c.To.DeleteRoom(ctx, name)
	})
}

func walkRooms(ctx context.Context, s store.Store, do func(name string) error) error {
	for after := ""; ; {
		page, err := s.ListRooms(ctx, after, namePage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, name := range page {
			if err := do(name); err != nil {
				return err
			}
		}
		after = page[len(page)-1]
	}
}

// eachHistory calls do for the pages of a room's history, the newest first, and for each the number before which it ends.
func eachHistory(ctx context.Context, s store.Store, room string, do func(end int64, page []store.HistoryMessage)) error {
	for end := int64(0); ; {
		page, err := s.HistoryPage(ctx, room, end, messagePage)
		if err != nil || len(page) == 0 {
			return err
		}
		do(end, page)
		end = page[0].Seq
	}
}

// sumRoom returns store.ErrNotFound for a room that is not there.
func sumRoom(ctx context.Context, s store.Store, name string, sums *Sums) error {
	r, err := s.Room(ctx, name)
	if err != nil {
		return err
	}
	sums.add(rooms, r.Name, r.Config, r.Subject, r.Created)
	all, err := s.Affiliations(ctx, name)
	if err != nil {
		return err
	}
	for _, a := range all {
		sums.add(affiliations, name, a.JID, a.As, a.Nick, a.Reason)
	}
	age := int64(0)
	return eachHistory(ctx, s, name, func(_ int64, page []store.HistoryMessage) {
		for _, m := range slices.Backward(page) {
			sums.add(history, name, age, m.ID, m.Stored, m.Stanza)
			age++
		}
	})
}
