package roster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"chatd/store"
)

// A dawdler lets others go first, now and then, before each verb.
type dawdler struct{ Store }

func dawdle() {
	for range rand.IntN(4) {
		runtime.Gosched()
	}
}

func (d dawdler) Roster(ctx context.Context, user string) (store.Roster, error) {
	dawdle()
	defer dawdle()
	return d.Store.Roster(ctx, user)
}

func (d dawdler) UpdateItem(ctx context.Context, user, contact string, maxItems int, update func(*store.RosterItem, bool) (store.Verdict, error)) (int64, error) {
	dawdle()
	defer dawdle()
	return d.Store.UpdateItem(ctx, user, contact, maxItems, func(i *store.RosterItem, exists bool) (store.Verdict, error) {
		defer dawdle()
		return update(i, exists)
	})
}

func (d dawdler) Blocklist(ctx context.Context, user string) ([]string, error) {
	defer dawdle()
	return d.Store.Blocklist(ctx, user)
}

func (d dawdler) Privacy(ctx context.Context, user string) (store.Privacy, error) {
	defer dawdle()
	return d.Store.Privacy(ctx, user)
}

// TestAtTheSameTime has two users do something at the same time, from several beginnings: what
// becomes of it is what would if one had been first, whichever that is. Others read what is cached meanwhile.
func TestAtTheSameTime(t *testing.T) {
	named := make(map[string]move)
	for _, m := range moves {
		named[m.name] = m
	}
	type step struct {
		user int
		name string
	}
	for _, begin := range [][]step{
		nil,
		{{0, "Request"}},
		{{0, "subscribe"}},
		{{0, "subscribe"}, {1, "subscribe"}},
		{{0, "Request"}, {1, "Accept"}},
		{{0, "Request"}, {1, "requests nobody"}},
	} {
		for _, one := range moves {
			for _, two := range moves {
				p := newPlay(t)
				for _, s := range begin {
					if err := p.make(named[s.name], s.user, 1-s.user); err != nil {
						t.Fatal(err)
					}
				}
				p.s.store = dawdler{p.store}
				if err := p.together(one, two); err != nil {
					t.Errorf("after %v: %s against %s: %v", begin, one.name, two.name, err)
				}
			}
		}
	}
}

func (p *play) together(one, two move) error {
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for u, m := range []move{one, two} {
		wg.Go(func() { errs[u] = m.act(p, u, 1-u) })
		wg.Go(func() {
			if _, err := p.s.Friends(context.Background(), p.jids[u]); err != nil {
				errs[u] = err
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	before := p.model
	one.want(p, 0, 1)
	p.settle()
	two.want(p, 1, 0)
	p.settle()
	first := p.differences()
	if first == nil {
		return nil
	}
	p.model = before
	two.want(p, 1, 0)
	p.settle()
	one.want(p, 0, 1)
	p.settle()
	if second := p.differences(); second != nil {
		return fmt.Errorf("not as if the first had been first: %w; nor the second: %w", first, second)
	}
	return nil
}
