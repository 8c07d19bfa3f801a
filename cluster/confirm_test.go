package cluster

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestConfirm: what was sent is confirmed when the peer has acknowledged it, or when the peer is gone and it is elsewhere.
func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(&Node{metrics: newMetrics()}, &hello{name: "b"}, 1, 1, 1)
		if !p.Confirm(t.Context()) {
			t.Error("nothing was sent")
		}
		p.Send(kindStanza, []byte("1"))
		p.Send(kindStanza, []byte("2"))
		p.q.take(nil)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if p.Confirm(short) {
			t.Error("confirmed what nobody acknowledged")
		}
		confirmed := make(chan bool, 1)
		ask := func() { confirmed <- p.Confirm(t.Context()) }
		go ask()
		synctest.Wait()
		p.acked(1)
		synctest.Wait()
		select {
		case <-confirmed:
			t.Error("confirmed the second with the first")
		default:
		}
		p.acked(2)
		if !<-confirmed {
			t.Error("not confirmed")
		}
		p.Send(kindStanza, []byte("3"))
		go ask()
		p.close()
		synctest.Wait()
		select {
		case <-confirmed:
			t.Error("confirmed before it is elsewhere")
		default:
		}
		close(p.back)
		if !<-confirmed {
			t.Error("not confirmed")
		}
	})
}

// TestConfirmAsks: who waits gets the acknowledgement as soon as there can be one, not with the next that is due.
func TestConfirmAsks(t *testing.T) {
	simulate(t, 2, func(t *testing.T, c *simCluster) {
		p := c.hears[0].peer(simName(2))
		for i := range 10 {
			c.send(1, 2, 2*i, 2*i+1)
			begun := time.Now()
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() { p.Confirm(t.Context()) })
			}
			time.Sleep(200 * time.Microsecond) // while one is asked for: a way takes 300 to 500
			c.send(1, 2, 2*i+1, 2*i+2)
			all.Go(func() { p.Confirm(t.Context()) })
			all.Wait()
			if took := time.Since(begun); took > 3*time.Millisecond {
				t.Errorf("it took %v", took)
			}
		}
	})
}

// TestWishIsGranted: what the peer waits for is acknowledged with the call that settles it.
func TestWishIsGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(&Node{metrics: newMetrics()}, &hello{name: "b"}, 1, 1, 1)
		for seq := uint64(1); seq <= 3; seq++ {
			p.Later(seq)
		}
		p.dealt.Store(3)
		p.wants(2)
		p.Settled(2)
		if p.ackDue.Load() {
			t.Error("acknowledges the second before the first")
		}
		p.Settled(1)
		if !p.ackDue.Swap(false) {
			t.Error("what was waited for is not acknowledged")
		}
		p.Settled(3)
		if p.ackDue.Load() {
			t.Error("nobody waits for the third")
		}
		p.wants(3)
		if !p.ackDue.Load() {
			t.Error("what had been dealt with is not acknowledged")
		}
		time.Sleep(2 * settleDelay) // for the timer
	})
}
