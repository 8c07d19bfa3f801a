//go:build !linux

package main

import (
	"errors"
	"time"
)

// Elsewhere chatload builds and says what it misses: epoll and /proc.

var (
	errAgain   = errors.New("try again")
	errSupport = errors.New("chatload needs Linux")
)

type poller struct{}

func newPoller() (*poller, error) { return nil, errSupport }

func (*poller) close()                                            {}
func (*poller) add(int, int32) error                              { return errSupport }
func (*poller) wantWrite(int, int32, bool)                        {}
func (*poller) wait(time.Duration, func(int32, bool, bool)) error { return errSupport }
func readNow(int, []byte) (int, error)                            { return 0, errSupport }
func writeNow(int, []byte) (int, error)                           { return 0, errSupport }
func closeNow(int) error                                          { return errSupport }
func duplicate(int) (int, error)                                  { return 0, errSupport }
func descriptorLimit() int                                        { return 1 << 20 }
func processorTime() time.Duration                                { return 0 }
