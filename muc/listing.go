package muc

import (
	"cmp"
	"context"
	"errors"
	"maps"
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

// A Part says which rooms of a list are asked for, in order of their names.
type Part struct {
	Beyond string `json:"beyond"` // those after the one with this name, or before it; "" is where the list begins, or ends
	Back   bool   `json:"back"`   // those before it
	Max    int    `json:"max"`    // at most so many: those next to it
	Hidden bool   `json:"hidden"` // also those that are not public
}

// beyond reports whether a name lies farther on than another.
func (p *Part) beyond(name, other string) bool {
	switch {
	case p.Back:
		return other == "" || name < other
	}
	return name > other
}

func (p *Part) order(a, b string) int {
	if p.Back {
		a, b = b, a
	}
	return cmp.Compare(a, b)
}

// A section is what one node has of a list.
type section struct {
	Rooms []Listed `json:"rooms"`          // in the order in which they were looked for
	Edge  string   `json:"edge,omitempty"` // how far that was; "": to the end
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

// List is a part of the list of rooms, in order of their names, and whether there are more beyond it. It may end early, with more, when most are hidden. In a
// cluster it has the rooms of those nodes that answer within a second. It blocks on the store, and on them.
func (s *Service) List(ctx context.Context, p Part) (page []Listed, more bool, err error) {
	known, edge := s.anywhere(ctx, p)
	names := slices.SortedFunc(maps.Keys(known), p.order)
	for at, looked := p.Beyond, 0; ; {
		kept, err := s.keptBeyond(ctx, at, p.Back)
		if err != nil {
			return nil, false, err
		}
		horizon := ""
		if len(kept) == pageRooms {
			horizon = kept[len(kept)-1]
		}
		if horizon == "" || edge != "" && p.beyond(horizon, edge) {
			horizon = edge
		}
		n := 0
		for n < len(names) && (horizon == "" || !p.beyond(names[n], horizon)) {
			n++
		}
		merged := append(kept, names[:n]...)
		names = names[n:]
		slices.SortFunc(merged, p.order)
		for _, name := range slices.Compact(merged) {
			if horizon != "" && p.beyond(name, horizon) {
				break
			}
			looked++
			l, ok, err := s.look(ctx, known, name)
			switch {
			case err != nil:
				return nil, false, err
			case !ok || !l.Public && !p.Hidden:
			case len(page) >= p.Max:
				return p.inOrder(page), true, nil
			default:
				page = append(page, l)
			}
		}
		if at = horizon; horizon == edge || looked >= maxLooked {
			return p.inOrder(page), horizon != "", nil
		}
	}
}

func (p *Part) inOrder(page []Listed) []Listed {
	if p.Back {
		slices.Reverse(page)
	}
	return page
}

// keptBeyond is the next names of rooms in the store.
func (s *Service) keptBeyond(ctx context.Context, at string, back bool) ([]string, error) {
	if !back {
		return s.store.ListRooms(ctx, at, pageRooms)
	}
	kept, err := s.store.ListRoomsBefore(ctx, at, pageRooms)
	slices.Reverse(kept)
	return kept, err
}

// anywhere is the rooms that are in memory on any node, and how far that goes; "": to the end.
func (s *Service) anywhere(ctx context.Context, p Part) (all map[string]Listed, edge string) {
	all = make(map[string]Listed)
	for _, x := range append(s.ask(ctx, p), s.section(p)) {
		for _, l := range x.Rooms {
			all[l.Name] = l
		}
		if x.Edge != "" && (edge == "" || p.beyond(edge, x.Edge)) {
			edge = x.Edge
		}
	}
	return all, edge
}

// section is what of a list is in memory here: one room more than are asked for, which says that there are more.
func (s *Service) section(p Part) (x section) {
	names := s.names()
	i, found := slices.BinarySearch(names, p.Beyond)
	step := 1
	switch {
	case p.Back && p.Beyond == "":
		i, step = len(names)-1, -1
	case p.Back:
		i, step = i-1, -1
	case found:
		i++
	}
	for looked := 0; i >= 0 && i < len(names); i += step {
		if len(x.Rooms) > p.Max || looked >= 10*maxLooked {
			return x
		}
		looked++
		x.Edge = names[i]
		if l, ok := s.present(names[i]); ok && (l.Public || p.Hidden) {
			x.Rooms = append(x.Rooms, l)
		}
	}
	x.Edge = ""
	return x
}

// look is what a list says of one room; false if there is none, or none yet.
func (s *Service) look(ctx context.Context, known map[string]Listed, name string) (l Listed, ok bool, err error) {
	if l, ok = known[name]; ok {
		return l, true, nil
	}
	if r := s.find(name); r != nil {
		if l, ok = s.present(name); ok {
			return l, true, nil
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

// present is a room in memory, unless it is locked.
func (s *Service) present(name string) (l Listed, ok bool) {
	r := s.find(name)
	if r == nil {
		return l, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != open {
		return l, false
	}
	return listedAs(r.at.Local(), r.cfg, len(r.all)), true
}

func listedAs(name string, c *Settings, occupants int) Listed {
	title := c.Title
	if strings.TrimSpace(title) == "" {
		title = name
	}
	return Listed{Name: name, Title: title, Public: c.Public, Persistent: c.Persistent, Occupants: occupants}
}
