package muc

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	scheduleCount = flag.Int("schedules", 0, "how many random schedules of rooms are run")
	scheduleTrace = flag.Int("notes", 40, "how much is told of what happened before a failure")
	scheduleSeed  = flag.Uint64("seed", 1, "the first one's")
)

// TestSchedules has users meet in rooms while nodes are cut off, stopped, killed, drained and started, and checks what they see and what is kept when
// all is well again.
func TestSchedules(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that a seed is one schedule
	for i := range *scheduleCount {
		seed := *scheduleSeed + uint64(i)
		synctest.Test(t, func(t *testing.T) { newSchedule(t, seed).run() })
		if t.Failed() {
			return
		}
	}
}

// A schedule is one random run.
type schedule struct {
	*sim
	seed    uint64
	rooms   []string
	clients []*simClient
	said    []uttered
	count   int
	rough   []time.Time // when links were cut or came back
}

// An uttered is a message that a user has sent.
type uttered struct {
	room, text string
	by         *simClient
	at         time.Time
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	x := &schedule{sim: newSim(t, seed), seed: seed}
	for i := range 2 + x.chance(3) {
		x.boot(i)
	}
	for i := range 1 + x.chance(2) {
		x.rooms = append(x.rooms, fmt.Sprint("kept", i), fmt.Sprint("brief", i))
	}
	return x
}

func (x *schedule) fail(format string, args ...any) {
	x.t.Helper()
	if !x.t.Failed() {
		x.mu.Lock()
		for _, line := range x.trace[max(0, len(x.trace)-*scheduleTrace):] {
			x.t.Log(line)
		}
		x.mu.Unlock()
	}
	x.t.Errorf("seed %d: "+format+"\nagain: go test ./muc -run TestSchedules -schedules 1 -seed %d", append(append([]any{x.seed}, args...), x.seed)...)
}

func (x *schedule) run() {
	time.Sleep(2 * time.Second)
	for range 6 {
		x.join()
	}
	x.talk(time.Second)
	for range 1 + x.chance(4) {
		x.trouble()
	}
	x.note("peace")
	time.Sleep(20 * time.Second)
	x.check()
	if f := os.Getenv("RBHASH"); f != "" {
		os.WriteFile(f, []byte(strings.Join(x.trace, "\n")), 0o644)
	}
	for _, n := range x.nodes {
		if !n.dead {
			n.dead = true
			n.end()
		}
	}
	time.Sleep(time.Hour) // all timers
}

// talk has users do things for some time.
func (x *schedule) talk(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		time.Sleep(time.Duration(x.chance(60_000)) * time.Microsecond)
		x.act()
	}
}

// trouble is one thing that goes wrong, or is meant to, with what users do meanwhile, and the end of it.
func (x *schedule) trouble() {
	victim := x.chance(len(x.nodes))
	d := time.Duration(x.chance(4000)+100) * time.Millisecond
	x.rough = append(x.rough, time.Now())
	switch x.chance(6) {
	case 0, 1: // in two
		var left, right []int
		for i := range x.nodes {
			if x.chance(2) == 0 {
				left = append(left, i)
			} else {
				right = append(right, i)
			}
		}
		x.note("split %v from %v", left, right)
		x.split(left, right)
		if x.chance(3) > 0 {
			x.split(right, left)
		}
		x.talk(d)
		x.note("heal")
		x.heal()
	case 2: // between two
		k := x.chance(len(x.nodes))
		x.note("cut %d and %d", victim, k)
		x.split([]int{victim}, []int{k})
		x.split([]int{k}, []int{victim})
		x.talk(d)
		x.note("heal")
		x.heal()
	case 3:
		x.note("pause %d", victim)
		x.pause(victim)
		x.talk(d)
		x.note("resume %d", victim)
		x.resume(victim)
	case 4:
		x.talk(6 * time.Second) // until there are copies
		x.note("kill %d", victim)
		x.gone(victim)
		x.kill(victim, false)
		x.talk(d)
		x.note("start %d", victim)
		x.boot(victim)
	case 5:
		if len(x.nodes) < 5 && x.chance(2) == 0 {
			x.note("start %d", len(x.nodes))
			x.boot(len(x.nodes))
			break
		}
		x.talk(6 * time.Second)
		x.note("drain %d", victim)
		x.drain(victim)
		x.note("start %d", victim)
		x.boot(victim)
	}
	x.rough = append(x.rough, time.Now())
	x.talk(time.Duration(x.chance(5000)) * time.Millisecond)
}

func (x *schedule) gone(i int) {
	x.clients = slices.DeleteFunc(x.clients, func(c *simClient) bool { return c.n.i == i })
}

func (x *schedule) drain(i int) {
	n := x.nodes[i]
	for _, c := range x.clients {
		if c.n == n {
			c.die()
		}
	}
	x.gone(i)
	x.mu.Lock()
	n.retired[n.name] = true
	for _, e := range n.peersLocked() {
		e.sendLocked(simRetire, "", nil)
	}
	n.placeLocked()
	x.mu.Unlock()
	left := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		left <- n.Leave(ctx)
	}()
	x.talk(500 * time.Millisecond)
	if err := <-left; err != nil {
		x.fail("%s has rooms that it does not hand over: %v", n.name, err)
	}
	x.talk(100 * time.Millisecond)
	x.kill(i, true)
	time.Sleep(time.Second)
}

// join has a new session come, and enter a room.
func (x *schedule) join() {
	var up []*simNode
	for _, n := range x.nodes {
		if !n.isDead() && !n.paused && !n.retired[n.name] {
			up = append(up, n)
		}
	}
	x.count++
	c := up[x.chance(len(up))].client(fmt.Sprintf("user%d@chat.test/%d", x.chance(8), x.count))
	x.clients = append(x.clients, c)
	x.enter(c, x.rooms[x.chance(len(x.rooms))])
}

func (x *schedule) enter(c *simClient, room string) {
	x.note("%s at %s enters %s", c.jid, c.n.name, room)
	c.enter(room, "n"+c.jid.Local()[4:])
}

// act is one thing that a user does.
func (x *schedule) act() {
	if len(x.clients) < 3 {
		x.join()
		return
	}
	c := x.clients[x.chance(len(x.clients))]
	room := x.rooms[x.chance(len(x.rooms))]
	if c.n.paused || c.n.isDead() {
		return
	}
	c.mu.Lock()
	in, nick := c.view(room).in, c.view(room).nick
	c.mu.Unlock()
	to := room + "@" + fakeHost
	user := fmt.Sprintf("user%d@chat.test", x.chance(8))
	x.count++
	switch what := x.chance(20); {
	case what == 0 && len(x.clients) < 12:
		x.join()
	case what == 1 && len(x.clients) > 5:
		x.note("%s dies", c.jid)
		x.clients = slices.DeleteFunc(x.clients, func(o *simClient) bool { return o == c })
		c.die()
	case !in:
		x.enter(c, room)
	case what == 2:
		x.note("%s leaves %s", c.jid, room)
		c.leave(room)
	case what == 3:
		x.note("%s renames itself in %s", c.jid, room)
		c.says("<presence to='%s/m%d'/>", to, x.count)
	case what == 4:
		c.says("<message type='groupchat' id='s%d' to='%s'><subject>s%d</subject></message>", x.count, to, x.count)
	case what == 5:
		c.says("<iq type='set' id='a%d' to='%s'><query xmlns='%s'><item affiliation='%s' jid='%s'/></query></iq>", x.count, to, nsAdmin, []string{"member", "admin", "none"}[x.chance(3)], user)
	case what == 6:
		c.says("<presence to='%s/%s'><status>%d</status></presence>", to, nick, x.count)
	case what == 7:
		n, title := c.n, fmt.Sprint("t", x.count)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the node may die
			defer cancel()
			n.Configure(ctx, room, func(cfg *Settings) { cfg.Title = title })
		}()
	default:
		text := fmt.Sprintf("%s-%d", c.jid.Resource(), x.count)
		x.note("%s says %s in %s", c.jid, text, room)
		x.said = append(x.said, uttered{room, text, c, time.Now()})
		c.shout(room, text)
	}
}

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
