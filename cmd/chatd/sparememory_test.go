package main

import (
	"runtime"
	"testing"
)

// What a burst has left is given back when it is over, and that is all.
func TestMemoryIsGivenBack(t *testing.T) {
	m := newSpareMemory()
	m.look()
	burst := make([][]byte, 64)
	for i := range burst {
		burst[i] = make([]byte, 1<<20)
	}
	runtime.KeepAlive(burst)
	burst = nil
	runtime.GC()

	if m.look() {
		t.Error("given back while memory is being allocated")
	}
	if !m.look() {
		t.Error("not given back")
	}
	for range 10 { // what tests before this one have left may end just now
		if !m.look() {
			return
		}
	}
	t.Error("given back again and again")
}
