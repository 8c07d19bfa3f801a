package cluster

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// A schedule is one random run of some replicas on a simulated network. All that is random comes from its seed, and
// time is synctest's.
//
// Of links it simulates what replication depends on: frames come in order, late, and not at all
// once the link is given up; that takes longer than a blip, and both sides find out, each in its own time.
type schedule struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	nodes []*simNode
	cut   [][]bool // frames from one node do not get to another
	links map[[2]int]*simLink
	made  []*simLink // ever
	jids  []stanza.JID
	start time.Time
	trace []string
	peace atomic.Bool
	lossy bool // some links lose frames

	loses    bool              // a link is one that loses frames
	damages  bool              // rows were changed behind a replica's back
	happened map[string]uint64 // how often what is to be tested has been

	mu    sync.Mutex
	store map[string]Token // of rooms, by whom they were written last
}

// A simNode is a node, in one process after another.
type simNode struct {
	s    *schedule
	i    int
	name string
	skew int64 // of its clock
	*simProcess
}

// A simProcess is one incarnation.
type simProcess struct {
	node        *simNode
	incarnation uint64
	replica     *Replica
	ctx         context.Context
	end         context.CancelFunc
	wg          sync.WaitGroup

	mu    sync.Mutex
	rows  map[string]Row   // its sessions
	rooms map[string]Token // that have their home here
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	s := &schedule{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), links: map[[2]int]*simLink{}, happened: map[string]uint64{}, start: time.Now(), store: map[string]Token{}}
	n := 2 + s.rng.IntN(5)
	s.lossy = s.rng.IntN(3) == 0
	for i := range 30 {
		s.jids = append(s.jids, stanza.MustJID(fmt.Sprintf("player%d@chat.test/game", i)), stanza.MustJID(fmt.Sprintf("player%d@chat.test/phone", i)))
	}
	for i := range n {
		s.cut = append(s.cut, make([]bool, n))
		node := &simNode{s: s, i: i, name: fmt.Sprintf("node%d", i), skew: s.rng.Int64N(int64(2*time.Second)) - int64(time.Second)}
		s.nodes = append(s.nodes, node)
		node.boot()
	}
	return s
}

func (s *schedule) note(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%8v ", time.Since(s.start).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (s *schedule) fail(format string, args ...any) {
	s.t.Helper()
	for _, line := range s.trace[max(0, len(s.trace)-60):] {
		s.t.Log(line)
	}
	s.t.Fatalf("seed %d: "+format+"\nagain: go test ./cluster -run TestSchedules -schedules 1 -seed %d", append(append([]any{s.seed}, args...), s.seed)...)
}

// boot starts the next incarnation of a node.
func (n *simNode) boot() {
	p := &simProcess{node: n, incarnation: 1, rows: map[string]Row{}, rooms: map[string]Token{}}
	if n.simProcess != nil {
		p.incarnation = n.incarnation + 1
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.replica = NewReplica(ReplicaConfig{
		Node: n.name, Secret: "s", Log: silent(), Duplicate: p.duplicate, Placed: p.placed,
		logBytes: 1 << (10 + n.s.rng.IntN(8)), buckets: func(int) int { return 64 },
	})
	n.simProcess = p
	p.wg.Go(func() { p.replica.Run(p.ctx) })
}

// kill ends a process as kill -9 does.
func (n *simNode) kill() {
	if !n.alive() {
		return
	}
	n.end()
	n.wg.Wait()
	st := n.replica.Stats()
	for what, k := range map[string]uint64{
		"deltas": st.DeltasApplied, "snapshots": st.SnapshotsApplied, "gaps": st.Gaps, "drift": st.Drift, "repaired": st.Repaired,
		"duplicates": st.Duplicates, "malformed": st.Malformed, "kills": 1,
	} {
		n.s.happened[what] += k
	}
}

func (p *simProcess) alive() bool { return p.ctx.Err() == nil }

// change changes the session table and tells the replica, in one order.
func (p *simProcess) change(full stanza.JID, do func(row *Row, has bool) (keep bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	row, has := p.rows[full.String()]
	switch keep := do(&row, has); {
	case keep:
		row.JID = full
		p.rows[full.String()] = row
		p.replica.Changed(row)
	case has:
		delete(p.rows, full.String())
		p.replica.Gone(full)
	}
}

// duplicate closes a session that has lost, a little later.
func (p *simProcess) duplicate(local Row, remote RemoteRow) {
	if Wins(local.Bound, p.node.name, remote.Bound, remote.Owner.Node) {
		return
	}
	time.AfterFunc(3*time.Millisecond, func() {
		p.change(local.JID, func(row *Row, has bool) bool { return has && row.Bound != local.Bound })
	})
}

var simRooms = func() (names []string) {
	for i := range 12 {
		names = append(names, fmt.Sprintf("room%d@conference.chat.test", i))
	}
	return names
}()

// placed is a handler of rooms that does no more than to have them.
func (p *simProcess) placed(now *Placement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, room := range simRooms {
		if now.Home(room) == p.node.name {
			p.rooms[room] = now.Token
		} else {
			delete(p.rooms, room)
		}
	}
}

// write has each room's home write to the store that all share, which refuses who is fenced.
func (s *schedule) write() (refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		n.mu.Lock()
		for room, token := range n.rooms {
			if s.store[room].Fences(token) {
				refused++
			} else if n.alive() {
				s.store[room] = token
			}
		}
		n.mu.Unlock()
	}
	return refused
}

// A simLink is one direction of a link between two processes: a Sender of from's.
type simLink struct {
	s        *schedule
	from, to *simProcess
	back     *simLink
	delays   *rand.Rand // owned by deliver
	losses   *rand.Rand // guarded by mu
	latency  time.Duration
	limit    int  // of bytes queued
	lossy    bool // loses a frame now and then, which no link should
	broken   context.Context
	give     context.CancelFunc // both directions up
	cutSince time.Time
	done     chan struct{} // PeerDown is over
	more     chan struct{}

	mu    sync.Mutex
	queue []sentFrame
	bytes int
}

func (l *simLink) Send(kind byte, parts ...[]byte) (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	payload := slices.Concat(parts...)
	if l.broken.Err() != nil || l.bytes+len(payload) > l.limit {
		return 0, false
	}
	if l.lossy && !l.s.peace.Load() && l.losses.IntN(50) == 0 {
		return 0, true
	}
	l.bytes += len(payload)
	l.queue = append(l.queue, sentFrame{kind, payload})
	poke(l.more)
	return 0, true
}

// connect makes a link between two nodes, both directions of it.
func (s *schedule) connect(i, j int) {
	if old := s.links[[2]int{i, j}]; old != nil { // whose other process is gone: up comes before down
		time.AfterFunc(time.Duration(s.rng.IntN(1_000_000_000)), old.give)
	}
	var pair [2]*simLink
	for k, ends := range [2][2]int{{i, j}, {j, i}} {
		pair[k] = &simLink{
			s: s, from: s.nodes[ends[0]].simProcess, to: s.nodes[ends[1]].simProcess,
			delays: rand.New(rand.NewPCG(s.rng.Uint64(), 2)), losses: rand.New(rand.NewPCG(s.rng.Uint64(), 3)),
			latency: time.Duration(s.rng.IntN(20_000_000)), limit: 40_000 << s.rng.IntN(4), lossy: s.lossy && s.rng.IntN(5) == 0,
			done: make(chan struct{}), more: make(chan struct{}, 1),
		}
		s.loses = s.loses || pair[k].lossy
		s.links[ends] = pair[k]
		s.made = append(s.made, pair[k])
	}
	pair[0].back, pair[1].back = pair[1], pair[0]
	pair[0].broken, pair[0].give = context.WithCancel(context.Background())
	pair[1].broken, pair[1].give = pair[0].broken, pair[0].give
	for _, l := range pair {
		go l.deliver(time.Duration(s.rng.IntN(100_000_000)), time.Duration(s.rng.IntN(500_000_000)))
	}
	s.note("link %d-%d", i, j)
}

// deliver brings the receiving side everything that its link would: up, frames, down.
func (l *simLink) deliver(before, after time.Duration) {
	defer close(l.done)
	time.Sleep(before)
	if !l.to.alive() {
		return
	}
	l.to.replica.PeerUp(l.back, l.from.node.name, l.from.incarnation)
	for l.frames() {
	}
	time.Sleep(after)
	owner := l.to.replica.PeerDown(l.back)
	if owner != nil {
		n := 0
		for _, row := range l.to.replica.Rows.of(owner) {
			n++
			_ = row
		}
		if n != owner.Len() {
			l.s.t.Errorf("seed %d: %d of %d rows can be enumerated after the node went", l.s.seed, n, owner.Len())
		}
	}
	l.to.replica.Release(owner)
}

// frames delivers what is queued, each frame in its time; false when the link is broken.
func (l *simLink) frames() bool {
	select {
	case <-l.broken.Done():
		return false
	case <-l.to.ctx.Done():
		return false
	case <-l.more:
	}
	for {
		l.mu.Lock()
		queue := l.queue
		l.queue = nil
		l.mu.Unlock()
		if len(queue) == 0 {
			return true
		}
		time.Sleep(l.latency + time.Duration(l.delays.IntN(3_000_000)))
		for _, f := range queue {
			for l.s.isCut(l.from.node.i, l.to.node.i) && l.broken.Err() == nil {
				time.Sleep(10 * time.Millisecond) // sent again until it arrives, or the link is given up
			}
			if l.broken.Err() != nil || !l.to.alive() {
				return false
			}
			l.to.replica.Frame(l.back, f.kind, f.payload)
			l.mu.Lock()
			l.bytes -= len(f.payload)
			l.mu.Unlock()
		}
	}
}

func (s *schedule) isCut(i, j int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut[i][j]
}

func (s *schedule) setCut(i, j int, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut[i][j] = cut
}

// giveUpAfter is when a link that is cut is given up, one-way or not.
const giveUpAfter = 2500 * time.Millisecond

// watch gives up the links that have been cut for long, and makes those that can be made.
func (s *schedule) watch() {
	for i := range s.nodes {
		for j := range i {
			a, b := s.nodes[i].simProcess, s.nodes[j].simProcess
			cut := s.isCut(i, j) || s.isCut(j, i)
			l := s.links[[2]int{i, j}]
			over := l == nil || finished(l) && finished(l.back)
			replaced := !over && (l.from != a || l.to != b) && s.rng.IntN(2) == 0 // by a new process, which does not wait
			if (over || replaced) && a.alive() && b.alive() && !cut && s.rng.IntN(3) == 0 {
				s.connect(i, j)
				continue
			}
			if over {
				continue
			}
			if !cut && l.from.alive() && l.to.alive() {
				l.cutSince = time.Time{}
				continue
			}
			if l.cutSince.IsZero() {
				l.cutSince = time.Now()
			} else if time.Since(l.cutSince) > giveUpAfter {
				l.give()
			}
		}
	}
}

func finished(l *simLink) bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// act does one random thing.
func (s *schedule) act() {
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	full := s.jids[s.rng.IntN(len(s.jids))]
	switch r := s.rng.IntN(1000); {
	case !n.alive():
		if r < 50 {
			n.boot()
			s.note("%s starts, incarnation %d", n.name, n.incarnation)
		}
	case r < 400:
		n.bind(full, n.replica.Stamp()+n.skew)
	case r < 430: // on two nodes at the same instant
		other := s.nodes[s.rng.IntN(len(s.nodes))]
		bound := max(n.replica.Stamp(), other.replica.Stamp())
		n.bind(full, bound)
		if other.alive() {
			other.bind(full, bound)
		}
	case r < 600:
		n.change(full, func(*Row, bool) bool { return false })
	case r < 950:
		n.change(full, func(row *Row, has bool) bool {
			row.Priority, row.Available = int8(s.rng.IntN(256)), s.rng.IntN(2) == 0
			row.Flags, row.Detached = router.Flags(s.rng.IntN(8)), s.rng.IntN(8) == 0
			return has
		})
	case r < 953:
		s.note("%s: many sessions", n.name)
		for i := range 200 {
			n.bind(stanza.MustJID(fmt.Sprintf("crowd%d@chat.test/%s", i, n.name)), n.replica.Stamp())
		}
	default:
		s.disturb(n, r)
	}
}

func (p *simProcess) bind(full stanza.JID, bound int64) {
	p.change(full, func(row *Row, _ bool) bool {
		*row = Row{Bound: bound}
		return true
	})
}

// disturb breaks or mends something.
func (s *schedule) disturb(n *simNode, r int) {
	other := s.rng.IntN(len(s.nodes))
	switch {
	case r < 958:
		s.note("%s is killed", n.name)
		n.kill()
	case r < 963:
		island := s.rng.Uint32()
		s.note("islands %b", island&(1<<len(s.nodes)-1))
		for i := range s.nodes {
			for j := range s.nodes {
				s.setCut(i, j, island>>i&1 != island>>j&1)
			}
		}
	case r < 970:
		s.note("%d-%d is cut", n.i, other)
		s.setCut(n.i, other, n.i != other)
		s.setCut(other, n.i, n.i != other)
	case r < 977:
		s.note("%d>%d is cut one way", n.i, other)
		s.setCut(n.i, other, n.i != other)
	case r < 982:
		s.note("%s's copy of the rows is damaged", n.name)
		s.damages = true
		for row := range n.replica.Rows.All() {
			n.replica.Rows.unset(row.Owner, row.JID)
			break
		}
	case r < 988: // a blip
		s.note("%d-%d blinks", n.i, other)
		s.setCut(n.i, other, n.i != other)
		time.Sleep(time.Duration(s.rng.IntN(100)) * time.Millisecond)
		s.setCut(n.i, other, false)
	default:
		s.mend()
	}
}

func (s *schedule) mend() {
	s.note("mended")
	for i := range s.nodes {
		for j := range s.nodes {
			s.setCut(i, j, false)
		}
	}
}

// run is the whole schedule: acts, then peace, then the checks.
func (s *schedule) run() {
	defer s.stop()
	s.live()
	s.check()
	s.stop()
	if !s.loses && s.happened["gaps"]+s.happened["malformed"] > 0 || !s.loses && !s.damages && s.happened["drift"] > 0 {
		s.fail("no link lost anything, but %v", s.happened)
	}
}

// live is acts, then peace.
func (s *schedule) live() {
	acts := 100 + s.rng.IntN(600)
	for i := range acts {
		s.act()
		if i%4 == 0 {
			s.watch()
		}
		if i%16 == 0 {
			s.happened["fenced"] += uint64(s.write())
			s.checkGhosts()
		}
		time.Sleep(time.Duration(s.rng.IntN(60_000_000)))
	}
	s.mend()
	s.peace.Store(true)
	for _, n := range s.nodes {
		if !n.alive() {
			n.boot()
		}
	}
	for range 400 { // 20 seconds: links are made within three, and digests compared three times
		s.watch()
		time.Sleep(50 * time.Millisecond)
	}
	synctest.Wait()
}

func (s *schedule) stop() {
	for _, n := range s.nodes {
		n.kill()
	}
	for _, l := range s.made {
		l.give()
		<-l.done
	}
}

// checkGhosts verifies that nobody sees rows over a link that has been over for a second.
func (s *schedule) checkGhosts() {
	for _, n := range s.nodes {
		if !n.alive() {
			continue
		}
		for _, o := range n.replica.Rows.Owners() {
			l := o.Peer.(*simLink)
			if l.from != n.simProcess {
				s.fail("%s sees rows of %s that another process has heard of", n.name, o.Node)
			}
			if !l.cutSince.IsZero() && time.Since(l.cutSince) > giveUpAfter+2*time.Second && l.broken.Err() != nil {
				s.fail("%s sees %d rows of %s, gone %v ago", n.name, o.Len(), o.Node, time.Since(l.cutSince))
			}
		}
	}
}

// check verifies what must hold after a heal and some seconds of peace.
func (s *schedule) check() {
	holders := map[string]string{}
	for _, n := range s.nodes {
		n.mu.Lock()
		rows := maps.Clone(n.rows)
		n.mu.Unlock()
		for full := range rows {
			if holders[full] != "" {
				s.fail("%s is bound on %s and %s", full, holders[full], n.name)
			}
			holders[full] = n.name
		}
		for _, other := range s.nodes {
			s.checkRows(other, n, rows)
		}
		s.checkPlaces(n)
	}
	if n := s.write(); n != 0 {
		s.fail("%d homes of rooms are fenced", n)
	}
}

// checkRows verifies that one node sees of another what that has.
func (s *schedule) checkRows(at, of *simNode, want map[string]Row) {
	if at == of {
		return
	}
	got := map[string]Row{}
	for row := range at.replica.Rows.All() {
		if row.Owner.Node == of.name {
			got[row.JID.String()] = row.Row
		}
	}
	if !maps.Equal(got, want) {
		said := 0
		for full := range want {
			if said++; got[full] != want[full] && said < 10 {
				s.note("%s: %+v, but %+v", full, got[full], want[full])
			}
		}
		s.fail("%s sees %d rows of %s, which has %d; %+v", at.name, len(got), of.name, len(want), at.replica.States())
	}
	if len(at.replica.States()) != len(s.nodes)-1 {
		s.fail("%s replicates with %+v", at.name, at.replica.States())
	}
	for _, st := range at.replica.States() {
		if !st.Complete || !st.Sent || st.Lag != 0 || st.Differing != 0 || time.Since(st.Compared) > 2*digestEvery {
			s.fail("%s and %s do not agree: %+v", at.name, st.Node, st)
		}
	}
	for _, r := range []*Rows{at.replica.Rows, at.replica.local} {
		if err := r.ConsistencyCheck(); err != nil {
			s.fail("%s: %v", at.name, err)
		}
	}
}

// checkPlaces verifies that all nodes go by one placement.
func (s *schedule) checkPlaces(n *simNode) {
	now, first := n.replica.Places.Current(), s.nodes[0].replica.Places.Current()
	if now.Token != first.Token || len(now.Nodes) != len(s.nodes) {
		s.fail("%s goes by placement %v of %v, %s by %v of %v", n.name, now.Token, now.Nodes, s.nodes[0].name, first.Token, first.Nodes)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, room := range simRooms {
		if _, has := n.rooms[room]; has != (now.Home(room) == n.name) {
			s.fail("%s has %s: %v", n.name, room, has)
		}
	}
}
