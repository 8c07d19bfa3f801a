package c2s

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// What a closing connection may still send before it is cut.
const (
	lingerTimeout = time.Second
	lingerBytes   = 256 << 10
)

// cipherBytes is the room for one read of ciphertext: one full TLS record.
const cipherBytes = 16<<10 + 512

// A wire is the socket of one connection. It has two lives. While the stream
// is negotiated it is an ordinary blocking connection with deadlines. After
// park it is driven by readiness: await parks the reading goroutine without a
// buffer, reads and writes never block, and what the kernel does not take waits in
// backlog for drain.
type wire struct {
	id   uint64     // the connection's number, for logs
	host addressKey // where it comes from
	tcp  *net.TCPConn
	raw  syscall.RawConn
	tls  *tls.Conn // nil without TLS; set once, during negotiation
	conn net.Conn  // what negotiation reads and writes: tcp or tls

	parked bool   // in its second life; owned by the reading goroutine
	held   []byte // what crypto/tls has written in the first life and waits to go out with what follows; likewise
	feed   []byte // ciphertext that was read and not yet taken by crypto/tls; owned by the reading goroutine

	mu      sync.Mutex // never held while blocked
	backlog []byte     // bytes for the kernel, behind which everything queues
	broken  error      // the first write error; nothing is written after it
	now     []byte     // what writeOnce has yet to write

	writeNow func(fd uintptr) // writeOnce, bound once so that no write allocates
}

// errAgain says that nothing is there to read for now. It is a temporary
// net.Error, after which crypto/tls goes on where it stopped.
var errAgain net.Error = againError{}

type againError struct{}

func (againError) Error() string   { return "c2s: no input for now" }
func (againError) Timeout() bool   { return true }
func (againError) Temporary() bool { return true }

func newWire(tcp *net.TCPConn) (*wire, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{tcp: tcp, raw: raw, conn: tcp}
	w.writeNow = w.writeOnce
	return w, nil
}

// handshake starts TLS on the connection. Nothing that was read before may be kept.
func (w *wire) handshake(cfg *tls.Config) error {
	w.tls = tls.Server(tlsSide{w}, cfg)
	w.conn = w.tls
	return w.tls.Handshake()
}

// flush writes what crypto/tls has written in the first life.
func (w *wire) flush() error {
	if len(w.held) == 0 {
		return nil
	}
	_, err := w.tcp.Write(w.held)
	w.held = nil
	return err
}

// park begins the second life.
func (w *wire) park() error {
	w.parked = true
	return w.tcp.SetDeadline(time.Time{})
}

// await parks until the socket has input and then calls read once, without having
// held any memory meanwhile. read is called with the descriptor and reports
// false if there is nothing to read after all.
func (w *wire) await(read func(fd uintptr) bool) error { return w.raw.Read(read) }

// wake makes await return os.ErrDeadlineExceeded, now or when it is next called.
func (w *wire) wake() { _ = w.tcp.SetReadDeadline(time.Unix(1, 0)) }

// rest ends the effect of wake.
func (w *wire) rest() { _ = w.tcp.SetReadDeadline(time.Time{}) }

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

// write hands p to the connection and never blocks. pending is how many bytes,
// of p or from before, the kernel has not taken yet: then drain must be called.
func (w *wire) write(p []byte) (pending int, err error) {
	if w.tls == nil {
		return w.writeSocket(p)
	}
	if _, err := w.tls.Write(p); err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.backlog), w.broken
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

// drain blocks until the backlog is written or the write deadline passes.
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

// abort makes every write fail, also those that are under way.
func (w *wire) abort() {
	w.mu.Lock()
	if w.broken == nil {
		w.broken = net.ErrClosed
	}
	w.mu.Unlock()
	_ = w.tcp.SetWriteDeadline(time.Unix(1, 0))
}

// uncertain is how many of the bytes last written the kernel may not have taken. Under TLS
// that is all of the last piece or nothing.
func (w *wire) uncertain() int {
	pending := w.unwritten()
	if pending > 0 && w.tls != nil {
		return pieceBytes
	}
	return pending
}

// linger closes the connection so that the client can read our last words: a
// close with unread input would reset it.
func (w *wire) linger() {
	defer w.tcp.Close()
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

// unwritten is how many bytes the kernel has not taken.
func (w *wire) unwritten() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.backlog)
}

// tlsSide is the wire as crypto/tls sees it.
type tlsSide struct{ w *wire }

// Read gives crypto/tls what was read from the socket and then tells it to come
// again, so that it holds no more than an unfinished record while it waits.
func (t tlsSide) Read(p []byte) (int, error) {
	w := t.w
	if !w.parked {
		if err := w.flush(); err != nil {
			return 0, err
		}
		return w.tcp.Read(p)
	}
	if len(w.feed) == 0 {
		return 0, errAgain
	}
	n := copy(p, w.feed)
	w.feed = w.feed[n:]
	return n, nil
}

func (t tlsSide) Write(p []byte) (int, error) {
	if !t.w.parked { // the handshake's last words, a ticket, go with our first
		t.w.held = append(t.w.held, p...)
		return len(p), nil
	}
	if _, err := t.w.writeSocket(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (t tlsSide) Close() error                       { return t.w.tcp.Close() }
func (t tlsSide) LocalAddr() net.Addr                { return t.w.tcp.LocalAddr() }
func (t tlsSide) RemoteAddr() net.Addr               { return t.w.tcp.RemoteAddr() }
func (t tlsSide) SetDeadline(d time.Time) error      { return t.w.tcp.SetDeadline(d) }
func (t tlsSide) SetReadDeadline(d time.Time) error  { return t.w.tcp.SetReadDeadline(d) }
func (t tlsSide) SetWriteDeadline(d time.Time) error { return t.w.tcp.SetWriteDeadline(d) }
