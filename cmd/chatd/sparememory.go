package main

import (
	"runtime/debug"
	"runtime/metrics"
)

// After a burst of logins Go keeps what it has freed, up to the size at which it would collect
// next, for allocations that idle sessions never make: more than the sessions themselves
// need. So when a burst is over and worth a collection, the memory is given back to the operating system.
const (
	spareBytes = 8 << 20 // is let lie in any case
	spareShare = 4       // and one byte in so many of those in use
	busyShare  = 8       // more allocated than one in so many since the last look: it will be needed
)

// What look reads of the runtime, in this order.
const (
	heapAllocs = iota
	heapFree   // and not given back; also what stacks were
	heapObjects
	heapUnused
)

// A spareMemory gives free memory back. It belongs to one goroutine.
type spareMemory struct {
	samples [4]metrics.Sample
	allocs  uint64 // bytes allocated so far, at the last look
	given   uint64 // the same, when memory was last given back
}

func newSpareMemory() *spareMemory {
	return &spareMemory{samples: [...]metrics.Sample{
		heapAllocs:  {Name: "/gc/heap/allocs:bytes"},
		heapFree:    {Name: "/memory/classes/heap/free:bytes"},
		heapObjects: {Name: "/memory/classes/heap/objects:bytes"},
		heapUnused:  {Name: "/memory/classes/heap/unused:bytes"},
	}}
}

// look is called at regular intervals. It reports whether it gave memory back, which takes
// a collection, during which all else goes on.
func (m *spareMemory) look() bool {
	metrics.Read(m.samples[:])
	value := func(i int) uint64 { return m.samples[i].Value.Uint64() }
	allocs, used := value(heapAllocs), value(heapObjects)+value(heapUnused)
	busy := allocs-m.allocs > spareBytes/busyShare+used/busyShare
	m.allocs = allocs
	spare := value(heapFree) + allocs - m.given // as far as that is not in use: a collection will tell
	if busy || spare < spareBytes+used/spareShare {
		return false
	}
	debug.FreeOSMemory()
	m.given = allocs
	return true
}
