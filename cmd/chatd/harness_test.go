package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// call runs a command to its end.
func call(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	code = run(ctx, append([]string{"chatd"}, args...), testEnv, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// An instance is a chatd serve that runs within the test.
type instance struct {
	t     *testing.T
	lines chan string // of its log
	said  string      // those that await has passed
	addr  map[string]string
	stop  context.CancelFunc
	code  chan int
}

var listening = regexp.MustCompile(`msg=listening kind=(\w+) addr=(\S+)`)

// startServe returns when the server is ready. It stops, and must stop well,
// with the test.
func startServe(t *testing.T, config string) *instance {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	i := &instance{t: t, lines: make(chan string, 1000), addr: make(map[string]string), stop: cancel, code: make(chan int, 1)}
	go func() {
		defer close(i.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			i.lines <- s.Text()
		}
	}()
	go func() {
		i.code <- run(ctx, []string{"chatd", "serve", "-config", config}, testEnv, strings.NewReader(""), io.Discard, w)
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-i.code; code != exitOK {
			t.Errorf("chatd ended with code %d", code)
		}
	})
	i.await("msg=ready")
	return i
}

// await returns the next line of the log that contains the words.
func (i *instance) await(words string) string {
	i.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-i.lines:
			if !ok {
				i.t.Fatalf("chatd ended before it said %q", words)
			}
			i.said += line + "\n"
			if m := listening.FindStringSubmatch(line); m != nil {
				i.addr[m[1]] = m[2]
			}
			if strings.Contains(line, words) {
				return line
			}
		case <-timeout:
			i.t.Fatalf("chatd did not say %q", words)
		}
	}
}

// write puts a file into place at once, as editors do.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// testConfig makes a configuration whose sockets are anywhere, with more to
// follow the last section, which is [c2s].
func testConfig(t *testing.T, more string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "chatd.toml")
	write(t, file, configText(more))
	return file
}

func configText(more string) string {
	return `domain = "chat.test"
data = "data"
api.listen = ["127.0.0.1:0"]
[c2s]
listen = ["127.0.0.1:0"]
listen_tls = ["127.0.0.1:0"]
` + more
}
