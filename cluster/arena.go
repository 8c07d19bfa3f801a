package cluster

// chunkBits makes a chunk of text 16 kB at most: what one view of it keeps in memory, and what is moved at once.
const (
	chunkBits = 14
	chunkSize = 1 << chunkBits
	firstSize = 1 << 10
)

// An arena holds the text of a shard's rows in chunks that are only ever appended to, so that a view of a text
// stays what it was, whatever becomes of its row: the garbage collector frees a chunk when the arena has
// left it and nobody has a view of it any more. The shard's lock guards it.
type arena struct {
	chunks []textChunk // by number; without a buffer: free
	cur    int         // the one that is appended to
	size   int         // capacity of all
}

type textChunk struct {
	buf     []byte
	live    int  // bytes of it that are rows' text
	leaving bool // for compact: these are to be moved
}

// add keeps s; the address is for text and drop.
func (a *arena) add(s string) uint32 {
	if a.cur >= len(a.chunks) || cap(a.chunks[a.cur].buf)-len(a.chunks[a.cur].buf) < len(s) {
		a.open(len(s))
	}
	c := &a.chunks[a.cur]
	at := uint32(a.cur<<chunkBits | len(c.buf))
	c.buf = append(c.buf, s...)
	c.live += len(s)
	return at
}

// open begins a chunk, the larger the more there is.
func (a *arena) open(least int) {
	size := max(firstSize, min(chunkSize, a.size/4), least)
	a.cur = 0
	for a.cur < len(a.chunks) && a.chunks[a.cur].buf != nil {
		a.cur++
	}
	if a.cur == len(a.chunks) {
		a.chunks = append(a.chunks, textChunk{})
	}
	a.chunks[a.cur].buf = make([]byte, 0, size)
	a.size += cap(a.chunks[a.cur].buf)
}

// text is a view of n bytes.
func (a *arena) text(at uint32, n uint16) string {
	from := int(at & (chunkSize - 1))
	return view(a.chunks[at>>chunkBits].buf[from : from+int(n)])
}

// begins reports whether the full JID that is kept there is one of this bare JID.
func (a *arena) begins(at uint32, bare string) bool {
	text := a.chunks[at>>chunkBits].buf[at&(chunkSize-1):]
	return len(text) > len(bare) && text[len(bare)] == '/' && string(text[:len(bare)]) == bare
}

// drop forgets n bytes. It reports whether compact is due: so much of their chunk is void.
func (a *arena) drop(at uint32, n uint16) (due bool) {
	c := int(at >> chunkBits)
	if a.chunks[c].live -= int(n); a.chunks[c].live == 0 && c != a.cur {
		a.free(c)
	}
	return a.sparse(c)
}

// sparse reports whether less than half of a chunk is rows' text. It is false for one that is appended to, and for one that is free.
func (a *arena) sparse(c int) bool {
	return c != a.cur && a.chunks[c].live < cap(a.chunks[c].buf)/2
}

// leave marks the chunks that are sparse and returns how much there is to be moved out of them.
func (a *arena) leave() (left int) {
	for c := range a.chunks {
		if a.chunks[c].leaving = a.sparse(c); a.chunks[c].leaving {
			left += a.chunks[c].live
		}
	}
	return left
}

func (a *arena) leaves(at uint32) bool { return a.chunks[at>>chunkBits].leaving }

// left frees the chunks that leave has marked.
func (a *arena) left() {
	for c := range a.chunks {
		if a.chunks[c].leaving {
			a.free(c)
		}
	}
}

func (a *arena) free(c int) {
	a.size -= cap(a.chunks[c].buf)
	a.chunks[c] = textChunk{}
}
