package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
)

// A socket is a TCP connection in two lives. The first is blocking, with
// deadlines, on a goroutine that logs in. Detached, it is a descriptor that
// belongs to the loop, and Read and Write never wait. crypto/tls sits on top of
// it through both.
type socket struct {
	net.Conn         // until detach
	fd       int     // after detach; else -1
	out      []byte  // what the kernel did not take
	dry      bool    // the kernel had less than asked for: the next read would find nothing
	fatal    error   // of a write
	watch    *poller // to be told when the kernel takes more
	token    int32
}

// errWouldBlock is what a detached socket's Read says when there is nothing. That
// it is temporary lets a tls.Conn go on afterwards.
var errWouldBlock net.Error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "would block" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// detach begins the second life.
func (s *socket) detach() error {
	raw, err := s.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var dupErr error
	if err := raw.Control(func(fd uintptr) { s.fd, dupErr = duplicate(int(fd)) }); err != nil {
		return err
	}
	if dupErr != nil {
		return os.NewSyscallError("dup", dupErr)
	}
	err = s.Conn.Close()
	s.Conn = nil
	return err
}

func (s *socket) Read(b []byte) (int, error) {
	if s.Conn != nil {
		return s.Conn.Read(b)
	}
	if s.dry {
		return 0, errWouldBlock
	}
	n, err := readNow(s.fd, b)
	switch {
	case err == nil && n == 0:
		return 0, io.EOF
	case errors.Is(err, errAgain):
		s.dry = true
		return 0, errWouldBlock
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	}
	s.dry = n < len(b)
	return n, nil
}

// Write of a detached socket keeps what the kernel does not take, for retry.
func (s *socket) Write(b []byte) (int, error) {
	if s.Conn != nil {
		return s.Conn.Write(b)
	}
	n := 0
	if len(s.out) == 0 {
		var err error
		if n, err = s.writeNow(b); err != nil {
			return 0, err
		}
	}
	if n < len(b) {
		s.out = append(s.out, b[n:]...)
		s.watch.wantWrite(s.fd, s.token, true)
	}
	return len(b), nil
}

// retry goes on with what the kernel did not take.
func (s *socket) retry() error {
	n, err := s.writeNow(s.out)
	if err != nil {
		return err
	}
	s.out = s.out[:copy(s.out, s.out[n:])]
	if len(s.out) == 0 {
		s.watch.wantWrite(s.fd, s.token, false)
	}
	return nil
}

func (s *socket) writeNow(b []byte) (int, error) {
	if s.fatal != nil {
		return 0, s.fatal
	}
	n, err := writeNow(s.fd, b)
	if errors.Is(err, errAgain) {
		return 0, nil
	}
	if err != nil {
		s.fatal = os.NewSyscallError("write", err)
		return 0, s.fatal
	}
	return n, nil
}

// Close ends either life.
func (s *socket) Close() error {
	if s.Conn != nil {
		return s.Conn.Close()
	}
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	return closeNow(fd)
}

// A session is a connection that is logged in, or that a relay pairs. It belongs
// to the loop.
type session struct {
	user   int // its number among all users
	jid    string
	bare   string
	socket *socket
	tls    *tls.Conn // nil: plain
	stream io.ReadWriter
	in     []byte // an element's beginning, or what came with the login
	pend   []byte // to be written at the end of the loop's turn
	dirty  bool   // pend is not empty
	dead   bool
	roster []byte // as it was at login, if asked for
	pings  int    // that have not been answered
	slot   int    // in the loop
}

// maxBacklog is how much may wait for a slow server, in bytes; what comes on top of it waits
// as a number only.
const maxBacklog = 64 << 10

func (s *session) blocked() bool { return len(s.socket.out)+len(s.pend) > maxBacklog }
