package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Config says who this node is and how others find it.
type Config struct {
	Node            string   // its name: lower-case letters, digits, "-", "_", "."; unique in the cluster, kept across restarts
	Gossip          string   // host:port, TCP and UDP, to listen on for membership; port 0: any
	Link            string   // host:port to listen on for links; port 0: any
	AdvertiseGossip string   // host:port under which others reach Gossip; empty: Gossip itself
	AdvertiseLink   string   // host:port under which others reach Link; empty: Link itself
	Join            []string // gossip addresses of other nodes, host:port or host; a host may be a DNS name of many addresses
	Domain          string   // that all nodes serve; at most 255 bytes. Those that serve another one are not linked to
	Secret          string   // shared by all nodes, 16 bytes or more; may be empty if all addresses are loopback
	Weight          int      // how much this node can take compared with others, 0..65535; 0: 1
	Previous        uint64   // Service.Incarnation of the process before this one, also if that was killed; 0: not known
	Log             *slog.Logger
	Network         Network // nil: the machine's

	speaks [2]byte // least and highest version of the protocol, of another build in tests; 0: this build's
}

// A Handler is told what happens on the links. For one node name the calls of PeerReceived, PeerUp,
// Frame and PeerDown come one after another; for different names at the same time.
// None may block for long: the peer hears nothing dealt with meanwhile.
type Handler interface {
	// PeerUp comes before any frame of it.
	PeerUp(p *Peer)
	// PeerDown comes after the last frame of it. It left, or was declared down, or came
	// back having forgotten this node. What it has not acknowledged is the handler's now, in order.
	PeerDown(p *Peer, unacked []Frame, left bool)
	// Frame is one that the peer sent. The payload is a view, valid during the call. The
	// frame counts as dealt with when this returns, unless it has called p.Later.
	Frame(p *Peer, kind byte, seq uint64, payload []byte)
	// Request is answered with what is returned. It runs on a goroutine of its own; ctx
	// ends when the asker no longer waits or the peer is down.
	Request(ctx context.Context, p *Peer, kind byte, payload []byte) ([]byte, error)
	// PeerReceived comes before PeerUp, when an incarnation is back whose last PeerDown handed back frames: it had
	// dealt with those up to this number after all, and with none of the others. It says
	// nothing of what earlier PeerDowns handed back.
	PeerReceived(name string, incarnation uint64, upTo uint64)
	// PeerForgotten comes when a node that is down is not looked for any more. If it comes all the same it is a new one.
	PeerForgotten(name string)
}

// A Frame is one that was sent and not acknowledged.
type Frame struct {
	Kind    byte
	Seq     uint64
	Payload []byte
}

// A Peer is another node from one PeerUp to its PeerDown. Its methods may be called
// from any goroutine, and go on working, in vain, after PeerDown.
type Peer struct {
	Name        string
	Incarnation uint64 // of its process: differs after each restart
	Version     int    // of the protocol, that both speak
	Weight      int

	node    *Node
	session uint64        // fixed; both sides have the same
	dealt   atomic.Uint64 // number of its last frame dealt with; written by the reader
	wake    chan struct{} // tells the present connection's writer
	done    context.Context
	end     context.CancelFunc
	asked   chan struct{} // slots for requests being answered

	hearsay bool          // it has left, as others say, and could not say so over the link; set before PeerDown
	down    chan struct{} // closed when PeerDown has returned
	back    chan struct{} // closed by the Service when what was not acknowledged is elsewhere
	settle  settling      // of its frames
	ackWait atomic.Bool   // a timer will make an acknowledgement due
	ackDue  atomic.Bool
	wanted  atomic.Uint64 // the frame whose acknowledgement the peer waits for; 0: none
	asking  atomic.Uint64 // the frame whose acknowledgement the peer is to be asked for, or was

	mu      sync.Mutex
	need    uint64 // the last frame that Confirm waits for
	q       queue
	gone    bool
	waiting map[uint64]chan answer
	lastID  uint64
	room    chan struct{} // closed when something was acknowledged; nil: nobody waits
}

func newPeer(n *Node, h *hello, version int, session, next uint64) *Peer {
	p := &Peer{Name: h.name, Incarnation: h.incarnation, Version: version, Weight: int(max(h.about.weight, 1)),
		node: n, session: session, wake: make(chan struct{}, 1), down: make(chan struct{}), back: make(chan struct{}), asked: make(chan struct{}, maxAsked),
		waiting: make(map[uint64]chan answer), q: queue{next: next, acked: next - 1, sent: next - 1}}
	p.done, p.end = context.WithCancel(context.Background())
	return p
}

// Send appends a frame to what is on its way to the peer, copying its parts. It never blocks.
// False: the peer is gone, the frame is longer than MaxPayload or the queue is full
// (QueueBytes, QueueFrames). The frames of a peer are numbered from 1 and without gaps
// as long as neither process restarts. A kind below 200.
func (p *Peer) Send(kind byte, parts ...[]byte) (seq uint64, ok bool) {
	if kind >= kindRequest {
		return 0, false
	}
	return p.send(kind, parts...)
}

func (p *Peer) send(kind byte, parts ...[]byte) (seq uint64, ok bool) {
	p.mu.Lock()
	if !p.gone {
		seq, ok = p.q.put(kind, parts...)
	}
	p.mu.Unlock()
	if ok {
		p.poke()
	} else {
		p.node.metrics.refusedSends.Inc()
	}
	return seq, ok
}

func (p *Peer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Down is nil as long as frames are taken, and then closed when the Handler has been told.
func (p *Peer) Down() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		return nil
	}
	return p.down
}

// Confirm is router.Confirmer: it waits until the peer has dealt with all that was sent so far, or, if it is gone, until that is elsewhere.
func (p *Peer) Confirm(ctx context.Context) bool {
	p.mu.Lock()
	upTo := p.q.next - 1
	if p.q.acked < upTo {
		p.need = upTo
		p.askLocked()
	}
	for !p.gone && p.q.acked < upTo {
		if p.room == nil {
			p.room = make(chan struct{})
		}
		room := p.room
		p.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return false
		}
		p.mu.Lock()
	}
	gone := p.gone
	p.mu.Unlock()
	if !gone {
		return true
	}
	select {
	case <-p.back:
		return true
	case <-ctx.Done():
		return false
	}
}

// askLocked asks for the acknowledgement that is needed, which would else wait for others. While one is asked for no other is: then
// many who wait cost as much as one.
func (p *Peer) askLocked() {
	if p.need > p.q.acked && p.asking.Load() <= p.q.acked {
		p.asking.Store(p.need)
		p.poke()
	}
}

// wants takes the peer's wish for an acknowledgement.
func (p *Peer) wants(seq uint64) {
	p.wanted.Store(seq)
	p.satisfy()
}

// satisfy has what the peer waits for acknowledged, if it has been dealt with, and reports whether it did.
func (p *Peer) satisfy() bool {
	want := p.wanted.Load()
	if want == 0 || p.settled() < want || !p.wanted.CompareAndSwap(want, 0) {
		return false
	}
	p.ackDue.Store(true)
	p.poke()
	return true
}

// ErrGone is what waits for a peer that is down.
var ErrGone = errors.New("cluster: peer is gone")

// Room waits until less than bytes are unacknowledged: whoever sends much leaves
// room for others in this way.
func (p *Peer) Room(ctx context.Context, bytes int) error {
	for {
		p.mu.Lock()
		switch {
		case p.gone:
			p.mu.Unlock()
			return ErrGone
		case p.q.bytes < bytes || p.q.frames() == 0:
			p.mu.Unlock()
			return nil
		case p.room == nil:
			p.room = make(chan struct{})
		}
		room := p.room
		p.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Queued is what the peer has not acknowledged.
func (p *Peer) Queued() (frames, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.q.frames(), p.q.bytes
}

// Unknown counts a frame of a kind that this version does not know.
func (p *Peer) Unknown(kind byte) { p.node.metrics.unknown.Inc() }

// acked takes an acknowledgement. It reports whether there can be one of that number.
func (p *Peer) acked(upTo uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.q.ack(upTo) {
		return false
	}
	p.tellRoomLocked()
	p.askLocked()
	return true
}

func (p *Peer) tellRoomLocked() {
	if p.room != nil {
		close(p.room)
		p.room = nil
	}
}

// resume readies the queue for a connection on which the peer said what it has. It reports whether that
// can be.
func (p *Peer) resume(received uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if received < p.q.acked || received >= p.q.next {
		return false
	}
	p.q.sent = max(p.q.sent, received)
	if !p.q.ack(received) {
		return false
	}
	p.q.rewind()
	p.tellRoomLocked()
	return true
}

// close ends the peer and returns what it has not acknowledged and the number that
// the next frame to this incarnation would have had.
func (p *Peer) close() (unacked []Frame, next uint64) {
	p.mu.Lock()
	p.gone = true
	unacked, next = p.q.drain(), p.q.next
	waiting := p.waiting
	p.waiting = nil
	p.tellRoomLocked()
	p.mu.Unlock()
	p.end()
	for _, w := range waiting {
		w <- answer{err: ErrGone}
	}
	return unacked, next
}

// lag is the age of what has waited longest for an acknowledgement.
func (p *Peer) lag() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if since, ok := p.q.oldest(); ok {
		return time.Since(since)
	}
	return 0
}

// lastSent is the number of the last frame that was written.
func (p *Peer) lastSent() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.q.sent
}
