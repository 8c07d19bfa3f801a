package muc

import (
	"fmt"
	"runtime"
	"testing"

	"chatd/router"
)

// heapBytes is what is in use of the heap, without what is only waiting to be freed.
func heapBytes() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// comeAndGo is a room that is made, entered by all, and left by all.
func comeAndGo(t testing.TB, f *fixture, all []*sinkSession, name string) {
	ctx, batch := t.Context(), &router.Batch{}
	for k, s := range all {
		f.Handle(ctx, batch, s, from(t, s, fmt.Sprintf(joinXML, name, fmt.Sprint("p", k))))
		if k == 0 {
			f.Handle(ctx, batch, s, from(t, s, fmt.Sprintf(unlockXML, name)))
		}
	}
	for k, s := range all {
		f.Handle(ctx, batch, s, from(t, s, fmt.Sprintf("<presence type='unavailable' to='%s@conference.chat.test/p%d'/>", name, k)))
	}
}

// TestNothingStaysOfRooms: millions of rooms a day come and go, so one that is gone must leave nothing. A room that nobody is in is about 500 bytes.
func TestNothingStaysOfRooms(t *testing.T) {
	f := newFixture(t, unlimited())
	all := sinks(t, f, 3)
	const rooms = 1000
	var before float64
	for i := range 2 * rooms {
		if i == rooms { // what is made once is there
			before = heapBytes()
		}
		comeAndGo(t, f, all, fmt.Sprint("game", i))
	}
	if grown := (heapBytes() - before) / rooms; grown > 100 {
		t.Errorf("%.0f bytes stay of each room", grown)
	}
	for i := range f.shards {
		if n := len(f.shards[i].rooms); n > 0 {
			t.Errorf("%d rooms are still there", n)
		}
	}
}

// TestNothingStaysOfRoomsInCluster is the same of what nodes know of rooms that are elsewhere, or of which they have copies.
func TestNothingStaysOfRoomsInCluster(t *testing.T) {
	c := newFakeCluster(t, "a", "b", "c")
	var all []*fakeClient
	for _, n := range c.nodes {
		all = append(all, n.client("u"+n.name+"@chat.test/r"))
	}
	const rooms = 60
	for i := range rooms {
		all[i%3].enter(fmt.Sprint("r", i), "owner")
	}
	c.quiet()
	for i := range rooms {
		all[i%3].says("<iq type='set' id='u' to='r%d@%s'><query xmlns='%s'><x xmlns='jabber:x:data' type='submit'/></query></iq>", i, fakeHost, nsOwner)
	}
	c.quiet()
	for i := range rooms {
		all[(i+1)%3].enter(fmt.Sprint("r", i), "guest")
	}
	c.quiet()
	seats := 0
	for i := range rooms {
		name := fmt.Sprint("r", i)
		if r := c.node(c.nodes[0].Home(name)).find(name); r != nil {
			seats += r.seats
		}
	}
	if seats != 2*rooms {
		t.Fatalf("%d are in %d rooms", seats, rooms)
	}
	for i := range rooms {
		all[i%3].says("<presence type='unavailable' to='r%d@%s/owner'/>", i, fakeHost)
		all[(i+1)%3].says("<presence type='unavailable' to='r%d@%s/guest'/>", i, fakeHost)
	}
	c.quiet()
	for _, n := range c.nodes {
		for i := range n.lanes {
			sh := &n.lanes[i]
			sh.mu.Lock()
			if len(n.shards[i].rooms)+len(sh.lanes)+len(sh.away)+len(sh.copies) > 0 {
				t.Errorf("%s still knows of rooms: %v here, %v on their way, %v elsewhere, copies of %v", n.name, n.shards[i].rooms, sh.lanes, sh.away, sh.copies)
			}
			sh.mu.Unlock()
		}
	}
}
