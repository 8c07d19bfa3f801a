package cluster

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// The rules by which a peer lives. A killed node is down after at most downAfter and a
// few milliseconds, which has to be less than 2 s; a process that starves for a second
// keeps its sessions everywhere.
const (
	// Who dialled a connection says every so often what has come, and is answered at once: so each side knows
	// of both directions once in that time, with one timer for the two.
	heartbeatEvery = 400 * time.Millisecond
	// Who accepted it says so by itself if there has been nothing to answer for so long, such as while a handler keeps its reader.
	heartbeatSpare = 550 * time.Millisecond
	// silence breaks a connection: nothing heard, or nothing that shows that the peer hears.
	silence = 800 * time.Millisecond
	// downAfter without both directions having worked, a peer is declared down. A broken connection is
	// made anew and resumed until then.
	downAfter = 1600 * time.Millisecond
	// suspectAfter is when Status says so.
	suspectAfter = 600 * time.Millisecond
	// lookEvery is how often a connection is looked at that is suspect.
	lookEvery = 150 * time.Millisecond

	// An attempt to connect has dialFor, and twice as long after each that failed: a whole cluster that starts at once on
	// busy machines would else begin all handshakes again and again and finish none.
	dialFor     = time.Second
	dialLongest = 4 * time.Second
	// connectLongest is for TCP alone, whose next SYN would come later than that of another attempt.
	connectLongest = 2 * time.Second
	handshakeFor   = 5 * time.Second // for who accepts; longer than who dials waits
	// A node begins so many attempts at a time, each of which counts for dialTurn at most: what costs the processor is over
	// by then, and what is left of it is waiting. More at a time would keep heartbeats from being heard.
	dialWidth = 2
	dialTurn  = 250 * time.Millisecond

	backoffMin  = 20 * time.Millisecond
	backoffUp   = 100 * time.Millisecond // the longest while the peer may still be resumed
	backoffMax  = time.Second
	backoffDead = 5 * time.Second // ... when it has been dead for longDead
	longDead    = 10 * time.Minute
	// A connection that lasted so long was a good one.
	steady = 2 * time.Second

	// A peer that went down more than once within dampWindow is not taken back before a pause that
	// doubles each time: purging and sending all rows again costs more than being split.
	dampWindow = 2 * time.Minute
	dampMin    = time.Second
	dampMax    = 30 * time.Second
	dampDowns  = 15 // more are not remembered: the pause is the longest already
)

var (
	errLeft    = errors.New("the peer left")
	errSilent  = errors.New("silence")
	errDeaf    = errors.New("the peer hears nothing")
	errAnew    = errors.New("the peer connected anew")
	errLeaving = errors.New("this node leaves")
)

// A link is this node's side of what it has to do with one node name, from when it is first
// heard of. One goroutine, run, owns it.
type link struct {
	node *Node
	name string

	offers chan *offer   // accepted connections; the latest one counts
	news   chan struct{} // what is known of the member has changed
	quit   chan struct{} // closed: say goodbye and end
	done   chan struct{}

	// Owned by run.
	peer        *Peer // nil: down
	incarnation uint64
	dealt       uint64 // of that incarnation, as of its last PeerDown
	next        uint64 // number of the next frame to that incarnation, as of its last PeerDown
	inDoubt     bool   // it went down without saying what it had received
	alive       int64  // the last connection's, by the node's clock
	suspected   bool
	attempts    int
	downs       []time.Time // within dampWindow

	mu    sync.Mutex // of what Status shows
	state linkState
	conn  *conn // present one

}

// linkState is what a link shows of itself.
type linkState struct {
	up         *Peer
	since      time.Time // of the last change of up
	reconnects int
	failure    string // of the last attempt to connect; empty: none since
	refused    bool   // ... and for a reason that will not pass by itself
	wasUp      bool
}

// An offer is an accepted connection whose other side has proven itself.
type offer struct {
	conn    secured
	hello   *hello
	version int
	at      time.Time
}

func newLink(n *Node, name string) *link {
	return &link{node: n, name: name, offers: make(chan *offer, 1), news: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}), state: linkState{since: time.Now()}}
}

// dials reports whether it is for this side to connect: the lesser name does.
func (l *link) dials() bool { return l.node.cfg.Node < l.name }

func (l *link) run() {
	defer close(l.done)
	for {
		c, err := l.connect()
		if err == nil {
			err = l.serve(c)
		}
		switch {
		case errors.Is(err, errLeft):
			l.down(true)
		case errors.Is(err, errLeaving):
			l.down(false)
			l.turnAway()
			return
		}
	}
}

// connect returns a connection of a peer that is up. Meanwhile the peer may be declared down.
func (l *link) connect() (*conn, error) {
	for {
		o, err := l.wait()
		if err != nil {
			return nil, err
		}
		var c *conn
		if o != nil {
			c, err = l.answer(o)
		} else {
			c, err = l.dial(l.node.linkAddress(l.name))
		}
		l.attempts++
		l.note(err)
		if err == nil {
			return c, nil
		}
		l.expire()
	}
}

// wait returns when it is time to dial, or with a connection that was accepted.
func (l *link) wait() (*offer, error) {
	var dial <-chan time.Time
	for {
		if dial == nil && l.dials() && l.node.linkAddress(l.name) != "" {
			dial = time.After(l.pause())
		}
		var expiry <-chan time.Time
		if l.peer != nil {
			expiry = time.After(l.due())
		}
		select {
		case <-dial:
			return nil, nil
		case o := <-l.offers:
			return o, nil
		case <-expiry:
			l.expire()
		case <-l.news:
			if l.peer != nil && l.node.hasLeft(l.name, l.peer.Incarnation) {
				l.peer.hearsay = true
				l.down(true)
			}
		case <-l.quit:
			return nil, errLeaving
		case <-l.node.ending.Done():
			return nil, errLeaving
		}
	}
}

// grace is how long a peer without connection has until it is declared down.
func (l *link) grace() time.Duration {
	return max(0, time.Duration(l.alive-l.node.clock.now())+downAfter)
}

// due is when expire has something to do for a peer without connection.
func (l *link) due() time.Duration {
	if d := l.grace() - downAfter + suspectAfter; !l.suspected {
		return max(0, d)
	}
	return l.grace()
}

// expire suspects a peer without connection, or declares it down, if it is time.
func (l *link) expire() {
	if l.peer == nil {
		return
	}
	l.suspect(l.alive)
	if l.grace() == 0 {
		l.down(false)
	}
}

// suspect counts, once until it is well again, that a peer was not heard of for some time.
func (l *link) suspect(alive int64) {
	silent := l.node.clock.now()-alive >= int64(suspectAfter)
	if silent && !l.suspected {
		l.node.metrics.suspicions.Inc()
	}
	l.suspected = silent
}

// pause is how long to wait before the next attempt to connect.
func (l *link) pause() time.Duration {
	if l.attempts == 0 {
		return l.damped()
	}
	longest := backoffMax
	if l.peer != nil {
		longest = backoffUp
	} else if l.node.deadFor(l.name) > longDead {
		longest = backoffDead
	}
	d := min(backoffMin<<min(l.attempts, 10), longest)
	return max(d/2+rand.N(d/2+1), l.damped())
}

// damped is how long a peer that goes down again and again is to stay so.
func (l *link) damped() time.Duration {
	if l.peer != nil {
		return 0
	}
	for len(l.downs) > 0 && time.Since(l.downs[0]) > dampWindow {
		l.downs = l.downs[1:]
	}
	if len(l.downs) < 2 {
		return 0
	}
	hold := min(dampMin<<min(len(l.downs)-2, 10), dampMax)
	return hold - time.Since(l.downs[len(l.downs)-1])
}

// serve has a connection work until it breaks.
func (l *link) serve(c *conn) error {
	var both sync.WaitGroup
	both.Go(c.read)
	both.Go(c.write)
	l.show(c)
	began := time.Now()
	err := l.watch(c)
	c.fail(err)
	both.Wait()
	l.show(nil)
	l.alive = c.alive()
	if errors.Is(err, errLeaving) {
		return err
	}
	if err = *c.err.Load(); errors.Is(err, errLeft) {
		return err
	}
	if time.Since(began) > steady {
		l.attempts = 0
	}
	l.node.log.Warn("cluster: link broke", "peer", l.name, "reason", err)
	l.node.metrics.breaks.Inc()
	return nil
}

// watch returns why the connection is to end.
func (l *link) watch(c *conn) error {
	look := time.NewTimer(suspectAfter)
	defer look.Stop()
	leaving := l.quit
	for {
		select {
		case <-look.C:
			now := l.node.clock.now()
			if err := l.listen(c, now); err != nil {
				return err
			}
			look.Reset(c.patience(now))
		case o := <-l.offers:
			if err := l.replaces(o, c); err != nil {
				l.node.refused(o.conn.RemoteAddr(), o.hello.name, err)
				l.node.work.Go(func() { closeRefused(o.conn, err) })
				continue
			}
			l.offer(o) // it was taken out to look at
			return errAnew
		case <-l.news:
		case <-leaving:
			leaving = nil
			c.leave()
		case <-c.broken:
			if leaving == nil {
				return errLeaving
			}
			return nil
		case <-l.node.ending.Done():
			return errLeaving
		}
	}
}

// listen returns why a connection is to end on which nothing happens.
func (l *link) listen(c *conn, now int64) error {
	l.suspect(c.alive())
	switch {
	case c.busy(now):
	case now-c.heard.Load() > int64(silence):
		return errSilent
	case now-c.confirmed.Load() > int64(silence):
		return errDeaf
	}
	return nil
}

// replaces decides whether an accepted connection is to take the place of one that seems to work.
func (l *link) replaces(o *offer, c *conn) error {
	if o.hello.incarnation == c.peer.Incarnation || l.node.clock.now()-c.alive() > int64(silence) {
		return nil
	}
	return refusal{refusedName, "a node of this name is connected and alive"}
}

// offer gives run an accepted connection; one that it has not taken yet is void.
func (l *link) offer(o *offer) {
	for {
		select {
		case l.offers <- o:
			return
		case old := <-l.offers:
			old.conn.raw.Close()
		}
	}
}

// turnAway closes what was accepted and will not be served.
func (l *link) turnAway() {
	select {
	case o := <-l.offers:
		o.conn.raw.Close()
	default:
	}
}

// announce tells of a new peer, on the reading goroutine of its first connection.
func (l *link) announce(c *conn) {
	if c.resumed {
		return
	}
	l.node.rise(c.peer)
	l.node.handler.PeerUp(c.peer)
}

// down ends the peer, if there is one. Its reader has ended.
func (l *link) down(left bool) {
	p := l.peer
	l.noteDown()
	if p == nil {
		return
	}
	unacked, next := p.close()
	l.suspected = false
	l.peer, l.dealt, l.next = nil, p.dealt.Load(), next
	l.inDoubt = !left && len(unacked) > 0
	level := slog.LevelInfo
	switch {
	case left:
		l.node.goneBye(p.Name, p.Incarnation)
	case l.node.ending.Err() == nil && !l.node.leaving.Load():
		level = slog.LevelWarn
		l.downs = append(l.downs[max(0, len(l.downs)-dampDowns):], time.Now())
		l.node.metrics.downs.Inc()
	}
	l.node.fall(p)
	l.node.log.Log(context.Background(), level, "cluster: peer is down", "peer", p.Name, "incarnation", p.Incarnation, "left", left, "unacknowledged", len(unacked))
	l.node.handler.PeerDown(p, unacked, left)
	close(p.down)
}
