package chatd_test

import (
	"crypto/tls"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestHalfOpenConnections opens thousands of connections that go no further
// than some stage before login, while two users chat: they are not hurt, and
// the process stays small.
func TestHalfOpenConnections(t *testing.T) {
	const (
		connections = 5_000
		perEach     = 48 << 10        // bytes of memory; a TLS handshake is the dearest
		raceFactor  = 8               // what the race detector makes of them
		slowest     = 5 * time.Second // for one message while the machine is busy with the flood
	)
	srv := startServer(t, nil)
	romeo, juliet := srv.login(t, "romeo", "x"), srv.login(t, "juliet", "x")
	before := rss(t, srv)

	halves := []struct{ addr, send string }{
		{srv.plain, ""},
		{srv.plain, "<?xml version='1.0'?><stream:str"},
		{srv.plain, header(goodAttrs)},
		{srv.plain, header(goodAttrs) + "<starttls xmlns='" + nsTLS + "'/>"},
		{srv.plain, header(goodAttrs) + "<message>" + strings.Repeat("x", 5_000)},
		{srv.direct, ""},
		{srv.direct, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"}, // the beginning of a ClientHello
		{srv.direct, string(clientHello(t))},
	}
	flood := make([]net.Conn, 0, connections)
	defer func() {
		for _, conn := range flood {
			conn.Close()
		}
	}()
	for i := range connections {
		half := halves[i%len(halves)]
		conn, err := net.DialTimeout("tcp", half.addr, patience)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		flood = append(flood, conn)
		if _, err := io.WriteString(conn, half.send); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if i%100 == 0 {
			if took := exchange(t, romeo, juliet, i); took > slowest {
				t.Errorf("with %d connections a message takes %v", i, took)
			}
		}
	}
	srv.login(t, "mercutio", "x") // who comes later gets in as well
	if err := romeo.ping(); err != nil {
		t.Error(err)
	}
	bound := connections * perEach
	if raced(t) {
		bound *= raceFactor
	}
	if after := rss(t, srv); after > before+bound {
		t.Errorf("%d connections cost %d kB, %d bytes each", connections, (after-before)>>10, (after-before)/connections)
	} else {
		t.Logf("%d connections cost %d kB", connections, (after-before)>>10)
	}
}

// exchange has a message go from one to the other and an answer back.
func exchange(t *testing.T, a, b *client, i int) time.Duration {
	t.Helper()
	start := time.Now()
	for _, c := range [][2]*client{{a, b}, {b, a}} {
		id := "m" + strconv.Itoa(i)
		if err := c[0].send("<message id='" + id + "' to='" + c[1].full + "'><body>hello</body></message>"); err != nil {
			t.Fatal(err)
		}
		if n, err := c[1].next(); err != nil || n.attr("id") != id {
			t.Fatalf("instead of a message: %v, %v", n, err)
		}
	}
	return time.Since(start)
}

// raced reports whether the chatd under test is built with the race detector.
func raced(t *testing.T) bool {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// rss is the process's memory in bytes.
func rss(t *testing.T, s *server) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no /proc to read the memory from")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// clientHello is what a TLS client says first.
func clientHello(t *testing.T) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		defer far.Close()
		tls.Client(far, &tls.Config{ServerName: testDomain, NextProtos: []string{"xmpp-client"}}).Handshake()
	}()
	hello := make([]byte, 4096)
	n, err := near.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	return hello[:n]
}

// TestSlowLoris: however a client drags its feet, it has half a minute to log in.
func TestSlowLoris(t *testing.T) {
	t.Parallel()
	const lifetime, tolerance = 30 * time.Second, 8 * time.Second
	srv := startServer(t, nil)
	if err := srv.register("mallory", "secret"); err != nil {
		t.Fatal(err)
	}
	alive := srv.login(t, "romeo", "x")
	tests := []struct {
		name  string
		at    stage
		drips string // one byte a second, over and over
	}{
		{"silence", atStart, ""},
		{"header", atStart, header(goodAttrs)},
		{"silence after TLS", secured, ""},
		{"white space after TLS", secured, " "},
		{"element after TLS", secured, "<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>AAAA"},
	}
	var wg sync.WaitGroup
	for _, tt := range tests {
		c := reach(t, srv, tt.at)
		wg.Go(func() {
			if took := c.lives(tt.drips, lifetime+tolerance); took < lifetime-tolerance || took >= lifetime+tolerance {
				t.Errorf("%s: the connection lived for %v", tt.name, took)
			}
		})
	}
	wg.Wait()
	if err := alive.ping(); err != nil {
		t.Errorf("a session that is only quiet: %v", err)
	}
}

// lives sends a byte a second and reports after what time, at most limit, the
// server has closed the connection.
func (c *client) lives(drips string, limit time.Duration) time.Duration {
	start := time.Now()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		c.tcp.SetReadDeadline(start.Add(limit))
		io.Copy(io.Discard, c.in)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-gone:
			return time.Since(start)
		case <-tick.C:
			if drips != "" {
				c.conn.Write([]byte{drips[i%len(drips)]})
			}
		}
	}
}

// TestRateLimit: a session that sends too fast is read more slowly; nothing is
// lost, and others are not slowed.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	const rate, burst, messages = 20, 10, 50
	srv := startServer(t, map[string]string{
		"c2s.limits.stanzas_per_second": strconv.Itoa(rate), "c2s.limits.stanza_burst": strconv.Itoa(burst),
	})
	fast, calm := srv.login(t, "fast", "x"), srv.login(t, "calm", "x")
	start := time.Now()
	var text strings.Builder
	for i := range messages {
		fmt.Fprintf(&text, "<message id='%d' to='fast@chat.test/x'/>", i)
	}
	if err := fast.send(text.String()); err != nil {
		t.Fatal(err)
	}
	if err := calm.ping(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("somebody else's ping takes %v", took)
	}
	for i := range messages {
		if n, err := fast.next(); err != nil || n.attr("id") != strconv.Itoa(i) {
			t.Fatalf("instead of message %d: %v, %v", i, n, err)
		}
	}
	const least = (messages - burst) * time.Second / rate
	if took := time.Since(start); took < least*9/10 {
		t.Errorf("%d messages took %v, at %d a second", messages, took, rate)
	}
}

// TestSlowReader: who does not read what it is sent loses its session, not the
// others' time, and what it was not sent waits.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"c2s.limits.stanzas_per_second": "0", "c2s.limits.bytes_per_second": "0", "message.offline_max": "10000"})
	slow, fast := srv.login(t, "slow", "x"), srv.login(t, "fast", "x")
	if err := slow.send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	if err := slow.ping(); err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("x", 20_000)
	const messages = 1_000 // 20 MB, more than all the buffers in between
	for i := range messages {
		if err := fast.send(fmt.Sprintf("<message type='chat' id='%d' to='slow@chat.test'><body>%s</body></message>", i, body)); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			start := time.Now()
			if err := fast.ping(); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("after %d messages a ping takes %v", i, took)
			}
		}
	}
	if err := fast.ping(); err != nil {
		t.Fatal(err)
	}
	// Every message has arrived at the first session, in order, or waits for the next.
	seen := make(map[string]bool)
	last := -1
	arrived := func(c *client) {
		for {
			n, err := c.next()
			if err != nil {
				return
			}
			if !n.is(nsClient, "message") {
				continue
			}
			i, _ := strconv.Atoi(n.attr("id"))
			if i < last {
				t.Fatalf("message %d after %d", i, last)
			}
			last = i
			seen[n.attr("id")] = true
			if i == messages-1 {
				return
			}
		}
	}
	arrived(slow)
	if slow.ended == nil {
		t.Error("the session that did not read is still there")
	}
	again := srv.client(slow.clientSpec)
	if err := again.connect(); err != nil {
		t.Fatal(err)
	}
	defer again.tcp.Close()
	if err := again.send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	arrived(again)
	if len(seen) != messages {
		t.Errorf("%d of %d messages arrived", len(seen), messages)
	}
}
