package muc

import "hash/maphash"

// An index finds occupants by texts that are theirs. It keeps the occupants alone, who know the texts: a map would keep those as well, three times as much.
type index struct {
	slots []*occupant // a power of two of them; nil: free
	taken int         // slots that are not free
}

// vacated is in the slot of one that was removed, so that those behind it are found.
var vacated = new(occupant)

var indexSeed = maphash.MakeSeed()

// newIndex has room for so many, and a third more.
func newIndex(count int) index {
	size := 1
	for size*3/4 <= count+count/3 {
		size *= 2
	}
	return index{slots: make([]*occupant, size)}
}

// isFull reports whether it has to be made anew for one more.
func (x *index) isFull() bool { return x.taken+1 > len(x.slots)*3/4 }

// probe yields the slots in which an occupant with a text may be.
func (x *index) probe(text string) func(yield func(*(*occupant)) bool) {
	return func(yield func(**occupant) bool) {
		last := uint64(len(x.slots) - 1)
		for at := maphash.String(indexSeed, text); yield(&x.slots[at&last]); at++ {
		}
	}
}

// put adds an occupant by a text. There must be room.
func (x *index) put(text string, o *occupant) {
	for slot := range x.probe(text) {
		if *slot == nil {
			*slot = o
			x.taken++
			return
		}
	}
}

// find is the occupant that has a text, as has says; nil if there is none.
func (x *index) find(text string, has func(*occupant) bool) *occupant {
	for slot := range x.probe(text) {
		if *slot == nil || *slot != vacated && has(*slot) {
			return *slot
		}
	}
	return nil
}

// remove takes an occupant out that is there by a text. Which of several texts its slot was taken for is all the same: the others are found behind it.
func (x *index) remove(text string, o *occupant) {
	for slot := range x.probe(text) {
		if *slot == o {
			*slot = vacated
			return
		}
		if *slot == nil {
			return
		}
	}
}

// A directory is the occupants of a room by nick and by full JID.
type directory struct{ nicks, jids index }

// add enters an occupant, and reports whether there was room.
func (d *directory) add(o *occupant) bool {
	if d.nicks.isFull() {
		return false
	}
	d.nicks.put(o.nick(), o)
	for i := range o.seats {
		if !d.addSeat(o, &o.seats[i]) {
			return false
		}
	}
	return true
}

func (d *directory) addSeat(o *occupant, s *seat) bool {
	if d.jids.isFull() {
		return false
	}
	d.jids.put(s.jid.String(), o)
	return true
}

// remove takes an occupant out with all its sessions.
func (d *directory) remove(o *occupant) {
	d.nicks.remove(o.nick(), o)
	for i := range o.seats {
		d.jids.remove(o.seats[i].jid.String(), o)
	}
}
