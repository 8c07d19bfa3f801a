package muc

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// calm reports whether no link was troubled around a time.
func (x *schedule) calm(at time.Time) bool {
	for i := 0; i < len(x.rough); i += 2 {
		if at.After(x.rough[i].Add(-4*time.Second)) && (i+1 >= len(x.rough) || at.Before(x.rough[i+1].Add(4*time.Second))) {
			return false
		}
	}
	return true
}

func (x *schedule) check() {
	for _, room := range x.rooms {
		x.checkPlace(room)
		x.checkViews(room)
		x.checkMessages(room)
		x.checkHistory(room)
	}
	for _, n := range x.nodes {
		if moves := n.moves(); len(moves) > 0 {
			x.fail("%s still moves %v", n.name, moves)
		}
		if err := n.ConsistencyCheck(); err != nil {
			x.fail("%v", err)
		}
	}
}

// members are who is to be in a room.
func (x *schedule) members(room string) (all []*simClient) {
	for _, c := range x.clients {
		c.mu.Lock()
		if c.view(room).wants {
			all = append(all, c)
		}
		c.mu.Unlock()
	}
	return all
}

// checkPlace checks that a room is once, at its home, and what other nodes have of it.
func (x *schedule) checkPlace(room string) {
	all := x.members(room)
	home := x.nodes[0].Home(room)
	var at *simNode
	for _, n := range x.nodes {
		if n.Home(room) != home || n.Token() != x.nodes[0].Token() {
			x.fail("nodes do not agree about where rooms are")
		}
		if n.find(room) == nil {
			continue
		}
		if n.name != home {
			x.fail("%s has %s, whose home is %s", n.name, room, home)
		}
		at = n
	}
	if (at != nil) != (len(all) > 0) {
		x.fail("%s is there: %v, with %d occupants", room, at != nil, len(all))
		return
	}
	if at == nil {
		return
	}
	r := at.find(room)
	r.mu.Lock()
	state, err := r.state()
	r.mu.Unlock()
	if err != nil {
		x.fail("%v", err)
		return
	}
	for _, n := range x.nodes {
		var here []string
		for _, c := range all {
			if c.n == n {
				here = append(here, c.jid.String())
			}
		}
		x.checkCopy(n, state, home, at.Second(room))
		sh := n.laneShard(room)
		sh.mu.Lock()
		a := sh.away[room]
		var seats []string
		if a != nil {
			for _, s := range sittings(&a.seats) {
				seats = append(seats, s.JID)
			}
		}
		switch {
		case n == at && a != nil:
			x.fail("%s has %s, and thinks that it is at %q", n.name, room, a.home)
		case n != at && a != nil && a.home != home:
			x.fail("%s thinks that %s is at %q, not %q", n.name, room, a.home, home)
		case n != at && !same(seats, here):
			x.fail("%s thinks that %v are in %s, not %v", n.name, seats, room, here)
		}
		sh.mu.Unlock()
	}
}

func same(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// checkCopy checks that a room is copied where it should be, and nowhere else.
func (x *schedule) checkCopy(n *simNode, state *State, home, second string) {
	sh := n.laneShard(state.Name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.copies[state.Name]
	if (c != nil) != (n.name == second) {
		x.fail("%s has a copy of %s: %v; it should be at %q", n.name, state.Name, c != nil, second)
		return
	}
	if c == nil {
		return
	}
	for what, pair := range map[string][2]string{
		"configuration": {string(state.Config), string(c.state.Config)}, "subject": {string(state.Subject), string(c.state.Subject)},
		"affiliations": {fmt.Sprint(state.Affiliations), fmt.Sprint(c.state.Affiliations)}, "occupants": {whom(state), whom(c.state)},
		"history": {ids(state), ids(c.state)},
	} {
		if pair[0] != pair[1] {
			x.fail("the copy of %s at %s has another %s:\n%s\n%s", state.Name, n.name, what, pair[0], pair[1])
		}
	}
}

func whom(x *State) string {
	var all []string
	for _, o := range x.Occupants {
		for _, s := range o.Sessions {
			all = append(all, strings.Join([]string{s.JID, o.Nick, o.Role, o.Affiliation, s.Presence, s.Node}, " "))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func ids(x *State) string {
	var all []string
	for _, m := range x.History {
		all = append(all, m.ID)
	}
	return strings.Join(all, " ")
}

// checkViews checks that everybody in a room sees the same occupants: those who are in it.
func (x *schedule) checkViews(room string) {
	all := x.members(room)
	var nicks []string
	for _, c := range all {
		c.mu.Lock()
		if v := c.view(room); !slices.Contains(nicks, v.nick) {
			nicks = append(nicks, v.nick)
		}
		c.mu.Unlock()
	}
	for _, c := range all {
		c.mu.Lock()
		v := c.view(room)
		var sees []string
		for nick := range v.nicks {
			sees = append(sees, nick)
		}
		switch {
		case !v.in:
			x.fail("%s was thrown out of %s: %s", c.jid, room, v.thrown)
		case !same(sees, nicks):
			slices.Sort(sees)
			slices.Sort(nicks)
			x.fail("%s at %s sees %v in %s, not %v", c.jid, c.n.name, sees, room, nicks)
			if *scheduleTrace > 0 {
				x.t.Log(strings.Join(v.log, "\n"))
			}
		}
		c.mu.Unlock()
	}
}

// checkMessages checks that what was said was heard.
func (x *schedule) checkMessages(room string) {
	for _, m := range x.said {
		if m.room != room {
			continue
		}
		m.by.mu.Lock()
		mine := m.by.view(room)
		accepted, failed := mine.heard[m.text] > 0, mine.failed[m.text]
		if !accepted && !failed && slices.Contains(x.clients, m.by) && mine.wants && mine.since.Before(m.at) {
			x.fail("%s has heard nothing of what became of %s in %s", m.by.jid, m.text, room)
		}
		m.by.mu.Unlock()
		for _, c := range x.clients {
			c.mu.Lock()
			v := c.view(room)
			if n := v.heard[m.text]; n > 1 {
				x.fail("%s has heard %s in %s %d times", c.jid, m.text, room, n)
			} else if n == 0 && accepted && v.wants && v.since.Before(m.at.Add(-time.Second)) && x.calm(m.at) {
				x.fail("%s at %s has not heard %s in %s", c.jid, c.n.name, m.text, room)
			}
			c.mu.Unlock()
		}
	}
	for _, c := range x.clients { // what one has said in order
		c.mu.Lock()
		last := map[string]int{}
		for _, text := range c.view(room).order {
			by, number, _ := strings.Cut(text, "-")
			var n int
			fmt.Sscan(number, &n)
			if n < last[by] {
				x.fail("%s at %s has heard %s in %s after %s-%d", c.jid, c.n.name, text, room, by, last[by])
				if *scheduleTrace > 0 {
					x.t.Log(strings.Join(c.view(room).log, "\n"))
				}
			}
			last[by] = n
		}
		c.mu.Unlock()
	}
}

// checkHistory has somebody enter a room that is in use, who is told all that was said, each once and in order.
func (x *schedule) checkHistory(room string) {
	if len(x.members(room)) == 0 {
		return
	}
	c := x.nodes[x.chance(len(x.nodes))].client("late@chat.test/" + room)
	c.enter(room, "late")
	time.Sleep(time.Second)
	c.mu.Lock()
	v := c.view(room)
	told := v.told
	if !v.in {
		x.fail("nobody can enter %s: %v", room, v.failed)
	}
	in := v.in
	c.mu.Unlock()
	if !in {
		return
	}
	times := map[string]int{}
	for _, text := range told {
		if times[text]++; times[text] > 1 {
			x.fail("history of %s has %s %d times", room, text, times[text])
		}
	}
	for _, m := range x.said {
		if strings.HasPrefix(room, "brief") && !slices.Contains(x.clients, m.by) {
			continue // its node was killed: a temporary room ends with the last who are in it, and they may have left
		}
		m.by.mu.Lock()
		if v := m.by.view(room); m.room == room && v.heard[m.text] > 0 && v.wants && v.since.Before(m.at) && times[m.text] == 0 {
			x.fail("history of %s is without %s", room, m.text)
		}
		m.by.mu.Unlock()
	}
	c.leave(room)
	time.Sleep(time.Second)
}
