package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"chatd/store/storetest/mariadb"
)

const (
	domain    = "chat.test"
	password  = "correct horse"
	startTime = time.Minute
)

// A node is one chatd. Its methods are for one goroutine.
type node struct {
	name, dir          string
	addr, gossip, link string // where it listens: clients, nodes
	cmd                *exec.Cmd
	ended              chan struct{} // closed when the process has ended
}

// startNodes runs a cluster on an empty database, and returns when each node has the rows of each other.
func startNodes(ctx context.Context, binary string, db *mariadb.Server, dir string, count int) (all []*node, err error) {
	dsn, err := createDatabase(ctx, db, fmt.Sprintf("mesh%d", count))
	if err != nil {
		return nil, err
	}
	var join []string
	for i := range count {
		n := &node{name: fmt.Sprintf("n%d", i+1), dir: filepath.Join(dir, fmt.Sprintf("n%d", i+1))}
		if err := freeAddresses(&n.addr, &n.gossip, &n.link); err != nil {
			return nil, err
		}
		all, join = append(all, n), append(join, strconv.Quote(n.gossip))
	}
	defer func() {
		if err != nil {
			killAll(all)
		}
	}()
	for _, n := range all {
		if err := n.start(ctx, binary, dsn, strings.Join(join, ", ")); err != nil {
			return nil, err
		}
	}
	for _, n := range all {
		for _, peer := range all {
			if peer == n {
				continue
			}
			if _, err := n.await(ctx, "rows of a peer are complete", "peer="+peer.name+" "); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func createDatabase(ctx context.Context, server *mariadb.Server, name string) (dsn string, err error) {
	db, err := sql.Open("mysql", server.DSN(""))
	if err != nil {
		return "", err
	}
	_, err = db.ExecContext(ctx, "CREATE DATABASE "+name)
	return server.DSN(name), errors.Join(err, db.Close())
}

// freeAddresses chooses addresses of loopback that nobody listens on.
func freeAddresses(addrs ...*string) error {
	for _, addr := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close() // when all are chosen
		*addr = l.Addr().String()
	}
	return nil
}

// start runs the process, which ends with this one, and returns when clients can connect.
func (n *node) start(ctx context.Context, binary, dsn, join string) error {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf(`domain = %q
data = "data"
[c2s]
listen = []
listen_tls = [%q]
registration = true
registrations_per_minute = 0
[c2s.limits]
stanzas_per_second = 0
bytes_per_second = 0
[store]
driver = "mysql"
dsn = %q
[cluster]
node = %q
gossip = %q
link = %q
join = [%s]
secret = %q
[http]
listen = []
[api]
listen = []
`, domain, n.addr, dsn, n.name, n.gossip, n.link, join, strings.Repeat("a secret", 3))
	if err := os.WriteFile(filepath.Join(n.dir, "chatd.toml"), []byte(text), 0o600); err != nil {
		return err
	}
	log, err := os.Create(n.logPath())
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd, n.ended = exec.Command(binary, "serve", "-config", "chatd.toml"), make(chan struct{})
	n.cmd.Dir, n.cmd.Stdout, n.cmd.Stderr = n.dir, log, log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		n.cmd = nil
		return err
	}
	go func() {
		_ = n.cmd.Wait() // how it ended shows in its log
		close(n.ended)
	}()
	return n.listens(ctx)
}

func (n *node) listens(ctx context.Context) error {
	return n.poll(ctx, "does not listen", func() bool {
		conn, err := net.Dial("tcp", n.addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// poll waits until something is so, as long as the process lives.
func (n *node) poll(ctx context.Context, otherwise string, so func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for !so() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-n.ended:
			return fmt.Errorf("%s ended: %s", n.name, n.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %s", n.name, otherwise, n.lastWords())
		}
	}
	return nil
}

func (n *node) logPath() string { return filepath.Join(n.dir, "log") }

// await returns the first line of the log with all these words.
func (n *node) await(ctx context.Context, words ...string) (line string, err error) {
	err = n.poll(ctx, "does not say "+strings.Join(words, " "), func() bool {
		lines := n.logged(words...)
		if len(lines) > 0 {
			line = lines[0]
		}
		return line != ""
	})
	return line, err
}

// logged are the lines of the log with all these words.
func (n *node) logged(words ...string) (found []string) {
	text, _ := os.ReadFile(n.logPath()) // without it nothing was logged
lines:
	for line := range bytes.Lines(text) {
		for _, word := range words {
			if !bytes.Contains(line, []byte(word)) {
				continue lines
			}
		}
		found = append(found, string(line))
	}
	return found
}

func (n *node) lastWords() string {
	text, err := os.ReadFile(n.logPath())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// kill ends the process as a power cut would.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill() // or it has ended
	<-n.ended
	n.cmd = nil
}

func killAll(nodes []*node) {
	for _, n := range nodes {
		n.kill()
	}
}

// clockTick is the unit of /proc/PID/stat.
const clockTick = 10 * time.Millisecond

// used is the processor time of all nodes since they began.
func used(nodes []*node) (sum time.Duration, err error) {
	for _, n := range nodes {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
		if err != nil {
			return 0, err
		}
		// Behind the name, which is in parentheses: fields 14 and 15 of proc(5).
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		for _, f := range fields[11:13] {
			ticks, err := strconv.ParseInt(string(f), 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(ticks) * clockTick
		}
	}
	return sum, nil
}
