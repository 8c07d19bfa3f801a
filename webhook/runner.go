package webhook

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"chatd/stanza"
	"chatd/store"
)

const (
	// concurrency is how many events of one webhook are under way at most.
	concurrency = 8
	// window is how many events of a queue are in memory at most: those that can be delivered out of turn.
	window = 256
	// lookInterval is how often the queue is looked at when there was nothing more in it.
	lookInterval = 250 * time.Millisecond
	// leaseTime is for how long a node has a queue to itself. Another node takes over so long after this one's end
	// without a farewell.
	leaseTime = 60 * time.Second
	// leaseSpare is how long a lease must still be good for deliveries to begin, at least the longest Timeout.
	leaseSpare = 30 * time.Second
	// downAfter is how many failures in a row make a webhook one that is down: it is then tried with one event at a time.
	downAfter = 5

	firstPause = time.Second      // after the first failure of an event; it doubles with each
	maxPause   = 10 * time.Minute // never longer
)

// A runner delivers the events of one webhook. All of it belongs to its goroutine but stop and what is fixed.
//
// Events of one key, one player or one friendship, are delivered one after the other in their order; those of
// different keys at the same time. So an event that its receiver cannot take holds up only what would make no sense before it.
type runner struct {
	s     *Service
	hook  Hook
	end   context.CancelFunc
	ended chan struct{}

	waiting  []*entry // by Seq; what was read of the queue and not removed
	last     int64    // Seq of the newest that was read
	look     time.Time
	measured time.Time
	busy     map[string]bool // keys, while launch runs

	flights chan *entry // those that have landed; of capacity concurrency
	flying  int
	failing int // failures since the last success

	leased time.Time // until when this node has the queue
	ask    time.Time // not before, for a lease
	stale  bool      // it was without the queue: what waits must be read again
}

// An entry is an event that waits.
type entry struct {
	store.Event
	attempts int
	due      time.Time // not before
	flying   bool
	done     bool // delivered or buried: to be removed
	outcome  outcome
}

func startRunner(s *Service, h Hook) *runner {
	ctx, end := context.WithCancel(context.Background())
	r := &runner{
		s: s, hook: h, end: end, ended: make(chan struct{}), busy: make(map[string]bool),
		flights: make(chan *entry, concurrency),
	}
	s.Metrics.expect(h.Name)
	go r.run(ctx)
	return r
}

func (r *runner) stop() {
	r.end()
	<-r.ended
}

func (r *runner) run(ctx context.Context) {
	defer close(r.ended)
	for ctx.Err() == nil {
		r.hold(ctx)
		if r.holds() {
			r.read(ctx)
			r.launch(ctx)
			r.measure(ctx)
		}
		r.wait(ctx)
		r.settle(ctx)
	}
	for ; r.flying > 0; r.flying-- { // ctx has cut them off
		r.landed(ctx, <-r.flights)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	r.settle(ctx)
	if r.leased.After(time.Now()) {
		r.lease(ctx, time.Now())
	}
}

// holds reports whether deliveries may begin.
func (r *runner) holds() bool { return !r.stale && r.leased.After(time.Now().Add(leaseSpare)) }

// hold sees to it that no other node delivers the same events. What is under way when a lease is over may be
// delivered twice.
func (r *runner) hold(ctx context.Context) {
	now := time.Now()
	if !r.leased.After(now) {
		r.stale = true
	}
	if !r.leased.After(now.Add(leaseTime*3/4)) && !r.ask.After(now) {
		r.ask = now.Add(storePause)
		if r.lease(ctx, now.Add(leaseTime)) {
			r.leased = now.Add(leaseTime)
		}
	}
	if r.stale && r.flying == 0 && r.leased.After(now) {
		r.waiting, r.last, r.stale, r.look = nil, 0, false, now
	}
}

func (r *runner) lease(ctx context.Context, until time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	held, err := r.s.outbox.LeaseQueue(ctx, r.hook.Name, r.s.node, time.Now(), until)
	if err != nil {
		r.failed(ctx, "webhook's queue not leased", err)
	}
	return held
}

// read fills the window from the queue.
func (r *runner) read(ctx context.Context) {
	now := time.Now()
	room := window - len(r.waiting)
	if room < window/2 || now.Before(r.look) {
		return
	}
	r.look = now.Add(lookInterval)
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	page, err := r.s.outbox.Events(ctx, r.hook.Name, r.last, room)
	if err != nil {
		r.failed(ctx, "webhook's queue not read", err)
		return
	}
	for _, e := range page {
		r.waiting = append(r.waiting, &entry{Event: e})
		r.last = e.Seq
	}
	if len(page) == room {
		r.look = now // there may be more
	}
}

// launch begins the deliveries whose turn it is.
func (r *runner) launch(ctx context.Context) {
	limit := concurrency
	if r.failing >= downAfter {
		limit = 1
	}
	now := time.Now()
	clear(r.busy)
	for _, e := range r.waiting {
		if r.flying >= limit {
			return
		}
		if e.done || r.busy[e.Key] {
			continue
		}
		r.busy[e.Key] = true
		if e.flying || e.due.After(now) {
			continue
		}
		e.flying = true
		r.flying++
		go func() {
			e.outcome = r.s.deliver(ctx, &r.hook, &e.Event)
			r.flights <- e
		}()
	}
}

// wait returns when there may be something to do.
func (r *runner) wait(ctx context.Context) {
	timer := time.NewTimer(time.Until(r.next()))
	defer timer.Stop()
	select {
	case e := <-r.flights:
		r.flying--
		r.landed(ctx, e)
	case <-timer.C:
	case <-ctx.Done():
	}
	for {
		select {
		case e := <-r.flights:
			r.flying--
			r.landed(ctx, e)
		default:
			return
		}
	}
}

// next is when to look again if nothing lands.
func (r *runner) next() time.Time {
	now := time.Now()
	next := now.Add(lookInterval)
	if !r.holds() {
		return next
	}
	if len(r.waiting) <= window/2 && r.look.Before(next) {
		next = r.look
	}
	for _, e := range r.waiting {
		if !e.done && !e.flying && e.due.After(now) && e.due.Before(next) {
			next = e.due
		}
	}
	return next
}

// landed takes note of an attempt's outcome.
func (r *runner) landed(ctx context.Context, e *entry) {
	e.flying = false
	if e.outcome.label == "" { // cut off by the end
		return
	}
	r.s.Metrics.deliveries.WithLabelValues(r.hook.Name, e.outcome.label).Inc()
	now := time.Now()
	if e.outcome.label == delivered {
		e.done = true
		if r.failing >= downAfter {
			r.s.log.Info("webhook is back", "webhook", r.hook.Name)
		}
		if r.failing > 0 { // the others need not wait out what the webhook's absence has earned them
			for _, other := range r.waiting {
				if other.attempts <= r.failing {
					other.due = time.Time{}
				}
			}
		}
		r.failing = 0
		return
	}
	e.attempts++
	r.failing++
	if r.failing == downAfter {
		r.s.log.Warn("webhook does not take its events", "webhook", r.hook.Name, "why", e.outcome.why)
	}
	if now.Sub(e.Queued) >= r.hook.Retry {
		r.bury(ctx, e)
		return
	}
	e.due = now.Add(pause(e.attempts))
}

// pause is how long to wait after so many failures of an event: exponential, with jitter, so that what failed together does
// not come back together.
func pause(failures int) time.Duration {
	p := maxPause
	if failures < 16 {
		p = min(firstPause<<(failures-1), maxPause)
	}
	return p/2 + rand.N(p/2)
}

// bury makes a dead letter of an event.
func (r *runner) bury(ctx context.Context, e *entry) {
	if err := r.s.bury(ctx, r.hook.Name, e); err != nil {
		r.failed(ctx, "event not kept as a dead letter yet", err)
		e.due = time.Now().Add(pause(e.attempts))
		return
	}
	e.done = true
	r.s.log.Warn("event given up: it is a dead letter", "webhook", r.hook.Name, "event", e.ID, "type", e.Type, "why", e.outcome.why)
}

// settle removes what is done from the queue. What it could not remove it removes later.
func (r *runner) settle(ctx context.Context) {
	var seqs []int64
	for _, e := range r.waiting {
		if e.done {
			seqs = append(seqs, e.Seq)
		}
	}
	if len(seqs) == 0 || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := r.s.outbox.RemoveEvents(ctx, r.hook.Name, seqs); err != nil {
		r.failed(ctx, "delivered events not removed yet", err)
		return
	}
	r.waiting = slices.DeleteFunc(r.waiting, func(e *entry) bool { return e.done })
}

// measure sets the gauges, once a second.
func (r *runner) measure(ctx context.Context) {
	now := time.Now()
	if now.Sub(r.measured) < time.Second {
		return
	}
	r.measured = now
	waiting, err := r.s.outbox.CountEvents(ctx, r.hook.Name)
	if err != nil {
		r.failed(ctx, "webhook's queue not counted", err)
		return
	}
	dead, err := r.s.outbox.CountEvents(ctx, deadQueue(r.hook.Name))
	if err != nil {
		r.failed(ctx, "dead letters not counted", err)
		return
	}
	age := time.Duration(0)
	if len(r.waiting) > 0 {
		age = now.Sub(r.waiting[0].Queued)
	}
	r.s.Metrics.set(r.hook.Name, waiting, dead, max(0, age))
}

// failed logs what the store could not do. The store is left alone for a moment.
func (r *runner) failed(ctx context.Context, what string, err error) {
	if ctx.Err() != context.Canceled {
		r.s.log.Log(ctx, stanza.FaultLevel(err), what, "webhook", r.hook.Name, "err", err)
	}
	r.look = time.Now().Add(storePause)
}
