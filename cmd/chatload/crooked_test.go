package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// startCrooked runs, for as long as the test, a relay that hands elements on by a
// rule, which rule makes for each direction.
func startCrooked(t *testing.T, rule func() func(number uint32, elem []byte, send func([]byte))) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		l.Close()
		group.Wait()
	})
	r := &relay{waiting: make(map[string]waiter)}
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer c.Close()
				hello := make([]byte, relayHelloBytes)
				if _, err := io.ReadFull(c, hello); err != nil {
					return
				}
				if peer := r.peer(ctx, string(hello), c); peer != nil {
					handOn(c, peer, rule())
				}
			})
		}
	})
	return l.Addr().String()
}

func handOn(from io.Reader, to io.WriteCloser, rule func(uint32, []byte, func([]byte))) {
	defer to.Close()
	var buf []byte
	in := make([]byte, 4096)
	for {
		n, err := from.Read(in)
		if err != nil {
			return
		}
		buf = append(buf, in[:n]...)
		for {
			elem, n, err := nextElement(buf)
			if err != nil {
				return
			}
			if m, ok := findMarker(elem); ok {
				rule(m.number, bytes.Clone(elem), func(b []byte) { to.Write(b) }) //nolint:errcheck // a lost one is noticed
			}
			buf = buf[n:]
			if elem == nil {
				break
			}
		}
	}
}

// through runs chat through a relay.
func through(t *testing.T, addr string, args ...string) *report {
	t.Helper()
	o, err := parseOptions("chat", args)
	if err != nil {
		t.Fatal(err)
	}
	o.RelayAddr = addr
	r, err := measure(t.Context(), o, "chat", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCounts has a relay that loses message 3 of each stream, sends 5 twice, 8
// after 9, and calls 11 an error.
func TestCounts(t *testing.T) {
	addr := startCrooked(t, func() func(uint32, []byte, func([]byte)) {
		var held []byte
		return func(number uint32, elem []byte, send func([]byte)) {
			switch number {
			case 3:
				return
			case 5:
				send(elem)
			case 8:
				held = elem
				return
			case 9:
				send(elem)
				elem = held
			case 11:
				elem = []byte(strings.Replace(string(elem), "type='chat'", "type='error'", 1))
			}
			send(elem)
		}
	})
	const streams, each = 6, 20
	r := through(t, addr, "-pairs", "3", "-rate", "1000", "-messages", "120", "-warmup", "0s", "-duration", "20s", "-drain", "500ms")
	want := messageReport{Sent: streams * each, Delivered: streams * (each - 2), Lost: 2 * streams, Duplicated: streams, Reordered: streams, Bounced: streams}
	m := r.Messages
	got := messageReport{Sent: m.Sent, Delivered: m.Delivered, Lost: m.Lost, Duplicated: m.Duplicated, Reordered: m.Reordered, Bounced: m.Bounced, Unsent: m.Unsent, Unexpected: m.Unexpected}
	if got != want || r.OK {
		t.Errorf("got %+v, want %+v; ok %v", got, want, r.OK)
	}
}

// TestCoordinatedOmission has a relay that stalls once, for half of the time. To
// a closed loop that is a single slow message of each stream; to an open one, half of all
// are late.
func TestCoordinatedOmission(t *testing.T) {
	const stall = 500 * time.Millisecond
	stalling := func() func(uint32, []byte, func([]byte)) {
		return func(number uint32, elem []byte, send func([]byte)) {
			if number == 20 {
				time.Sleep(stall)
			}
			send(elem)
		}
	}
	args := []string{"-pairs", "1", "-warmup", "0s", "-duration", "1s"}
	closed := through(t, startCrooked(t, stalling), args...)
	open := through(t, startCrooked(t, stalling), append(args, "-rate", "200")...)
	if !closed.OK || !open.OK {
		t.Fatalf("closed %+v, open %+v", closed.Messages, open.Messages)
	}
	ms := float64(stall / time.Millisecond)
	if l := closed.Messages.Latency; l.P90 > ms/2 || l.Max < ms*0.9 {
		t.Errorf("closed loop: %v", l)
	}
	if l := open.Messages.Latency; l.P90 < ms/2 || l.Max < ms*0.9 || l.Count < 190 {
		t.Errorf("open loop: %v", l)
	}
}
