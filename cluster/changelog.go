package cluster

import (
	"sort"
	"sync"
	"sync/atomic"
)

// A changeLog keeps the records of this node's last changes, numbered from 1, for the peers that have not been sent
// them yet: as many as fit into its ring. Who needs an older one needs a snapshot. Appending takes a copy under
// one lock and does not allocate.
type changeLog struct {
	last atomic.Uint64 // number of the last change; written under mu

	mu    sync.Mutex
	ring  []byte
	end   uint64   // bytes ever appended
	start []uint64 // where in these each change begins, by its number modulo the length
}

// meanRecord is what the index of the ring is made for.
const meanRecord = 48

func newChangeLog(size int) *changeLog {
	return &changeLog{ring: make([]byte, size), start: make([]uint64, size/meanRecord)}
}

func (l *changeLog) append(rec []byte) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.last.Load() + 1
	l.start[n%uint64(len(l.start))] = l.end
	at := int(l.end % uint64(len(l.ring)))
	copy(l.ring, rec[copy(l.ring[at:], rec):])
	l.end += uint64(len(rec))
	l.last.Store(n)
	return n
}

// read copies the records of the changes after a number into dst, at most so many bytes and at least one if there is one, and
// returns them and the number of the last. ok is false if the first is not there any more.
func (l *changeLog) read(after uint64, dst []byte, most int) (recs []byte, upTo uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, size := l.last.Load(), uint64(len(l.start))
	if after >= last {
		return dst[:0], after, true
	}
	from := l.start[(after+1)%size]
	if last-after > size || l.end-from > uint64(len(l.ring)) {
		return nil, 0, false
	}
	end := func(n uint64) uint64 {
		if n == last {
			return l.end
		}
		return l.start[(n+1)%size]
	}
	more := sort.Search(int(last-after), func(i int) bool { return end(after+1+uint64(i))-from > uint64(most) })
	upTo = after + uint64(max(more, 1))
	n := int(end(upTo) - from)
	at := int(from % uint64(len(l.ring)))
	first := min(n, len(l.ring)-at)
	recs = append(dst[:0], l.ring[at:at+first]...)
	return append(recs, l.ring[:n-first]...), upTo, true
}
