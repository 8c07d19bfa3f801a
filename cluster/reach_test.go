package cluster

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// saw is whom nodes reach, as one of them is told.
func saw(views ...[]string) map[string]map[string]bool {
	all := make(map[string]map[string]bool)
	for _, v := range views {
		all[v[0]] = make(map[string]bool)
		for _, to := range v[1:] {
			all[v[0]][to] = true
		}
	}
	return all
}

// TestReach has nodes disagree about who is there, for a moment and for longer.
func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c reach
		defer c.stop()
		looked := 0
		settle := func(views map[string]map[string]bool) bool { return c.settle(views, func() { looked++ }) }
		core := func(homes ...string) []string {
			others, without := c.core(homes, "a", false)
			if !without {
				others = append(others, "a")
			}
			slices.Sort(others)
			return others
		}
		check := func(what string, got, want []string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s: rooms live on %v, not on %v", what, got, want)
			}
		}

		if !settle(saw([]string{"a", "b", "c"}, []string{"b", "a", "c"}, []string{"c", "a", "b"})) {
			t.Error("nodes that see each other disagree")
		}
		check("whole", core("b", "c"), []string{"a", "b", "c"})

		if settle(saw([]string{"a", "c"}, []string{"c", "a", "b"})) {
			t.Error("c sees b, a does not, and they agree")
		}
		time.Sleep(100 * time.Millisecond)
		if !settle(saw([]string{"a", "c"}, []string{"c", "a"})) {
			t.Error("c has noticed it, too, and they disagree")
		}
		check("b is dead", core("c"), []string{"a", "c"})

		settle(saw([]string{"a", "c"}, []string{"c", "a", "b"}))
		time.Sleep(2 * holeAfter)
		synctest.Wait()
		if looked != 1 {
			t.Errorf("after the wait it was looked %d times", looked)
		}
		if !settle(saw([]string{"a", "c"}, []string{"c", "a", "b"})) {
			t.Error("they disagree for ever")
		}
		check("c alone reaches all", core("c"), []string{"c"})

		views := saw([]string{"a", "c"}, []string{"c", "a"})
		views["d"] = nil
		if settle(views) {
			t.Error("d has not told whom it reaches, and is agreed with")
		}

		settle(saw([]string{"a", "b", "c", "d", "e"}, []string{"b", "a", "c", "d"}, []string{"c", "a", "b", "d"}, []string{"d", "a", "b", "c"}, []string{"e", "a"}))
		time.Sleep(2 * holeAfter)
		settle(saw([]string{"a", "b", "c", "d", "e"}, []string{"b", "a", "c", "d"}, []string{"c", "a", "b", "d"}, []string{"d", "a", "b", "c"}, []string{"e", "a"}))
		check("e is reached by a alone", core("b", "c", "d", "e"), []string{"a", "b", "c", "d", "e"})
	})
}

// TestReachOfOthers has a node miss another one that those who are left reach: it goes by their placement when they tell it, or when they have not for long.
func TestReachOfOthers(t *testing.T) {
	for _, told := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := NewReplica(ReplicaConfig{Node: "b", Secret: "s", Log: silent()})
			defer r.reach.stop()
			a, c := new(pipe), new(pipe)
			for _, p := range []struct {
				*pipe
				name    string
				reaches []string
			}{{a, "a", []string{"b", "c"}}, {c, "c", []string{"a", "b"}}} {
				r.PeerUp(p.pipe, p.name, 1)
				var b []byte
				for _, n := range p.reaches {
					b = appendText(b, n)
				}
				r.Frame(p.pipe, kindReach, b)
			}
			on := func(when string, want ...string) {
				t.Helper()
				synctest.Wait()
				if got := r.Places.Current().Nodes; !slices.Equal(got, want) {
					t.Errorf("%s rooms live on %v, not on %v", when, got, want)
				}
			}
			on("at first", "a", "b", "c")
			r.PeerDown(c)
			time.Sleep(holeAfter + time.Millisecond)
			on("while a has not told", "a", "b", "c")
			if told {
				r.Frame(a, kindPlacement, numbers(1, r.Places.hash([]string{"a"})))
			} else {
				time.Sleep(holeAfter)
			}
			on("then", "a")
		})
	}
}
