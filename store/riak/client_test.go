package riak_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/riak"
	"chatd/store/riak/riaktest"
)

// impostor listens, and answers each request with what answer says; nil: with nothing.
func impostor(t *testing.T, answer func(request []byte) []byte) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var group sync.WaitGroup
	t.Cleanup(func() { ln.Close(); group.Wait() })
	group.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer c.Close()
				defer context.AfterFunc(t.Context(), func() { c.Close() })()
				request := make([]byte, 4<<10)
				for {
					n, err := c.Read(request)
					if err != nil {
						return
					}
					if _, err := c.Write(answer(request[:n])); err != nil {
						return
					}
				}
			})
		}
	})
	return ln.Addr().String()
}

// TestNoRiak: what is no Riak, or has gone mad, is unavailable, and costs neither memory nor the process.
func TestNoRiak(t *testing.T) {
	pong := []byte{0, 0, 0, 1, 2}
	for name, answer := range map[string]func([]byte) []byte{
		"HTTP":    func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") },
		"nothing": func([]byte) []byte { return nil },
		"an empty message": func(request []byte) []byte {
			if len(request) == 5 && request[4] == 1 {
				return pong
			}
			return []byte{0, 0, 0, 0}
		},
		"always a pong": func([]byte) []byte { return pong },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := riak.Open(t.Context(), riak.Config{Nodes: []string{impostor(t, answer)}})
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

// TestProxyOfDeadNode: something accepts connections for a node that is dead, which ends them at once.
func TestProxyOfDeadNode(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var accepting sync.WaitGroup
	t.Cleanup(func() { ln.Close(); accepting.Wait() })
	accepting.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	})
	double := cluster(t)
	s := open(t, "", ln.Addr().String(), double.Addrs()[0])
	for range 10 {
		appendText(t, s, "anna", "x")
	}
	_, err = riak.Open(t.Context(), riak.Config{Nodes: []string{ln.Addr().String()}})
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), io.EOF.Error()) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("opened: %v", err)
	}
}

// TestCallersLeave: callers whose contexts end leave a node that is silent at once, and those who come later do not wait for it.
func TestCallersLeave(t *testing.T) {
	double := cluster(t)
	s := open(t, "", double.Addrs()[:2]...)
	appendText(t, s, "anna", "first")
	double.Fault(riaktest.Fault{Do: riaktest.Hang, Op: riaktest.Get, Match: func(b, _ string) bool { return b == "roster" }})
	var callers sync.WaitGroup
	for range 200 {
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if _, err := s.Roster(ctx, "anna"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("left with %v", err)
			}
		})
	}
	callers.Wait()
	double.Mend()
	if _, err := s.Roster(t.Context(), "anna"); err != nil {
		t.Error(err)
	}
}

// TestCloseUnderWay: callers are told at once that the store is closed, and their commands end before Close returns.
func TestCloseUnderWay(t *testing.T) {
	double := cluster(t)
	s, err := riak.Open(t.Context(), riak.Config{Nodes: double.Addrs()})
	must(t, err)
	hang := double.Fault(riaktest.Fault{Do: riaktest.Delay, Op: riaktest.Get, For: 200 * time.Millisecond})
	told := make(chan error)
	go func() {
		_, err := s.Roster(t.Context(), "anna")
		told <- err
	}()
	for hang.Hits() == 0 {
		time.Sleep(time.Millisecond)
	}
	must(t, s.Close())
	if err := <-told; !errors.Is(err, store.ErrClosed) {
		t.Errorf("told %v", err)
	}
}
