package storecopy

import (
	"context"
	"sync"

	"chatd/store"
)

const (
	workers  = 16   // names at once: a store commits what they write together
	namePage = 5000 // names read at once
	// messagePage is how many messages or events are read and written at once. Each worker holds two pages at most.
	messagePage = 100
)

// eachName calls do for every name in a store, from several goroutines, each of which has a number from 0. The first
// error ends all. When it returns they have ended.
func eachName(ctx context.Context, s store.Store, do func(ctx context.Context, worker int, name string) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	names := make(chan string)
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for name := range names {
				if err := do(ctx, worker, name); err != nil {
					fail(err)
					return
				}
			}
		})
	}
	err := walkNames(ctx, s, func(name string) error {
		select {
		case names <- name:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(names)
	all.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// walkNames calls do for every name in their order.
func walkNames(ctx context.Context, s store.Store, do func(name string) error) error {
	for after := ""; ; {
		page, err := s.Names(ctx, after, namePage)
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

// eachPage calls do for the messages that wait for a user, behind a number.
func eachPage(ctx context.Context, s store.Store, user string, after int64, do func([]store.OfflineMessage) error) error {
	for {
		page, err := s.OfflinePage(ctx, user, after, messagePage)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := do(page); err != nil {
			return err
		}
		after = page[len(page)-1].Seq
	}
}

// eachEvents calls do for the events of a queue.
func eachEvents(ctx context.Context, s store.Store, queue string, do func([]store.Event) error) error {
	for after := int64(0); ; {
		page, err := s.Events(ctx, queue, after, messagePage)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := do(page); err != nil {
			return err
		}
		after = page[len(page)-1].Seq
	}
}
