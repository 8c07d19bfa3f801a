package c2s

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatd/stanza"
)

// TestGateOrder: one at a time, and of those that wait the connection that came first.
func TestGateOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{free: 1, most: 100}
		first := &turn{gate: g}
		if err := g.enter(first); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []uint64
		inside := 0
		for _, id := range rand.Perm(50) {
			go func() {
				turn := &turn{gate: g, number: uint64(id + 1)}
				if err := g.enter(turn); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				inside++
				if inside > 1 {
					t.Error("two are in")
				}
				order = append(order, turn.number)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				mu.Lock()
				inside--
				mu.Unlock()
				g.leave()
			}()
		}
		synctest.Wait()
		if n := g.queued(); n != 50 {
			t.Fatalf("%d wait", n)
		}
		g.leave()
		time.Sleep(time.Second)
		synctest.Wait()
		for i, id := range order {
			if id != uint64(i+1) {
				t.Fatalf("order %v", order)
			}
		}
		if len(order) != 50 || g.queued() != 0 || g.free != 1 {
			t.Errorf("%d were in, %d wait, %d free", len(order), g.queued(), g.free)
		}
	})
}

// TestGateBound: when too many wait the next one is refused, and nobody who waits is hurt.
func TestGateBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{free: 1, most: 4}
		_ = g.enter(&turn{gate: g})
		served := make(chan error, 4)
		for i := range 4 {
			if want := i >= 2; g.crowded() != want {
				t.Errorf("with %d waiting: crowded is %t", i, !want)
			}
			go func() {
				served <- g.enter(&turn{gate: g, number: uint64(i)})
				g.leave()
			}()
			synctest.Wait()
		}
		if err := g.enter(&turn{gate: g, number: 9}); err != errCrowded {
			t.Errorf("the fifth: %v", err)
		}
		g.leave()
		for range 4 {
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
	})
}

// crowd makes the gate as full as a storm does. The returned function ends it.
func (s *testServer) crowd(tb testing.TB) (disperse func()) {
	tb.Helper()
	g := s.gate
	g.mu.Lock()
	free, most := g.free, g.most
	g.free, g.most = 0, 0
	g.mu.Unlock()
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.free, g.most = free, most
	}
}

// TestTurnedAway: in a storm those who are online chat on and newcomers are told when to come back.
func TestTurnedAway(t *testing.T) {
	s := startServer(t, nil)
	a := s.login(t, "romeo", "orchard", true)
	half := dial(t, s.addr, nil)
	half.open()
	disperse := s.crowd(t)

	late := dial(t, s.addr, nil)
	late.expect("<stream:stream ")
	if got := late.closed("resource-constraint"); !strings.Contains(got, "<retry xmlns='urn:x-chatd:retry' after='") {
		t.Errorf("a newcomer was told %s", got)
	}
	half.send("<starttls xmlns='" + stanza.NSTLS + "'/>")
	half.closed("resource-constraint")
	if conn, err := tls.Dial("tcp", s.direct, clientTLS()); err == nil {
		conn.Close()
		t.Error("a TLS handshake was served")
	}
	a.ping("unhurt")

	disperse()
	s.login(t, "juliet", "balcony", true).ping("back")
}

// TestStorm: many handshakes at once, some of which never go on, and all others get through.
func TestStorm(t *testing.T) {
	s := startServer(t, nil)
	for range 50 { // they say nothing, and hold nobody up
		dial(t, s.direct, nil)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			conn, err := tls.Dial("tcp", s.direct, clientTLS())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if _, err := fmt.Fprint(conn, header); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
			if n, err := conn.Read(make([]byte, 1)); n != 1 {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	if want := newGate().free; s.gate.free != want || len(s.gate.waiting) != 0 {
		t.Errorf("%d free of %d, %d wait", s.gate.free, want, len(s.gate.waiting))
	}
}
