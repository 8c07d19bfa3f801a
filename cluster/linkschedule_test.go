package cluster

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"chatd/cluster/simnet"
)

// Flags: -seed is of both kinds of schedules.
var linkSchedules = flag.Int("linkschedules", fewer(40), "random schedules of failures of links that TestLinkSchedules runs")

// TestLinkSchedules has three nodes send to one another while a random schedule of cuts, one-way cuts, freezes, broken
// connections, slow paths and restarts goes on, and accounts for each frame afterwards.
func TestLinkSchedules(t *testing.T) {
	for i := range *linkSchedules {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("again: go test ./cluster -run TestLinkSchedules -linkschedules 1 -seed %d", seed)
				}
			})
			synctest.Test(t, func(t *testing.T) { linkSchedule(t, seed) })
		})
	}
}

// A ledger is what was sent from one process to another, and what became of it.
type ledger struct {
	sent     map[uint64]uint64 // id by number
	restarts bool              // one of the two was killed
}

type trip struct{ from, to uint64 } // incarnations

func linkSchedule(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	c := &simCluster{Net: simnet.New(seed), t: t}
	defer func() {
		for _, n := range c.nodes {
			n.Close()
		}
		time.Sleep(5 * time.Second)
	}()
	for i := 1; i <= 3; i++ {
		c.start(i)
	}
	c.meshed(10 * time.Second)
	ledgers := make(map[trip]*ledger)
	var all []*recorder // of the dead, too
	var ids uint64
	work := func(d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Duration(rng.Int64N(int64(20 * time.Millisecond)))) {
			i, j := 1+rng.IntN(3), 1+rng.IntN(3)
			if p := c.hears[i-1].peer(simName(j)); p != nil {
				for range 1 + rng.IntN(5) {
					ids++
					c.book(ledgers, c.nodes[i-1].Incarnation, p, ids)
				}
			}
		}
	}
	for range 12 {
		work(time.Duration(rng.Int64N(int64(2 * time.Second))))
		all = append(all, c.disturb(rng, ledgers)...)
		work(time.Duration(rng.Int64N(int64(4 * time.Second))))
		if rng.IntN(2) == 0 {
			c.calm()
		}
	}
	c.calm()
	c.meshed(dampMax + 15*time.Second)
	time.Sleep(10 * time.Second)
	c.settle(append(all, c.hears...), ledgers)
}

// book sends one frame and notes it.
func (c *simCluster) book(ledgers map[trip]*ledger, from uint64, p *Peer, id uint64) {
	if seq, ok := p.Send(1, binary.BigEndian.AppendUint64(nil, id)); ok {
		k := trip{from, p.Incarnation}
		if ledgers[k] == nil {
			ledgers[k] = &ledger{sent: make(map[uint64]uint64)}
		}
		if ledgers[k].sent[seq] != 0 {
			c.t.Errorf("number %d is used twice", seq)
		}
		ledgers[k].sent[seq] = id
	}
}

// disturb has something happen, and returns the handlers of nodes that were killed.
func (c *simCluster) disturb(rng *rand.Rand, ledgers map[trip]*ledger) []*recorder {
	i := 1 + rng.IntN(3)
	j := 1 + (i+rng.IntN(2))%3
	switch rng.IntN(7) {
	case 0:
		c.Split([]string{simIP(i)}, []string{simIP(j), simIP(6 - i - j)})
	case 1:
		c.Cut(simIP(i), simIP(j))
	case 2:
		c.Cut(simIP(i), simIP(j))
		c.Cut(simIP(j), simIP(i))
	case 3:
		c.Freeze(simIP(i))
	case 4:
		c.Shape(simIP(i), simIP(j), 20*time.Millisecond, 50*time.Millisecond, 0.05)
	case 5:
		l := c.nodes[i-1].link(simName(j))
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.conn != nil {
			l.conn.fail(errSilent)
		}
	case 6:
		return []*recorder{c.restart(i, ledgers)}
	}
	return nil
}

func (c *simCluster) restart(i int, ledgers map[trip]*ledger) *recorder {
	old, was := c.hears[i-1], c.nodes[i-1].Incarnation
	c.Vanish(simIP(i))
	c.nodes[i-1].Close()
	c.Revive(simIP(i))
	time.Sleep(10 * time.Millisecond)
	c.start(i)
	for k, l := range ledgers {
		l.restarts = l.restarts || k.from == was || k.to == was
	}
	return old
}

// calm undoes all that can be undone.
func (c *simCluster) calm() {
	c.Heal()
	for i := 1; i <= 3; i++ {
		c.Thaw(simIP(i))
		for j := 1; j <= 3; j++ {
			c.Unshape(simIP(i), simIP(j))
		}
	}
}

// settle checks that each frame was delivered or handed back, and not both.
func (c *simCluster) settle(handlers []*recorder, ledgers map[trip]*ledger) {
	delivered, returned := make(map[uint64]int), make(map[uint64]int)
	for _, r := range handlers {
		r.mu.Lock()
		last := make(map[uint64][]Frame) // handed back by the last PeerDown of an incarnation
		for _, e := range r.events {
			switch e.what {
			case "frame":
				delivered[binary.BigEndian.Uint64([]byte(e.payload))]++
			case "down", "left":
				last[e.incarnation] = e.unacked
				for _, f := range e.unacked {
					returned[binary.BigEndian.Uint64(f.Payload)]++
				}
			case "received":
				for _, f := range last[e.incarnation] {
					if f.Seq <= e.seq {
						returned[binary.BigEndian.Uint64(f.Payload)]--
					}
				}
			}
		}
		r.mu.Unlock()
	}
	frames := 0
	for k, l := range ledgers {
		for seq, id := range l.sent {
			frames++
			d, r := delivered[id], returned[id]
			if d > 1 || r > 1 || d+r == 0 || d+r > 1 && !l.restarts {
				c.t.Fatalf("frame %d of %v (killed: %v) was delivered %d times and handed back %d times", seq, k, l.restarts, d, r)
			}
		}
	}
	if frames < 100 {
		c.t.Errorf("only %d frames were sent", frames)
	}
}
