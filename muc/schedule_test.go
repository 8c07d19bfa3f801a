package muc

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var (
	scheduleCount = flag.Int("schedules", 0, "how many long random schedules of rooms are run; 0: some short ones")
	scheduleTrace = flag.Int("notes", 40, "how much is told of what happened before a failure")
	scheduleSeed  = flag.Uint64("seed", 1, "the first one's")
)

// TestSchedules has users meet in rooms while nodes are cut off, stopped, killed, drained and started, and checks what they see and what is kept when
// all is well again.
func TestSchedules(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that a seed is one schedule
	count, troubles := *scheduleCount, 4
	if count == 0 {
		count, troubles = shortSchedules, 1
	}
	for i := range count {
		seed := *scheduleSeed + uint64(i)
		synctest.Test(t, func(t *testing.T) { newSchedule(t, seed).run(troubles) })
		if t.Failed() {
			return
		}
	}
}

// shortSchedules are run with all tests: one trouble each.
const shortSchedules = 20

// A schedule is one random run.
type schedule struct {
	*sim
	seed    uint64
	rooms   []string
	clients []*simClient
	said    []uttered
	count   int
	rough   []time.Time // when links were cut or came back
	back    []*comeback
	left    []*simClient // on a node that does not answer, whose users have come back
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

// run has so many troubles at most, one after another.
func (x *schedule) run(troubles int) {
	time.Sleep(2 * time.Second)
	for range 6 {
		x.join()
	}
	x.talk(time.Second)
	for range 1 + x.chance(troubles) {
		x.trouble()
	}
	for len(x.back) > 0 {
		x.logIn()
		time.Sleep(10 * time.Millisecond)
	}
	x.note("peace")
	time.Sleep(20 * time.Second)
	x.check()
	for _, n := range x.nodes {
		x.mu.Lock()
		ends := !n.dead
		n.dead = true
		x.mu.Unlock()
		if ends {
			n.end()
		}
	}
	time.Sleep(time.Hour) // all timers
}

// talk has users do things for some time.
func (x *schedule) talk(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		time.Sleep(time.Duration(x.chance(60_000)) * time.Microsecond)
		x.logIn()
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
		x.lostNode(victim)
		x.talk(d)
		x.back = nil
		x.note("resume %d", victim)
		x.resume(victim)
		for _, c := range x.left { // if nothing else ends it its connection does, which is closed
			time.AfterFunc(x.within(2*time.Second, "left", c.jid.String()), c.die)
		}
		x.left = nil
	case 4:
		x.talk(6 * time.Second) // until there are copies
		x.note("kill %d", victim)
		x.lostNode(victim)
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
		text := fmt.Sprintf("%s-%d", c.tag, x.count)
		x.note("%s says %s in %s", c.jid, text, room)
		x.said = append(x.said, uttered{room, text, c, time.Now()})
		c.shout(room, text)
	}
}
