package chatd_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected side of testdata/*.txt")

// testDomain is the one that all servers under test serve.
const testDomain = "chat.test"

var buildDir string // removed by TestMain

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if buildDir, err = os.MkdirTemp("", "chatd-test"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// binary is the chatd under test, built once. CHATD_TEST_BINARY names another,
// for example one built with -race.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("CHATD_TEST_BINARY"); path != "" {
		return path, nil
	}
	if err := dependOnSources(); err != nil {
		return "", err
	}
	path := filepath.Join(buildDir, "chatd")
	if out, err := exec.Command("go", "build", "-o", path, "./cmd/chatd").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/chatd: %w\n%s", err, out)
	}
	return path, nil
})

// dependOnSources looks at every Go file, so that go test does not take an old
// result for that of a server which has changed since: it sees which files a
// test looks at, not what go build reads.
func dependOnSources() error {
	return filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "e2e") {
			return cmp.Or(err, filepath.SkipDir)
		}
		if filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go") {
			_, err = os.Stat(path)
		}
		return err
	})
}

// A server is one running chatd process.
type server struct {
	plain, direct string   // addresses for STARTTLS and for direct TLS
	addresses     []string // those it listens on
	dir           string   // configuration and data
	cmd           *exec.Cmd
	log           lockedBuffer
	exited        chan struct{} // closed once cmd.Wait has returned
}

// startServer runs a chatd of the test's own. settings are configuration by
// dotted key, values in TOML, over what suits a test.
func startServer(t *testing.T, settings map[string]string) *server {
	t.Helper()
	return startServerOn(t, "127.0.0.1", settings)
}

// startServerOn is startServer on another loopback address.
func startServerOn(t *testing.T, host string, settings map[string]string) *server {
	t.Helper()
	s := &server{plain: freeAddress(t, host), direct: freeAddress(t, host), dir: t.TempDir()}
	config := map[string]string{
		"domain": strconv.Quote(testDomain), "data": strconv.Quote(filepath.Join(s.dir, "data")),
		"c2s.listen": fmt.Sprintf("[%q]", s.plain), "c2s.listen_tls": fmt.Sprintf("[%q]", s.direct),
		"c2s.registration": "true", "c2s.registrations_per_minute": "0", "api.listen": "[]",
	}
	maps.Copy(config, settings)
	for key, addr := range map[string]string{"c2s.listen": s.plain, "c2s.listen_tls": s.direct} {
		if strings.Contains(config[key], addr) {
			s.addresses = append(s.addresses, addr)
		}
	}
	if err := os.WriteFile(s.config(), []byte(toml(config)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	t.Cleanup(func() {
		s.stop(t)
		if t.Failed() {
			t.Logf("chatd said:\n%s", s.log.String())
		}
	})
	return s
}

func (s *server) config() string { return filepath.Join(s.dir, "chatd.toml") }

// toml writes dotted keys as tables, the top-level ones first.
func toml(config map[string]string) string {
	var b strings.Builder
	table := ""
	keys := slices.SortedFunc(maps.Keys(config), func(a, b string) int {
		ta, tb := a[:max(0, strings.LastIndex(a, "."))], b[:max(0, strings.LastIndex(b, "."))]
		if ta != tb {
			return strings.Compare(ta, tb)
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys {
		name := key
		if i := strings.LastIndex(key, "."); i >= 0 {
			if key[:i] != table {
				table = key[:i]
				fmt.Fprintf(&b, "[%s]\n", table)
			}
			name = key[i+1:]
		}
		fmt.Fprintf(&b, "%s = %s\n", name, config[key])
	}
	return b.String()
}

func (s *server) start(t *testing.T) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(path, "serve", "-config", s.config())
	s.cmd.Dir = s.dir
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		cmd.Wait()
		close(exited)
	}()
	for _, addr := range s.addresses {
		s.await(t, addr)
	}
}

// await returns when the server accepts connections at addr.
func (s *server) await(t *testing.T, addr string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("chatd does not listen: %v\n%s", err, s.log.String())
		}
		select {
		case <-s.exited:
			t.Fatalf("chatd ended: %v\n%s", s.cmd.ProcessState, s.log.String())
		case <-tick.C:
		}
	}
}

// stop ends the process as an operator does and checks that it went well.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(patience):
		t.Errorf("chatd does not stop")
		s.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines go to the log
		<-s.exited
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("chatd ended with %v", s.cmd.ProcessState)
	}
	if log := s.log.String(); strings.Contains(log, "panic") || strings.Contains(log, "DATA RACE") {
		t.Errorf("chatd panicked or raced")
	}
}

// restart stops the process and starts it anew on the same data and addresses.
func (s *server) restart(t *testing.T) {
	t.Helper()
	s.stop(t)
	s.start(t)
}

// run calls another sub-command of chatd on the same configuration.
func (s *server) run(args ...string) (string, error) {
	path, err := binary()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// client makes a client of this server that is not connected yet.
func (s *server) client(spec clientSpec) *client { return &client{clientSpec: spec, srv: s} }

// register makes an account as a client would (XEP-0077 §3.1).
func (s *server) register(user, password string) error {
	c := s.client(clientSpec{user: user, domain: testDomain, tls: "direct"})
	if err := c.open(); err != nil {
		return err
	}
	reply, err := c.request("<iq type='set' id='register'><query xmlns='jabber:iq:register'><username>" + escape(user) +
		"</username><password>" + escape(password) + "</password></query></iq>")
	if err != nil {
		return err
	}
	if reply.attr("type") != "result" {
		return fmt.Errorf("no account made: %s", reply)
	}
	return c.close()
}

// login is a new account's client, connected.
func (s *server) login(t *testing.T, user, resource string) *client {
	t.Helper()
	if err := s.register(user, "secret"); err != nil {
		t.Fatal(err)
	}
	c := s.client(clientSpec{name: user, user: user, domain: testDomain, resource: resource, password: "secret", mechanism: "SCRAM-SHA-256", tls: "starttls"})
	if err := c.connect(); err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	t.Cleanup(func() { c.tcp.Close() })
	return c
}

// ports are handed out below those that the system takes for outgoing
// connections, so that nobody else gets one in between.
var nextPort atomic.Int32

func freeAddress(t *testing.T, host string) string {
	t.Helper()
	t.Helper()
	const first, count = 10_000, 22_000
	nextPort.CompareAndSwap(0, int32(os.Getpid()*97%count)+1)
	for range count {
		addr := net.JoinHostPort(host, strconv.Itoa(first+int(nextPort.Add(1))%count))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatalf("no free port on %s", host)
	return ""
}

// A lockedBuffer takes a process's output while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*lockedBuffer)(nil)

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
