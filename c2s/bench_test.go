package c2s

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"chatd/store"
)

// quickLogin makes an account whose credentials cost the client next to nothing,
// so that benchmarks do not measure the client's hashing.
func (s *testServer) quickLogin(tb testing.TB, user string) {
	tb.Helper()
	salt := []byte("salt")
	salted, err := pbkdf2.Key(sha256.New, testPassword, salt, 1, sha256.Size)
	if err != nil {
		tb.Fatal(err)
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	err = s.store.CreateAccount(context.Background(), store.Account{User: user, Created: time.Now().UTC(), Credentials: []store.Credential{{
		Mechanism: "SCRAM-SHA-256", Salt: salt, Iterations: 1, StoredKey: stored[:], ServerKey: mac(salted, "Server Key")}}})
	if err != nil {
		tb.Fatal(err)
	}
}

// unlimited is the server of the benchmarks.
func unlimited(c *Config) { c.MaxStanzaBytes = 1 << 18 }

// BenchmarkDeliver moves chat messages of about 250 bytes from socket to socket
// over loopback, in one process: through a relay that copies bytes and knows no
// XML, through chatd, and through chatd over TLS 1.3 and over WebSocket, driven by the same client
// in the same run. cpu-us/msg is that of the whole process, client included.
func BenchmarkDeliver(b *testing.B) {
	for _, window := range []int{1, 16} {
		for _, kind := range []string{"relay", "plain", "tls", "ws"} {
			b.Run(fmt.Sprintf("%s/inflight=%d", kind, window), func(b *testing.B) {
				deliver(b, deliverPairs(b, kind), window)
			})
		}
	}
}

type pair struct {
	from, to net.Conn
	message  []byte
}

const benchPairs = 100

func deliverPairs(b *testing.B, kind string) []pair {
	pairs := make([]pair, benchPairs)
	const body = "push mid in five, I have teleport and the ward is on cooldown\n"
	message := func(to string) []byte {
		return fmt.Appendf(nil, "<message to='%s' type='chat' id='purple0000a1b2' xml:lang='en'><body>%s</body>"+
			"<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>", to, body)
	}
	if kind == "relay" {
		addr := startRelay(b)
		for i := range pairs {
			to := dial(b, addr, nil)
			to.send(fmt.Sprintf("to %d\n", i))
			_, _ = io.ReadFull(to.conn, make([]byte, 1)) // known
			from := dial(b, addr, nil)
			from.send(fmt.Sprintf("from %d\n", i))
			_, _ = io.ReadFull(from.conn, make([]byte, 1)) // paired
			pairs[i] = pair{from.conn, to.conn, message(fmt.Sprintf("receiver%d@%s/game", i, testDomain))}
		}
		return pairs
	}
	s := startServer(b, func(c *Config) { unlimited(c); webFor(kind)(c) })
	for i := range pairs {
		s.quickLogin(b, fmt.Sprintf("sender%d", i))
		s.quickLogin(b, fmt.Sprintf("receiver%d", i))
		from := loginOn(b, s.dialKind(b, kind), fmt.Sprintf("sender%d", i), "game")
		to := loginOn(b, s.dialKind(b, kind), fmt.Sprintf("receiver%d", i), "game")
		pairs[i] = pair{from.conn, to.conn, message(to.jid.String())}
		if kind == "ws" { // a mask of zeros makes the frame the same whatever the message is
			frame := ws.MaskFrameWith(ws.NewTextFrame(pairs[i].message), [4]byte{})
			pairs[i] = pair{from.conn.(*framedConn).Conn, to.conn.(*framedConn).Conn, ws.MustCompileFrame(frame)}
		}
	}
	return pairs
}

// deliver sends b.N messages over all pairs, window of them in flight on each.
func deliver(b *testing.B, pairs []pair, window int) {
	for _, p := range pairs {
		_ = p.from.SetDeadline(time.Time{})
		_ = p.to.SetDeadline(time.Time{})
	}
	b.SetBytes(int64(len(pairs[0].message)))
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, p := range pairs {
		n := b.N / len(pairs)
		if i < b.N%len(pairs) {
			n++
		}
		wg.Go(func() { p.run(b, n, window) })
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/1000, "cpu-us/msg")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

// run keeps window messages in flight until n have arrived: one goroutine both
// writes and reads, so that the client costs little.
func (p pair) run(b *testing.B, n, window int) {
	burst := bytes.Repeat(p.message, window)
	buf := make([]byte, 64<<10)
	for n > 0 {
		k := min(n, window)
		if _, err := p.from.Write(burst[:k*len(p.message)]); err != nil {
			b.Error(err)
			return
		}
		for got := 0; got < k; {
			m, err := p.to.Read(buf)
			if err != nil {
				b.Error(err)
				return
			}
			got += bytes.Count(buf[:m], []byte{'\n'})
		}
		n -= k
	}
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// startRelay serves pairs: what "from i" sends goes to "to i".
func startRelay(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	var receivers sync.Map
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				line, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
				if err != nil {
					return
				}
				role, id, _ := strings.Cut(line, " ")
				if role == "to" {
					receivers.Store(id, conn)
					_, _ = conn.Write([]byte{1})
					return
				}
				to, _ := receivers.Load(id)
				_, _ = conn.Write([]byte{1})
				buf := make([]byte, 16<<10)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if _, err := to.(net.Conn).Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// BenchmarkIdleSession reports what one idle session costs the server in resident memory, after
// login, roster and presence, when it has been quiet for a while. The clients
// are another process.
func BenchmarkIdleSession(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			const sessions = 4000
			s := startServer(b, func(c *Config) {
				unlimited(c)
				webFor(kind)(c)
			})
			for i := range sessions {
				s.quickLogin(b, fmt.Sprintf("player%d", i))
			}
			before, memBefore := resident(), memStats()
			addr := map[string]string{"plain": s.addr, "tls": s.direct, "ws": s.web, "wss": s.web}[kind]
			stop := startIdleClients(b, kind, addr, sessions)
			defer stop()
			if n := s.router.Table.Len(); n != sessions {
				b.Fatalf("%d sessions", n)
			}
			s.sweepOnce()
			s.sweepOnce()
			settle(s)
			after, memAfter := resident(), memStats()
			b.ReportMetric(float64(after-before)/sessions, "RSS-B/session")
			b.ReportMetric((float64(memAfter.HeapAlloc)-float64(memBefore.HeapAlloc))/sessions, "heap-B/session")
			b.ReportMetric((float64(memAfter.StackInuse)-float64(memBefore.StackInuse))/sessions, "stack-B/session")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// settle waits until the sweep has renewed every session's goroutine.
func settle(s *testServer) {
	for range 100 {
		grown := 0
		for row := range s.router.Table.All() {
			if row.Session.(*Session).grown.Load() {
				grown++
			}
		}
		runtime.Gosched()
		if grown == 0 {
			break
		}
	}
	time.Sleep(200 * time.Millisecond)
}

// resident is the process's resident memory in bytes, once the heap is what is live.
func resident() int {
	runtime.GC()
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.Atoi(strings.Fields(string(data))[1])
	return pages * os.Getpagesize()
}

func memStats() (m runtime.MemStats) {
	runtime.ReadMemStats(&m)
	return m
}

const idleClientsEnv = "CHATD_TEST_IDLE_CLIENTS"

// startIdleClients runs this test binary again as the clients.
func startIdleClients(b *testing.B, kind, addr string, n int) (stop func()) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestIdleClients$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", idleClientsEnv, kind, addr, n))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		b.Fatalf("clients said %q, %v", line, err)
	}
	return func() {
		in.Close()
		_ = cmd.Wait()
	}
}

// TestIdleClients is the other process of BenchmarkIdleSession, and no test.
func TestIdleClients(t *testing.T) {
	var kind, addr string
	var n int
	if _, err := fmt.Sscan(os.Getenv(idleClientsEnv), &kind, &addr, &n); err != nil {
		t.Skip("only for BenchmarkIdleSession")
	}
	s := &testServer{addr: addr, direct: addr, web: addr}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				c := loginOn(t, s.dialKind(t, kind), fmt.Sprintf("player%d", i), "game")
				c.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
				c.expect("id='r'")
				c.available()
			}
		})
	}
	wg.Wait()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}
