package c2s

import (
	"crypto/tls"
	"net"
	"time"
)

// nowhere is the transport of a session that had its connection in another process.
type nowhere struct{}

var nobody peer

func (nowhere) peer() *peer                                        { return &nobody }
func (nowhere) startTLS(*tls.Config) (*tls.ConnectionState, error) { return nil, net.ErrClosed }
func (nowhere) deadline(time.Time)                                 {}
func (nowhere) park() error                                        { return net.ErrClosed }
func (nowhere) await(func() bool) (int, error)                     { return 0, net.ErrClosed }
func (nowhere) wake()                                              {}
func (nowhere) rest()                                              {}
func (nowhere) read([]byte) (int, error)                           { return 0, net.ErrClosed }
func (nowhere) write([]byte) (n, pending int, err error)           { return 0, 0, net.ErrClosed }
func (nowhere) drain() error                                       { return net.ErrClosed }
func (nowhere) writeDeadline(time.Time)                            {}
func (nowhere) unwritten() int                                     { return 0 }
func (nowhere) owed() int                                          { return 0 }
func (nowhere) uncertain() int                                     { return 0 }
func (nowhere) finish()                                            {}
func (nowhere) abort()                                             {}
func (nowhere) linger()                                            {}
