package c2s

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// cipherBytes is the room for one read of ciphertext: one full TLS record.
const cipherBytes = 16<<10 + 512

// ciphers are what ciphertext is read into, until crypto/tls has taken it.
var ciphers = sync.Pool{New: func() any { return new([cipherBytes]byte) }}

// A tlsSide is a wire's TLS. Its exported methods are the socket as crypto/tls sees it.
type tlsSide struct {
	w    *wire
	conn *tls.Conn
	turn *turn // during the handshake

	// Owned by the reading goroutine.
	held   []byte             // of the handshake, to go out when we wait for the client or with what follows; then Write's
	cipher *[cipherBytes]byte // pooled; nil when feed is empty
	feed   []byte             // the part of it that crypto/tls has not taken yet
}

// startTLS begins TLS, computing when it is its turn. Nothing that was read before may be kept.
func (w *wire) startTLS(cfg *tls.Config) (*tls.ConnectionState, error) {
	t := &tlsSide{w: w, turn: w.gate.turn()}
	t.conn = tls.Server(t, cfg)
	w.tls = t
	w.from.startTLS = false
	err := t.conn.Handshake()
	t.turn.end()
	t.turn = nil
	state := t.conn.ConnectionState()
	if err != nil || state.Version < tls.VersionTLS13 { // an alert, or what the client's handshake ends with
		_ = t.flush()
	}
	if err != nil {
		return nil, err
	}
	return &state, nil
}

// read gives what crypto/tls makes of the input: one record at most. It looks at the
// socket itself, lest crypto/tls grow the stack of a goroutine that then waits.
func (t *tlsSide) read(p []byte) (int, error) {
	if t.w.readable {
		if n, err := t.fill(); n <= 0 {
			return n, err
		}
	}
	return t.conn.Read(p)
}

// fill reads ciphertext as readReady does.
func (t *tlsSide) fill() (n int, err error) {
	t.cipher = ciphers.Get().(*[cipherBytes]byte)
	n, err = t.w.readReady(t.cipher[:])
	t.feed = t.cipher[:max(n, 0)]
	if n <= 0 {
		t.drop()
	}
	return n, err
}

func (t *tlsSide) drop() {
	ciphers.Put(t.cipher)
	t.cipher, t.feed = nil, nil
}

func (t *tlsSide) write(p []byte) (pending int, err error) {
	if _, err := t.conn.Write(p); err != nil {
		return 0, err
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	return len(t.w.backlog), t.w.broken
}

// Read gives crypto/tls what was read from the socket and then tells it to come
// again, so that it holds no more than an unfinished record while it waits.
func (t *tlsSide) Read(p []byte) (int, error) {
	if !t.w.parked {
		if t.turn != nil { // later on HTTP reads while it writes
			if err := t.flush(); err != nil {
				return 0, err
			}
		}
		return t.turn.read(t.w.tcp, p)
	}
	if len(t.feed) == 0 {
		return 0, errAgain
	}
	n := copy(p, t.feed)
	t.feed = t.feed[n:]
	if len(t.feed) == 0 {
		t.drop()
	}
	return n, nil
}

func (t *tlsSide) Write(p []byte) (int, error) {
	if !t.w.parked { // a ticket goes with our first words
		t.held = append(t.held, p...)
		if t.turn != nil {
			return len(p), nil
		}
		return len(p), t.flush()
	}
	if _, err := t.w.writeSocket(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes what is held.
func (t *tlsSide) flush() error {
	if len(t.held) == 0 {
		return nil
	}
	_, err := t.w.tcp.Write(t.held)
	t.held = nil
	return err
}

func (t *tlsSide) Close() error                       { return t.w.tcp.Close() }
func (t *tlsSide) LocalAddr() net.Addr                { return t.w.tcp.LocalAddr() }
func (t *tlsSide) RemoteAddr() net.Addr               { return t.w.tcp.RemoteAddr() }
func (t *tlsSide) SetDeadline(d time.Time) error      { return t.w.tcp.SetDeadline(d) }
func (t *tlsSide) SetReadDeadline(d time.Time) error  { return t.w.tcp.SetReadDeadline(d) }
func (t *tlsSide) SetWriteDeadline(d time.Time) error { return t.w.tcp.SetWriteDeadline(d) }
