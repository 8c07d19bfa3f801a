package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// What a burst has left is given back once, when it is over.
func TestMemoryIsGivenBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // so that the runtime itself gives nothing back
	m := newSpareMemory()
	m.look()

	burst := make([][]byte, 64)
	for i := range burst {
		burst[i] = make([]byte, 1<<20)
		for j := 0; j < len(burst[i]); j += 4096 {
			burst[i][j] = 1
		}
	}
	runtime.KeepAlive(burst)
	burst = nil
	runtime.GC()

	for range calmCycles + 1 {
		runtime.GC()
	}
	if m.look() {
		t.Error("given back while the memory is in use")
	}
	if !m.look() {
		t.Error("not given back")
	}
	if m.look() {
		t.Error("given back twice")
	}
}
