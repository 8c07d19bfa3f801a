package cluster

import (
	"encoding/binary"
	"sync"
	"time"
)

// A replicaPeer is replication with one incarnation of a node.
type replicaPeer struct {
	sender      Sender
	node        string
	incarnation uint64

	in receiver

	mu      sync.Mutex
	gone    bool
	retired bool      // is the home of nothing
	number  uint64    // of the snapshot that is being sent or was
	begun   bool      // it
	segment int       // the next one to be sent of it
	whole   bool      // all was sent
	cursor  uint64    // the last change sent
	sent    uint64    // bytes of rows sent since the snapshot began
	got     uint64    // as the peer says
	moved   time.Time // when it last did, or the snapshot began
	sending part      // a segment that is being sent
	repairs segments
	deltas  []byte    // buffer
	next    time.Time // a digest is due
	retry   time.Time // Send failed; zero: it did not

	reaches   map[string]bool // as it has told; nil: it has not
	placement uint64          // Token.Nodes of the one that it goes by

	tell      bool // the placement's token
	tellReach bool // whom this node reaches

	// What the receiving side wants to be sent.
	askAll  bool
	mayAsk  time.Time // when it may be asked for a snapshot next
	ask     segments
	applied struct{ number, bytes, told uint64 }

	compared time.Time // when the last digest came that could be compared; zero: none did yet
	differ   int       // segments that were not as their owner had them
}

// slice is how many frames one peer is sent before the next one has its turn.
const slice = 16

// send sends what there is to be sent, and returns when to try again at the latest.
func (r *Replica) send() time.Time {
	for {
		more := false
		now := time.Now()
		due := now.Add(digestEvery)
		for _, p := range r.all() {
			p.mu.Lock()
			if now.Before(p.retry) {
				due = earlier(due, p.retry)
				p.mu.Unlock()
				continue
			}
			p.retry = time.Time{}
			n := 0
			for n < slice && r.sendOne(p, now) {
				n++
			}
			more = more || n == slice
			switch {
			case !p.retry.IsZero():
				due = earlier(due, p.retry)
			case p.next.After(now):
				due = earlier(due, p.next)
			case !p.gone: // the window is full: kindGot wakes
				due = earlier(due, p.moved.Add(stallAfter))
			}
			if p.askAll && p.retry.IsZero() {
				due = earlier(due, p.mayAsk)
			}
			p.mu.Unlock()
		}
		if !more {
			return due
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (r *Replica) all() []*replicaPeer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]*replicaPeer, 0, len(r.peers))
	for _, p := range r.peers {
		list = append(list, p)
	}
	return list
}

// sendOne sends the peer one frame; false if there is nothing to be sent now. The caller holds p.mu.
func (r *Replica) sendOne(p *replicaPeer, now time.Time) bool {
	switch {
	case p.gone:
		return false
	case p.applied.bytes-p.applied.told >= window/8:
		return p.send(now, kindGot, numbers(p.applied.number, p.applied.bytes)) && p.told()
	case p.askAll && !now.Before(p.mayAsk):
		return p.sendAskAll(now)
	case !p.ask.empty():
		return p.sendAsk(now)
	case p.tellReach:
		p.tellReach = !p.send(now, kindReach, r.reach.encode())
		return !p.tellReach
	case p.tell:
		t := r.Places.Current().Token
		p.tell = !p.send(now, kindPlacement, numbers(t.Epoch, t.Nodes))
		return !p.tell
	case !p.begun:
		return r.begin(p, now)
	case p.sent-p.got >= window:
		return p.stalled(now) // else until kindGot
	case p.sending.records != nil:
		return p.sendPart(now)
	case p.cursor < r.log.last.Load():
		return r.sendDeltas(p, now)
	case p.segment < shardCount:
		r.load(p, p.segment, 0)
		p.segment++
		return p.sendPart(now)
	case !p.whole:
		p.whole = p.send(now, kindComplete, numbers(p.number, p.cursor))
		return p.whole
	case !p.repairs.empty():
		r.load(p, int(p.repairs.take(1)[0]), markRepair)
		return p.sendPart(now)
	case !now.Before(p.next):
		return r.sendDigest(p, now)
	}
	return false
}

// send sends one frame. If the link does not take it, the peer is left alone for a while.
func (p *replicaPeer) send(now time.Time, kind byte, parts ...[]byte) bool {
	_, ok := p.sender.Send(kind, parts...)
	if !ok {
		p.retry = now.Add(retryAfter)
	}
	return ok
}

// stalled begins anew with a peer that has not confirmed anything for long: what was sent did not reach it.
func (p *replicaPeer) stalled(now time.Time) bool {
	if now.Sub(p.moved) < stallAfter {
		return false
	}
	p.begun = false
	return true
}

func (p *replicaPeer) told() bool {
	p.applied.told = p.applied.bytes
	return true
}

func (p *replicaPeer) sendAskAll(now time.Time) bool {
	if p.askAll = !p.send(now, kindAsk); p.askAll {
		return false
	}
	p.mayAsk = now.Add(askPause)
	return true
}

func (p *replicaPeer) sendAsk(now time.Time) bool {
	rest := p.ask
	if !p.send(now, kindAsk, rest.take(shardCount)) {
		return false
	}
	p.ask = rest
	return true
}

// begin begins a snapshot: what changes from now on follows as deltas, to be applied to segments that
// were read before they changed.
func (r *Replica) begin(p *replicaPeer, now time.Time) bool {
	after := r.log.last.Load()
	if !p.send(now, kindSnapshot, numbers(p.number+1, after)) {
		return false
	}
	p.number++
	p.begun, p.whole, p.segment, p.cursor, p.sent, p.got, p.moved = true, false, 0, after, 0, 0, now
	p.sending, p.repairs = part{}, segments{}
	r.stats.snapshotsSent.Add(1)
	return true
}

// load reads a segment, to be sent in parts.
func (r *Replica) load(p *replicaPeer, k int, marks byte) {
	recs, last := r.local.encode(r.self, k, make([]byte, 0, r.local.segment(r.self, k).rows*meanRecord+1))
	p.sending = part{p.number, k, marks | markFirst, last, recs}
}

// sendPart sends what fits into a frame of the segment that is being sent.
func (p *replicaPeer) sendPart(now time.Time) bool {
	part := p.sending
	n := 0
	for n < len(part.records) && n < frameRows {
		n += recordSize(part.records[n:])
	}
	if n == len(part.records) {
		part.marks |= markLast
	}
	if !p.send(now, kindSegment, part.head(), part.records[:n]) {
		return false
	}
	p.sent += uint64(n)
	p.sending.records = part.records[n:]
	p.sending.marks &^= markFirst
	if part.marks&markLast != 0 {
		p.sending.records = nil
	}
	return true
}

// sendDeltas sends changes. If the peer was too slow for the log, it gets a snapshot.
func (r *Replica) sendDeltas(p *replicaPeer, now time.Time) bool {
	recs, upTo, ok := r.log.read(p.cursor, p.deltas, frameRows)
	if !ok {
		p.begun = false
		return true
	}
	p.deltas = recs
	if !p.send(now, kindDeltas, numbers(p.number, p.cursor+1), recs) {
		return false
	}
	r.stats.deltasSent.Add(upTo - p.cursor)
	p.cursor = upTo
	p.sent += uint64(len(recs))
	return true
}

func (r *Replica) sendDigest(p *replicaPeer, now time.Time) bool {
	b := make([]byte, 0, digestSize)
	b = append(b, numbers(p.number, p.cursor)...)
	for k := range shardCount {
		seg := r.local.segment(r.self, k)
		b = binary.LittleEndian.AppendUint64(b, seg.last)
		b = binary.LittleEndian.AppendUint64(b, seg.sum)
	}
	if !p.send(now, kindDigest, b) {
		return false
	}
	p.next, p.tell, p.tellReach = now.Add(digestEvery), true, true
	return true
}

// Flush sends the peer the changes made so far, without waiting for others. Called before a stanza is sent to the peer it
// makes sure that the peer knows the row of who it is from. It does not block. False: they could not all be sent.
func (r *Replica) Flush(s Sender) bool {
	p := r.peer(s)
	if p == nil {
		return false
	}
	last := r.log.last.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for p.begun && !p.gone && p.sent-p.got < window {
		switch {
		case p.sending.records != nil:
			if !p.sendPart(now) {
				return false
			}
		case p.cursor >= last:
			return p.whole
		case !r.sendDeltas(p, now):
			return false
		}
	}
	return false
}
