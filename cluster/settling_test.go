package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestSettled: a frame is not acknowledged before it has been dealt with, nor is any later one.
func TestSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(&Node{metrics: newMetrics()}, &hello{name: "b"}, 1, 1, 1)
		defer p.end()
		take := func(seq uint64, later bool) {
			if later {
				p.Later(seq)
			}
			p.dealt.Store(seq)
		}
		due := func() bool {
			time.Sleep(settleDelay)
			synctest.Wait()
			return p.ackDue.Swap(false)
		}
		for seq := range uint64(6) { // 2, 3 and 5 are dealt with later
			take(seq+1, seq+1 == 2 || seq+1 == 3 || seq+1 == 5)
		}
		for _, step := range []struct {
			seq, want uint64
			due       bool
		}{{3, 1, false}, {5, 1, false}, {2, 6, true}} {
			p.Settled(step.seq)
			if got, due := p.settled(), due(); got != step.want || due != step.due {
				t.Errorf("with %d dealt with to %d, acknowledgement due: %v", step.seq, got, due)
			}
		}
		take(7, true)
		take(8, true)
		p.Settled(7)
		p.Settled(8) // one acknowledgement for both
		if got := p.settled(); got != 8 || !due() || due() {
			t.Errorf("dealt with to %d, or not acknowledged once", got)
		}
		if p.settle.later != nil {
			t.Errorf("%d frames are kept", len(p.settle.later))
		}
	})
}

// TestYielded: a session that another node has fetched goes on here unless that node says in time that it has it.
func TestYielded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var y yielded
		restored := make(chan string, 3)
		give := func(id string) { y.add(id, &yieldedSession{kept: make(chan struct{})}, func() { restored <- id }) }
		if y.kept("never") {
			t.Error("kept what was not given")
		}
		give("kept")
		give("lost")
		time.Sleep(keepTime - time.Nanosecond)
		synctest.Wait()
		if !y.kept("kept") || y.kept("kept") || len(restored) > 0 {
			t.Errorf("restored %d before the time", len(restored))
		}
		if id := <-restored; id != "lost" || y.kept("lost") {
			t.Errorf("restored %q", id)
		}
	})
}

// TestGiving: who asks for a session that is on its way to another node waits until it is there, or for as long as it can.
func TestGiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g giving
		g.wait(t.Context(), "elsewhere") // at once
		end := g.begin("a")
		waited := make(chan struct{})
		go func() {
			g.wait(t.Context(), "a")
			close(waited)
		}()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g.wait(short, "a")
		if short.Err() == nil {
			t.Error("did not wait")
		}
		synctest.Wait()
		select {
		case <-waited:
			t.Error("did not wait")
		default:
		}
		end()
		<-waited
		g.wait(t.Context(), "a")
		if len(g.done) > 0 {
			t.Errorf("%d sessions are kept", len(g.done))
		}
	})
}
