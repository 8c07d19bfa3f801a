package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatd/cluster/simnet"
)

// A simCluster is nodes 1 to n on a simulated network, all linked to all.
type simCluster struct {
	*simnet.Net
	t     *testing.T
	nodes []*Node     // [0] is n01
	hears []*recorder // by node
}

// simulate runs a test in a bubble, with a cluster of so many nodes.
func simulate(t *testing.T, size int, test func(t *testing.T, c *simCluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &simCluster{Net: simnet.New(1), t: t}
		defer func() {
			for _, n := range c.nodes {
				n.Close()
			}
			time.Sleep(5 * time.Second) // memberlist's probes end by timers
		}()
		for i := 1; i <= size; i++ {
			c.start(i)
		}
		c.meshed(10 * time.Second)
		time.Sleep(time.Second)
		test(t, c)
	})
}

// start starts node i, for the first time or again; it joins the first one.
func (c *simCluster) start(i int) {
	c.t.Helper()
	for len(c.nodes) < i {
		c.nodes, c.hears = append(c.nodes, nil), append(c.hears, nil)
	}
	r := newRecorder(c.t)
	time.Sleep(time.Microsecond) // the ledgers tell nodes apart by their incarnations, which are times
	n, err := Start(context.Background(), simConfig(c.Net, i, 1), r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i-1], c.hears[i-1] = n, r
}

// meshed waits until every node has every other one.
func (c *simCluster) meshed(within time.Duration) {
	c.t.Helper()
	all := func() bool {
		return !slices.ContainsFunc(c.hears, func(r *recorder) bool { return r.ups() != len(c.nodes)-1 })
	}
	for end := time.Now().Add(within); !all(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			for _, n := range c.nodes {
				c.t.Logf("%+v", n.Status())
			}
			c.t.Fatalf("not all are linked to all within %v", within)
		}
	}
}

// die has node i vanish without a word.
func (c *simCluster) die(i int) {
	c.Vanish(simIP(i))
	c.nodes[i-1].Close()
}

// downs is how often node i has declared node j down.
func (c *simCluster) downs(i, j int) int { return len(c.hears[i-1].of(simName(j), "down")) }

// state is that of node j as node i sees it.
func (c *simCluster) state(i, j int) string {
	for _, m := range c.nodes[i-1].Status().Members {
		if m.Name == simName(j) {
			return m.State
		}
	}
	return ""
}

// send sends numbers from..to-1 from node i to node j.
func (c *simCluster) send(i, j, from, to int) {
	c.t.Helper()
	p := c.hears[i-1].peer(simName(j))
	for k := from; k < to; k++ {
		if _, ok := p.Send(1, number(k)); !ok {
			c.t.Fatalf("%d was not taken", k)
		}
	}
}

func TestBlipPurgesNobody(t *testing.T) {
	for _, blip := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, time.Second} {
		t.Run(blip.String(), func(t *testing.T) {
			simulate(t, 3, func(t *testing.T, c *simCluster) {
				for i := range 20 {
					c.send(1, 2, 10*i, 10*i+5)
					c.Split([]string{simIP(1)}, []string{simIP(2), simIP(3)})
					c.send(1, 2, 10*i+5, 10*i+10)
					time.Sleep(blip)
					c.Heal()
					time.Sleep(5 * time.Second)
				}
				for i := 1; i <= 3; i++ {
					for j := 1; j <= 3; j++ {
						if c.downs(i, j) > 0 {
							t.Errorf("%d declared %d down", i, j)
						}
					}
				}
				wantNumbers(t, c.hears[1].payloads(simName(1)), 200)
			})
		})
	}
}

// wantNumbers checks that what came is 0..n-1, each once and in order.
func wantNumbers(t *testing.T, got []string, n int) {
	t.Helper()
	for i, p := range got {
		if i >= n || p != string(number(i)) {
			t.Fatalf("number %d of %d is %x", i, len(got), p)
		}
	}
	if len(got) != n {
		t.Fatalf("%d of %d came", len(got), n)
	}
}

func TestKillIsNoticed(t *testing.T) {
	simulate(t, 5, func(t *testing.T, c *simCluster) {
		for round := range max(fewer(5), 2) {
			at := time.Now()
			c.die(3)
			for _, i := range []int{1, 2, 4, 5} {
				eventually(t, "the killed one is down", 3*time.Second, func() bool { return c.downs(i, 3) == round+1 })
				if took := c.hears[i-1].of(simName(3), "down")[round].at.Sub(at); took >= 2*time.Second {
					t.Errorf("node %d took %v", i, took)
				}
				if s := c.state(i, 3); s != StateDead {
					t.Errorf("node %d says %s", i, s)
				}
				if !c.nodes[i-1].Status().Island {
					t.Errorf("node %d does not miss it", i)
				}
			}
			c.Revive(simIP(3))
			c.start(3)
			c.meshed(30 * time.Second)
			time.Sleep(2 * dampWindow)
		}
		for _, pair := range [][2]int{{1, 2}, {2, 4}, {5, 1}} {
			if c.downs(pair[0], pair[1]) > 0 {
				t.Errorf("%d declared %d down", pair[0], pair[1])
			}
		}
	})
}

func TestOneWayCutIsASplit(t *testing.T) {
	for _, dir := range [][2]int{{1, 2}, {2, 1}} {
		t.Run(fmt.Sprint(dir), func(t *testing.T) {
			simulate(t, 3, func(t *testing.T, c *simCluster) {
				at := time.Now()
				c.Cut(simIP(dir[0]), simIP(dir[1]))
				eventually(t, "both declare the other down", 3*time.Second, func() bool { return c.downs(1, 2) == 1 && c.downs(2, 1) == 1 })
				if took := time.Since(at); took > 2200*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				time.Sleep(time.Minute)
				if c.hears[0].ups() != 1 || c.hears[1].ups() != 1 || c.hears[2].ups() != 2 {
					t.Error("the third one, which reaches both, has not both")
				}
				if c.downs(3, 1)+c.downs(3, 2) > 0 {
					t.Error("the third one was disturbed")
				}
				c.Heal()
				c.meshed(5 * time.Second)
			})
		})
	}
}

func TestSplitHealsItself(t *testing.T) {
	for _, outage := range []time.Duration{5 * time.Second, 5 * time.Minute} { // memberlist forgets the dead after 30 s
		t.Run(outage.String(), func(t *testing.T) {
			simulate(t, 5, func(t *testing.T, c *simCluster) {
				c.Split([]string{simIP(1), simIP(2)}, []string{simIP(3), simIP(4), simIP(5)})
				time.Sleep(outage)
				if c.hears[0].ups() != 1 || c.hears[4].ups() != 2 {
					t.Fatalf("islands of %d and %d", c.hears[0].ups()+1, c.hears[4].ups()+1)
				}
				c.Heal()
				c.meshed(15 * time.Second)
				time.Sleep(30 * time.Second)
				for i, n := range c.nodes {
					if len(n.gossip.Members()) != 5 {
						t.Errorf("gossip of %d has %d members", i+1, len(n.gossip.Members()))
					}
					if n.Status().Island {
						t.Errorf("%d believes to be an island", i+1)
					}
				}
			})
		})
	}
}

// TestUnacked has a peer go down with frames in every state, and come back.
func TestUnacked(t *testing.T) {
	simulate(t, 2, func(t *testing.T, c *simCluster) {
		a, b := c.hears[0], c.hears[1]
		c.send(1, 2, 0, 100)
		time.Sleep(time.Second) // these are acknowledged
		c.Cut(simIP(2), simIP(1))
		c.send(1, 2, 100, 200) // these arrive, and the acknowledgement does not
		time.Sleep(100 * time.Millisecond)
		c.Cut(simIP(1), simIP(2))
		c.send(1, 2, 200, 300) // these do not arrive
		eventually(t, "a knows", 3*time.Second, func() bool { return c.downs(1, 2) == 1 })
		down := a.of(simName(2), "down")[0]
		if len(down.unacked) != 200 || down.unacked[0].Seq != 101 || string(down.unacked[199].Payload) != string(number(299)) {
			t.Fatalf("%d come back", len(down.unacked))
		}
		eventually(t, "b knows", 3*time.Second, func() bool { return c.downs(2, 1) == 1 })
		c.Heal()
		c.meshed(5 * time.Second)
		received := a.of(simName(2), "received")
		if len(received) != 1 || received[0].seq != 200 || received[0].incarnation != c.nodes[1].Incarnation {
			t.Fatalf("b had received: %+v", received)
		}
		c.send(1, 2, 300, 310)
		time.Sleep(time.Second)
		frames := b.of(simName(1), "frame")
		if len(frames) != 210 || frames[200].seq != 301 || frames[200].payload != string(number(300)) {
			t.Fatalf("%d frames, the first after the split is %+v", len(frames), frames[200])
		}
	})
}

// TestUnackedIsExact: if only one side gave up, the other learns in the handshake what had arrived.
func TestUnackedIsExact(t *testing.T) {
	simulate(t, 2, func(t *testing.T, c *simCluster) {
		a, b := c.hears[0], c.hears[1]
		c.Cut(simIP(2), simIP(1))
		c.send(1, 2, 0, 100) // arrives, and is not acknowledged
		c.send(2, 1, 0, 7)   // does not arrive, unless the old connection comes to life again
		time.Sleep(50 * time.Millisecond)
		c.Cut(simIP(1), simIP(2))
		c.send(1, 2, 100, 150)
		l := c.nodes[1].link(simName(1))
		l.mu.Lock()
		l.conn.confirmed.Store(l.conn.confirmed.Load() - int64(downAfter)) // as if it had been silent for that long
		l.conn.fail(errSilent)
		l.mu.Unlock()
		time.Sleep(500 * time.Millisecond)
		if c.downs(2, 1) != 1 || c.downs(1, 2) != 0 {
			t.Fatal("not only the second one gave up")
		}
		c.Heal()
		c.meshed(5 * time.Second)
		time.Sleep(time.Second)
		down := a.of(simName(2), "down")
		if len(down) != 1 || len(down[0].unacked) != 50 || down[0].unacked[0].Seq != 101 || len(a.of(simName(2), "received")) != 0 {
			t.Errorf("the first one is handed %+v", down)
		}
		down, received := b.of(simName(1), "down"), b.of(simName(1), "received")
		if len(down) != 1 || len(down[0].unacked) != 7 || len(received) != 1 || received[0].seq != uint64(len(a.payloads(simName(2)))) {
			t.Errorf("the second one is handed %+v, %+v", down, received)
		}
	})
}

func TestResendsExactlyOnce(t *testing.T) {
	simulate(t, 2, func(t *testing.T, c *simCluster) {
		c.Shape(simIP(1), simIP(2), 5*time.Millisecond, 3*time.Millisecond, 0.01)
		sent := 0
		for cut := range 60 {
			for range 50 {
				c.send(1, 2, sent, sent+20)
				sent += 20
				time.Sleep(2 * time.Millisecond)
			}
			switch cut % 3 {
			case 0: // the connection breaks
				l := c.nodes[0].link(simName(2))
				l.mu.Lock()
				if l.conn != nil {
					l.conn.fail(errors.New("cut by the test"))
				}
				l.mu.Unlock()
			case 1:
				c.Cut(simIP(1), simIP(2))
				time.Sleep(700 * time.Millisecond)
				c.Heal()
			case 2:
				c.Cut(simIP(2), simIP(1))
				time.Sleep(900 * time.Millisecond)
				c.Heal()
			}
			time.Sleep(500 * time.Millisecond)
		}
		eventually(t, "all has come", 10*time.Second, func() bool { return c.hears[1].count() >= sent })
		time.Sleep(time.Second)
		if c.downs(1, 2)+c.downs(2, 1) > 0 {
			t.Fatal("a peer was declared down")
		}
		wantNumbers(t, c.hears[1].payloads(simName(1)), sent)
	})
}

func TestQueueIsBounded(t *testing.T) {
	simulate(t, 2, func(t *testing.T, c *simCluster) {
		p := c.hears[0].peer(simName(2))
		c.Split([]string{simIP(1)}, []string{simIP(2)})
		payload := make([]byte, 100<<10)
		sent := 0
		for ok := true; ok; {
			if _, ok = p.Send(1, payload); ok {
				sent++
			}
		}
		if _, bytes := p.Queued(); bytes > QueueBytes || bytes < QueueBytes-len(payload)-headerBytes {
			t.Errorf("%d bytes in %d frames wait", bytes, sent)
		}
		if _, ok := p.Send(1, []byte("short")); !ok {
			t.Error("there is room for a short one")
		}
		if _, ok := p.Send(1, make([]byte, MaxPayload+1)); ok {
			t.Error("a frame beyond MaxPayload was taken")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := p.Room(ctx, QueueBytes/2); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("room in a full queue: %v", err)
		}
		c.Heal()
		if err := p.Room(t.Context(), 1000); err != nil {
			t.Errorf("room: %v", err)
		}
		eventually(t, "all came", time.Second, func() bool { return c.hears[1].count() == sent+1 })
		c.Split([]string{simIP(1)}, []string{simIP(2)})
		eventually(t, "down", 3*time.Second, func() bool { return c.downs(1, 2) == 1 })
		if _, ok := p.Send(1); ok || !errors.Is(p.Room(t.Context(), 1), ErrGone) {
			t.Error("a peer that is down takes frames")
		}
	})
}

func TestQueueIsBoundedInFrames(t *testing.T) {
	q := queue{next: 1}
	for range QueueFrames {
		if _, ok := q.put(1); !ok {
			t.Fatal("full too early")
		}
	}
	if _, ok := q.put(1); ok {
		t.Error("one more was taken")
	}
	for q.sent < QueueFrames {
		q.take(nil)
	}
	if q.ack(QueueFrames+1) || !q.ack(QueueFrames) || q.bytes != 0 || len(q.chunks) != 0 {
		t.Errorf("after all were acknowledged: %d bytes, %d chunks", q.bytes, len(q.chunks))
	}
}

func TestFlappingIsDamped(t *testing.T) {
	simulate(t, 2, func(t *testing.T, c *simCluster) {
		for range 60 { // 10 minutes of 4 s off, 6 s on
			c.Split([]string{simIP(1)}, []string{simIP(2)})
			time.Sleep(4 * time.Second)
			c.Heal()
			time.Sleep(6 * time.Second)
		}
		if n := c.downs(1, 2); n > 35 || n < 2 {
			t.Errorf("down %d times in 60 cuts", n)
		}
		time.Sleep(dampWindow)
		c.meshed(2 * dampMax)
		if c.hears[1].ups() != 1 {
			t.Error("not up in the end")
		}
	})
}

// TestFrozenNode has a node frozen as by SIGSTOP, as seen by the network.
func TestFrozenNode(t *testing.T) {
	for _, d := range []time.Duration{time.Second, 30 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			simulate(t, 3, func(t *testing.T, c *simCluster) {
				c.Freeze(simIP(2))
				time.Sleep(d)
				long := d > downAfter
				if got := c.downs(1, 2) == 1 && c.downs(3, 2) == 1; got != long {
					t.Errorf("declared down: %v", got)
				}
				c.Thaw(simIP(2))
				c.meshed(5 * time.Second)
				if c.downs(1, 3)+c.downs(3, 1) > 0 {
					t.Error("the others were disturbed")
				}
			})
		})
	}
}

// TestHeartbeatsAreAnswered: both sides of an idle link know of both directions once in heartbeatEvery.
func TestHeartbeatsAreAnswered(t *testing.T) {
	simulate(t, 2, func(t *testing.T, c *simCluster) {
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			for i, n := range c.nodes {
				l := n.link(simName(2 - i))
				l.mu.Lock()
				conn := l.conn
				l.mu.Unlock()
				if age := time.Duration(n.clock.now() - conn.alive()); age > heartbeatEvery+5*time.Millisecond {
					t.Fatalf("%s knows nothing of %s for %v", n.cfg.Node, l.name, age)
				}
			}
		}
	})
}

func TestBusyHandlerIsNotSilence(t *testing.T) {
	simulate(t, 2, func(t *testing.T, c *simCluster) {
		c.hears[1].takes = 5 * time.Second
		c.send(1, 2, 0, 1)
		time.Sleep(10 * time.Second)
		if c.downs(1, 2)+c.downs(2, 1) > 0 || c.hears[1].count() != 1 {
			t.Error("a handler that works for 5 s ended the link")
		}
	})
}

func TestLeave(t *testing.T) {
	simulate(t, 3, func(t *testing.T, c *simCluster) {
		c.send(2, 1, 0, 1000)
		c.send(1, 2, 0, 10)
		if err := c.nodes[1].Leave(t.Context()); err != nil {
			t.Errorf("leave: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
		wantNumbers(t, c.hears[0].payloads(simName(2)), 1000)
		left := c.hears[0].of(simName(2), "left")
		if len(left) != 1 || len(c.hears[2].of(simName(2), "left")) != 1 || c.downs(1, 2)+c.downs(3, 2) > 0 {
			t.Fatal("the others do not know that it left")
		}
		if got := len(c.hears[1].payloads(simName(1))) + len(left[0].unacked); got != 10 {
			t.Errorf("of 10 frames to it %d are accounted for", got)
		}
		time.Sleep(time.Minute)
		if s := c.state(1, 2); s != StateLeft || c.nodes[0].Status().Island {
			t.Errorf("it is %s", s)
		}
		c.start(2)
		c.meshed(5 * time.Second)
	})
}

func TestRestartIsANewIncarnation(t *testing.T) {
	simulate(t, 3, func(t *testing.T, c *simCluster) {
		old := c.nodes[1].Incarnation
		c.send(1, 2, 0, 5)
		time.Sleep(time.Second)
		c.nodes[1].Close() // killed: the machine answers for it
		c.start(2)
		if c.nodes[1].Incarnation <= old {
			t.Error("incarnations do not grow")
		}
		c.meshed(5 * time.Second)
		ups := c.hears[0].of(simName(2), "up")
		if len(ups) != 2 || ups[1].incarnation != c.nodes[1].Incarnation || c.downs(1, 2) != 1 {
			t.Fatalf("ups: %+v", ups)
		}
		if len(c.hears[0].of(simName(2), "received")) > 0 {
			t.Error("a new process cannot have received anything")
		}
		c.send(1, 2, 0, 5)
		time.Sleep(time.Second)
		if got := c.hears[1].of(simName(1), "frame"); len(got) != 5 || got[0].seq != 1 {
			t.Errorf("frames: %+v", got)
		}
	})
}

// TestFirstNodeRestarts: the one that all others join knows nobody, and has to be the one to dial.
func TestFirstNodeRestarts(t *testing.T) {
	simulate(t, 3, func(t *testing.T, c *simCluster) {
		for range 10 {
			c.nodes[0].Close()
			c.start(1)
			c.meshed(3 * time.Second)
			time.Sleep(2 * dampWindow)
		}
	})
}

func TestNameInUse(t *testing.T) {
	simulate(t, 3, func(t *testing.T, c *simCluster) {
		cfg := simConfig(c.Net, 9, 1)
		cfg.Node = simName(2)
		_, err := Start(t.Context(), cfg, newRecorder(t))
		if !errors.Is(err, ErrNameInUse) || !strings.Contains(err.Error(), simIP(2)) {
			t.Fatalf("a second n02: %v", err)
		}
		time.Sleep(10 * time.Second)
		if c.downs(1, 2)+c.downs(3, 2)+c.downs(2, 1) > 0 || c.state(1, 2) != StateAlive {
			t.Error("the first one was disturbed")
		}
		// When the first one is dead the name, elsewhere, is free at once.
		c.die(2)
		n, err := Start(t.Context(), cfg, newRecorder(t))
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		eventually(t, "it is linked", 10*time.Second, func() bool {
			return len(n.Peers()) == 2 && c.hears[0].ups() == 2 && c.hears[2].ups() == 2
		})
	})
}

// TestNameTwiceAfterHeal starts the second one of a name on the other side of a split.
func TestNameTwiceAfterHeal(t *testing.T) {
	simulate(t, 3, func(t *testing.T, c *simCluster) {
		c.Host(simIP(9))
		c.Split([]string{simIP(1), simIP(2)}, []string{simIP(3), simIP(9)})
		time.Sleep(10 * time.Second)
		cfg := simConfig(c.Net, 9, 3)
		cfg.Node = simName(2)
		second, err := Start(t.Context(), cfg, newRecorder(t))
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		eventually(t, "it is linked", 10*time.Second, func() bool { return len(second.Peers()) == 1 })
		c.Heal()
		eventually(t, "the conflict is seen", 30*time.Second, func() bool {
			return second.Status().Conflict != "" || c.nodes[1].Status().Conflict != ""
		})
		if c.hears[0].ups() < 1 || c.hears[2].ups() < 1 {
			t.Error("others are not linked")
		}
	})
}

func TestJoinByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simnet.New(1)
		ra, rb := newRecorder(t), newRecorder(t)
		a, err := Start(t.Context(), simConfig(s, 1), ra)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { a.Close(); time.Sleep(5 * time.Second) }()
		cfg := simConfig(s, 2)
		cfg.Join = []string{"chat.example"}
		b, err := Start(t.Context(), cfg, rb) // the name is not known yet
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		time.Sleep(time.Minute)
		s.Name("chat.example", mustAddrs("10.0.0.2", "10.0.0.1")...)
		eventually(t, "it has joined", 10*time.Second, func() bool { return ra.ups() == 1 && rb.ups() == 1 })
	})
}

func TestMesh(t *testing.T) {
	simulate(t, 30, func(t *testing.T, c *simCluster) {
		for i := 1; i <= 30; i++ {
			for j := 1; j <= 30; j++ {
				if i != j {
					c.send(i, j, 0, 3)
				}
			}
		}
		time.Sleep(time.Second)
		for _, r := range c.hears {
			if r.count() != 29*3 {
				t.Errorf("%d frames", r.count())
			}
		}
		at := time.Now()
		c.die(30)
		eventually(t, "all know", 3*time.Second, func() bool {
			return !slices.ContainsFunc(c.hears[:29], func(r *recorder) bool { return r.ups() != 28 })
		})
		if took := time.Since(at); took > 2*time.Second {
			t.Errorf("noticed by all after %v", took)
		}
	})
}

// simConfig is of node number i, 1..250, whose name is "n" and the number.
func simConfig(s *simnet.Net, i int, join ...int) Config {
	ip := simIP(i)
	c := Config{Node: simName(i), Gossip: ip + ":7946", Link: ip + ":7947", Secret: testSecret, Log: quiet(simName(i)), Network: s.Host(ip)}
	for _, j := range join {
		c.Join = append(c.Join, simIP(j)+":7946")
	}
	return c
}

func simIP(i int) string   { return fmt.Sprintf("10.0.0.%d", i) }
func simName(i int) string { return fmt.Sprintf("n%02d", i) }

func mustAddrs(ips ...string) []netip.Addr {
	var as []netip.Addr
	for _, ip := range ips {
		as = append(as, netip.MustParseAddr(ip))
	}
	return as
}
