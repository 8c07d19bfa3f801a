package c2s

import (
	"sync"
	"testing"
)

type written int

func (w *written) Flush() bool { *w++; return true }

// TestGather: who has something for several waits for others, unless nobody came the last time; who has it for one never does.
func TestGather(t *testing.T) {
	s := &Session{srv: new(Server), scratch: new(scratch)}
	g, b := &s.srv.gathering, &s.scratch.batch
	var one, other written
	b.Add(&one)
	s.gather()
	if n := g.came.Load(); n != 0 {
		t.Errorf("came %d times with something for one", n)
	}
	b.Add(&other)
	for range 2 * (1 + aloneFor) {
		s.gather()
	}
	if n := g.came.Load(); n != 2 {
		t.Errorf("came %d times, alone", n)
	}
	b.Flush()
	s.gather()
	if one != 1 || other != 1 || g.came.Load() != 2 {
		t.Errorf("flushed %d and %d times, came %d times", one, other, g.came.Load())
	}
}

// TestGatherFull: over the bound nobody waits, nor takes it for a sign that nobody else is there.
func TestGatherFull(t *testing.T) {
	var g gathering
	g.here.Store(maxGathered)
	if !g.wait() || g.came.Load() != 0 {
		t.Error("one more waits")
	}
	if n := g.here.Load(); n != maxGathered {
		t.Errorf("%d are there", n)
	}
	g.here.Store(0)
	if g.wait() {
		t.Error("others came")
	}
}

// TestGatherMeets: who comes while another one waits is noticed, sooner or later: else it does not end.
func TestGatherMeets(t *testing.T) {
	var g gathering
	var all sync.WaitGroup
	met, done := make(chan bool), make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				if g.wait() {
					select {
					case met <- true:
					case <-done:
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	<-met
	close(done)
	all.Wait()
	if n := g.here.Load(); n != 0 {
		t.Errorf("%d are still there", n)
	}
}
