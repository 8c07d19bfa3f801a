package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// A kind is a server program that can be compared.
type kind struct {
	name    string // as in tables
	config  string // file in config/
	version func(bench *bench) (string, error)
	command func(bench *bench, i *instance) *exec.Cmd
}

// kinds are in the order of the columns; chatd is who has to lead.
var kinds = []kind{
	{"chatd", "chatd.toml",
		func(b *bench) (string, error) { return output(b.chatd, "version") },
		func(b *bench, i *instance) *exec.Cmd { return exec.Command(b.chatd, "serve", "-config", i.ConfigFile) }},
	{"ejabberd", "ejabberd.yml",
		func(*bench) (string, error) { return packageVersion("ejabberd") },
		func(_ *bench, i *instance) *exec.Cmd { return ejabberd(i) }},
	{"Prosody", "prosody.cfg.lua",
		func(*bench) (string, error) { return packageVersion("prosody") },
		func(_ *bench, i *instance) *exec.Cmd {
			return exec.Command("prosody", "-F", "--config", i.ConfigFile)
		}},
}

// ejabberdFlags are of the Erlang machine, as ejabberdctl gives them, but for two things: there is no
// distribution, and schedulers without work do not spin, which would count as CPU of messages.
var ejabberdFlags = []string{"+K", "true", "+P", "250000", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"}

// ejabberd runs without ejabberdctl, which would change to the package's user and node.
func ejabberd(i *instance) *exec.Cmd {
	cmd := exec.Command("erl", append(ejabberdFlags, "-noinput", "-mnesia", "dir", strconv.Quote(i.Dir+"/data"), "-s", "ejabberd")...)
	cmd.Env = append(os.Environ(), "EJABBERD_CONFIG_PATH="+i.ConfigFile, "EJABBERD_LOG_PATH="+i.Dir+"/ejabberd.log",
		"ERL_LIBS="+debianErlangLibs, "ERL_MAX_PORTS=65536", "ERL_CRASH_DUMP_BYTES=0", "HOME="+i.Dir)
	return cmd
}

// debianErlangLibs is where Debian's ejabberd keeps its Erlang applications.
const debianErlangLibs = "/usr/lib/x86_64-linux-gnu"

func packageVersion(name string) (string, error) {
	v, err := output("dpkg-query", "-W", "-f", "${Version}", name)
	return name + " " + v + " (Debian)", err
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// installed reports whether a kind can run here.
func (k kind) installed() bool {
	if k.name == "chatd" {
		return true
	}
	_, err := packageVersion(strings.ToLower(k.name))
	return err == nil
}

// An instance is one process of a kind, with a directory and ports of its own on loopback. Its
// exported fields fill the configuration in.
type instance struct {
	kind
	Domain                      string
	Dir, ConfigFile             string
	CertFile, KeyFile, PairFile string
	Plain, TLS                  int // ports
	cmd                         *exec.Cmd
	log                         *os.File
	ended                       chan struct{} // closed after Wait
}

//go:embed config
var configs embed.FS

// start runs a server in dir, which may have data from before, and returns once it accepts connections.
func (b *bench) start(ctx context.Context, k kind, dir string) (*instance, error) {
	i := &instance{kind: k, Domain: domain, Dir: dir, ConfigFile: filepath.Join(dir, k.config),
		CertFile: b.certFile, KeyFile: b.keyFile, PairFile: b.pairFile, ended: make(chan struct{})}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, err
	}
	var err error
	if i.Plain, i.TLS, err = freePorts(); err != nil {
		return nil, err
	}
	if err := i.writeConfig(); err != nil {
		return nil, err
	}
	if i.log, err = os.Create(filepath.Join(dir, "output.log")); err != nil {
		return nil, err
	}
	i.cmd = k.command(b, i)
	i.cmd.Dir, i.cmd.Stdout, i.cmd.Stderr = dir, i.log, i.log
	if err := i.cmd.Start(); err != nil {
		return nil, errors.Join(err, i.log.Close())
	}
	b.mu.Lock()
	b.running = append(b.running, i)
	b.mu.Unlock()
	go func() { // ends with the process, for which stop waits
		i.cmd.Wait() //nolint:errcheck // how it ended shows in what the loads find
		close(i.ended)
	}()
	return i, i.await(ctx)
}

func (i *instance) writeConfig() error {
	t, err := template.ParseFS(configs, "config/"+i.config)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(i.ConfigFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(f, i), f.Close())
}

// freePorts finds two that nobody listens on. That somebody takes one before the server
// does shows when that does not start.
func freePorts() (plain, tls int, err error) {
	var ports [2]int
	for n := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, 0, err
		}
		defer l.Close()
		ports[n] = l.Addr().(*net.TCPAddr).Port
	}
	return ports[0], ports[1], nil
}

// await waits until both ports accept.
func (i *instance) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, port := range []int{i.Plain, i.TLS} {
		for {
			c, err := net.Dial("tcp", i.addr(port))
			if err == nil {
				c.Close() //nolint:errcheck // nothing was said
				break
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-i.ended:
				return fmt.Errorf("%s ended at its start: %s", i.name, i.lastWords())
			case <-ctx.Done():
				return fmt.Errorf("%s does not listen: %w; %s", i.name, context.Cause(ctx), i.lastWords())
			}
		}
	}
	return nil
}

func (i *instance) addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// lastWords is the end of what a server printed.
func (i *instance) lastWords() string {
	text, err := os.ReadFile(i.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// stop ends a server, by force if it does not end in time.
func (i *instance) stop() {
	i.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	select {
	case <-i.ended:
	case <-time.After(20 * time.Second):
		i.cmd.Process.Kill() //nolint:errcheck // likewise
		<-i.ended
	}
	i.log.Close() //nolint:errcheck // nobody writes to it any more
}

// stopAll ends every server that was started. Nobody starts one meanwhile.
func (b *bench) stopAll() {
	together(b.running, func(i *instance) error { i.stop(); return nil }) //nolint:errcheck // there is none
	b.running = nil
}
