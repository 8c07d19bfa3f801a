package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A relay copies bytes between two sockets, or from each of several to all of them, and knows nothing of XML: the floor of
// what a server costs. Whoever connects says which others to be joined with.
type relay struct {
	mu      sync.Mutex
	waiting map[string]waiter // by hello
	rooms   map[string]*relayRoom
	conns   map[net.Conn]bool
	group   sync.WaitGroup
}

// A waiter is the first of two connections.
type waiter struct {
	conn net.Conn
	peer chan net.Conn
}

// A relayRoom is connections that each get what any of them sends.
type relayRoom struct {
	conns []net.Conn    // fixed once all are there
	full  chan struct{} // closed then
}

// relayHello is the first line of a connection: run and pair. roomHello is that of one of several: run, room, and how many they are.
const (
	relayHello      = "pair %08x %08x\n"
	roomHello       = "room %08x %04x%04x\n"
	relayHelloBytes = 23
)

// serve accepts until ctx ends, and ends all connections then.
func (r *relay) serve(ctx context.Context, l net.Listener) error {
	r.waiting, r.rooms, r.conns = make(map[string]waiter), make(map[string]*relayRoom), make(map[net.Conn]bool)
	stop := context.AfterFunc(ctx, func() {
		l.Close() //nolint:errcheck // ends Accept
		r.mu.Lock()
		defer r.mu.Unlock()
		for c := range r.conns {
			c.Close() //nolint:errcheck // ends its copying
		}
	})
	defer stop()
	defer r.group.Wait()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close() //nolint:errcheck // it came too late
			}
			return nil
		}
		if err != nil {
			return err
		}
		if !r.enter(ctx, c) {
			c.Close() //nolint:errcheck // one too many
		}
	}
}

// enter starts a connection's goroutine, unless there are too many.
func (r *relay) enter(ctx context.Context, c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) >= maxPerSocket || ctx.Err() != nil {
		return false
	}
	r.conns[c] = true
	r.group.Go(func() { r.connection(ctx, c) })
	return true
}

// connection copies from c to its peer until either ends.
func (r *relay) connection(ctx context.Context, c net.Conn) {
	defer r.leave(c)
	hello := make([]byte, relayHelloBytes)
	c.SetReadDeadline(time.Now().Add(pairing)) //nolint:errcheck // then Read fails
	if _, err := io.ReadFull(c, hello); err != nil {
		return
	}
	c.SetReadDeadline(time.Time{}) //nolint:errcheck // likewise
	if strings.HasPrefix(string(hello), "room ") {
		r.occupant(ctx, string(hello), c)
		return
	}
	peer := r.peer(ctx, string(hello), c)
	if peer == nil {
		return
	}
	defer peer.Close()
	// Read and Write, as a server does them: what io.Copy would do on
	// Linux, splice, is slower for little at a time.
	buf := make([]byte, 16<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := peer.Write(buf[:n]); err != nil {
			return
		}
	}
}

// occupant copies whole messages from c to everybody in its room, c included, until it ends.
func (r *relay) occupant(ctx context.Context, hello string, c net.Conn) {
	size, err := strconv.ParseUint(hello[relayHelloBytes-5:relayHelloBytes-1], 16, 16)
	if err != nil {
		return
	}
	room := r.room(hello, c, int(size))
	select {
	case <-room.full:
	case <-ctx.Done():
		return
	case <-time.After(pairing):
		return
	}
	buf := make([]byte, 16<<10)
	for have := 0; ; {
		n, err := c.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		whole := bytes.LastIndex(buf[:have], []byte("</message>"))
		if whole < 0 {
			if have == len(buf) {
				return // no message is as long
			}
			continue
		}
		whole += len("</message>")
		for _, to := range room.conns {
			to.Write(buf[:whole]) //nolint:errcheck // one that has ended gets nothing
		}
		have = copy(buf, buf[whole:have])
	}
}

// room enters a connection into the room that hello names.
func (r *relay) room(hello string, c net.Conn, size int) *relayRoom {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[hello]
	if room == nil {
		room = &relayRoom{full: make(chan struct{})}
		r.rooms[hello] = room
	}
	room.conns = append(room.conns, c)
	if len(room.conns) == size {
		delete(r.rooms, hello)
		close(room.full)
	}
	return room
}

// pairing is how long the first of two waits for the other.
const pairing = time.Minute

// peer is the connection that said the same; nil if there is none in time.
func (r *relay) peer(ctx context.Context, hello string, c net.Conn) net.Conn {
	r.mu.Lock()
	first, second := r.waiting[hello]
	if second {
		delete(r.waiting, hello)
		r.mu.Unlock()
		first.peer <- c
		return first.conn
	}
	w := waiter{c, make(chan net.Conn, 1)}
	r.waiting[hello] = w
	r.mu.Unlock()
	select {
	case peer := <-w.peer:
		return peer
	case <-ctx.Done():
	case <-time.After(pairing):
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[hello] == w {
		delete(r.waiting, hello)
	}
	return nil
}

func (r *relay) leave(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	c.Close() //nolint:errcheck // it is over
}

// runRelay is the sub-command.
func runRelay(ctx context.Context, e environment, args []string) error {
	fs := flag.NewFlagSet("relay", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:0", "")
	remote := fs.Bool("remote", false, "")
	duration := fs.Duration("duration", time.Hour, "")
	if err := parseFlags(fs, args); err != nil {
		return err
	}
	o := options{Addr: *listen, Remote: *remote, Timeout: 10 * time.Second}
	if err := o.checkTarget(ctx); err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *duration)
	defer cancel()
	fmt.Fprintln(e.stdout, "listening", l.Addr())
	return new(relay).serve(ctx, l)
}

// startRelay runs a relay in a process of its own, which stop ends.
func startRelay() (addr string, pid int, stop func(), err error) {
	cmd, err := self("relay")
	if err != nil {
		return "", 0, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, nil, err
	}
	stop = func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended after all
		cmd.Wait()         //nolint:errcheck // killed is how it ends
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if !ok {
		stop()
		return "", 0, nil, fmt.Errorf("the relay did not start: %w", err)
	}
	return addr, cmd.Process.Pid, stop, nil
}
