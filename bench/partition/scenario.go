package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// A scenario is one story of failures, which clients talk through.
type scenario struct {
	name, about string
	again       bool            // a process that ends takes along what it knew: messages may come again, with the same stanza-id
	stray       bool            // clients move to nodes that reach others than the old ones: what waits on the way of the old one is overtaken
	friends     [][]friend      // nil: groups with one on each node
	clocks      []time.Duration // by which the nodes' clocks are wrong, in turn
	run         func(w *world, r *result) error
}

// binary is the chatd to run.
func (s scenario) binary(o options) string {
	if s.clocks != nil {
		return o.skewed
	}
	return o.binary
}

// clockOf is by how much a node's clock is wrong.
func (s scenario) clockOf(n int) time.Duration {
	if n >= len(s.clocks) {
		return 0
	}
	return s.clocks[n]
}

// bound is how long everything may take to be well again.
const bound = 45 * time.Second

// chosen is the scenarios that are to be run.
func chosen(o options) (all []scenario) {
	for _, s := range scenarios(o) {
		if o.only.MatchString(s.name) {
			all = append(all, s)
		}
	}
	return all
}

func scenarios(o options) []scenario {
	a, rest := []int{0}, []int{}
	for n := 1; n < o.nodes; n++ {
		rest = append(rest, n)
	}
	everyNode := append(slices.Clone(a), rest...)
	full := func(l *lab) error { return l.cut(a, rest, false) }
	partial := func(l *lab) error { return l.cut(a, rest[:1], false) }
	oneWay := func(l *lab) error { return l.cut(a, rest[:1], true) }
	all := []scenario{{name: "story", about: "alice and bob are cut off from charlie, dan and eve, and come back",
		friends: [][]friend{{{"alice", 0}, {"bob", 0}, {"charlie", 1}, {"dan", 2}, {"eve", 2}}}, run: cutFor(5*time.Second, full)}}
	for _, c := range []struct {
		name, about string
		cut         func(*lab) error
	}{
		{"full", "n1 is cut off from all others", full},
		{"partial", "n1 and n2 do not reach each other, and the others reach both", partial},
		{"oneway", "n1 hears n2, n2 does not hear n1", oneWay},
	} {
		for _, d := range []time.Duration{5 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second, time.Minute} {
			all = append(all, scenario{name: c.name + "-" + d.String(), about: c.about + " for " + d.String(), run: cutFor(d, c.cut)})
		}
	}
	return append(all,
		scenario{name: "full-database", about: "n1 is cut off from all others and from the database for 5 s; some of its clients look for other nodes", again: true, run: cutFor(5*time.Second, func(l *lab) error {
			return errors.Join(full(l), l.cutDB(a))
		})},
		scenario{name: "flapping", about: "n1 is cut off ten times for 0.1 to 2.5 s", run: flapping(full)},
		scenario{name: "kill", about: "n1 is killed, and is started again after 4 s", again: true, run: kill},
		scenario{name: "pause-1s", about: "n1 is stopped for 1 s (SIGSTOP)", run: pause(time.Second)},
		scenario{name: "pause-10s", about: "n1 is stopped for 10 s; its clients look for other nodes", again: true, run: pause(10 * time.Second)},
		scenario{name: "rolling", about: "every node is restarted, one after the other", run: rolling(nil)},
		scenario{name: "rolling-cut", about: "n2 and n3 cannot reach each other while every node is restarted", again: true, stray: true, run: rolling(func(l *lab) error {
			return l.cut([]int{1}, []int{2}, false)
		})},
		scenario{name: "slow", about: "packets between n1 and the others take 80 to 120 ms, and 1 % of them are lost", run: cutFor(10*time.Second, func(l *lab) error {
			return l.slow(a, rest, link{delay: 80 * time.Millisecond, jitter: 40 * time.Millisecond, loss: 0.01})
		})},
		scenario{name: "slow-cut", about: "the same, and then n1 is cut off from all others for 5 s", run: func(w *world, r *result) error {
			return errors.Join(w.lab.slow(a, rest, link{delay: 80 * time.Millisecond, jitter: 40 * time.Millisecond, loss: 0.01}), w.pause(3*time.Second), cutFor(5*time.Second, full)(w, r))
		}},
		scenario{name: "lossy", about: "10 % of all packets between nodes are lost, at random, for 10 s", run: cutFor(10*time.Second, func(l *lab) error {
			return l.lose(everyNode, everyNode, 10)
		})},
		scenario{name: "skew", about: "the clock of n1 is 90 s ahead, that of n2 45 s behind; n1 is cut off from all others for 5 s", clocks: []time.Duration{90 * time.Second, -45 * time.Second}, run: cutFor(5*time.Second, full)},
		scenario{name: "skew-kill", about: "the same clocks; n1 is killed, and is started again after 4 s", clocks: []time.Duration{90 * time.Second, -45 * time.Second}, again: true, run: kill},
		scenario{name: "two-leave", about: "n1 and n2 are stopped at the same time, and started again", run: twoLeave},
	)
}

// play runs a scenario in a cluster of its own.
func (s scenario) play(ctx context.Context, l *lab, o options, db *database, dir string) (r *result) {
	r = &result{scenario: s, began: time.Now()}
	defer func() { r.took = time.Since(r.began) }()
	dsn, err := db.create(ctx)
	if err != nil {
		r.err = err
		return r
	}
	w, err := newWorld(ctx, l, o, s, dsn, dir)
	if w != nil {
		defer func() {
			w.end()
			r.err = errors.Join(r.err, l.heal(), l.quick(), keepLogs(w, o, s.name))
		}()
	}
	if err != nil {
		r.err = err
		return r
	}
	w.talk(o.rate)
	if r.err = w.pause(time.Second); r.err != nil {
		return r
	}
	w.gone.Store(0)
	w.left.Store(0)
	r.loginsBefore = w.sum(func(c *client) int { return c.logins })
	if r.err = s.run(w, r); r.err != nil {
		r.err = fmt.Errorf("%w; %s", r.err, w.missing())
	}
	r.flaps = w.gone.Load()
	healed := time.Now()
	r.err = errors.Join(r.err, w.lab.heal(), w.settle())
	if r.err == nil {
		r.drift, r.err = w.agree(healed, len(w.clients)+1) // and slixmpp
		r.roomsErr = errors.Join(r.roomsErr, w.checkRooms())
	}
	r.logins = w.sum(func(c *client) int { return c.logins }) - r.loginsBefore
	r.resumed = w.sum(func(c *client) int { return c.resumptions })
	t, err := w.count()
	r.tally, r.err = t, errors.Join(r.err, err)
	r.rooms = w.ledger.roomTally(w.excused)
	r.rooms.Rooms, r.rooms.Left, r.rooms.PutOut = len(w.rooms), int(w.left.Load()), int(w.out.Load())
	return r
}

func (w *world) sum(of func(*client) int) (n int) {
	for _, c := range w.clients {
		c.mu.Lock()
		n += of(c)
		c.mu.Unlock()
	}
	return n
}

// keepLogs copies the nodes' logs to where they are wanted.
func keepLogs(w *world, o options, name string) error {
	if o.keep == "" {
		return nil
	}
	err := os.MkdirAll(o.keep, 0o700)
	for _, n := range w.nodes {
		text, readErr := os.ReadFile(n.logPath())
		err = errors.Join(err, readErr, os.WriteFile(filepath.Join(o.keep, name+"-"+n.name()+".log"), text, 0o600))
	}
	return err
}

// apart reports whether the nodes of two clients are cut off from each other, be it in one direction.
func (w *world) apart(a, b *client) bool {
	i, j := a.online(), b.online()
	return w.lab.apart(i, j)
}

func (w *world) together(a, b *client) bool { return !w.apart(a, b) }

// cutFor makes a cut for some time. If that is long enough, everybody has to lose sight of exactly those who cannot be
// reached, and to go on talking with all others.
func cutFor(d time.Duration, cut func(*lab) error) func(*world, *result) error {
	return func(w *world, r *result) error {
		begun := time.Now()
		if err := cut(w.lab); err != nil {
			return err
		}
		if d >= 3*time.Second {
			took, err := w.both(r, d-time.Since(begun), func() bool { return w.views(w.together) }, w.seatedApart)
			if err != nil {
				return fmt.Errorf("the split is not seen as one: %w", err)
			}
			r.notice = took
			since := time.Now()
			if r.roomsErr == nil { // or else the cut would last for as long as nobody is heard
				if r.back, err = w.both(r, bound, nil, func() bool { return w.echoing(since) }); err != nil {
					return err
				}
			}
			if _, err := w.await(bound, func() bool { return w.flowing(since, w.together) }); err != nil {
				return fmt.Errorf("an island does not talk: %w", err)
			}
			r.gone = w.gone.Load()
		}
		if err := w.pause(d - time.Since(begun)); err != nil {
			return err
		}
		if err := w.lab.heal(); err != nil {
			return err
		}
		return w.converge(r)
	}
}

// others is the numbers of all nodes but one.
func (w *world) others(not int) (all []int) {
	for i := range w.nodes {
		if i != not {
			all = append(all, i)
		}
	}
	return all
}

// islands reports whether each two nodes that are not cut off from each other can reach the same others.
func (w *world) islands() bool {
	for i := range w.nodes {
		for j := range w.nodes {
			for k := range w.nodes {
				if !w.lab.apart(i, j) && !w.lab.apart(j, k) && w.lab.apart(i, k) {
					return false
				}
			}
		}
	}
	return true
}

// seatedApart reports whether each side has every room, with those occupants that it reaches. Where nodes do not agree on who is there
// they need not agree on where a room is.
func (w *world) seatedApart() bool { return !w.islands() || w.seated(w.together) }

// echoing reports whether in all rooms everybody on one side hears everybody there.
func (w *world) echoing(since time.Time) bool {
	return !w.islands() || w.ledger.echoedSince(w.rooms, since, w.together)
}

// excused reports whether somebody need not have heard a remark while it was made: the two were cut off from each other then, or the one had to log in anew.
func (w *world) excused(m *remark, c *client) bool {
	const underway = 10 * time.Second
	c.mu.Lock()
	defer c.mu.Unlock()
	return w.lab.cutWithin(m.on, m.hearers[c].at, m.at, 3*time.Second) ||
		slices.ContainsFunc(c.bound, func(at time.Time) bool { return at.After(m.at) && at.Before(m.at.Add(underway)) })
}

// both waits until something is so for users, and then, for as long again as is left, for rooms. That it does not become so for rooms is a fault of
// theirs, and no reason not to go on.
func (w *world) both(r *result, patience time.Duration, users, rooms func() bool) (took time.Duration, err error) {
	if users != nil {
		if took, err = w.await(patience, users); err != nil {
			return 0, err
		}
	}
	more, err := w.await(patience-took, rooms)
	if errors.Is(err, errPatience) {
		r.roomsErr, err = errors.Join(r.roomsErr, fmt.Errorf("rooms are not as they should be: %w; %s", err, w.missing())), nil
	}
	return took + more, err
}

// converge waits until everybody sees and hears everybody.
func (w *world) converge(r *result) (err error) {
	since := time.Now()
	r.converge, err = w.both(r, bound, func() bool { return w.whole() && w.flowing(since, everybody) }, func() bool { return w.seated(everybody) && w.echoing(since) })
	if err != nil {
		return fmt.Errorf("not whole again: %w", err)
	}
	return w.pause(time.Second)
}

func flapping(cut func(*lab) error) func(*world, *result) error {
	return func(w *world, r *result) error {
		for i := range 10 {
			down := []time.Duration{100 * time.Millisecond, 2500 * time.Millisecond, 900 * time.Millisecond, 1700 * time.Millisecond, 400 * time.Millisecond}[i%5]
			if err := errors.Join(cut(w.lab), w.pause(down), w.lab.heal(), w.pause(700*time.Millisecond)); err != nil {
				return err
			}
		}
		return w.converge(r)
	}
}

func kill(w *world, r *result) error {
	marks := w.marks()
	w.nodes[0].kill()
	begun := time.Now()
	took, err := w.await(bound, func() bool { return w.logged(marks, w.others(0), "peer is down", "peer=n1") })
	if err != nil {
		return err
	}
	r.notice = took
	since := time.Now()
	alive := func(a, b *client) bool { return a.home != 0 && b.home != 0 }
	if r.back, err = w.both(r, bound, nil, func() bool { return w.ledger.echoedSince(w.rooms, since, alive) }); err != nil {
		return err
	}
	if _, err := w.both(r, bound, w.whole, func() bool { return w.seated(everybody) }); err != nil { // on the other nodes
		return fmt.Errorf("clients of the killed node are not seen: %w", err)
	}
	r.converge = time.Since(begun)
	if err := errors.Join(w.pause(4*time.Second-time.Since(begun)), w.nodes[0].start(w.ctx)); err != nil {
		return err
	}
	return w.pause(3 * time.Second)
}

func pause(d time.Duration) func(*world, *result) error {
	return func(w *world, r *result) error {
		err := errors.Join(w.nodes[0].signal(syscall.SIGSTOP), w.pause(d), w.nodes[0].signal(syscall.SIGCONT))
		if err != nil {
			return err
		}
		return w.converge(r)
	}
}

// rolling restarts each node as soon as the one before is back.
func rolling(cut func(*lab) error) func(*world, *result) error {
	return func(w *world, r *result) error {
		if cut != nil {
			if err := cut(w.lab); err != nil {
				return err
			}
		}
		begun := time.Now()
		for i, n := range w.nodes {
			if err := n.stop(); err != nil {
				return err
			}
			marks := w.marks()
			if err := n.start(w.ctx); err != nil {
				return err
			}
			if cut == nil {
				if _, err := w.await(bound, func() bool { return w.logged(marks, w.others(i), "rows of a peer are complete", "peer="+n.name()) }); err != nil {
					return fmt.Errorf("%s is not back: %w", n.name(), err)
				}
			}
			if err := w.pause(time.Second); err != nil {
				return err
			}
		}
		r.notice = time.Since(begun)
		if err := w.lab.heal(); err != nil {
			return err
		}
		return w.converge(r)
	}
}

func twoLeave(w *world, r *result) error {
	ended := make(chan error, 2)
	for _, n := range w.nodes[:2] {
		go func() { ended <- n.stop() }()
	}
	if err := errors.Join(<-ended, <-ended); err != nil {
		return err
	}
	if _, err := w.both(r, bound, w.whole, func() bool { return w.seated(everybody) }); err != nil {
		return fmt.Errorf("not whole on the node that is left: %w", err)
	}
	for _, n := range w.nodes[:2] {
		if err := n.start(w.ctx); err != nil {
			return err
		}
	}
	return w.converge(r)
}
