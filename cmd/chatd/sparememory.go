package main

import (
	"runtime/debug"
	"runtime/metrics"
)

// After a burst of logins Go keeps what it has freed, up to the size at which it would collect
// next, for allocations that idle sessions never make: more than the sessions themselves
// need. So what stays free is given back to the operating system, when it is worth a collection.
const (
	spareBytes = 8 << 20 // free memory that is kept in any case
	spareShare = 4       // and the part of what is in use, one in so many bytes
	calmCycles = 2       // collections since the last look, at most: with more the memory is being used
)

// What look reads of the runtime, in this order.
const (
	gcCycles = iota
	heapFree
	heapObjects
	heapUnused
)

// A spareMemory gives free memory back. It belongs to one goroutine.
type spareMemory struct {
	samples [4]metrics.Sample
	cycles  uint64 // at the last look
}

func newSpareMemory() *spareMemory {
	return &spareMemory{samples: [...]metrics.Sample{
		gcCycles:    {Name: "/gc/cycles/total:gc-cycles"},
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
	since := value(gcCycles) - m.cycles
	m.cycles = value(gcCycles)
	used := value(heapObjects) + value(heapUnused)
	if since > calmCycles || value(heapFree) <= spareBytes+used/spareShare {
		return false
	}
	debug.FreeOSMemory()
	m.cycles++
	return true
}
