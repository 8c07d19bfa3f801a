package cluster

import (
	"encoding/binary"
	"sync"
	"time"
)

const (
	headerBytes = 5 // length of the payload, kind
	// MaxPayload is the longest payload of a frame, in bytes: a session that moves to
	// another node with everything that waits in it has to fit.
	MaxPayload = 4 << 20

	// QueueBytes is how much a peer may leave unacknowledged: what 200,000 changes of rows
	// and 100,000 stanzas a second amount to while a peer is silent, until it is declared
	// down. 29 peers that hang at the same time cost less than 1 GiB.
	QueueBytes = 32 << 20
	// QueueFrames bounds the work of handing unacknowledged frames back.
	QueueFrames = 1 << 18

	chunkBytes = 64 << 10
)

// A queue holds what has been sent to a peer and not been acknowledged, encoded, in
// order. It is guarded by its peer's mutex.
type queue struct {
	chunks []*chunk
	bytes  int
	next   uint64 // number of the next frame
	acked  uint64
	sent   uint64 // last frame handed to the present connection's writer
	at     int    // chunk, and offset in it, where the writer goes on
	offset int
}

// A chunk is whole frames one after another. Only its end ever changes.
type chunk struct {
	buf    []byte
	first  uint64 // number of its first frame
	frames int
	since  time.Time // when the first frame came
}

var chunkPool = sync.Pool{New: func() any { return &chunk{buf: make([]byte, 0, chunkBytes)} }}

func newChunk(size int, first uint64) *chunk {
	c := &chunk{}
	if size <= chunkBytes {
		c = chunkPool.Get().(*chunk)
	} else {
		c.buf = make([]byte, 0, size)
	}
	*c = chunk{buf: c.buf[:0], first: first, since: time.Now()}
	return c
}

func (c *chunk) last() uint64 { return c.first + uint64(c.frames) - 1 }

func (c *chunk) recycle() {
	if cap(c.buf) == chunkBytes {
		chunkPool.Put(c)
	}
}

// put appends a frame, unless the queue would be longer than it may be.
func (q *queue) put(kind byte, parts ...[]byte) (uint64, bool) {
	size := headerBytes
	for _, p := range parts {
		size += len(p)
	}
	if size > headerBytes+MaxPayload || q.bytes+size > QueueBytes || q.frames() >= QueueFrames {
		return 0, false
	}
	var c *chunk
	if n := len(q.chunks); n > 0 && len(q.chunks[n-1].buf)+size <= chunkBytes {
		c = q.chunks[n-1]
	} else {
		c = newChunk(size, q.next)
		q.chunks = append(q.chunks, c)
	}
	c.buf = appendFrame(c.buf, kind, parts...)
	c.frames++
	q.bytes += size
	q.next++
	return q.next - 1, true
}

func appendFrame(b []byte, kind byte, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	b = append(b, kind)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func (q *queue) frames() int { return int(q.next - 1 - q.acked) }

// take appends to buf, which is the writer's, what is to be written next: at least one chunk's rest,
// and more as long as it fits. It is copied, because a chunk is used again once it is acknowledged.
func (q *queue) take(buf []byte) []byte {
	for q.at < len(q.chunks) {
		c := q.chunks[q.at]
		if rest := c.buf[q.offset:]; len(rest) > 0 {
			if len(buf) > 0 && len(buf)+len(rest) > cap(buf) {
				break
			}
			buf = append(buf, rest...)
			q.offset, q.sent = len(c.buf), c.last()
		}
		if q.at == len(q.chunks)-1 {
			break // more may be appended to it
		}
		q.at, q.offset = q.at+1, 0
	}
	return buf
}

// ack forgets everything up to a number. It reports whether such a number can be
// acknowledged at all.
func (q *queue) ack(upTo uint64) bool {
	if upTo > q.sent {
		return false
	}
	if upTo <= q.acked {
		return true
	}
	q.acked = upTo
	for len(q.chunks) > 0 && q.chunks[0].last() <= upTo {
		c := q.chunks[0]
		q.bytes -= len(c.buf)
		q.chunks[0] = nil
		q.chunks = q.chunks[1:]
		if q.at--; q.at < 0 {
			q.at, q.offset = 0, 0
		}
		c.recycle()
	}
	return true
}

// rewind has the next connection's writer begin behind the last acknowledged frame.
func (q *queue) rewind() {
	q.at, q.offset, q.sent = 0, 0, q.acked
	if len(q.chunks) == 0 {
		return
	}
	c := q.chunks[0]
	for n := c.first; n <= q.acked; n++ {
		q.offset += headerBytes + int(binary.BigEndian.Uint32(c.buf[q.offset:]))
	}
}

// drain empties the queue and returns what was not acknowledged; the payloads
// are the caller's.
func (q *queue) drain() []Frame {
	frames := make([]Frame, 0, q.frames())
	for _, c := range q.chunks {
		b := c.buf
		for n := c.first; len(b) > 0; n++ {
			end := headerBytes + int(binary.BigEndian.Uint32(b))
			if n > q.acked && b[4] < kindRequest {
				frames = append(frames, Frame{Kind: b[4], Seq: n, Payload: b[headerBytes:end:end]})
			}
			b = b[end:]
		}
	}
	q.chunks, q.bytes, q.at, q.offset = nil, 0, 0, 0
	q.acked, q.sent = q.next-1, q.next-1
	return frames
}

// oldest is since when the oldest unacknowledged frame waits, to the chunk.
func (q *queue) oldest() (time.Time, bool) {
	if q.frames() == 0 || len(q.chunks) == 0 {
		return time.Time{}, false
	}
	return q.chunks[0].since, true
}
