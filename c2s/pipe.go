package c2s

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// pipeBytes is what a pipe reads at once.
const pipeBytes = 4 << 10

// A pipe is the transport over a connection that is no socket: within the process, where nobody
// listens in. What is written waits in backlog for drain, since nobody can tell whether its Write would block.
type pipe struct {
	from peer
	conn net.Conn

	// Owned by the reading goroutine.
	parked bool
	buf    [pipeBytes]byte
	left   []byte // read and not given, a part of buf
	ended  error  // what comes behind it

	mu      sync.Mutex // never held while blocked
	backlog []byte     // only the holder of writing changes it
	broken  error      // the first write error; nothing is written after it
}

func newPipe(conn net.Conn) *pipe {
	return &pipe{conn: conn, from: peer{addr: conn.RemoteAddr()}}
}

func (p *pipe) peer() *peer { return &p.from }

func (p *pipe) startTLS(*tls.Config) (*tls.ConnectionState, error) {
	return nil, errors.ErrUnsupported
}

func (p *pipe) deadline(t time.Time)      { _ = p.conn.SetDeadline(t) }
func (p *pipe) writeDeadline(t time.Time) { _ = p.conn.SetWriteDeadline(t) }

func (p *pipe) park() error {
	p.parked = true
	return p.conn.SetDeadline(time.Time{})
}

func (p *pipe) await(ready func() bool) (taken int, err error) {
	for {
		n, err := p.conn.Read(p.buf[:])
		if errors.Is(err, os.ErrDeadlineExceeded) && n == 0 {
			return 0, err
		}
		p.left, p.ended = p.buf[:n], err
		if ready() {
			return n, nil
		}
	}
}

func (p *pipe) wake() { _ = p.conn.SetReadDeadline(past) }
func (p *pipe) rest() { _ = p.conn.SetReadDeadline(time.Time{}) }

func (p *pipe) read(b []byte) (int, error) {
	if !p.parked {
		return p.conn.Read(b)
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	switch {
	case len(p.left) > 0:
		return n, nil
	case p.ended != nil && !errors.Is(p.ended, os.ErrDeadlineExceeded):
		return n, p.ended
	}
	return n, errAgain
}

func (p *pipe) write(b []byte) (n, pending int, err error) {
	n = min(len(b), pieceBytes)
	if !p.parked {
		n, err = p.conn.Write(b[:n])
		return n, 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return 0, 0, p.broken
	}
	p.backlog = append(p.backlog, b[:n]...)
	return n, len(p.backlog), nil
}

func (p *pipe) drain() error {
	for {
		p.mu.Lock()
		b, err := p.backlog, p.broken
		p.mu.Unlock()
		if err != nil || len(b) == 0 {
			return err
		}
		n, err := p.conn.Write(b)
		p.mu.Lock()
		p.backlog = p.backlog[n:]
		if err != nil && p.broken == nil && !errors.Is(err, os.ErrDeadlineExceeded) { // after that one may go on
			p.broken = err
		}
		if p.broken != nil {
			err = p.broken
		}
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (p *pipe) unwritten() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.backlog)
}

func (p *pipe) owed() int      { return 0 }
func (p *pipe) uncertain() int { return p.unwritten() }
func (p *pipe) finish()        {}
func (p *pipe) linger()        { _ = p.conn.Close() }

func (p *pipe) abort() {
	p.mu.Lock()
	if p.broken == nil {
		p.broken = net.ErrClosed
	}
	p.mu.Unlock()
	_ = p.conn.SetWriteDeadline(past)
}
