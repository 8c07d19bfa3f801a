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
	// outboxBytes bounds what waits for one client. A client for which more waits
	// is closed, and what it was not sent is routed anew.
	outboxBytes = 1 << 20
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
	idle    chan struct{} // closed when writing becomes false; nil unless awaited
	marked  bool          // in somebody's batch
	writing bool          // somebody is writing
	closed  bool          // takes nothing more

	inactive *postponement // what waits until the client is active; nil while it is
	managed  *managed      // nil without stream management
	detached bool          // the connection is gone and the session waits for another one
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
	if o.inactive != nil {
		if o.inactive.take(st) {
			o.mu.Unlock()
			return true
		}
		o.catchUpLocked() // the client wakes up anyway
	}
	if size := len(o.queueLocked()) + st.Size(); size > outboxBytes || o.managed != nil && o.managed.full(size) {
		o.closed = true
		o.mu.Unlock()
		s.srv.Metrics.SlowClients.Inc()
		s.overflow()
		return false
	}
	o.queueStanzaLocked(st.Append)
	s.queuedLocked(b)
	return true
}

// queueStanzaLocked queues what encode appends: one stanza.
func (o *outbox) queueStanzaLocked(encode func([]byte) []byte) {
	if o.queue == nil {
		o.queue = buffers.Get().(*[]byte)
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
	}
}

// overflow ends a session whose client does not take what it is sent.
func (s *Session) overflow() {
	s.broken.Store(true)
	s.Close(stanza.StreamResourceConstraint)
}

// Flush is router.Flusher: it writes what is queued and does not block.
func (s *Session) Flush() {
	o := &s.out
	o.mu.Lock()
	o.marked = false
	if o.writing || o.queue == nil {
		o.mu.Unlock()
		return
	}
	o.writing = true
	s.writeLocked()
}

// writeLocked writes until the queue is empty, as the holder of writing, and
// unlocks.
func (s *Session) writeLocked() {
	o := &s.out
	for o.queue != nil {
		o.takeQueueLocked()
		o.mu.Unlock()
		pending, err := s.wire.write(*o.sending)
		if err != nil {
			s.fail(err)
			o.mu.Lock()
			break // sending stays: it is routed anew
		}
		if pending > 0 {
			go s.drain()
			return
		}
		o.mu.Lock()
		release(o.sending)
		o.sending = nil
	}
	o.stopWritingLocked()
	o.mu.Unlock()
}

// takeQueueLocked makes the queue what is being sent.
func (o *outbox) takeQueueLocked() {
	o.sending, o.queue = o.queue, nil
	if o.managed != nil && o.sending != nil {
		o.managed.written(*o.sending)
		if o.managed.ask(false) {
			*o.sending = append(*o.sending, "<r xmlns='"+nsSM+"'/>"...)
		}
	}
}

func (o *outbox) stopWritingLocked() {
	o.writing = false
	if o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
}

// drain waits for a slow client, as the holder of writing. It ends when the
// client has taken all, has taken nothing for writeTimeout, or the socket is closed.
func (s *Session) drain() {
	o := &s.out
	for {
		before := s.wire.unwritten()
		s.allowTime()
		err := s.wire.drain()
		if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && s.wire.unwritten() < before && !s.stopping() {
			continue
		}
		o.mu.Lock()
		if err != nil {
			o.stopWritingLocked()
			o.mu.Unlock()
			s.fail(err)
			return
		}
		release(o.sending)
		o.sending = nil
		s.writeLocked()
		return
	}
}

// allowTime gives a slow client time, little if the session is ending.
func (s *Session) allowTime() {
	_ = s.wire.tcp.SetWriteDeadline(time.Now().Add(writeTimeout))
	s.out.mu.Lock()
	ending := s.out.closed || s.stopping()
	s.out.mu.Unlock()
	if ending {
		_ = s.wire.tcp.SetWriteDeadline(time.Now().Add(partingTimeout))
	}
}

// acquireLocked makes the caller, who holds the lock, the holder of writing.
func (o *outbox) acquireLocked(ctx context.Context) error {
	for o.writing {
		if o.idle == nil {
			o.idle = make(chan struct{})
		}
		idle := o.idle
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
	o.writing = true
	return nil
}

// SendNow is router.Session.
func (s *Session) SendNow(ctx context.Context, sts []*stanza.Stanza) error {
	page := buffers.Get().(*[]byte)
	defer release(page)
	sizes := make([]int32, len(sts))
	for i, st := range sts {
		before := len(*page)
		*page = st.Append(*page)
		sizes[i] = int32(len(*page) - before)
	}
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.acquireLocked(ctx); err != nil {
		return fmt.Errorf("c2s: waiting to write: %w", err)
	}
	if o.closed {
		o.stopWritingLocked()
		return errEnded
	}
	if o.queue != nil {
		o.takeQueueLocked()
		o.mu.Unlock()
		err := s.writeAll(*o.sending)
		o.mu.Lock()
		if err != nil {
			o.stopWritingLocked()
			return err
		}
		release(o.sending)
		o.sending = nil
	}
	if o.managed != nil {
		o.managed.add(*page, sizes)
	}
	o.mu.Unlock()
	err := s.writeAll(*page)
	o.mu.Lock()
	if err != nil {
		if o.managed != nil {
			o.managed.takeBack(len(sizes))
		}
		o.stopWritingLocked()
		return err
	}
	s.writeLocked()
	o.mu.Lock()
	return nil
}

// writeAll writes p as the holder of writing and blocks until the kernel has
// it; writeTimeout bounds that. On an error the session is ending.
func (s *Session) writeAll(p []byte) error {
	pending, err := s.wire.write(p)
	if err == nil && pending > 0 {
		s.allowTime()
		err = s.wire.drain()
	}
	if err != nil {
		s.fail(err)
		return fmt.Errorf("c2s: write: %w", err)
	}
	return nil
}

// last writes the session's last words behind what is queued, as far as the client
// takes them within partingTimeout, and closes the outbox.
func (s *Session) last(words []byte) {
	o := &s.out
	ctx, cancel := context.WithTimeout(context.Background(), partingTimeout)
	defer cancel()
	_ = s.wire.tcp.SetWriteDeadline(time.Now().Add(partingTimeout))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.acquireLocked(ctx) != nil {
		return
	}
	defer o.stopWritingLocked()
	o.takeQueueLocked()
	o.mu.Unlock()
	defer o.mu.Lock()
	if o.sending != nil {
		if s.writeParting(*o.sending) != nil {
			return // sending stays: it is routed anew
		}
		release(o.sending)
		o.sending = nil
	}
	_ = s.writeParting(words)
}

func (s *Session) writeParting(p []byte) error {
	pending, err := s.wire.write(p)
	if err == nil && pending > 0 {
		err = s.wire.drain()
	}
	return err
}

// unsent closes the outbox and hands over what the client did not get, as far as we
// know: whole stanzas. After it nobody writes; the socket must refuse to
// block before, so that no writer is stuck.
func (o *outbox) unsent() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if !o.detached { // else nobody writes any more
		_ = o.acquireLocked(context.Background())
	}
	var all []byte
	if o.managed != nil {
		all, _ = o.managed.left(o.queueLocked())
	} else {
		if o.sending != nil {
			all = append(all, *o.sending...)
		}
		all = append(all, o.queueLocked()...)
	}
	o.sending, o.queue, o.managed = nil, nil, nil
	return all
}

func (o *outbox) queueLocked() []byte {
	if o.queue == nil {
		return nil
	}
	return *o.queue
}
