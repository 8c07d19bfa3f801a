package c2s

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// What a closing connection may still send before it is cut.
const (
	lingerTimeout = time.Second
	lingerBytes   = 256 << 10
)

// A wire is the transport over a socket of its own. After park it is driven by
// readiness: await parks the reading goroutine without a buffer, and what the
// kernel does not take waits in backlog for drain.
type wire struct {
	from peer
	tcp  *net.TCPConn
	raw  syscall.RawConn
	gate *gate    // for handshakes
	tls  *tlsSide // nil without TLS; set once, during negotiation
	ws   *wsSide  // nil without WebSocket; set before negotiation

	// Owned by the reading goroutine.
	parked   bool                  // in its second life
	readable bool                  // the socket is to be read, from fd: await has called ready
	fd       uintptr               //
	taken    int                   // bytes that the last read of the socket gave
	ready    func() bool           // what await was given
	input    func(fd uintptr) bool // onReadable, bound once so that await does not allocate

	last int // bytes that write took last; owned by the holder of writing

	watch  *watch      // wakes it; nil: it never sleeps
	asleep atomic.Bool // see sleep
	woken  atomic.Bool // wake was called after rest
	run    func()      // what to go on with after sleep

	mu      sync.Mutex // never held while blocked
	backlog []byte     // bytes for the kernel, behind which everything queues
	broken  error      // the first write error; nothing is written after it
	now     []byte     // what writeOnce has yet to write

	writeNow func(fd uintptr) // writeOnce, bound once so that no write allocates
}

func newWire(tcp *net.TCPConn, gate *gate) (*wire, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{tcp: tcp, raw: raw, gate: gate}
	w.from.addr, w.from.startTLS = tcp.RemoteAddr(), true
	w.input, w.writeNow = w.onReadable, w.writeOnce
	return w, nil
}

func (w *wire) peer() *peer { return &w.from }

func (w *wire) deadline(t time.Time)      { _ = w.tcp.SetDeadline(t) }
func (w *wire) writeDeadline(t time.Time) { _ = w.tcp.SetWriteDeadline(t) }

func (w *wire) park() error {
	w.parked = true
	return w.tcp.SetDeadline(time.Time{})
}

func (w *wire) await(ready func() bool) (taken int, err error) {
	w.ready = ready
	err = w.raw.Read(w.input)
	return w.taken, err
}

func (w *wire) onReadable(fd uintptr) bool {
	w.readable, w.fd, w.taken = true, fd, 0
	got := w.ready()
	w.readable = false
	return got
}

func (w *wire) wake() {
	w.woken.Store(true)
	w.getUp() // before await fails, after which it may sleep
	_ = w.tcp.SetReadDeadline(past)
}

func (w *wire) rest() {
	w.woken.Store(false)
	_ = w.tcp.SetReadDeadline(time.Time{})
}

// sleep is sleeper. Whoever makes asleep false has the wire.
func (w *wire) sleep(run func()) bool {
	if w.watch == nil {
		return false
	}
	w.run = run
	w.asleep.Store(true)
	if w.watch.add(w) == nil && !w.woken.Load() { // wake looks at asleep after it has set woken
		return true
	}
	return !w.asleep.CompareAndSwap(true, false)
}

// getUp ends sleep.
func (w *wire) getUp() {
	if w.asleep.CompareAndSwap(true, false) {
		go w.run()
	}
}

func (w *wire) read(p []byte) (int, error) {
	if w.ws != nil {
		return w.ws.read(p)
	}
	return w.readBelow(p)
}

// readBelow is read without WebSocket.
func (w *wire) readBelow(p []byte) (int, error) {
	switch {
	case w.tls != nil:
		return w.tls.read(p)
	case !w.parked:
		return w.tcp.Read(p)
	}
	n, err := w.readReady(p)
	if err == nil {
		err = errAgain
	}
	return n, err
}

// readReady reads the socket once if await has found it readable; n < 0 means that
// there was nothing after all.
func (w *wire) readReady(p []byte) (n int, err error) {
	if !w.readable {
		return 0, errAgain
	}
	w.readable = false
	n, err = readSocket(w.fd, p)
	w.taken = max(n, 0)
	return n, err
}

// readSocket reads what is there; n < 0 means nothing.
func readSocket(fd uintptr, p []byte) (n int, err error) {
	for {
		n, errno := sysRead(fd, p)
		switch errno {
		case 0:
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return -1, nil
		default:
			return 0, os.NewSyscallError("read", errno)
		}
	}
}

// write takes one piece at a time, so that a slow client is seen to take something.
func (w *wire) write(p []byte) (n, pending int, err error) {
	if w.ws != nil {
		n, pending, err = w.ws.write(p)
	} else {
		n = min(len(p), pieceBytes)
		pending, err = w.writeBelow(p[:n])
	}
	if err != nil {
		return 0, 0, err
	}
	w.last = n
	return n, pending, nil
}

// writeBelow writes all of p without WebSocket.
func (w *wire) writeBelow(p []byte) (pending int, err error) {
	switch {
	case w.tls != nil:
		return w.tls.write(p)
	case w.parked:
		return w.writeSocket(p)
	}
	_, err = w.tcp.Write(p)
	return 0, err
}

func (w *wire) writeSocket(p []byte) (pending int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return 0, w.broken
	}
	if len(w.backlog) == 0 {
		n, err := w.tryLocked(p)
		if err != nil {
			return 0, err
		}
		p = p[n:]
	}
	w.backlog = append(w.backlog, p...)
	return len(w.backlog), nil
}

// tryLocked writes as much of p as the kernel takes.
func (w *wire) tryLocked(p []byte) (int, error) {
	w.now = p
	err := w.raw.Control(w.writeNow)
	n := len(p) - len(w.now)
	w.now = nil
	if w.broken == nil && err != nil {
		w.broken = err
	}
	return n, w.broken
}

func (w *wire) writeOnce(fd uintptr) {
	for len(w.now) > 0 {
		n, errno := sysWrite(fd, w.now)
		switch errno {
		case 0:
			w.now = w.now[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return
		default:
			w.broken = os.NewSyscallError("write", errno)
			return
		}
	}
}

func (w *wire) drain() error {
	var failed error
	err := w.raw.Write(func(fd uintptr) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for len(w.backlog) > 0 && w.broken == nil {
			n, errno := sysWrite(fd, w.backlog)
			switch errno {
			case 0:
				w.backlog = w.backlog[n:]
			case syscall.EINTR:
			case syscall.EAGAIN:
				return false
			default:
				w.broken = os.NewSyscallError("write", errno)
			}
		}
		if w.broken == nil {
			w.backlog = nil
		}
		failed = w.broken
		return true
	})
	if err == nil {
		return failed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) { // after that one may go on
		w.broken = err
	}
	return err
}

func (w *wire) abort() {
	w.mu.Lock()
	if w.broken == nil {
		w.broken = net.ErrClosed
	}
	w.mu.Unlock()
	_ = w.tcp.SetWriteDeadline(past)
}

// uncertain is all of what was last written, or nothing, where bytes of the stream are not
// those of the socket.
func (w *wire) uncertain() int {
	pending := w.unwritten()
	if pending > 0 && (w.tls != nil || w.ws != nil) {
		return w.last
	}
	return pending
}

func (w *wire) owed() int {
	if w.tls == nil && w.ws == nil {
		return 0
	}
	return w.unwritten() // crypto/tls or WebSocket may have answered by itself
}

func (w *wire) finish() {
	if w.ws != nil {
		w.ws.finish()
	}
	if w.tls != nil {
		_ = w.tls.conn.CloseWrite()
	}
}

// linger closes the connection after a while: a close with unread input would reset it.
func (w *wire) linger() {
	defer w.tcp.Close()
	if w.watch != nil {
		w.watch.remove(w)
	}
	if w.tcp.CloseWrite() != nil {
		return
	}
	_ = w.tcp.SetReadDeadline(time.Now().Add(lingerTimeout))
	var sink [512]byte
	for read := 0; read < lingerBytes; {
		n, err := w.tcp.Read(sink[:])
		if err != nil {
			return
		}
		read += n
	}
}

func (w *wire) unwritten() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.backlog)
}
