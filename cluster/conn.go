package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readBytes  = 64 << 10
	writeBytes = 64 << 10
	// An acknowledgement waits this long for others, or for frames to travel with ...
	ackDelay = 20 * time.Millisecond
	// ... unless so many frames, or bytes, have come meanwhile.
	ackFrames = 256
	ackBytes  = 256 << 10
	// busyFor is how long a handler may keep the reading goroutine before its silence counts.
	busyFor = 10 * time.Second
)

var errProtocol = errors.New("link protocol violated")

// A conn is one connection of a link, from the hellos until it breaks. Its reader and
// its writer are goroutines that the link's own starts and waits for.
type conn struct {
	net.Conn
	link *link
	peer *Peer

	raw     net.Conn // below TLS, whose Close may wait
	resumed bool     // fixed; the session goes on
	made    int64    // when, by the node's clock; fixed
	begun   uint64   // number of the first frame to be written; fixed
	broken  chan struct{}
	err     atomic.Pointer[error] // why it broke; the first one counts

	// By the node's clock. Written by the reader.
	heard     atomic.Int64 // something came
	confirmed atomic.Int64 // the peer said that something had come there
	busySince atomic.Int64 // a handler works since; 0: none does

	got     atomic.Uint64 // bytes read; written by the reader
	theirs  uint64        // what the peer had got; the reader's
	echo    atomic.Uint64 // the peer's last timestamp; 0: none
	echoAt  atomic.Int64
	rtt     atomic.Int64  // ns; 0: not known yet
	beat    *time.Ticker  // when a heartbeat is due; the writer's
	every   time.Duration // of beat; fixed
	answer  atomic.Bool   // the peer's heartbeat is to be answered
	ackDue  atomic.Bool
	ackWait atomic.Bool // a timer will make one due
	acked   uint64      // last acknowledgement that was written; the writer's
	asked   uint64      // last number that was asked for; the writer's
	goodbye atomic.Bool // the node leaves, and is to say so

	taking sync.Mutex // held while frames are handled
	frozen bool       // the node leaves: no numbered frame is taken any more
}

func newConn(c secured, l *link, p *Peer, resumed bool) *conn {
	now := l.node.clock.now()
	k := &conn{Conn: c.Conn, raw: c.raw, link: l, peer: p, resumed: resumed, made: now, broken: make(chan struct{}), every: heartbeatSpare}
	if l.dials() {
		k.every = heartbeatEvery
	}
	p.mu.Lock()
	k.begun = p.q.sent + 1
	p.mu.Unlock()
	k.heard.Store(now)
	k.confirmed.Store(now)
	return k
}

// fail ends the connection; its goroutines end soon.
func (c *conn) fail(err error) {
	if c.err.CompareAndSwap(nil, &err) {
		close(c.broken)
		c.raw.Close()
	}
}

// leave has nothing more taken and the peer told what was.
func (c *conn) leave() {
	c.taking.Lock()
	c.frozen = true
	c.taking.Unlock()
	c.goodbye.Store(true)
	c.peer.poke()
}

// alive is until when both directions are known to have worked, by the node's clock.
func (c *conn) alive() int64 { return min(c.heard.Load(), c.confirmed.Load()) }

// patience is when there may next be something to say about silence.
func (c *conn) patience(now int64) time.Duration {
	quiet := time.Duration(now - c.alive())
	if quiet < suspectAfter {
		return max(suspectAfter-quiet, lookEvery)
	}
	return lookEvery
}

// write is the writer: what is due to be said of the connection itself, and then
// frames, in one system call if they are few.
func (c *conn) write() {
	m := c.link.node.metrics
	buf := make([]byte, 0, writeBytes)
	buf = appendFrame(buf, kindBegin, binary.BigEndian.AppendUint64(nil, c.begun))
	c.beat = time.NewTicker(c.every)
	defer c.beat.Stop()
	for {
		c.peer.mu.Lock()
		before := c.peer.q.sent
		buf = c.peer.q.take(buf)
		frames := c.peer.q.sent - before
		c.peer.mu.Unlock()
		buf = c.control(buf)
		if len(buf) == 0 {
			select {
			case <-c.peer.wake:
			case <-c.beat.C:
				buf = c.heartbeat(buf)
			case <-c.broken:
				return
			}
			continue
		}
		if _, err := c.Write(buf); err != nil {
			c.fail(fmt.Errorf("write: %w", err))
			return
		}
		m.bytesOut.Add(float64(len(buf)))
		m.framesOut.Add(float64(frames))
		if buf = buf[:0]; cap(buf) > 2*writeBytes {
			buf = make([]byte, 0, writeBytes)
		}
	}
}

// control appends heartbeat, acknowledgement and the wish for one, if due; with frames the second is for free.
func (c *conn) control(buf []byte) []byte {
	dealt := c.peer.settled()
	if c.goodbye.Swap(false) {
		return appendFrame(buf, kindGoodbye, binary.BigEndian.AppendUint64(nil, dealt))
	}
	select {
	case <-c.beat.C: // there is no idle moment for it
		buf = c.heartbeat(buf)
	default:
		if c.answer.Swap(false) {
			buf = c.heartbeat(buf)
			c.beat.Reset(c.every)
		}
	}
	if due := c.peer.ackDue.Swap(false) || c.ackDue.Swap(false); dealt > c.acked && (due || len(buf) > 0) {
		buf = appendFrame(buf, kindAck, binary.BigEndian.AppendUint64(nil, dealt))
		c.acked = dealt
	}
	if want := c.peer.asking.Load(); want > c.asked {
		buf = appendFrame(buf, kindWant, binary.BigEndian.AppendUint64(nil, want))
		c.asked = want
	}
	return buf
}

func (c *conn) heartbeat(buf []byte) []byte {
	var b [33]byte
	binary.BigEndian.PutUint64(b[:], c.got.Load())
	binary.BigEndian.PutUint64(b[8:], uint64(time.Since(c.link.node.clock.start)))
	if echo := c.echo.Load(); echo != 0 {
		binary.BigEndian.PutUint64(b[16:], echo)
		binary.BigEndian.PutUint64(b[24:], uint64(int64(time.Since(c.link.node.clock.start))-c.echoAt.Load()))
	}
	if c.busy(c.link.node.clock.now()) {
		b[32] = 1
	}
	return appendFrame(buf, kindHeartbeat, b[:])
}

// busy reports whether a handler keeps the reader, and may.
func (c *conn) busy(now int64) bool {
	since := c.busySince.Load()
	return since != 0 && now-since < int64(busyFor)
}

// read is the reader: it calls the Handler for this peer.
func (c *conn) read() {
	c.link.announce(c)
	buf := make([]byte, readBytes)
	start, end := 0, 0
	begun := false
	for {
		n, err := c.Conn.Read(buf[end:])
		if err != nil {
			c.fail(fmt.Errorf("read: %w", err))
			return
		}
		end += n
		c.got.Add(uint64(n))
		c.heard.Store(c.link.node.clock.now())
		c.link.node.metrics.bytesIn.Add(float64(n))
		used, err := c.frames(buf[start:end], &begun)
		if err != nil {
			c.fail(err)
			return
		}
		start += used
		buf, start, end = makeRoom(buf, start, end)
	}
}

// makeRoom moves what is left of the input to the beginning of a buffer in which the frame that it begins
// with will fit.
func makeRoom(buf []byte, start, end int) (b []byte, s, e int) {
	rest := buf[start:end]
	need := readBytes
	if len(rest) >= headerBytes {
		need = max(need, headerBytes+int(binary.BigEndian.Uint32(rest)))
	}
	switch {
	case need == len(buf) && start == 0:
		return buf, 0, end
	case need != len(buf):
		bigger := make([]byte, need)
		return bigger, 0, copy(bigger, rest)
	}
	return buf, 0, copy(buf, rest)
}

// frames handles the whole frames in b and returns how many bytes these are.
func (c *conn) frames(b []byte, begun *bool) (used int, err error) {
	c.taking.Lock()
	defer c.taking.Unlock()
	c.busySince.Store(c.link.node.clock.now())
	defer c.busySince.Store(0)
	unacked, taken := c.peer.dealt.Load(), 0
	for len(b)-used >= headerBytes {
		size := int(binary.BigEndian.Uint32(b[used:]))
		if size > MaxPayload {
			return used, fmt.Errorf("%w: a frame of %d bytes", errProtocol, size)
		}
		if len(b)-used < headerBytes+size {
			break
		}
		kind, payload := b[used+4], b[used+headerBytes:used+headerBytes+size]
		if *begun == (kind == kindBegin) {
			return used, fmt.Errorf("%w: kind %d", errProtocol, kind)
		}
		*begun = true
		used += headerBytes + size
		if c.frozen && kind < kindControl {
			continue
		}
		if err := c.frame(kind, payload); err != nil {
			return used, err
		}
		taken++
	}
	c.link.node.metrics.framesIn.Add(float64(taken))
	if n := c.peer.dealt.Load() - unacked; n > 0 {
		c.acknowledge(n >= ackFrames || used >= ackBytes)
	}
	return used, nil
}

// acknowledge has an acknowledgement written, now or soon.
func (c *conn) acknowledge(now bool) {
	if now {
		c.ackDue.Store(true)
		c.peer.poke()
	} else if !c.ackWait.Swap(true) {
		time.AfterFunc(ackDelay, func() {
			c.ackWait.Store(false)
			c.ackDue.Store(true)
			c.peer.poke()
		})
	}
}

func (c *conn) frame(kind byte, payload []byte) error {
	if kind >= kindControl {
		return c.controlled(kind, payload)
	}
	p, n := c.peer, c.peer.dealt.Load()+1
	switch {
	case kind < kindRequest:
		c.link.node.handler.Frame(p, kind, n, payload)
	case kind == kindRequest:
		p.asks(payload)
	case kind == kindAnswer:
		p.answers(payload)
	default:
		p.Unknown(kind)
	}
	p.dealt.Store(n)
	return nil
}

// controlled takes a frame that has no number.
func (c *conn) controlled(kind byte, payload []byte) error {
	f := cursor{payload, true}
	switch kind {
	case kindBegin:
		return c.begin(f.uint64(), f.ok)
	case kindHeartbeat:
		c.beaten(&f)
	case kindAck, kindGoodbye:
		if upTo := f.uint64(); !f.ok || !c.peer.acked(upTo) {
			return fmt.Errorf("%w: acknowledges %d", errProtocol, upTo)
		}
		c.confirmed.Store(c.link.node.clock.now())
		if kind == kindGoodbye {
			return errLeft
		}
	case kindWant:
		c.peer.wants(f.uint64()) // 0 if it is malformed: none
	default:
		c.peer.Unknown(kind)
	}
	return nil
}

// begin settles which number the next frame has: the one behind what was dealt with, unless this is
// the beginning of a session, which may leave out what was handed back to its sender.
func (c *conn) begin(first uint64, ok bool) error {
	dealt := c.peer.dealt.Load()
	if !ok || first <= dealt || c.resumed && first != dealt+1 {
		return fmt.Errorf("%w: begins with %d behind %d", errProtocol, first, dealt)
	}
	c.peer.dealt.Store(first - 1)
	return nil
}

// beaten takes a heartbeat: what the peer has got of this connection, and when it was.
func (c *conn) beaten(f *cursor) {
	got, stamp, echo, held, busy := f.uint64(), f.uint64(), f.uint64(), f.uint64(), f.byte()
	if !f.ok {
		c.peer.Unknown(kindHeartbeat)
		return
	}
	now := c.link.node.clock.now()
	if got > c.theirs || busy == 1 {
		c.theirs = got
		c.confirmed.Store(now)
	}
	since := int64(time.Since(c.link.node.clock.start))
	c.echoAt.Store(since)
	c.echo.Store(stamp)
	if echo != 0 {
		c.rtt.Store(max(since-int64(echo)-int64(held), 1))
		c.link.node.metrics.rtt.Observe(time.Duration(c.rtt.Load()).Seconds())
	}
	if !c.link.dials() {
		c.answer.Store(true)
		c.peer.poke()
	}
}
