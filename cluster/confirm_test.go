package cluster

import (
	"context"
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
