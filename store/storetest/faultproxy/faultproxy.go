// Package faultproxy stands between a program and its backend in tests: a TCP proxy on loopback that can cut
// connections, answer nothing, be slow, and lose the answer to a request that it has passed on.
package faultproxy

import (
	"net"
	"sync"
	"testing"
	"time"
)

// A mode is what happens to what goes through.
type mode int

const (
	pass mode = iota
	cut
	stall
	loseAnswers
	loseAnswer // and then pass
)

// A Proxy passes connections on to one target, from Start until the end of the test. Any goroutine may use it.
type Proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond // mode, or a link is closed
	mode    mode
	delay   time.Duration
	links   map[*link]bool
	lost    int // answers
	closed  bool
}

// A link is one connection of a client, and that to the target on its behalf.
type link struct {
	client, target net.Conn // target is nil until there is one
	closed         bool
}

// Start listens on a free port of loopback and passes connections on to a TCP address.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, target: target, links: make(map[*link]bool)}
	p.changed.L = &p.mu
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr is where to connect to, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut ends all connections now, in the middle of what they do, and new ones as soon as they are made, until Mend.
func (p *Proxy) Cut() { p.set(cut) }

// Stall lets nothing through until Mend; then it goes on where it stopped.
func (p *Proxy) Stall() { p.set(stall) }

// LoseAnswers passes requests on until Mend, and ends each connection in the place of an answer.
func (p *Proxy) LoseAnswers() { p.set(loseAnswers) }

// LoseAnswer is LoseAnswers for the next answer only.
func (p *Proxy) LoseAnswer() { p.set(loseAnswer) }

// Delay holds back what goes through, in each direction, for so long; 0 for not at all.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	p.delay = d
	p.mu.Unlock()
}

// Mend lets everything through again, to connections made anew where they were ended.
func (p *Proxy) Mend() { p.set(pass) }

// Lost is how many answers LoseAnswers has kept from a client.
func (p *Proxy) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

func (p *Proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	if m == cut {
		p.cutAll()
	}
	p.changed.Broadcast()
}

func (p *Proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.cutAll()
	p.changed.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}

// cutAll is called with mu held.
func (p *Proxy) cutAll() {
	for l := range p.links {
		p.drop(l)
	}
}

// drop is called with mu held. Both ends see a reset, as from a peer that is gone.
func (p *Proxy) drop(l *link) {
	l.closed = true
	delete(p.links, l)
	for _, conn := range [...]net.Conn{l.client, l.target} {
		if conn != nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}
	p.changed.Broadcast()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		l := &link{client: conn}
		p.mu.Lock()
		p.links[l] = true
		if p.mode == cut || p.closed {
			p.drop(l)
		} else {
			p.running.Go(func() { p.serve(l) })
		}
		p.mu.Unlock()
	}
}

func (p *Proxy) serve(l *link) {
	defer func() {
		p.mu.Lock()
		p.drop(l)
		p.mu.Unlock()
	}()
	if !p.admit(l, false) {
		return
	}
	target, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.mu.Lock()
	l.target = target
	if l.closed {
		target.Close()
	}
	p.mu.Unlock()
	var requests sync.WaitGroup
	requests.Go(func() { p.copy(l, target, l.client, false) })
	p.copy(l, l.client, target, true)
	requests.Wait()
}

// copy ends the link with either of its ends.
func (p *Proxy) copy(l *link, to, from net.Conn, answers bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err == nil && p.admit(l, answers) {
			_, err = to.Write(buf[:n])
		}
		p.mu.Lock()
		if err != nil {
			p.drop(l)
		}
		closed := l.closed
		p.mu.Unlock()
		if closed {
			return
		}
	}
}

// admit waits until something may go through, and reports whether it may.
func (p *Proxy) admit(l *link, answer bool) bool {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.mode == stall && !l.closed {
		p.changed.Wait()
	}
	if answer && (p.mode == loseAnswers || p.mode == loseAnswer) && !l.closed {
		if p.mode == loseAnswer {
			p.mode = pass
		}
		p.lost++
		p.drop(l)
	}
	return !l.closed
}
