package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A world is one cluster with its clients, for one scenario.
type world struct {
	lab     *lab
	nodes   []*node
	clients []*client
	groups  [][]*client // friends, one on each node
	away    []*client   // who log in only at the end; the last one is the account of foreign
	foreign *foreign
	talks   []*talk
	ledger  *ledger
	rooms   []*room
	gone    atomic.Int64 // how often somebody saw a contact become unavailable
	left    atomic.Int64 // ... or an occupant of a room leave
	out     atomic.Int64 // how often somebody was put out of a room
	verbose bool

	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup // clients
	talking sync.WaitGroup
	silence context.CancelFunc
}

func (w *world) debug(what ...any) {
	if w.verbose {
		log.Print(what...)
	}
}

// A friend is a user, and the number of the node that it prefers.
type friend struct {
	name string
	home int
}

// groupsOf is so many groups with one friend on each node.
func groupsOf(count, nodes int) (groups [][]friend) {
	for g := range count {
		var group []friend
		for i := range nodes {
			group = append(group, friend{fmt.Sprintf("g%dn%d", g+1, i+1), i})
		}
		groups = append(groups, group)
	}
	return groups
}

// newWorld starts the nodes and connects the clients, who make friends.
func newWorld(ctx context.Context, l *lab, o options, s scenario, dsn, dir string) (w *world, err error) {
	w = &world{lab: l, ledger: newLedger(l), verbose: o.verbose}
	w.ctx, w.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			w.end()
		}
	}()
	for i := range l.nodes {
		n := &node{lab: l, clock: s.clockOf(i), number: i, binary: s.binary(o), dir: filepath.Join(dir, fmt.Sprintf("n%d", i+1))}
		w.nodes = append(w.nodes, n)
		if err := errors.Join(os.MkdirAll(n.dir, 0o700), n.configure(dsn)); err != nil {
			return w, err
		}
		if err := n.start(ctx); err != nil {
			return w, err
		}
	}
	groups := s.friends
	if groups == nil {
		groups = groupsOf(o.groups, o.nodes)
	}
	for g, group := range groups {
		var members []*client
		for _, f := range group {
			members = append(members, w.newClient(f.name, f.home))
		}
		w.groups = append(w.groups, members)
		w.away = append(w.away, &client{w: w, name: fmt.Sprintf("g%daway", g+1), home: g % l.nodes})
	}
	slix := &client{w: w, name: "slixmpp"}
	w.away = append(w.away, slix)
	for _, c := range w.clients {
		w.work.Go(func() { c.run(w.ctx) })
	}
	for _, c := range w.away {
		if err := c.collect(w.ctx); err != nil { // the account is made
			return w, err
		}
	}
	return w, errors.Join(w.startForeign(slix), w.befriend(), w.register(w.ctx), w.makeRooms(o.rooms))
}

func (w *world) befriend() error {
	if _, err := w.await(time.Minute, func() bool { return w.all((*client).idle) }); err != nil {
		return fmt.Errorf("clients do not get in: %w", err)
	}
	for _, group := range w.groups {
		for _, a := range group {
			for _, b := range group {
				if a != b {
					a.say("<presence type='subscribe' to='%s'/>", b.bare())
				}
			}
		}
	}
	if _, err := w.await(time.Minute, w.whole); err != nil {
		return fmt.Errorf("friends do not see each other: %w", err)
	}
	for _, c := range w.clients { // so that the nodes know the friends, as after a login
		c.say("<presence/>")
	}
	return nil
}

func (w *world) all(ok func(*client) bool) bool {
	for _, c := range w.clients {
		if !ok(c) {
			return false
		}
	}
	return true
}

// views reports whether every client sees exactly those of its friends that it should.
func (w *world) views(should func(a, b *client) bool) bool {
	for _, group := range w.groups {
		for _, a := range group {
			for _, b := range group {
				if a != b && a.sees(b.full()) != should(a, b) {
					return false
				}
			}
		}
	}
	return true
}

// whole reports whether everybody is connected and sees all friends.
func (w *world) whole() bool {
	return w.all(func(c *client) bool { return c.online() >= 0 }) && w.views(everybody)
}

// missing says who sees, or does not see, whom against what should be.
func (w *world) missing() string {
	var all []string
	for _, group := range w.groups {
		for _, a := range group {
			if a.online() < 0 {
				all = append(all, a.name+" is not connected")
				continue
			}
			for _, b := range group {
				if sees := a.sees(b.full()); a != b && sees != w.together(a, b) {
					all = append(all, fmt.Sprintf("%s sees %s: %t", a.name, b.name, sees))
				}
			}
		}
	}
	all = append(all, w.unseated(w.together)...)
	if n := len(all) - mostExamples; n > 0 {
		all = append(all[:mostExamples], fmt.Sprint(n, " more"))
	}
	return strings.Join(all, "; ")
}

var errPatience = errors.New("did not happen in time")

// await polls until something is true, and returns after how long.
func (w *world) await(patience time.Duration, ok func() bool) (time.Duration, error) {
	begun := time.Now()
	for {
		if ok() {
			return time.Since(begun), nil
		}
		if time.Since(begun) > patience {
			return 0, fmt.Errorf("%w: %v", errPatience, patience)
		}
		if err := w.pause(10 * time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func (w *world) pause(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// talk begins the load: everybody to each friend, half of them to full addresses, and to one who is away.
func (w *world) talk(perSecond float64) {
	ctx, cancel := context.WithCancel(w.ctx)
	w.silence = cancel
	for g, group := range w.groups {
		for i, a := range group {
			for j, b := range group {
				if a == b {
					continue
				}
				t := &talk{from: a, to: b.bare(), recipient: b.name}
				if (i+j)%2 == 1 {
					t.to = b.full()
				}
				w.talks = append(w.talks, t)
			}
			w.talks = append(w.talks, &talk{from: a, to: w.away[g].bare(), recipient: w.away[g].name})
			if g == 0 {
				slix := w.away[len(w.away)-1]
				w.talks = append(w.talks, &talk{from: a, to: slix.bare(), recipient: slix.name})
			}
		}
	}
	for _, t := range w.talks {
		w.repeat(ctx, perSecond, func() { t.from.send(t) })
	}
	for _, r := range w.rooms {
		for _, c := range r.members {
			w.repeat(ctx, perSecond/4, func() { c.utter(r) })
		}
	}
}

// repeat does something so often, until ctx ends.
func (w *world) repeat(ctx context.Context, perSecond float64, do func()) {
	mean := time.Duration(float64(time.Second) / perSecond)
	w.talking.Go(func() {
		for ctx.Err() == nil {
			do()
			select {
			case <-time.After(mean/2 + rand.N(mean)):
			case <-ctx.Done():
			}
		}
	})
}

// flowing reports whether of each talk between two that is meant something has come that was sent after a time.
func (w *world) flowing(after time.Time, meant func(a, b *client) bool) bool {
	for _, t := range w.talks {
		for _, b := range w.clients {
			if b.name == t.recipient && meant(t.from, b) && !w.ledger.heardSince(t, after) {
				return false
			}
		}
	}
	return true
}

func everybody(_, _ *client) bool { return true }

// settle ends the load and waits until nothing more comes.
func (w *world) settle() error {
	w.silence()
	w.talking.Wait()
	if _, err := w.await(time.Minute, func() bool { return w.all((*client).idle) }); err != nil {
		return fmt.Errorf("not all is acknowledged: %w", err)
	}
	quiet := time.Now()
	_, err := w.await(time.Minute, func() bool {
		return time.Since(quiet) > 2*time.Second && time.Since(w.ledger.lastNews()) > 2*time.Second
	})
	return err
}

// count ends all sessions, logs in everybody once more to collect what waits, and says what became of all messages.
func (w *world) count() (tally, error) {
	online := make(map[string]bool)
	for _, c := range w.clients {
		c.stop()
		online[c.name] = true
	}
	w.work.Wait()
	if err := w.foreign.stop(); err != nil {
		return tally{}, err
	}
	w.foreign = nil
	for _, c := range append(w.clients, w.away...) {
		if err := c.collect(w.ctx); err != nil {
			return tally{}, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return w.ledger.tally(online), nil
}

// collect logs in and takes what waits.
func (c *client) collect(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		err := c.collectFrom(ctx, c.w.nodes[(c.home+attempt)%len(c.w.nodes)])
		if err == nil || attempt == 2*len(c.w.nodes) {
			return err
		}
	}
}

// end ends the clients and the nodes.
func (w *world) end() {
	w.cancel()
	if w.silence != nil {
		w.silence()
		w.talking.Wait()
	}
	w.work.Wait()
	if w.foreign != nil {
		w.foreign.kill()
	}
	for _, n := range w.nodes {
		n.kill()
	}
}
