package cluster

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A counting Handler takes frames and does nothing else.
type counting struct {
	frames atomic.Int64
	up     chan *Peer
}

func (c *counting) PeerUp(p *Peer)                      { c.up <- p }
func (c *counting) PeerDown(*Peer, []Frame, bool)       {}
func (c *counting) Frame(*Peer, byte, uint64, []byte)   { c.frames.Add(1) }
func (c *counting) PeerReceived(string, uint64, uint64) {}
func (c *counting) PeerForgotten(string)                {}
func (c *counting) Request(_ context.Context, _ *Peer, _ byte, payload []byte) ([]byte, error) {
	return payload, nil
}

func benchPair(b *testing.B) (*Peer, *counting) {
	ha, hb := &counting{up: make(chan *Peer, 30)}, &counting{up: make(chan *Peer, 30)}
	a := startLoopback(b, "a", ha)
	startLoopback(b, "b", hb, a.Status().Gossip)
	<-hb.up
	return <-ha.up, hb
}

// BenchmarkFrames is frames from one node to another over loopback, TLS and all, from
// one sender, until all have been dealt with.
func BenchmarkFrames(b *testing.B) {
	for _, size := range []int{64, 300, 4096} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p, h := benchPair(b)
			payload := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			before := cpu()
			for b.Loop() {
				for {
					if _, ok := p.Send(1, payload); ok {
						break
					}
					if err := p.Room(b.Context(), QueueBytes/2); err != nil {
						b.Fatal(err)
					}
				}
			}
			for h.frames.Load() < int64(b.N) {
				time.Sleep(50 * time.Microsecond)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkRequest is one request and its answer at a time.
func BenchmarkRequest(b *testing.B) {
	p, _ := benchPair(b)
	for b.Loop() {
		if _, err := p.Request(b.Context(), 20, []byte("payload")); err != nil {
			b.Fatal(err)
		}
	}
}

// startMesh starts nodes on loopback that all join the first, all at the same time, and waits until all are linked to all.
func startMesh(b *testing.B, nodes int) []*Node {
	all := []*Node{startLoopback(b, "n00", &counting{up: make(chan *Peer, 1000)})}
	started := make(chan *Node, nodes)
	for i := 1; i < nodes; i++ {
		go func() {
			name := fmt.Sprintf("n%02d", i)
			n, err := Start(b.Context(), loopbackConfig(name, all[0].Status().Gossip), &counting{up: make(chan *Peer, 1000)})
			if err != nil {
				b.Error(err)
			}
			started <- n
		}()
	}
	for range nodes - 1 {
		n := <-started
		if n == nil {
			b.FailNow()
		}
		b.Cleanup(n.Close)
		all = append(all, n)
	}
	eventually(b, "all are linked to all", 3*time.Minute, func() bool {
		return !slices.ContainsFunc(all, func(n *Node) bool { return len(n.Peers()) != nodes-1 })
	})
	return all
}

// unrest is how many connections of the nodes broke, and how many were given up before they were links.
func unrest(all []*Node) (breaks, refused float64) {
	for _, n := range all {
		breaks += testutil.ToFloat64(n.metrics.breaks)
		for _, reason := range []string{refusedCrowd, refusedTime, refusedTLS, refusedGarbled} {
			refused += testutil.ToFloat64(n.metrics.refused.WithLabelValues(reason))
		}
	}
	return breaks, refused
}

// BenchmarkMeshForms is how long nodes that start at the same time take until all are linked to all.
func BenchmarkMeshForms(b *testing.B) {
	for _, nodes := range []int{8, 16, 30} {
		b.Run(fmt.Sprint("nodes=", nodes), func(b *testing.B) {
			for b.Loop() {
				before := cpu()
				breaks, refused := unrest(startMesh(b, nodes))
				b.ReportMetric((cpu() - before).Seconds(), "cpu-s")
				b.ReportMetric(breaks, "breaks")
				b.ReportMetric(refused, "refused")
			}
		})
	}
}

// BenchmarkIdleMesh is the processor time of 30 idle nodes, all linked to all, for each second, and how many connections broke meanwhile.
func BenchmarkIdleMesh(b *testing.B) {
	all := startMesh(b, 30)
	time.Sleep(5 * time.Second)
	b.ResetTimer()
	for b.Loop() {
		broken, _ := unrest(all)
		before, at := cpu(), time.Now()
		time.Sleep(10 * time.Second)
		b.ReportMetric(100*float64(cpu()-before)/float64(time.Since(at)), "%core")
		breaks, _ := unrest(all)
		b.ReportMetric(breaks-broken, "breaks")
	}
}

// cpu is what this process has used.
func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkBusyMesh has 8 nodes beside two busy loops for each core, and reports how many peers were taken for dead in
// 10 s, which should be none, and how many connections were made anew.
func BenchmarkBusyMesh(b *testing.B) {
	const nodes = 8
	seed := ""
	var all []*Node
	for i := range nodes {
		var join []string
		if seed != "" {
			join = append(join, seed)
		}
		n := startLoopback(b, fmt.Sprintf("n%02d", i), &counting{up: make(chan *Peer, 1000)}, join...)
		all, seed = append(all, n), n.Status().Gossip
	}
	eventually(b, "all are linked to all", time.Minute, func() bool {
		return !slices.ContainsFunc(all, func(n *Node) bool { return len(n.Peers()) != nodes-1 })
	})
	stop := make(chan struct{})
	defer close(stop)
	for range 2 * runtime.NumCPU() {
		go func() {
			for x := 0; ; x++ {
				if x&0xfffff == 0 {
					select {
					case <-stop:
						return
					default:
					}
				}
			}
		}()
	}
	for b.Loop() {
		time.Sleep(10 * time.Second)
	}
	downs, breaks := 0.0, 0.0
	for _, n := range all {
		downs += testutil.ToFloat64(n.metrics.downs)
		breaks += testutil.ToFloat64(n.metrics.breaks)
	}
	b.ReportMetric(downs, "downs")
	b.ReportMetric(breaks, "breaks")
}
