package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A relay stands between clients and chatd, as networks do: it can cut the
// connections that it has, or hold them, so that nothing gets through and
// neither side learns of it. New connections are not affected.
type relay struct {
	t        *testing.T
	listener net.Listener
	mu       sync.Mutex
	target   string // where chatd listens
	ends     []net.Conn
	held     chan struct{} // closed: the connections of its time forward nothing more
	closed   bool
	running  sync.WaitGroup
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, listener: l, target: target, held: make(chan struct{})}
	r.running.Go(r.serve)
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		r.cut()
		r.running.Wait()
	})
	return r
}

func (r *relay) serve() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.connect(client)
	}
}

func (r *relay) connect(client net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	server, err := net.Dial("tcp", r.target)
	if err != nil || r.closed {
		client.Close()
		return
	}
	r.ends = append(r.ends, client, server)
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		r.running.Go(func() { forward(way[0], way[1], r.held) })
	}
}

// forward copies until the connection ends or is held. Who holds it ends it later.
func forward(from, to net.Conn, held chan struct{}) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-held:
			io.Copy(io.Discard, from) //nolint:errcheck // until cut
			return
		default:
		}
		if err == nil {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			from.Close()
			to.Close()
			return
		}
	}
}

// hold makes black holes of all connections.
func (r *relay) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.held)
	r.held = make(chan struct{})
}

// cut resets all connections, also those that are held.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.ends {
		c.(*net.TCPConn).SetLinger(0) //nolint:errcheck // it may have ended
		c.Close()
	}
	r.ends = nil
}

// aim makes new connections go to a chatd that was started anew.
func (r *relay) aim(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

func (r *relay) address() string { return r.listener.Addr().String() }
