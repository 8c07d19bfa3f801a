package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatd/cluster/simnet"
	"chatd/store/memory"
)

var (
	nodeSchedules = flag.Int("schedules", usualSchedules, "random schedules of whole nodes that TestNodeSchedules runs")
	nodeOutages   = flag.Bool("outages", false, "the store that all nodes share fails now and then in all schedules, not only in one of four")
	nodeSeed      = flag.Uint64("seed", 1, "the first schedule's seed; each has the next")
)

// TestNodeSchedules has users of a cluster log in, leave, resume elsewhere and talk to one another while its nodes and their network
// fail at random, each schedule by its seed, and accounts for each message and each session afterwards: see simSchedule.
// More of them: make schedules.
func TestNodeSchedules(t *testing.T) {
	var mu sync.Mutex
	happened := make(map[string]int)
	t.Run("seed", func(t *testing.T) {
		for seed := *nodeSeed; seed < *nodeSeed+uint64(*nodeSchedules); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSimSchedule(t, seed)
					s.run()
					mu.Lock()
					defer mu.Unlock()
					for what, n := range s.happened {
						happened[what] += n
					}
				})
			})
		}
	})
	t.Log(happened)
	for _, what := range []string{"kill", "stop", "islands", "cut", "one-way", "slow", "pause", "outage", "break", "resume", "replace", "message"} {
		if *nodeSchedules >= 40 && happened[what] == 0 {
			t.Errorf("no %s in %d schedules", what, *nodeSchedules)
		}
	}
}

// A simSchedule is one random run of some nodes and some users. All that is random comes from its seed but for
// the order in which goroutines run, and time is synctest's.
type simSchedule struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	net     *simnet.Net
	store   *memory.Store
	outage  atomic.Bool // of the store
	nodes   []*simNode
	devices []*simDevice
	start   time.Time
	equal   bool // all devices have the same priority, so that messages to a bare JID go to all of a user's (RFC 6121 §8.5.2.1.1)
	running sync.WaitGroup

	lastKill time.Time
	frozen   map[*simNode]bool
	happened map[string]int

	mu         sync.Mutex
	trace      []string
	complaints []string
	sessions   int
	links      []*simLink
	messages   map[string]*simMessage
	troubles   []simTrouble
}

// A simTrouble is a time during which a node was not itself.
type simTrouble struct {
	nodes    []*simNode
	from, to time.Time // to is zero while it goes on
	kill     bool
}

func newSimSchedule(t *testing.T, seed uint64) *simSchedule {
	s := &simSchedule{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 4)), net: simnet.New(seed), store: memory.New(), start: time.Now(),
		equal: seed%2 == 1, messages: make(map[string]*simMessage), frozen: make(map[*simNode]bool), happened: make(map[string]int)}
	for i := range 2 + s.rng.IntN(3) {
		name := fmt.Sprintf("n%02d", i+1)
		s.nodes = append(s.nodes, &simNode{s: s, name: name, ip: simNodeIP(i + 1)})
	}
	var users []string
	for i := range 3 + s.rng.IntN(3) {
		user := fmt.Sprintf("user%d", i)
		users = append(users, user)
		for k := range 1 + s.rng.IntN(2) {
			priority := 5 - 4*k
			if s.equal {
				priority = 0
			}
			s.devices = append(s.devices, &simDevice{s: s, user: user, resource: []string{"phone", "desk"}[k], priority: priority,
				host: s.net.Host(fmt.Sprintf("10.1.%d.%d", i+1, k+1))})
		}
	}
	if err := simUsers(s.store, users); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *simSchedule) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trace = append(s.trace, fmt.Sprintf("%8v ", time.Since(s.start).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// complain notes what must not be.
func (s *simSchedule) complain(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.note("WRONG: %s", text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complaints = append(s.complaints, text)
}

func (s *simSchedule) sessionNumber() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions++
	return s.sessions
}

func (s *simSchedule) opened(l *simLink) {
	s.note("%s: session %d on %s", l.d.jid(), l.session.number, l.node.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links = append(s.links, l)
}

// run is the whole schedule: all begin, things happen, all is mended, and all has to be right.
func (s *simSchedule) run() {
	for _, n := range s.nodes {
		if err := n.start(); err != nil {
			s.t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second)
	for end := time.Now().Add(time.Duration(6+s.rng.IntN(12)) * time.Second); time.Now().Before(end); {
		s.act()
		time.Sleep(time.Duration(s.rng.Int64N(int64(150 * time.Millisecond))))
	}
	s.peace()
	wrong := s.settle()
	s.end()
	if len(wrong) > 0 {
		s.t.Log("\n" + strings.Join(s.trace, "\n"))
		for _, w := range wrong {
			s.t.Error(w)
		}
		s.t.Fatalf("again: go test ./cmd/chatd -run TestNodeSchedules -schedules 1 -seed %d -outages=%t", s.seed, *nodeOutages)
	}
}

// act has one random thing happen.
func (s *simSchedule) act() {
	if s.rng.IntN(100) < 92 {
		s.use(s.devices[s.rng.IntN(len(s.devices))])
		return
	}
	s.disturb(s.nodes[s.rng.IntN(len(s.nodes))])
}

// use has a user do something with a device.
func (s *simSchedule) use(d *simDevice) {
	online, resumable, busy := d.state()
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	r := s.rng.IntN(100)
	switch {
	case busy:
	case online && r < 82:
		for range 1 + s.rng.IntN(4) {
			s.send(d)
		}
	case online && r < 86:
		s.count("leave")
		s.note("%s leaves", d.jid())
		d.leave(true)
	case online && r < 95:
		s.count("break")
		s.note("%s loses its connection", d.jid())
		d.leave(false)
	case online:
		s.count("replace")
		s.note("%s forgets its session", d.jid())
		d.abandon()
		s.login(d, n, false)
	case resumable && r < 70:
		s.count("resume")
		s.login(d, n, true)
	default:
		s.count("login")
		s.login(d, n, false)
	}
}

func (s *simSchedule) count(what string) { s.happened[what]++ }

// login has a device log in, which takes its time.
func (s *simSchedule) login(d *simDevice, n *simNode, resume bool) {
	d.mu.Lock()
	d.busy = true
	d.mu.Unlock()
	s.running.Go(func() {
		begun := time.Now()
		err := d.login(n, resume)
		d.mu.Lock()
		d.busy = false
		if err != nil {
			d.vain = append(d.vain, simVain{begun, time.Now()})
		}
		d.mu.Unlock()
		if err != nil {
			s.note("%s: no session on %s: %v", d.jid(), n.name, err)
		}
	})
}

// send has a device send a message to somebody.
func (s *simSchedule) send(d *simDevice) {
	to := s.devices[s.rng.IntN(len(s.devices))]
	if to.user == d.user {
		return
	}
	address := to.jid()
	if s.rng.IntN(2) == 0 {
		address = to.user + "@" + simDomain
	}
	d.mu.Lock()
	if d.session == nil {
		d.mu.Unlock()
		return
	}
	d.sent++
	m := &simMessage{order: d.sent, session: d.session.number, from: d.jid(), to: address, user: to.user, at: time.Now()}
	if d.link != nil {
		m.node = d.link.node
	}
	d.mu.Unlock()
	s.mu.Lock()
	m.id = fmt.Sprintf("m%d", len(s.messages)+1)
	s.messages[m.id] = m
	s.mu.Unlock()
	s.count("message")
	s.note("%s (session %d) says %s to %s", m.from, m.session, m.id, m.to)
	d.say(fmt.Sprintf("<message type='chat' id='%s' to='%s'><body>%s</body></message>", m.id, m.to, m.id), m)
}

// killPause is between two deaths: some messages do not survive that of a sender's and a recipient's node in the same second. Nor does what
// waits in memory for a store that fails, which is why no process ends meanwhile.
const killPause = 8 * time.Second

// disturb breaks or mends something.
func (s *simSchedule) disturb(n *simNode) {
	other := s.other(n)
	p := n.process()
	switch r := s.rng.IntN(100); {
	case p == nil:
		s.boot(n)
	case r < 12 && !s.frozen[n] && !s.outage.Load() && time.Since(s.lastKill) > killPause:
		s.count("kill")
		s.note("%s is killed", n.name)
		s.lastKill = time.Now()
		s.trouble(n)
		s.troubles[len(s.troubles)-1].kill = true
		s.ends(n, (*simProcess).kill)
	case r < 18 && !s.frozen[n] && !s.outage.Load():
		s.count("stop")
		s.note("%s stops", n.name)
		s.ends(n, (*simProcess).stop)
	case r < 32:
		s.count("islands")
		s.trouble(s.nodes...)
		sides := s.rng.Uint32()
		s.note("islands %b", sides&(1<<len(s.nodes)-1))
		for i, a := range s.nodes {
			for j, b := range s.nodes {
				if sides>>i&1 != sides>>j&1 {
					s.net.Cut(a.ip, b.ip)
				}
			}
		}
	case r < 40:
		s.count("cut")
		s.trouble(n, other)
		s.note("%s-%s is cut", n.name, other.name)
		s.net.Cut(n.ip, other.ip)
		s.net.Cut(other.ip, n.ip)
	case r < 52:
		s.count("one-way")
		s.trouble(n, other)
		s.note("%s>%s is cut", n.name, other.name)
		s.net.Cut(n.ip, other.ip)
	case r < 58:
		s.count("slow")
		s.note("%s>%s is slow", n.name, other.name)
		s.net.Shape(n.ip, other.ip, 20*time.Millisecond, 50*time.Millisecond, 0.05)
	case r < 66:
		if s.frozen[n] {
			return
		}
		s.count("pause")
		s.note("%s pauses", n.name)
		s.frozen[n] = true
		s.trouble(n)
		s.net.Freeze(n.ip)
	case r < 72 && (*nodeOutages || s.seed%4 == 0) && !slices.ContainsFunc(s.nodes, func(n *simNode) bool { return n.process() == nil }):
		s.count("outage")
		s.note("the store is out")
		s.trouble(s.nodes...)
		s.outage.Store(true)
	default:
		s.mend()
	}
}

// other is any node but one.
func (s *simSchedule) other(n *simNode) *simNode {
	return s.nodes[(slices.Index(s.nodes, n)+1+s.rng.IntN(len(s.nodes)-1))%len(s.nodes)]
}

// ends has a node's process end, which takes its time.
func (s *simSchedule) ends(n *simNode, how func(*simProcess)) {
	p := n.retire()
	n.mu.Lock()
	n.busy = true
	n.mu.Unlock()
	s.running.Go(func() {
		how(p)
		n.mu.Lock()
		n.busy = false
		n.mu.Unlock()
		s.note("%s has ended", n.name)
	})
}

// boot starts a node that has ended, which takes its time.
func (s *simSchedule) boot(n *simNode) {
	n.mu.Lock()
	ready := n.now == nil && !n.busy
	n.busy = n.busy || ready
	n.mu.Unlock()
	if !ready {
		return
	}
	s.note("%s starts", n.name)
	s.running.Go(func() {
		err := n.start()
		n.mu.Lock()
		n.busy = false
		n.mu.Unlock()
		if err != nil {
			s.complain("%s does not start: %v", n.name, err)
		}
		s.note("%s serves", n.name)
	})
}

func (s *simSchedule) trouble(nodes ...*simNode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.troubles = append(s.troubles, simTrouble{nodes: nodes, from: time.Now()})
}

// mend undoes all that can be undone.
func (s *simSchedule) mend() {
	s.note("mended")
	s.net.Heal()
	s.outage.Store(false)
	for _, n := range s.nodes {
		if s.frozen[n] {
			s.net.Thaw(n.ip)
			s.frozen[n] = false
		}
		for _, other := range s.nodes {
			s.net.Unshape(n.ip, other.ip)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.troubles {
		if s.troubles[i].to.IsZero() {
			s.troubles[i].to = time.Now()
		}
	}
}

// peace is from when nothing happens any more: all nodes run, and all devices log in until they have a session.
func (s *simSchedule) peace() {
	s.mend()
	s.note("peace")
	for range 600 {
		waiting := false
		for _, n := range s.nodes {
			s.boot(n)
			waiting = waiting || n.process() == nil
		}
		for _, d := range s.devices {
			online, resumable, busy := d.state()
			waiting = waiting || !online || busy
			if !online && !busy {
				s.login(d, s.nodes[s.rng.IntN(len(s.nodes))], resumable && s.rng.IntN(3) > 0)
			}
		}
		if !waiting {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.complain("not all nodes and devices are there")
}

// end stops everything.
func (s *simSchedule) end() {
	for _, l := range s.links {
		_ = l.conn.Close()
	}
	for _, n := range s.nodes {
		if p := n.retire(); p != nil {
			s.running.Go(p.kill)
		}
	}
	s.running.Wait()
	time.Sleep(time.Minute) // memberlist's timers
}
