package cluster

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"chatd/stanza"
)

// A Sender is a link to one incarnation of a node: a *Peer. It is compared by identity.
type Sender interface {
	// Send queues a frame, made of all parts, and copies it. It never blocks; false: the link is gone, or its
	// queue is full.
	Send(kind byte, parts ...[]byte) (seq uint64, ok bool)
}

// A ReplicaConfig says what a Replica needs.
type ReplicaConfig struct {
	Node   string // this node's name
	Secret string // shared by all nodes of the cluster
	Log    *slog.Logger
	// Duplicate is called when the full JID of one of this node's rows turns out to be bound at another node
	// too, before the other row is seen if it is the newer one. Wins tells which of both is to be closed, by its own node. It is called
	// again for the same pair after each snapshot, on a goroutine of a link or of Run, and must not block.
	Duplicate func(local Row, remote RemoteRow)
	// Arrived, if set, is called for each change of a row of another node, on the goroutine of the link. It must not
	// block; the row is a view.
	Arrived func(row Row, o *Owner)
	// Receded, if set, is called for each row of another node that is about to go, to wait for resumption, or to be outdone by one that was
	// bound later: before that is seen. It is called on the goroutine of a link, or of Changed, and must not block. full may be a view.
	Receded func(full stanza.JID, o *Owner)
	// Complete, if set, is called when all rows of a node are seen that were not before, likewise.
	Complete func(o *Owner)
	// Placed is called with each new placement of rooms and services, one after another; may be nil. It must not block.
	Placed func(*Placement)
	// Settled, if set, is called whenever the nodes agree about who is there, or have not for so long that they will not. It must not block.
	Settled func()

	logBytes int                 // of the log of changes; 0: logBytes
	buckets  func(nodes int) int // nil: bucketCount
}

const (
	logBytes = 8 << 20
	// linger is how long a change waits for others to be sent with, unless Flush is called.
	linger = time.Millisecond
	// retryAfter is how long a link whose queue is full is left alone.
	retryAfter = 20 * time.Millisecond
	// askPause is the shortest time between two wishes for a whole snapshot of one peer, in case none that it sends can be used.
	askPause = time.Second
	// digestEvery is how often each peer is told the digest of this node's rows.
	digestEvery = 5 * time.Second
	// stallAfter is how long a peer may confirm nothing while its window is full.
	stallAfter = 10 * time.Second
	// rivalsLength is how many of this node's new rows wait for being compared with others': with more, all are.
	rivalsLength = 4096
)

// A Replica replicates the rows of this node to all others, and theirs to Rows. It keeps a copy of this node's rows by
// itself, so that sending a snapshot disturbs nobody.
//
// The other nodes' rows change on the goroutines of the links, all that is sent is sent by Run's.
type Replica struct {
	Rows   *Rows   // of the other nodes
	Places *Places // of rooms and services

	cfg    ReplicaConfig
	local  *Rows
	self   *Owner
	log    *changeLog
	clock  atomic.Int64 // the last Stamp, or the greatest Bound of others
	stats  replicaStats
	seldom seldom

	wake  chan struct{} // 1; something is to be sent
	stale chan struct{} // 1; something is to be reclaimed

	retired atomic.Bool // this node is to be the home of nothing
	placing sync.Mutex  // so that the last placement is of those that are up last
	reach   reach
	settled atomic.Bool // the nodes agree about who is there, or will not

	mu       sync.RWMutex
	peers    map[Sender]*replicaPeer
	newest   map[string]uint64 // incarnation, by node
	released []*Owner
	rivals   []stanza.JID // rows that are new here; nil after too many
	allRival bool
}

// NewReplica makes a replica of no rows. Nothing is sent before Run.
func NewReplica(cfg ReplicaConfig) *Replica {
	if cfg.logBytes == 0 {
		cfg.logBytes = logBytes
	}
	r := &Replica{
		Rows: NewRows(cfg.Secret), cfg: cfg, local: NewRows(cfg.Secret), log: newChangeLog(cfg.logBytes),
		wake: make(chan struct{}, 1), stale: make(chan struct{}, 1),
		peers: make(map[Sender]*replicaPeer), newest: make(map[string]uint64),
	}
	r.self, _ = r.local.open(cfg.Node, 0, nil) // the first owner always has a number
	r.local.swap(r.self, nil)
	if cfg.buckets == nil {
		cfg.buckets = bucketCount
	}
	r.Places = newPlaces(cfg.Node, r.local.key, cfg.buckets, cfg.Placed)
	return r
}

// Stamp is the time for the Bound of a row that is made now: this node's clock, but later than each Stamp before and each
// Bound that came from another node, so that who binds last has the greatest even if clocks differ.
func (r *Replica) Stamp() int64 {
	for {
		last := r.clock.Load()
		now := max(time.Now().UnixNano(), last+1)
		if r.clock.CompareAndSwap(last, now) {
			return now
		}
	}
}

// saw keeps Stamp ahead of a Bound.
func (r *Replica) saw(bound int64) {
	for last := r.clock.Load(); last < bound && !r.clock.CompareAndSwap(last, bound); last = r.clock.Load() {
	}
}

// Changed tells the others that this node has the row, and has it so. It does not block, nor allocate in the long run; it may be called
// under the lock that orders the changes of one user, and has to be called in this order.
func (r *Replica) Changed(row Row) {
	sh, tag := r.local.place(row.JID.Bare().String())
	sh.mu.Lock()
	sh.sent = row.append(sh.sent[:0])
	e := sh.put(r.local.key, r.self.id, tag, &record{Row: row, enc: sh.sent})
	if e.changed {
		sh.seg(r.self.id).last = r.log.append(sh.sent)
	}
	sh.mu.Unlock()
	r.local.count(r.self, e, false)
	if e.rebound {
		r.compare(&row)
	}
	if e.changed {
		poke(r.wake)
	}
}

// Gone tells the others that this node does not have the row any more: as Changed.
func (r *Replica) Gone(full stanza.JID) {
	sh, tag := r.local.place(full.Bare().String())
	sh.mu.Lock()
	removed := sh.remove(r.local.key, r.self.id, tag, full)
	if removed {
		sh.sent = appendGone(sh.sent[:0], full)
		sh.seg(r.self.id).last = r.log.append(sh.sent)
	}
	sh.mu.Unlock()
	r.local.count(r.self, effect{}, removed)
	if removed {
		poke(r.wake)
	}
}

// compare notes that a row that was bound here is at another node as well. If the other came later,
// it is found when it is applied.
func (r *Replica) compare(row *Row) {
	if _, ok := r.Rows.rival(row.JID); !ok {
		return
	}
	var room [4]RemoteRow
	r.outdoes(row, r.cfg.Node, r.Rows.Append(room[:0], row.JID))
	r.mu.Lock()
	if len(r.rivals) < rivalsLength {
		r.rivals = append(r.rivals, row.JID.Clone())
	} else {
		r.allRival = true
	}
	r.mu.Unlock()
	poke(r.wake)
}

// outdoes calls Receded for those of some rows of other nodes that a row of a node is about to outdo.
func (r *Replica) outdoes(row *Row, node string, others []RemoteRow) {
	for i := range others {
		if o := &others[i]; o.JID == row.JID && r.cfg.Receded != nil && Wins(row.Bound, node, o.Bound, o.Owner.Node) {
			r.cfg.Receded(o.JID, o.Owner)
		}
	}
}

// compareNoted calls Duplicate for the rows that compare has noted.
func (r *Replica) compareNoted() {
	r.mu.Lock()
	noted, all := r.rivals, r.allRival
	r.rivals, r.allRival = nil, false
	r.mu.Unlock()
	for _, full := range noted {
		if row, ok := r.local.Row(full); ok {
			r.duplicate(row.Row)
		}
	}
	if all {
		for row := range r.local.All() {
			r.duplicate(row.Row)
		}
	}
}

func (r *Replica) duplicate(local Row) {
	if remote, ok := r.Rows.rival(local.JID); ok && r.cfg.Duplicate != nil {
		r.stats.duplicates.Add(1)
		r.cfg.Duplicate(local, remote)
	}
}

// Local counts this node's own rows.
func (r *Replica) Local() int { return r.self.Len() }

// PeerUp begins replication with an incarnation of a node, both ways. What an older one of the same node had is hidden at once.
func (r *Replica) PeerUp(s Sender, node string, incarnation uint64) {
	p := &replicaPeer{sender: s, node: node, incarnation: incarnation, next: time.Now().Add(digestEvery)}
	var older []*replicaPeer
	r.mu.Lock()
	if newest := r.newest[node]; incarnation < newest {
		older = append(older, p)
	} else {
		r.newest[node] = incarnation
	}
	for _, other := range r.peers {
		if other.node == node && other.incarnation < incarnation {
			older = append(older, other)
		}
	}
	r.peers[s] = p
	r.mu.Unlock()
	for _, old := range older {
		r.hide(old)
	}
	if r.retired.Load() {
		s.Send(kindRetire)
	}
	r.place(p)
	poke(r.wake)
}

// Retire makes this node the home of nothing any more, if there are others.
func (r *Replica) Retire() {
	r.retired.Store(true)
	for _, p := range r.all() {
		p.sender.Send(kindRetire)
	}
	r.place(nil)
	poke(r.wake)
}

// place makes the placement that of the nodes that all others reach, as soon as they agree about who is there. If that is a change all peers are told,
// else only one that is new.
func (r *Replica) place(added *replicaPeer) {
	r.placing.Lock()
	defer r.placing.Unlock()
	peers := r.all()
	views := map[string]map[string]bool{r.cfg.Node: {}}
	var homes []string
	for _, p := range peers {
		p.mu.Lock()
		if !p.gone {
			views[p.node] = p.reaches
			views[r.cfg.Node][p.node] = true
			if !p.retired {
				homes = append(homes, p.node)
			}
		}
		p.mu.Unlock()
	}
	news := []*replicaPeer{added}
	if r.reach.become(views[r.cfg.Node]) {
		news = peers
	}
	tell(news, func(p *replicaPeer) { p.tellReach = true })
	again := func() { r.place(nil) }
	settled := r.reach.settle(views, again)
	others, without := r.reach.core(homes, r.cfg.Node, r.retired.Load())
	if without && !r.retired.Load() {
		settled = r.told(peers, others) || r.reach.isOld(2*holeAfter, again)
	}
	r.settled.Store(settled)
	if settled {
		if r.Places.set(others, without) {
			added = nil
			tell(peers, func(p *replicaPeer) { p.tell = true })
		}
		if r.cfg.Settled != nil {
			r.cfg.Settled()
		}
	}
	tell([]*replicaPeer{added}, func(p *replicaPeer) { p.tell = true })
	poke(r.wake)
}

func tell(peers []*replicaPeer, what func(*replicaPeer)) {
	for _, p := range peers {
		if p != nil {
			p.mu.Lock()
			what(p)
			p.mu.Unlock()
		}
	}
}

// hide ends what is sent to a peer, and what is seen of it; it returns what was.
func (r *Replica) hide(p *replicaPeer) *Owner {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	p.in.stale = true
	r.abandon(p)
	r.Rows.swap(nil, p.in.shown)
	return p.in.shown
}

// PeerDown ends it and hides the node's rows, at once. They are returned, to be looked up, until the
// caller has called Release; nil if there are none.
func (r *Replica) PeerDown(s Sender) *Owner {
	r.mu.Lock()
	p := r.peers[s]
	delete(r.peers, s)
	r.mu.Unlock()
	if p == nil {
		return nil
	}
	o := r.hide(p)
	r.place(nil)
	poke(r.wake)
	return o
}

// Release gives back the memory of an owner that PeerDown returned.
func (r *Replica) Release(o *Owner) {
	if o == nil {
		return
	}
	r.mu.Lock()
	r.released = append(r.released, o)
	r.mu.Unlock()
	poke(r.stale)
}

func (r *Replica) peer(s Sender) *replicaPeer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.peers[s]
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends.
func (r *Replica) Run(ctx context.Context) {
	var reclaiming sync.WaitGroup
	reclaiming.Go(func() { r.reclaim(ctx) })
	defer reclaiming.Wait()
	defer r.reach.stop()
	timer := time.NewTimer(digestEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
			timer.Reset(linger)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		case <-timer.C:
		}
		r.compareNoted()
		timer.Reset(time.Until(r.send()))
	}
}

// reclaim frees what was released, beside Run.
func (r *Replica) reclaim(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.stale:
		}
		r.mu.Lock()
		owners := r.released
		r.released = nil
		r.mu.Unlock()
		for _, o := range owners {
			r.Rows.reclaim(o)
		}
	}
}
