package cluster

import (
	"sync"

	"chatd/router"
	"chatd/stanza"
)

const (
	pageRows   = 128 // of 32 bytes: one page of memory
	firstSlot  = 1   // 0 is none
	indexLeast = 16
)

// A shard holds the users whose hash begins with its number, of all owners. Of one owner these rows are a segment: what is
// digested, sent and repaired as a whole.
type shard struct {
	mu    sync.RWMutex
	index []entry // open addressing by user
	users int     // in the index
	pages []*[pageRows]slot
	fresh uint32 // slots that have ever been used
	free  uint32 // the first of those that are free again
	used  int
	arena arena
	segs  []segment // by owner
	enc   []byte    // for records of what is replaced
	sent  []byte    // for records of what replaces it
	_     [64]byte  // keeps neighbours' locks off one cache line
}

// An entry of the index is one user. It leads to the text as well as to the slot, so that a processor that looks one up waits for
// both at the same time.
type entry struct {
	tag  uint32 // of the hash
	head uint32 // the user's first slot; 0: the place is free
	text uint32 // of that slot
}

// A slot is one row. It has no pointers.
type slot struct {
	bound    int64
	text     uint32 // where its full JID is
	next     uint32 // the user's next row, or the next free slot
	size     uint16 // of the full JID; 0: free
	bare     uint16 // of the bare JID, with which it begins
	owner    uint16
	flags    router.Flags
	state    byte
	priority int8
}

// A segment is what one owner has in one shard.
type segment struct {
	sum  uint64 // of the hashes of the rows' records, in any order
	last uint64 // number of the owner's last change here
	rows int
}

func (sh *shard) at(n uint32) *slot {
	n -= firstSlot
	return &sh.pages[n/pageRows][n%pageRows]
}

func (sh *shard) full(s *slot) string { return sh.arena.text(s.text, s.size) }
func (sh *shard) bare(s *slot) string { return sh.arena.text(s.text, s.bare) }

func (sh *shard) row(s *slot) Row {
	return Row{
		JID: stanza.Restore(sh.full(s)), Bound: s.bound, Priority: s.priority, Flags: s.flags,
		Available: s.state&stateAvailable != 0, Detached: s.state&stateDetached != 0,
	}
}

// seg is the owner's segment, to be changed.
func (sh *shard) seg(owner uint16) *segment {
	for int(owner) >= len(sh.segs) {
		sh.segs = append(sh.segs, segment{})
	}
	return &sh.segs[owner]
}

// home is where a tag's entry would like to be.
func (sh *shard) home(tag uint32) int { return int(uint64(tag) * uint64(len(sh.index)) >> 32) }

func (sh *shard) after(i int) int {
	if i++; i == len(sh.index) {
		return 0
	}
	return i
}

// find is the user's place in the index and first slot, or 0 and the place where it belongs. The index
// has a free place.
func (sh *shard) find(tag uint32, bare string) (place int, head uint32) {
	for i := sh.home(tag); ; i = sh.after(i) {
		e := &sh.index[i]
		if e.head == 0 {
			return i, 0
		}
		if e.tag == tag && sh.arena.begins(e.text, bare) {
			return i, e.head
		}
	}
}

// head is the user's first slot, or 0.
func (sh *shard) head(tag uint32, bare string) uint32 {
	if len(sh.index) == 0 {
		return 0
	}
	_, head := sh.find(tag, bare)
	return head
}

// lookup is the owner's row of a full JID, or 0.
func (sh *shard) lookup(owner uint16, tag uint32, full stanza.JID) uint32 {
	n := sh.head(tag, full.Bare().String())
	for n != 0 {
		s := sh.at(n)
		if s.owner == owner && sh.full(s) == full.String() {
			break
		}
		n = s.next
	}
	return n
}

// An effect is what entering a row has changed.
type effect struct{ isNew, rebound, changed bool }

// put enters the owner's row, or changes it to what it is now.
func (sh *shard) put(k hashKey, owner uint16, tag uint32, rec *record) effect {
	state := rec.state()
	seg := sh.seg(owner)
	n := sh.lookup(owner, tag, rec.JID)
	isNew := n == 0
	if isNew {
		n = sh.link(tag, owner, rec.JID.String(), uint16(len(rec.JID.Bare().String())))
		seg.rows++
	}
	s := sh.at(n)
	rebound := isNew || s.bound != rec.Bound
	if !isNew {
		if !rebound && s.state == state && s.priority == rec.Priority && s.flags == rec.Flags {
			return effect{}
		}
		seg.sum -= sh.sum(k, s)
	}
	s.bound, s.flags, s.priority, s.state = rec.Bound, rec.Flags, rec.Priority, state
	seg.sum += k.bytes(rec.enc)
	return effect{isNew, rebound, true}
}

// sum is the hash of a row's record.
func (sh *shard) sum(k hashKey, s *slot) uint64 {
	sh.enc = sh.record(sh.enc[:0], s)
	return k.bytes(sh.enc)
}

// record adds the row's record to dst.
func (sh *shard) record(dst []byte, s *slot) []byte {
	return appendText(appendHead(dst, s.state, s.flags, s.priority, s.bound), sh.full(s))
}

// link makes a row with an address and no more.
func (sh *shard) link(tag uint32, owner uint16, full string, bare uint16) uint32 {
	if (sh.users+1)*4 > len(sh.index)*3 {
		sh.resize(max(indexLeast, len(sh.index)*5/4))
	}
	place, head := sh.find(tag, full[:bare])
	if head == 0 {
		sh.users++
	}
	n := sh.take()
	text := sh.arena.add(full)
	*sh.at(n) = slot{text: text, size: uint16(len(full)), bare: bare, owner: owner, next: head}
	sh.index[place] = entry{tag, n, text}
	return n
}

// take finds a free slot.
func (sh *shard) take() uint32 {
	sh.used++
	if n := sh.free; n != 0 {
		sh.free = sh.at(n).next
		return n
	}
	if int(sh.fresh) == len(sh.pages)*pageRows {
		sh.pages = append(sh.pages, new([pageRows]slot))
	}
	sh.fresh++
	return sh.fresh - 1 + firstSlot
}

// resize makes the index one of size places.
func (sh *shard) resize(size int) {
	old := sh.index
	sh.index = make([]entry, size)
	for _, e := range old {
		if e.head == 0 {
			continue
		}
		i := sh.home(e.tag)
		for sh.index[i].head != 0 {
			i = sh.after(i)
		}
		sh.index[i] = e
	}
}

// remove takes the owner's row of a full JID out; false if there is none.
func (sh *shard) remove(k hashKey, owner uint16, tag uint32, full stanza.JID) bool {
	n := sh.lookup(owner, tag, full)
	if n == 0 {
		return false
	}
	seg := sh.seg(owner)
	seg.sum -= sh.sum(k, sh.at(n))
	seg.rows--
	sh.unlink(tag, n)
	return true
}

// unlink takes a slot out of its user's and frees it.
func (sh *shard) unlink(tag uint32, n uint32) {
	s := sh.at(n)
	place, head := sh.find(tag, sh.bare(s))
	switch {
	case head != n:
		for before := sh.at(head); ; before = sh.at(before.next) {
			if before.next == n {
				before.next = s.next
				break
			}
		}
	case s.next != 0:
		sh.index[place] = entry{tag, s.next, sh.at(s.next).text}
	default:
		sh.vacate(place)
	}
	if sh.release(n) {
		sh.compact()
	}
}

// release frees a slot that nothing leads to, and its text. It reports whether compact is due.
func (sh *shard) release(n uint32) (due bool) {
	s := sh.at(n)
	text, size := s.text, s.size
	*s = slot{next: sh.free}
	sh.free = n
	sh.used--
	return sh.arena.drop(text, size)
}

// clear frees an owner's rows, in so many places of the index from one on. It returns the place to go on with, or -1 if there are
// none any more, and how many it has freed. The caller sees to the segment's sum, and in the end to compact.
func (sh *shard) clear(owner uint16, from, places int) (next, n int) {
	seg := sh.seg(owner)
	had := seg.rows
	for place := from; seg.rows > 0; places-- {
		if places == 0 {
			return place, had - seg.rows
		}
		if place >= len(sh.index) { // what was changed in between may have moved some back
			place = 0
		}
		freed, vacated := sh.thin(owner, place)
		if seg.rows -= freed; !vacated {
			place++
		}
	}
	return -1, had
}

// thin frees an owner's rows of the user at a place of the index. If the user had no others another one may have moved there.
func (sh *shard) thin(owner uint16, place int) (freed int, vacated bool) {
	e := &sh.index[place]
	for link := &e.head; *link != 0; {
		n := *link
		s := sh.at(n)
		if s.owner != owner {
			link = &s.next
			continue
		}
		*link = s.next
		sh.release(n)
		freed++
	}
	switch {
	case freed == 0:
		return 0, false
	case e.head == 0:
		sh.vacate(place)
		return freed, true
	}
	e.text = sh.at(e.head).text
	return freed, false
}

// vacate empties a place of the index, and moves up what had to give way to it.
func (sh *shard) vacate(i int) {
	sh.users--
	for j := sh.after(i); sh.index[j].head != 0; j = sh.after(j) {
		h := sh.home(sh.index[j].tag)
		if between := i < h && h <= j || j < i && (i < h || h <= j); between {
			continue
		}
		sh.index[i] = sh.index[j]
		i = j
	}
	sh.index[i] = entry{}
}

// compact moves what is left in sparse chunks of text, and frees these.
func (sh *shard) compact() {
	left := sh.arena.leave()
	moved := left > 0
	for p := 0; p < len(sh.pages) && left > 0; p++ {
		for i := range sh.pages[p] {
			if s := &sh.pages[p][i]; s.size != 0 && sh.arena.leaves(s.text) {
				left -= int(s.size)
				s.text = sh.arena.add(sh.full(s))
			}
		}
	}
	for i := 0; i < len(sh.index) && moved; i++ {
		if e := &sh.index[i]; e.head != 0 && sh.arena.leaves(e.text) {
			e.text = sh.at(e.head).text
		}
	}
	sh.arena.left()
}

// shrink gives back what a shard that has become smaller does not need: it is built anew if it is much smaller.
func (sh *shard) shrink() {
	if int(sh.fresh) <= pageRows || sh.used > int(sh.fresh)/4 {
		sh.compact()
		return
	}
	old := shard{index: sh.index, pages: sh.pages, arena: sh.arena}
	users := sh.users
	sh.index, sh.pages, sh.arena, sh.fresh, sh.free, sh.used, sh.users = nil, nil, arena{}, 0, 0, 0, 0
	if users > 0 {
		sh.resize(max(indexLeast, users*3/2))
	}
	for _, e := range old.index {
		for n := e.head; n != 0; {
			s := old.at(n)
			to := sh.at(sh.link(e.tag, s.owner, old.full(s), s.bare))
			to.bound, to.flags, to.priority, to.state = s.bound, s.flags, s.priority, s.state
			n = s.next
		}
	}
}
