package muc

import (
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

func hashOf(homes []string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, strings.Join(homes, " "))
	return h.Sum64()
}

// noteHolesLocked notes who does not reach whom, of those that are reached.
func (n *simNode) noteHolesLocked() {
	views := map[string][]string{n.name: append([]string{n.name}, n.own...)}
	known := map[string]bool{n.name: true}
	for _, name := range n.own {
		views[name], known[name] = nil, true
		if told, ok := n.reaches[name]; ok {
			views[name] = append([]string{name}, told...)
		}
		for _, to := range views[name] {
			known[to] = true
		}
	}
	now, was := time.Now(), n.holes
	n.all, n.holes, n.hole = len(known), map[[2]string]time.Time{}, time.Time{}
	for from, view := range views {
		for to := range known {
			hole := [2]string{from, to}
			if view == nil {
				hole[1] = ""
			} else if from == to || slices.Contains(view, to) {
				continue
			}
			if n.holes[hole] = was[hole]; n.holes[hole].IsZero() {
				n.holes[hole] = now
			}
			if n.holes[hole].After(n.hole) {
				n.hole = n.holes[hole]
			}
		}
	}
}

// agreeLocked reports whether there is no hole, or none that is younger; else it is looked for again then.
func (n *simNode) agreeLocked(old time.Duration) bool {
	wait := old - time.Since(n.hole)
	if wait > 0 {
		time.AfterFunc(wait, func() {
			n.s.mu.Lock()
			defer n.s.mu.Unlock()
			if !n.dead && !n.paused {
				n.placeLocked()
			}
		})
	}
	return wait <= 0
}

// coreLocked is the nodes where rooms may be.
func (n *simNode) coreLocked() (homes []string) {
	var all []string
	for _, name := range n.own {
		if !n.retired[name] {
			all = append(all, name)
		}
	}
	if !n.retired[n.name] || len(all) == 0 {
		all = append(all, n.name)
	}
	for _, name := range all {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(n.holes)), func(h [2]string) bool { return h[0] == name && h[1] != "" }) {
			homes = append(homes, name)
		}
	}
	if len(homes) == 0 || len(homes)*3 < n.all {
		homes = all
	}
	slices.Sort(homes)
	return homes
}

// tellGoneLocked tells the node of another one that is gone.
func (n *simNode) tellGoneLocked(name string) {
	if gone := n.leaving[name]; gone != nil {
		delete(n.leaving, name)
		time.AfterFunc(0, func() { // before anything can come from there
			if !n.isDead() {
				n.Down(name, false, gone.frames)
			}
		})
	}
}
