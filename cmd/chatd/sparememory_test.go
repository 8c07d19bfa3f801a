package main

import (
	"runtime"
	"testing"
)

// What a burst has left is given back once, when it is over.
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
	if m.look() {
		t.Error("given back twice")
	}
}
