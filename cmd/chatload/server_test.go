package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var buildDir string // removed by TestMain

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main() // this is a process that chatload has started
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "chatload"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// chatd is the server's binary, built once.
var chatd = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "chatd")
	if out, err := exec.Command("go", "build", "-o", path, "chatd/cmd/chatd").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build chatd/cmd/chatd: %w\n%s", err, out)
	}
	return path, nil
})

const serverConfig = `domain = "chat.test"
data = "data"
api.listen = []
[c2s]
listen = ["127.0.0.1:0"]
%s
registration = true
registrations_per_minute = 0
[c2s.limits]
stanzas_per_second = 0
bytes_per_second = 0
[muc]
joins_per_minute = 0
creations_per_minute = 0
`

// A server is a chatd that runs for a test.
type server struct {
	cmd    *exec.Cmd
	killed bool
	pid    string
	addr   map[string]string // by kind of listener
}

var listening = regexp.MustCompile(`msg=listening kind=(\w+) addr=(\S+)`)

// startServer runs a chatd, without TLS or with it, until the test ends.
func startServer(t *testing.T, tls bool) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	path, err := chatd()
	if err != nil {
		t.Fatal(err)
	}
	listen, kinds := `tls = "off"`, 1
	if tls {
		listen, kinds = `listen_tls = ["127.0.0.1:0"]`, 2
	}
	config := fmt.Sprintf(serverConfig, listen)
	file := filepath.Join(t.TempDir(), "chatd.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "serve", "-config", file)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{cmd: cmd, pid: strconv.Itoa(cmd.Process.Pid), addr: make(map[string]string)}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
		if err := cmd.Wait(); err != nil && !s.killed {
			t.Errorf("chatd: %v", err)
		}
	})
	lines := bufio.NewScanner(stderr)
	for len(s.addr) < kinds && lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			s.addr[m[1]] = m[2]
		}
	}
	if len(s.addr) < kinds {
		t.Fatal("chatd does not listen")
	}
	go io.Copy(io.Discard, stderr) //nolint:errcheck // ends with the process
	return s
}

// flags are those that lead to this server.
func (s *server) flags(tls string) []string {
	kind := "starttls"
	if tls == tlsDirect {
		kind = "directtls"
	}
	return []string{"-addr", s.addr[kind], "-domain", "chat.test", "-tls", tls, "-insecure", "-pid", s.pid, "-json", "-limit", "1m"}
}

// load runs a mode against the server and reads its report.
func (s *server) load(t *testing.T, want int, mode, tls string, more ...string) *report {
	t.Helper()
	args := append(append([]string{mode}, s.flags(tls)...), more...)
	start := time.Now()
	code, stdout, stderr := call(t, args...)
	if code != want {
		t.Fatalf("%v: code %d after %v: %s%s", args, code, time.Since(start), stderr, stdout)
	}
	var r report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v: %v: %s%s", args, err, stderr, stdout)
	}
	return &r
}
