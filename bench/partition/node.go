package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	domain       = "chat.test"
	password     = "correct horse"
	databasePort = "3306"
	clientPort   = "5223"
	apiPort      = "5281"
	apiToken     = "of the laboratory"
	startTime    = time.Minute
)

// A node is one chatd in a namespace of its own. Its methods are for one goroutine.
type node struct {
	lab    *lab
	number int
	dir    string
	binary string
	clock  time.Duration // by which its clock is wrong
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has ended
}

func (n *node) name() string { return fmt.Sprintf("n%d", n.number+1) }

func (n *node) addr() string { return net.JoinHostPort(n.lab.addr(n.number), clientPort) }

func (n *node) api() string { return net.JoinHostPort(n.lab.addr(n.number), apiPort) }

func (n *node) logPath() string { return filepath.Join(n.dir, "log") }

// configure writes the configuration.
func (n *node) configure(dsn string) error {
	var others, join []string
	for i := range n.lab.nodes {
		join = append(join, fmt.Sprintf("%q", n.lab.addr(i)+":7946"))
		if i != n.number {
			others = append(others, fmt.Sprintf("%q", net.JoinHostPort(n.lab.addr(i), clientPort)))
		}
	}
	ip := n.lab.addr(n.number)
	text := fmt.Sprintf(`domain = %q
data = "data"
[c2s]
listen = []
listen_tls = [%q]
registration = true
registrations_per_minute = 0
drain_seconds = 2
drain_to = [%s]
[c2s.limits]
stanzas_per_second = 0
bytes_per_second = 0
[message]
offline_max = 100000
[muc]
history_messages = 10000
history_bytes = 0
history_stored = 10000
[store]
driver = "mysql"
dsn = %q
[cluster]
node = %q
gossip = "%[6]s:7946"
link = "%[6]s:7947"
join = [%[7]s]
secret = %[8]q
[api]
listen = [%[9]q]
[[api.tokens]]
name = "laboratory"
hash = "%[10]x"
scopes = ["admin", "metrics"]
`, domain, n.addr(), strings.Join(others, ", "), dsn, n.name(), ip, strings.Join(join, ", "), strings.Repeat("a secret", 3), n.api(), sha256.Sum256([]byte(apiToken)))
	return os.WriteFile(filepath.Join(n.dir, "chatd.toml"), []byte(text), 0o600)
}

// start runs the process, which ends with this one, and returns when clients can connect.
func (n *node) start(ctx context.Context) error {
	log, err := os.OpenFile(n.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("ip", "netns", "exec", n.lab.namespace(n.number), n.binary, "serve", "-config", "chatd.toml")
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, log, log
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", clockVariable, n.clock/time.Second))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	n.cmd, n.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) {
		_ = cmd.Wait() // how it ended shows in its log
		close(ended)
	}(n.ended)
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "tcp", n.addr()); err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-n.ended:
			return fmt.Errorf("%s ended at its start: %s", n.name(), n.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen: %s", n.name(), n.lastWords())
		}
	}
}

func (n *node) lastWords() string {
	text, err := os.ReadFile(n.logPath())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

func (n *node) signal(sig syscall.Signal) error {
	if sig == syscall.SIGKILL || sig == syscall.SIGSTOP {
		n.lab.fails(n.number)
	}
	return n.cmd.Process.Signal(sig)
}

// kill ends the process as a power cut would.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.signal(syscall.SIGKILL) // or it has ended
	<-n.ended
	n.cmd = nil
}

// stop ends the process in order.
func (n *node) stop() error {
	if n.cmd == nil {
		return nil
	}
	if err := n.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-n.ended:
		n.cmd = nil
		return nil
	case <-time.After(startTime):
		_ = n.signal(syscall.SIGQUIT) // its goroutines are in its log
		<-n.ended
		n.cmd = nil
		return errors.New(n.name() + " did not end when told to")
	}
}
