package c2s

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"chatd/router"
	"chatd/stanza"
)

const (
	// outboxBytes bounds what waits for one client besides what is being written. A client
	// for which more waits is closed, and what it was not sent is routed anew.
	outboxBytes = 1 << 20
	// pieceBytes is what is handed to the connection at once: one TLS record.
	pieceBytes = 16 << 10
	// writeTimeout is how long a client may take nothing at all while bytes wait.
	writeTimeout = 60 * time.Second
	// partingTimeout bounds the last words to a client.
	partingTimeout = time.Second
	// keptBuffer is the largest buffer that goes back to the pool.
	keptBuffer = 64 << 10
)

var errEnded = errors.New("c2s: session has ended")

// An outbox is what a session has yet to send: whole encoded stanzas. Whoever
// queues the first of them sees to the flush, with its batch or at once;
// whoever flushes writes until nothing is left. When the kernel takes no more,
// a goroutine that lives until it does takes over.
type outbox struct {
	mu      sync.Mutex
	queue   *[]byte       // pooled; nil when empty
	sending *[]byte       // being written; kept until the kernel has all of it
	sent    int           // how much of sending the connection has; owned by the holder of writing
	took    uint64        // how many bytes were ever taken from the queue
	written uint64        // how many of these are not in sending any more; a boundary of stanzas
	since   uint64        // the table's clock when the oldest stanza here was queued
	idle    chan struct{} // closed when writing becomes false or slow true; nil unless awaited
	marked  bool          // in somebody's batch
	writing bool          // somebody is writing
	slow    bool          // and may do so for as long as the client likes
	stuck   time.Time     // since when; zero while it is not slow
	failed  bool          // a write has failed: nothing is written any more
	closed  bool          // takes nothing more

	confirms confirmer // nil: the connection confirms nothing; fixed after creation
	spooled  bool      // the spool has what the confirmer has not settled

	copies  copies        // in the spool, of what the client is slow to take
	keeping chan struct{} // closed when whoever makes copies is done; nil: nobody does

	inactive *postponement // what waits until the client is active; nil while it is
	managed  *managed      // nil without stream management
	storing  bool          // messages belong into the store for now: the session is detached or catches up
	leaving  bool          // the connection is gone, and what the client has not acknowledged is being stored
	left     bool          // ... or has been, as far as the spool takes it
	detached bool          // ... and the session waits for another connection
	over     bool          // somebody ends the detached session or takes it over
	next     *Session      // the session that took over, which gets what is still sent here
	taken    chan struct{} // closed when the session is detached for somebody who waits for that; else nil
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

func release(b *[]byte) {
	if b != nil && cap(*b) <= keptBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// Send is router.Session.
func (s *Session) Send(b *router.Batch, st *stanza.Stanza) bool {
	o := &s.out
	o.mu.Lock()
	if o.closed {
		next := o.next
		o.mu.Unlock()
		return next != nil && next.Send(b, st)
	}
	if o.storing && router.Storable(st) && st.From.Bare() != s.jid.Bare() { // carbons stay here
		o.mu.Unlock()
		return false
	}
	if o.inactive != nil {
		if o.inactive.take(st) {
			o.mu.Unlock()
			return true
		}
		o.catchUpLocked() // the client wakes up anyway
	}
	if s.fullLocked(st.Size()) && !s.makeRoomLocked(st.Size()) {
		o.closed = true
		o.mu.Unlock()
		s.srv.Metrics.SlowClients.Inc()
		s.overflow()
		return false
	}
	o.queueStanzaLocked(s.srv.router.Table.Clock(), st.Append)
	s.queuedLocked(b)
	return true
}

// fullLocked reports whether another stanza of so many bytes is too much. One is
// always taken when nothing waits.
func (s *Session) fullLocked(size int) bool {
	o := &s.out
	waiting := len(o.queueLocked())
	if m := o.managed; m != nil && (waiting > 0 || len(m.sizes) > 0) && m.full(waiting+size, s.srv.cfg.Load()) {
		return true
	}
	return waiting > 0 && waiting+size > outboxBytes
}

// makeRoomLocked writes what is queued if nobody has tried yet, and reports whether
// there is room then. It unlocks meanwhile.
func (s *Session) makeRoomLocked(size int) bool {
	o := &s.out
	if o.writing || o.failed || o.queue == nil {
		return false
	}
	o.writing = true
	s.writeLocked()
	o.mu.Lock()
	return !o.closed && !s.fullLocked(size)
}

// queueStanzaLocked queues what encode appends: one stanza. now is the table's clock.
func (o *outbox) queueStanzaLocked(now uint64, encode func([]byte) []byte) {
	if o.queue == nil {
		o.queue = buffers.Get().(*[]byte)
		if o.sending == nil && (o.managed == nil || len(o.managed.sizes) == 0) && (o.confirms == nil || o.confirms.settled()) {
			o.since = now
		}
	}
	before := len(*o.queue)
	*o.queue = encode(*o.queue)
	if o.managed != nil {
		o.managed.queued = append(o.managed.queued, int32(len(*o.queue)-before))
	}
}

// queuedLocked sees to the flush of what was just queued, and unlocks.
func (s *Session) queuedLocked(b *router.Batch) {
	o := &s.out
	first := !o.marked && !o.writing
	if first {
		o.marked = true
	}
	o.mu.Unlock()
	if first {
		b.Add(s)
	} else {
		b.Behind(s)
	}
}

// overflow ends a session whose client does not take what it is sent.
func (s *Session) overflow() {
	s.broken.Store(true)
	s.Close(stanza.StreamResourceConstraint)
}

// Flush is router.Flusher: it writes what is queued and does not block.
func (s *Session) Flush() (sent bool) {
	o := &s.out
	o.mu.Lock()
	o.marked = false
	if o.writing || o.failed || o.queue == nil {
		sent = !o.writing && !o.failed
		o.mu.Unlock()
		return sent
	}
	o.writing = true
	return s.writeLocked()
}

// writeLocked writes until the queue is empty, as the holder of writing, and
// unlocks. It reports whether all has been written.
func (s *Session) writeLocked() (sent bool) {
	o := &s.out
	for o.queue != nil && !o.failed {
		o.takeQueueLocked()
		o.mu.Unlock()
		done, err := s.writeSending()
		if err == nil && !done {
			o.mu.Lock()
			o.slow = true
			o.stuckLocked()
			o.wakeLocked()
			o.mu.Unlock()
			go s.drain()
			return false
		}
		o.mu.Lock()
		s.wroteLocked(err)
	}
	sent = !o.failed
	o.stopWritingLocked()
	o.mu.Unlock()
	return sent
}

// writeSending hands what is being sent to the connection, piece by piece, until the
// kernel takes no more; done means that it has taken all.
func (s *Session) writeSending() (done bool, err error) {
	o := &s.out
	for o.sent < len(*o.sending) {
		n, pending, err := s.wire.write((*o.sending)[o.sent:])
		if err != nil {
			return false, err
		}
		o.sent += n
		if pending > 0 {
			return false, nil
		}
	}
	return true, nil
}

// wroteLocked ends the sending of what was taken from the queue. After an error it
// stays, to be routed anew before what is queued behind it.
func (s *Session) wroteLocked(err error) {
	o := &s.out
	if err != nil {
		o.failed = true
		s.fail(err)
		return
	}
	release(o.sending)
	o.sending = nil
	o.written = o.took
	if len(o.copies) > 0 {
		s.dropCopiesLocked()
	}
}

// takeQueueLocked makes the queue what is being sent.
func (o *outbox) takeQueueLocked() {
	o.sending, o.queue, o.sent = o.queue, nil, 0
	o.took += uint64(len(o.sendingLocked()))
	if o.managed != nil && o.sending != nil {
		o.managed.written(*o.sending)
		if o.managed.ask(false) {
			*o.sending = append(*o.sending, askAck...)
		}
	}
}

// settleTimeout bounds how long anyone waits for another one's system calls.
const settleTimeout = 100 * time.Millisecond

// Settle is router.Settler.
func (s *Session) Settle() (sent bool) {
	if s.Flush() {
		return true
	}
	o := &s.out
	o.mu.Lock()
	if !o.writing || o.slow {
		o.mu.Unlock()
		return false
	}
	idle := o.idleLocked()
	o.mu.Unlock()
	timeout := time.NewTimer(settleTimeout)
	defer timeout.Stop()
	select {
	case <-idle:
	case <-timeout.C:
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.writing && !o.failed && o.queue == nil
}

// idleLocked is closed when nobody is writing any more, or only as fast as the client takes it.
func (o *outbox) idleLocked() <-chan struct{} {
	if o.idle == nil {
		o.idle = make(chan struct{})
	}
	return o.idle
}

// stuckLocked notes since when the client is slow: until all is written.
func (o *outbox) stuckLocked() {
	if o.stuck.IsZero() {
		o.stuck = time.Now()
	}
}

func (o *outbox) stopWritingLocked() {
	o.writing, o.slow, o.stuck = false, false, time.Time{}
	o.wakeLocked()
}

func (o *outbox) wakeLocked() {
	if o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
}

// drain waits for a slow client, as the holder of writing. It ends when the
// client has taken all, has taken nothing for writeTimeout, or the session ends.
func (s *Session) drain() {
	err := s.sendAll()
	s.out.mu.Lock()
	s.out.slow = false
	s.wroteLocked(err)
	s.writeLocked()
}

// sendAll blocks until the kernel has everything that is being sent, as the holder of writing.
func (s *Session) sendAll() error {
	for {
		if err := s.drainWire(); err != nil {
			return err
		}
		if s.out.sending == nil {
			return nil
		}
		if done, err := s.writeSending(); done || err != nil {
			return err
		}
	}
}

// drainWire blocks until the connection's backlog is written.
func (s *Session) drainWire() error {
	for {
		before := s.wire.unwritten()
		ending := s.allowTime()
		err := s.wire.drain()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || ending || s.wire.unwritten() >= before {
			return err
		}
	}
}

// allowTime gives a slow client time, little if the session is ending.
func (s *Session) allowTime() (ending bool) {
	s.wire.writeDeadline(time.Now().Add(writeTimeout))
	s.out.mu.Lock()
	ending = s.out.closed || s.stopping()
	s.out.mu.Unlock()
	if ending {
		s.wire.writeDeadline(time.Now().Add(partingTimeout))
	}
	return ending
}

// acquireLocked makes the caller, who holds the lock, the holder of writing. It fails when there is no connection any more.
func (o *outbox) acquireLocked(ctx context.Context) error {
	for o.writing {
		if o.detached {
			return errEnded
		}
		idle := o.idleLocked()
		o.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
		}
		o.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	o.writing, o.slow = true, true
	o.stuckLocked()
	return nil
}

// SendNow is router.Session.
func (s *Session) SendNow(ctx context.Context, sts []*stanza.Stanza, seqs []int64) (kept bool, err error) {
	page := buffers.Get().(*[]byte)
	for _, st := range sts {
		*page = st.Append(*page)
	}
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.acquireLocked(ctx); err != nil {
		return false, fmt.Errorf("c2s: waiting to write: %w", err)
	}
	if o.closed || o.failed {
		o.stopWritingLocked()
		return false, errEnded
	}
	if o.queue != nil {
		o.takeQueueLocked()
		if err := s.sendAllLocked(); err != nil {
			o.stopWritingLocked()
			return false, err
		}
	}
	if o.managed != nil {
		o.managed.add(seqs)
		kept = true
		if o.managed.ask(true) {
			*page = append(*page, askAck...)
		}
	}
	if err := s.handOverLocked(ctx, page); err != nil {
		o.stopWritingLocked()
		return kept, err
	}
	s.writeLocked()
	o.mu.Lock()
	return kept, nil
}

// sendAllLocked blocks, unlocked, until what is being sent is sent.
func (s *Session) sendAllLocked() error {
	s.out.mu.Unlock()
	err := s.sendAll()
	s.out.mu.Lock()
	s.wroteLocked(err)
	if err != nil {
		return fmt.Errorf("c2s: write: %w", err)
	}
	return nil
}

// last writes the last words to the client behind what is queued, as far as it
// takes them within partingTimeout. Nothing is written after them.
func (s *Session) last(words []byte) {
	o := &s.out
	ctx, cancel := context.WithTimeout(context.Background(), partingTimeout)
	defer cancel()
	s.wire.writeDeadline(time.Now().Add(partingTimeout))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.acquireLocked(ctx) != nil {
		return
	}
	defer o.stopWritingLocked()
	defer func() { o.failed = true }()
	if o.failed {
		return
	}
	if o.queue != nil {
		o.takeQueueLocked()
		if s.sendAllLocked() != nil {
			return
		}
	}
	if !s.graceful {
		_ = s.settleLocked(ctx)
	}
	if s.graceful && o.managed != nil && (o.confirms == nil || o.confirms.settled()) {
		// The client has left in order, and the connection has taken everything for it.
		s.farewell, _ = o.managed.ack(o.managed.handled + uint32(len(o.managed.sizes)))
	}
	o.mu.Unlock()
	defer o.mu.Lock()
	_ = s.writeParting(words)
}

func (s *Session) writeParting(p []byte) error {
	for len(p) > 0 {
		n, pending, err := s.wire.write(p)
		if err == nil && pending > 0 {
			err = s.wire.drain()
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// unsent closes the outbox and hands over what the client did not get, as far as we
// know: stanzas, of which the first skip bytes were taken by the kernel. since is the
// table's clock when the oldest of them was queued. After it nobody writes; the wire
// has been aborted, so that no writer is stuck.
func (s *Session) unsent() (stanzas []byte, skip int, since uint64) {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.awaitCopiesLocked() // of what is given back here
	if !o.detached {      // else nobody writes any more
		_ = o.acquireLocked(context.Background())
	}
	switch {
	case o.managed != nil:
		stanzas = o.managed.left(o.queueLocked())
	case o.confirms != nil:
		if unsettled := o.confirms.unsettled(); !o.spooled {
			stanzas = unsettled
		}
		if o.sending != nil {
			stanzas = append(stanzas, (*o.sending)[o.sent:]...)
		}
		stanzas = append(stanzas, o.queueLocked()...)
	default:
		if o.sending != nil {
			stanzas = append(stanzas, *o.sending...)
			skip = o.sent - s.wire.uncertain()
		}
		stanzas = append(stanzas, o.queueLocked()...)
	}
	o.sending, o.queue, o.managed = nil, nil, nil
	return stanzas, max(0, skip), o.since
}

func (o *outbox) sendingLocked() []byte {
	if o.sending == nil {
		return nil
	}
	return *o.sending
}

func (o *outbox) queueLocked() []byte {
	if o.queue == nil {
		return nil
	}
	return *o.queue
}
