package muc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"chatd/store"
)

// A Listed is what a list of rooms says of one.
type Listed struct {
	Name       string // localpart of its address
	Title      string
	Public     bool
	Persistent bool
	Occupants  int
}

// A listing is the names of the rooms in memory, in order. It is made anew for who asks, but not more often than in a
// twentieth of the time: to ask for it again and again costs no more.
type listing struct {
	mu    sync.Mutex
	names []string // immutable
	until time.Time
}

// maxLooked bounds how many rooms one page looks at, if most of them are hidden.
const maxLooked = 1000

// names is those of the rooms in memory.
func (s *Service) names() []string {
	x := &s.index
	x.mu.Lock()
	defer x.mu.Unlock()
	begun := time.Now()
	if begun.Before(x.until) {
		return x.names
	}
	names := make([]string, 0, s.count.Load())
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		for name := range sh.rooms {
			names = append(names, name)
		}
		sh.mu.RUnlock()
	}
	slices.Sort(names)
	now := time.Now()
	x.names, x.until = names, now.Add(20*now.Sub(begun))
	return names
}

// List is up to max rooms after the one named, in order of their names, and whether there are more: public ones, or with hidden all. It may end early, with
// more, when most are hidden. It blocks on the store.
func (s *Service) List(ctx context.Context, after string, max int, hidden bool) (page []Listed, more bool, err error) {
	for looked := 0; ; {
		names, rest, err := s.nextNames(ctx, after, pageRooms)
		if err != nil {
			return nil, false, err
		}
		for _, name := range names {
			after = name
			looked++
			l, ok, err := s.listed(ctx, name)
			switch {
			case err != nil:
				return nil, false, err
			case !ok || !l.Public && !hidden:
			case len(page) >= max:
				return page, true, nil
			default:
				page = append(page, l)
			}
		}
		if !rest || looked >= maxLooked {
			return page, rest, nil
		}
	}
}

// nextNames merges the rooms in memory with those in the store.
func (s *Service) nextNames(ctx context.Context, after string, max int) (names []string, rest bool, err error) {
	kept, err := s.store.ListRooms(ctx, after, max)
	if err != nil {
		return nil, false, err
	}
	here := s.names()
	i, found := slices.BinarySearch(here, after)
	if found {
		i++
	}
	here = here[i:]
	rest = len(here) > max || len(kept) >= max
	names = append(slices.Clone(here[:min(max, len(here))]), kept...)
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(max, len(names))], rest || len(names) > max, nil
}

// listed is what a list says of one room; false if there is none, or none yet.
func (s *Service) listed(ctx context.Context, name string) (l Listed, ok bool, err error) {
	if r := s.find(name); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.phase == locked {
			return l, false, nil
		}
		if r.phase == open {
			return r.listed(), true, nil
		}
	}
	rec, err := s.store.Room(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return l, false, nil
	}
	if err != nil {
		return l, false, err
	}
	cfg, _, err := decodeSettings(rec.Config)
	if err != nil {
		return l, false, err
	}
	return listedAs(name, cfg, 0), true, nil
}

func (r *room) listed() Listed { return listedAs(r.at.Local(), r.cfg, len(r.all)) }

func listedAs(name string, c *Settings, occupants int) Listed {
	title := c.Title
	if strings.TrimSpace(title) == "" {
		title = name
	}
	return Listed{Name: name, Title: title, Public: c.Public, Persistent: c.Persistent, Occupants: occupants}
}
