package c2s

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"
)

func (b *bosh) peer() *peer { return &b.from }

// startTLS is not for BOSH: HTTPS is (XEP-0206 §2).
func (b *bosh) startTLS(*tls.Config) (*tls.ConnectionState, error) {
	return nil, errors.New("c2s: no STARTTLS over BOSH")
}

func (b *bosh) deadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(&b.readPast, &b.readTimer, t)
	b.expire(&b.writePast, &b.writeTimer, t)
}

func (b *bosh) writeDeadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(&b.writePast, &b.writeTimer, t)
}

// expire makes passed true at t, and false until then.
func (b *bosh) expire(passed *bool, timer **time.Timer, t time.Time) {
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	*passed = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		*passed = true
		b.changed.Broadcast()
		return
	}
	var mine *time.Timer
	mine = time.AfterFunc(wait, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if *timer == mine {
			*passed = true
			b.changed.Broadcast()
		}
	})
	*timer = mine
}

func (b *bosh) park() error {
	b.deadline(time.Time{})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.login && !b.over {
		b.books.loggedIn()
	}
	b.login = false
	return nil
}

func (b *bosh) await(ready func() bool) (taken int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if b.readPast {
			return 0, os.ErrDeadlineExceeded
		}
		if len(b.in) > 0 || b.inErr != nil {
			b.mu.Unlock()
			got := ready()
			b.mu.Lock()
			if got {
				taken, b.taken = b.taken, 0
				return taken, nil
			}
			continue
		}
		b.starve()
	}
}

// starve waits for input, or whatever else changes.
func (b *bosh) starve() {
	if !b.hungry {
		b.hungry = true
		b.respond()
	}
	b.changed.Wait()
}

func (b *bosh) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(&b.readPast, &b.readTimer, past)
}

func (b *bosh) rest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(&b.readPast, &b.readTimer, time.Time{})
}

// read blocks only before park.
func (b *bosh) read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.login && len(b.in) == 0 && b.inErr == nil && !b.readPast {
		b.starve()
	}
	b.hungry = false
	n = copy(p, b.in)
	if b.in = b.in[n:]; len(b.in) == 0 {
		b.in = nil
	}
	if n > 0 {
		b.advance()
		b.respond()
	}
	switch {
	case len(b.in) > 0:
		return n, nil
	case n == 0 && b.inErr != nil:
		return 0, b.inErr
	case n == 0 && b.login:
		return 0, os.ErrDeadlineExceeded
	case b.login:
		return n, nil
	}
	return n, errAgain
}

// write takes whole elements as long as there is room for another.
func (b *bosh) write(p []byte) (n, pending int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.out)
	for n < len(p) && (n == 0 || len(b.out) < boshOutputBytes) {
		if b.aborted || b.closed {
			return 0, 0, net.ErrClosed
		}
		size, err := b.put(p[n:])
		if err != nil {
			return 0, 0, err
		}
		n += size
	}
	if b.closed {
		b.words, b.out = bytes.Clone(b.out[before:]), b.out[:before]
	}
	b.respond()
	if len(b.out) >= boshOutputBytes {
		pending = len(b.out)
	}
	return n, pending, nil
}

func (b *bosh) drain() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.out) >= boshOutputBytes {
		if err := b.unwritable(); err != nil {
			return err
		}
		b.changed.Wait()
	}
	return nil
}

// unwritable says why it makes no sense to wait until the client takes something.
func (b *bosh) unwritable() error {
	switch {
	case b.aborted, b.left, b.closed:
		return net.ErrClosed
	case b.writePast:
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (b *bosh) unwritten() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.out)
}

func (b *bosh) owed() int { return 0 }

// uncertain is nothing: unsettled has it.
func (b *bosh) uncertain() int { return 0 }

// settle is confirmer.
func (b *bosh) settle(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed.Broadcast()
	})
	defer stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flushing++
	defer func() { b.flushing-- }()
	b.respond()
	for !b.settledLocked() {
		if err := b.unwritable(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.changed.Wait()
	}
	return nil
}

// settled is confirmer.
func (b *bosh) settled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.settledLocked()
}

func (b *bosh) settledLocked() bool {
	if b.reroutable {
		return false
	}
	for i := range b.sent {
		if b.sent[i].reroutable && !b.trusted(&b.sent[i]) {
			return false
		}
	}
	return true
}

// trusted reports whether a response counts as received although no request says so: a client that
// has left in order will send no more of them, and over TCP too what was written counts then.
func (b *bosh) trusted(r *boshResponse) bool { return b.left && r.written }

// unsettled is confirmer.
func (b *bosh) unsettled() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []byte
	for i := range b.sent {
		if r := &b.sent[i]; !b.trusted(r) {
			all = append(all, r.payload...)
		}
	}
	b.sent = nil // so that the client cannot have it any more
	return append(all, b.out...)
}

// finish does nothing: the stream's end tag has said it.
func (b *bosh) finish() {}

func (b *bosh) abort() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.aborted = true
	b.changed.Broadcast()
	b.respond()
}

// linger does not wait: who has not been told yet that the stream has ended is told by
// the next request, for which the books keep the session until the client is inactive.
func (b *bosh) linger() {
	b.deadline(time.Time{})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.aborted = true
	if b.inErr == nil {
		b.inErr = net.ErrClosed
	}
	b.in, b.sent = nil, nil
	if !b.login {
		b.out = nil
	}
	if !b.closed {
		b.forgetLocked()
	}
	b.changed.Broadcast()
	b.respond()
}

// negotiates reports whether nobody has logged in yet.
func (b *bosh) negotiates() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.login
}
