package muc

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
)

// TestListParts reads the list of some hundreds of rooms, a few of them hidden, some in memory, some in the store and some in both, in pages
// of several sizes forwards and backwards: nothing is missing, twice or out of order.
func TestListParts(t *testing.T) {
	f := newFixture(t, unlimited())
	romeo := f.online("romeo@chat.test/orchard")
	var public, all []string
	for i := range 250 {
		name := fmt.Sprintf("r%03d", i)
		cfg := f.Default()
		cfg.Public, cfg.Persistent = i%7 != 0, i%2 == 0
		if err := f.Create(t.Context(), name, cfg, nil); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			f.join(romeo, name, "Romeo")
		}
		all = append(all, name)
		if cfg.Public {
			public = append(public, name)
		}
	}
	for _, max := range []int{1, 7, 100, 1000} {
		for _, hidden := range []bool{false, true} {
			want := public
			if hidden {
				want = all
			}
			for _, back := range []bool{false, true} {
				if got := listAll(t, f.Service, Part{Max: max, Hidden: hidden, Back: back}); !slices.Equal(got, want) {
					t.Errorf("pages of %d, hidden %t, back %t: %d rooms: %q", max, hidden, back, len(got), got)
				}
			}
		}
	}
}

// listAll reads a list page by page.
func listAll(t *testing.T, s *Service, p Part) (names []string) {
	t.Helper()
	for range 1000 {
		page, more, err := s.List(t.Context(), p)
		if err != nil || len(page) > p.Max || more && len(page) == 0 {
			t.Fatalf("%+v: %d rooms, %t, %v", p, len(page), more, err)
		}
		var part []string
		for _, l := range page {
			part = append(part, l.Name)
		}
		if p.Back {
			names = append(part, names...)
		} else {
			names = append(names, part...)
		}
		if !more {
			return names
		}
		if p.Beyond = part[len(part)-1]; p.Back {
			p.Beyond = part[0]
		}
	}
	t.Fatal("it does not end")
	return nil
}

// TestListInCluster: each node's list has the rooms of all, temporary ones as well, with who is in them; those of a node that does not answer
// are left out.
func TestListInCluster(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	alice := c.node("a").client("alice@chat.test/1")
	const count = 60
	homes := make(map[string]int)
	for i := range count {
		room := fmt.Sprintf("r%02d", i)
		alice.makes(room, "Alice")
		homes[c.node("a").Home(room)]++
	}
	c.quiet()
	if len(homes) != 3 {
		t.Fatalf("homes %v", homes)
	}
	for _, n := range c.nodes {
		for _, p := range []Part{{Max: 7}, {Max: 7, Back: true}, {Max: 100}} {
			if got := listAll(t, n.Service, p); len(got) != count || !slices.IsSorted(got) {
				t.Errorf("%s, %+v: %d rooms: %q", n.name, p, len(got), got)
			}
		}
		page, _, err := n.List(t.Context(), Part{Max: count})
		if err != nil || slices.ContainsFunc(page, func(l Listed) bool { return l.Occupants != 1 }) {
			t.Errorf("%s: %+v, %v", n.name, page, err)
		}
	}
	c.mu.Lock()
	c.node("c").deaf = true
	c.mu.Unlock()
	if page, more, err := c.node("a").List(t.Context(), Part{Max: 100}); err != nil || more || len(page) != count-homes["c"] {
		t.Errorf("%d rooms of %v, %t, %v", len(page), homes, more, err)
	}
}

// TestLateAnswer: one that comes when nobody waits for it any more is dropped.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, unlimited())
		answers := make(chan section, 1)
		id := s.census.begin(answers)
		s.census.end(id)
		if !s.listedBy([]byte{byte(id), 0, 0, 0, 0, 0, 0, 0, '{', '}'}) || len(answers) != 0 {
			t.Error("taken")
		}
		if s.listedBy([]byte("short")) || s.listFor("x", []byte("12345678{")) {
			t.Error("malformed, and taken")
		}
	})
}
