package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// dial connects and shakes hands.
func (l *link) dial(addr string) (*conn, error) {
	if l.peer == nil { // else there is no time to lose
		select {
		case l.node.dials <- struct{}{}:
		case <-l.quit:
			return nil, errLeaving
		case <-l.node.ending.Done():
			return nil, errLeaving
		}
		end := sync.OnceFunc(func() { <-l.node.dials })
		defer end()
		defer time.AfterFunc(dialTurn, end).Stop()
	}
	ctx, cancel := context.WithTimeout(l.node.ending, l.patience())
	defer cancel()
	l.node.work.Go(func() {
		select {
		case <-l.quit:
			cancel()
		case <-ctx.Done():
		}
	})
	var session uint64
	if l.peer != nil {
		session = l.peer.session
	}
	conn, h, version, err := l.node.dial(ctx, addr, l.greeting(session))
	if err != nil {
		return nil, err
	}
	l.node.heardOf(l.name, h.about)
	c, err := l.begin(conn, h, version, h.session)
	if err != nil {
		conn.raw.Close()
	}
	return c, err
}

// patience is how long an attempt to connect may take.
func (l *link) patience() time.Duration {
	if l.peer != nil {
		return min(dialFor, l.grace())
	}
	return min(dialFor<<min(l.attempts, 10), dialLongest)
}

// answer ends the handshake of an accepted connection.
func (l *link) answer(o *offer) (*conn, error) {
	if time.Since(o.at) > handshakeFor { // who dialled has given up
		o.conn.raw.Close()
		return nil, os.ErrDeadlineExceeded
	}
	session := o.hello.session
	if !l.resumes(o.hello, session) {
		session = rand.Uint64() | 1
	}
	// What is said of this side has to be as it was before begin changes it.
	said := l.greeting(session)
	o.conn.SetDeadline(time.Now().Add(dialFor))
	_, err := o.conn.Write(appendFrame(nil, kindHello, said.encode(prover(l.node.keys.link, o.conn.binding, sideAcceptor))))
	o.conn.SetDeadline(time.Time{})
	if err != nil {
		o.conn.raw.Close()
		return nil, err
	}
	c, err := l.begin(o.conn, o.hello, o.version, session)
	if err != nil {
		o.conn.raw.Close()
	}
	return c, err
}

// begin settles what a handshake means for the peer: it goes on, or it ends and another one
// begins.
func (l *link) begin(conn secured, h *hello, version int, session uint64) (*conn, error) {
	if l.resumes(h, session) {
		if !l.peer.resume(h.received) {
			l.down(false)
			return nil, fmt.Errorf("%w: it received %d", errProtocol, h.received)
		}
		l.node.metrics.resumes.Inc()
		return newConn(conn, l, l.peer, true), nil
	}
	knows := h.known == l.node.Incarnation
	if l.peer != nil {
		if knows && h.incarnation == l.peer.Incarnation {
			l.peer.resume(h.received) // so that what comes back is exactly what it does not have
			l.down(false)
			l.inDoubt = false
		} else {
			l.down(false)
		}
	}
	if h.incarnation != l.incarnation {
		l.incarnation, l.dealt, l.next, l.inDoubt = h.incarnation, 0, 1, false
	}
	if l.inDoubt && knows {
		l.node.handler.PeerReceived(l.name, h.incarnation, h.received)
	}
	l.inDoubt = false
	l.peer = newPeer(l.node, h, version, session, l.next)
	l.peer.dealt.Store(l.dealt)
	l.noteUp(l.peer)
	return newConn(conn, l, l.peer, false), nil
}

// resumes reports whether a session goes on.
func (l *link) resumes(h *hello, session uint64) bool {
	return l.peer != nil && h.incarnation == l.peer.Incarnation && h.known == l.node.Incarnation &&
		session != 0 && session == l.peer.session
}

// greeting is what this side says to the other.
func (l *link) greeting(session uint64) *hello {
	h := l.node.greeting(l.name)
	h.known, h.received, h.session = l.incarnation, l.dealt, session
	if l.peer != nil {
		h.received = l.peer.dealt.Load()
	}
	return h
}
