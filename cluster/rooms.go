package cluster

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"chatd/router"
)

// Kinds of the frames about rooms, which package muc makes: the room's name, the sender's name, and what is muc's.
const (
	firstRoomKind byte = 60
	lastRoomKind  byte = 99
)

// Rooms are where each room has its home, and the frames about rooms. Its methods are safe for concurrent use, and none blocks.
type Rooms struct {
	// Frame deals with a frame, on a goroutine that may block: those about one room one after another, and in the order in
	// which each node has sent them.
	Frame func(ctx context.Context, b *router.Batch, node string, kind byte, room string, payload []byte)
	// Placed is called when rooms may have to move, or nodes have come or gone. It may block.
	Placed func(ctx context.Context)
	// Down is called when a node is gone that had been there, with the frames of Send that it has not confirmed, in order: behind all frames
	// of the node, and before any that it sends when it is back. left: it was stopped, and has given its sessions to others. It must not block.
	Down func(node string, left bool, unacked []RoomFrame)
	// Overflowed is told of a frame of another node that there was no room for, and that Frame will not see. It must not block; the payload is a view.
	Overflowed func(node string, kind byte, room string, payload []byte)

	s       *Service
	without atomic.Pointer[withoutSelf]

	telling sync.Mutex // taken before mu
	mu      sync.Mutex
	linked  []*linked // in order
	names   atomic.Pointer[[]string]
}

// maxHeld bounds the frames for a node that is gone while others may not have noticed.
const maxHeld = 1 << 16

// A linked is a node from when it is up until rooms have been told that it is gone, which they are when all others know it that will: there is one of a name.
type linked struct {
	peer   *Peer
	frames []RoomFrame // for rooms when it is gone
	left   bool        // it has not died
	hidden bool        // its rows are
}

// A RoomFrame is a frame that was sent.
type RoomFrame struct {
	Kind    byte
	Room    string
	Payload []byte
}

// withoutSelf is where rooms would be if this node were not there.
type withoutSelf struct{ of, then *Placement }

// Node is the name of this node.
func (r *Rooms) Node() string { return r.s.name }

// Home is the node where a room has its home.
func (r *Rooms) Home(room string) string { return r.s.replica.Places.Current().Home(room) }

// Second is the node where a room would have its home without this one, "" if there is no other.
func (r *Rooms) Second(room string) string {
	now := r.s.replica.Places.Current()
	w := r.without.Load()
	if w == nil || w.of != now {
		w = &withoutSelf{now, r.s.replica.Places.without(now, r.s.name)}
		r.without.Store(w)
	}
	if w.then == nil {
		return ""
	}
	return w.then.Home(room)
}

// Token is that of the placement.
func (r *Rooms) Token() Token { return r.s.replica.Places.Current().Token }

// Nodes is the names of the other nodes that are up, in order. The caller must not change the slice.
func (r *Rooms) Nodes() []string {
	if names := r.names.Load(); names != nil {
		return *names
	}
	return nil
}

// note has Nodes be what is linked. The caller holds mu.
func (r *Rooms) note() {
	names := make([]string, len(r.linked))
	for i, l := range r.linked {
		names[i] = l.peer.Name
	}
	slices.Sort(names)
	r.names.Store(&names)
}

// Split reports whether a node is missing that has not said that it leaves.
func (r *Rooms) Split() bool { return r.s.Split() }

// Send sends a frame, kinds being counted from 0, to another node or to this one. It never blocks; false: the node is not there, or has too
// much to do; this one takes all until it stops.
func (r *Rooms) Send(node string, kind byte, room string, parts ...[]byte) bool {
	buf := encoded.Get().(*[]byte)
	defer encoded.Put(buf)
	*buf = appendText(appendText((*buf)[:0], room), r.s.name)
	if node == r.s.name {
		for _, p := range parts {
			*buf = append(*buf, p...)
		}
		return r.s.arrivals.put([]byte(room), job{kind: firstRoomKind + kind}, *buf)
	}
	for _, p := range r.s.peers() {
		if p.Name != node {
			continue
		}
		r.s.replica.Flush(p) // so that the other node knows who it is from
		if _, ok := p.Send(firstRoomKind+kind, append([][]byte{*buf}, parts...)...); ok {
			return true
		}
	}
	return r.hold(node, RoomFrame{kind, room, bytes.Join(parts, nil)})
}

// hold keeps a frame for a node that is gone, be it that nobody has been told, with those that it has not confirmed.
func (r *Rooms) hold(node string, f RoomFrame) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.linked, func(l *linked) bool { return l.peer.Name == node })
	if i < 0 || r.linked[i].peer.Down() == nil || len(r.linked[i].frames) >= maxHeld {
		return false
	}
	r.linked[i].frames = append(r.linked[i].frames, f)
	return true
}

// rises notes that a node is up, when rooms know the end of the one before it.
func (r *Rooms) rises(p *Peer) {
	r.left(p.Name)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.linked = append(r.linked, &linked{peer: p})
	r.note()
}

// leaves notes that a node is gone, before its rows are hidden.
func (r *Rooms) leaves(p *Peer, left bool, unacked []Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.linked {
		if l.peer == p {
			l.left, l.frames = left, append(r.unacked(unacked), l.frames...)
		}
	}
}

// hidden notes that they are.
func (r *Rooms) hidden(p *Peer) {
	r.mu.Lock()
	for _, l := range r.linked {
		l.hidden = l.hidden || l.peer == p
	}
	r.mu.Unlock()
	if r.s.replica.settled.Load() {
		r.left("")
	}
}

// left tells of all nodes that are gone, or of one of them.
func (r *Rooms) left(node string) {
	r.telling.Lock()
	defer r.telling.Unlock()
	var rest, gone []*linked
	r.mu.Lock()
	for _, l := range r.linked {
		if l.hidden && (node == "" || l.peer.Name == node) {
			gone = append(gone, l)
		} else {
			rest = append(rest, l)
		}
	}
	r.linked = rest
	r.note()
	r.mu.Unlock()
	for _, l := range gone {
		if r.Down != nil {
			r.Down(l.peer.Name, l.left, l.frames)
		}
	}
}

// deal takes a frame on a worker's goroutine, and reports whether it can be used.
func (r *Rooms) deal(b *router.Batch, kind byte, payload []byte) bool {
	room, rest, ok := cutTo(payload)
	node, rest, also := cutTo(rest)
	if !ok || !also || r.Frame == nil {
		return false
	}
	r.Frame(r.s.ctx, b, string(node), kind-firstRoomKind, string(room), rest)
	return true
}

// unacked is the frames about rooms among those that a peer has not confirmed.
func (r *Rooms) unacked(frames []Frame) (all []RoomFrame) {
	for _, f := range frames {
		if f.Kind < firstRoomKind || f.Kind > lastRoomKind {
			continue
		}
		room, rest, ok := cutTo(f.Payload)
		if _, rest, ok2 := cutTo(rest); ok && ok2 {
			all = append(all, RoomFrame{f.Kind - firstRoomKind, string(room), rest})
		}
	}
	return all
}

func (r *Rooms) settled() { r.left("") }

func (r *Rooms) placed(*Placement) {
	if r.Placed != nil {
		r.s.background(r.Placed)
	}
}

// overflowed is for a frame that there was no room for.
func (r *Rooms) overflowed(node string, payload []byte, kind byte) {
	room, rest, _ := cutTo(payload)
	r.s.log.Warn("too much arrives: a frame about a room is not taken", "node", node, "kind", kind-firstRoomKind, "room", string(room))
	if _, rest, ok := cutTo(rest); ok && r.Overflowed != nil {
		r.Overflowed(node, kind-firstRoomKind, string(room), rest)
	}
}
