// Command chatload puts load on an XMPP server, any XMPP server, and counts exactly what
// comes of it. The coordinator runs workers, one to a process, each of which
// has one loop that owns its sessions; a mode's file says what they do.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal means it
	os.Exit(run(ctx, os.Args[1:], environment{os.Stdin, os.Stdout, os.Stderr}))
}

// An environment is what a command may use of the world.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

// A usageError is the caller's mistake.
type usageError struct{ what string }

func (e usageError) Error() string { return e.what }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// errNotGood is a test that ran and found something wrong, which the report tells.
var errNotGood = errors.New("not all went well")

// run is the whole program. It returns the exit code, soon after ctx ends.
func run(ctx context.Context, args []string, e environment) int {
	if len(args) == 0 || isHelp(args[0]) {
		return help(args, e)
	}
	err := dispatch(ctx, args[0], args[1:], e)
	var wrong usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		return help([]string{"help", args[0]}, e)
	case errors.As(err, &wrong):
		fmt.Fprintf(e.stderr, "chatload: %v; see: chatload help %s\n", err, args[0])
		return exitUsage
	case errors.Is(err, errNotGood):
	case ctx.Err() != nil:
		fmt.Fprintln(e.stderr, "chatload: interrupted")
	default:
		fmt.Fprintln(e.stderr, "chatload:", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return exitFailed
}

func dispatch(ctx context.Context, name string, args []string, e environment) error {
	switch name {
	case "idle", "chat", "presence", "rooms", "offline", "storm":
		return load(ctx, name, args, e)
	case "relay":
		return runRelay(ctx, e, args)
	case "worker": // what -processes starts
		return work(ctx, e.stdin, e.stdout)
	}
	return usagef("unknown command %q", name)
}

// load runs one mode and prints its report.
func load(ctx context.Context, mode string, args []string, e environment) error {
	o, err := parseOptions(mode, args)
	if err != nil {
		return err
	}
	if err := o.checkTarget(ctx); err != nil {
		return err
	}
	if mode == "rooms" {
		if err := o.findRooms(ctx); err != nil {
			return err
		}
	}
	r, err := measure(ctx, o, mode, e.stderr)
	if err != nil {
		return err
	}
	if o.Relay {
		if r.Relay, err = measureRelay(ctx, o, e.stderr); err != nil {
			return err
		}
		r.Ratio = compare(r, r.Relay)
		r.OK = r.OK && r.Relay.OK
	}
	if o.JSON {
		j := json.NewEncoder(e.stdout)
		j.SetIndent("", "  ")
		err = j.Encode(r)
	} else {
		r.print(e.stdout)
	}
	if err == nil && !r.OK {
		return errNotGood
	}
	return err
}

// measure runs one load.
func measure(ctx context.Context, o options, title string, stderr io.Writer) (*report, error) {
	c := &coordinator{options: o, title: title, stderr: stderr}
	out, err := c.run(ctx)
	if err != nil {
		return nil, err
	}
	return newReport(&o, out, c.usage), nil
}

// measureRelay runs the same load through a relay.
func measureRelay(ctx context.Context, o options, stderr io.Writer) (*report, error) {
	addr, pid, stop, err := startRelay()
	if err != nil {
		return nil, err
	}
	defer stop()
	o.Addr, o.RelayAddr, o.PIDs, o.TLS, o.Mech = addr, addr, []int{pid}, tlsOff, "none"
	return measure(ctx, o, "relay", stderr)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
