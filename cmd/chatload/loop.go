package main

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// A loop owns the sessions of one process: a single goroutine that waits for
// any of them, reads, hands on element by element, and writes at the end of its
// turn whatever the elements gave rise to, one write per session.
type loop struct {
	poll     *poller
	start    time.Time
	now      int64 // ns since start, when the bytes at hand were read
	buf      []byte
	sessions []*session
	dirty    []*session
	alive    int

	handle func(s *session, elem []byte) // the bytes are the loop's
	lost   func(s *session, err error)   // told once of a session that ended
}

func newLoop() (*loop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	return &loop{poll: p, start: time.Now(), buf: make([]byte, 64<<10)}, nil
}

// clock is the time now, in ns since the loop was made.
func (l *loop) clock() int64 { return int64(time.Since(l.start)) }

// adopt takes over a detached session.
func (l *loop) adopt(s *session) {
	s.slot = len(l.sessions)
	s.socket.watch, s.socket.token = l.poll, int32(s.slot)
	l.sessions = append(l.sessions, s)
	l.alive++
	if err := l.poll.add(s.socket.fd, s.socket.token); err != nil {
		l.drop(s, err)
		return
	}
	l.now = l.clock()
	l.ready(int32(s.slot), true, false) // what came with the login
}

// step is one turn: it waits at most that long for anything to happen.
func (l *loop) step(timeout time.Duration) error {
	if len(l.dirty) > 0 {
		timeout = 0
	}
	err := l.poll.wait(timeout, l.ready)
	l.flush()
	return err
}

func (l *loop) ready(token int32, read, write bool) {
	s := l.sessions[token]
	if s.dead {
		return
	}
	var err error
	if write {
		err = s.socket.retry()
	}
	if read && err == nil {
		s.socket.dry = false
		err = l.read(s)
	}
	if err != nil {
		l.drop(s, err)
	}
}

// read takes what there is: for a plain socket as much as the buffer holds, since the
// poller reminds of the rest; for TLS all of it, since the poller cannot see what the
// tls.Conn already has.
func (l *loop) read(s *session) error {
	have := copy(l.buf, s.in)
	s.in = s.in[:0]
	for {
		n, err := s.stream.Read(l.buf[have:])
		l.now = l.clock()
		have += n
		if have, err = l.split(s, have, err); err != nil {
			if errors.Is(err, errWouldBlock) {
				err = nil
			}
			l.keep(s, have)
			return err
		}
		if s.tls == nil {
			l.keep(s, have)
			return nil
		}
	}
}

// split hands on the complete elements among the first have bytes of the buffer, and
// moves what is left to its front. It returns how much that is.
func (l *loop) split(s *session, have int, readErr error) (int, error) {
	at := 0
	for at < have && !s.dead {
		elem, n, err := nextElement(l.buf[at:have])
		if err != nil {
			return 0, err
		}
		at += n
		if elem == nil {
			break
		}
		if end := ended(elem); end != nil {
			return 0, end
		}
		l.handle(s, elem)
	}
	left := copy(l.buf, l.buf[at:have])
	if left == len(l.buf) {
		l.buf = append(l.buf, make([]byte, left)...)
	}
	return left, readErr
}

func (l *loop) keep(s *session, n int) {
	if n == 0 {
		s.in = nil
		return
	}
	s.in = append(s.in, l.buf[:n]...)
}

// ended says why the stream ends with this element; nil if it does not.
func ended(elem []byte) error {
	switch {
	case elem[1] == '/':
		return io.EOF
	case string(tagName(elem)) == "stream:error":
		return fmt.Errorf("stream error: %s", condition(elem))
	}
	return nil
}

// send has the session write what fill appends, at the end of this turn.
func (l *loop) send(s *session, fill func(b []byte) []byte) {
	if s.dead {
		return
	}
	s.pend = fill(s.pend)
	if !s.dirty {
		s.dirty = true
		l.dirty = append(l.dirty, s)
	}
}

func (l *loop) flush() {
	for i := 0; i < len(l.dirty); i++ { // which may grow on the way
		s := l.dirty[i]
		s.dirty = false
		if s.dead {
			continue
		}
		_, err := s.stream.Write(s.pend)
		s.pend = s.pend[:0]
		if err != nil {
			l.drop(s, err)
		}
	}
	l.dirty = l.dirty[:0]
}

// drop ends a session that failed.
func (l *loop) drop(s *session, err error) {
	if s.dead {
		return
	}
	l.end(s)
	l.lost(s, err)
}

func (l *loop) end(s *session) {
	s.dead = true
	s.in, s.pend = nil, nil
	l.alive--
	s.socket.Close() //nolint:errcheck // it is being given up
}

// close says good-bye for all sessions (RFC 6120 §4.4).
func (l *loop) close() {
	for _, s := range l.sessions {
		if !s.dead {
			l.send(s, func(b []byte) []byte { return append(b, "</stream:stream>"...) })
		}
	}
	l.flush()
	for _, s := range l.sessions {
		if !s.dead {
			l.end(s)
		}
	}
	l.poll.close()
}
