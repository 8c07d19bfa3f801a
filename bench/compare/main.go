// Command compare sets chatd beside ejabberd and Prosody: it starts all three on loopback with configurations that are
// alike, puts the same loads on them by cmd/chatload in turns, and writes tables and plots to docs/benchmarks. It needs
// Linux, Go, and Debian's packages of the other two, which it installs.
//
//	go run ./bench/compare          all of it, about ten minutes
//	go run ./bench/compare -quick   under two minutes, for a first look: prints the table alone
//	go run ./bench/compare -quick -loads rooms   of these the rooms alone
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal means it
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// options are the command line's.
type options struct {
	size  size
	quick bool
	out   string // directory; empty: the table is printed, and that is all
	kinds []kind
}

// run is the whole program. It fails if chatd lost, duplicated or reordered anything, or is not first in a row
// without a reason that stands beside it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if err := install(ctx, o.kinds, stderr); err != nil {
		return err
	}
	r, err := measure(ctx, o, stderr)
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := r.write(o.out); err != nil {
			return err
		}
	}
	if err := r.markdown(stdout); err != nil {
		return err
	}
	return r.verdict()
}

func parseOptions(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.BoolVar(&o.quick, "quick", false, "small loads, one round; writes nothing unless -out is given")
	rounds := fs.Int("rounds", 0, "how often each load is run; 0: 3, or 1 with -quick")
	loads := fs.String("loads", "", "which loads, by their names in compare.json; all if not given. Writes nothing unless -out is given")
	servers := fs.String("servers", "chatd,ejabberd,prosody", "which servers, in any order")
	fs.StringVar(&o.out, "out", "docs/benchmarks", "directory for README.md, compare.json and the plots")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	o.size = full
	if o.quick {
		o.size = quick
	}
	if o.quick || *loads != "" {
		outGiven := false
		fs.Visit(func(f *flag.Flag) { outGiven = outGiven || f.Name == "out" })
		if !outGiven {
			o.out = ""
		}
	}
	if *rounds > 0 {
		o.size.rounds = *rounds
	}
	if err := o.choose(*loads); err != nil {
		return o, err
	}
	names := strings.Split(strings.ToLower(*servers), ",")
	for _, k := range kinds {
		if i := slices.Index(names, strings.ToLower(k.name)); i >= 0 {
			o.kinds = append(o.kinds, k)
			names = slices.Delete(names, i, i+1)
		}
	}
	if len(names) > 0 {
		return o, fmt.Errorf("-servers: no server is named %q", names[0])
	}
	return o, nil
}

// choose takes a list of loads.
func (o *options) choose(list string) error {
	if list == "" {
		return nil
	}
	all := append(o.size.idle(), o.size.loads()...)
	only := strings.Split(list, ",")
	for _, id := range only {
		i := slices.IndexFunc(all, func(l load) bool { return l.id == id })
		if i < 0 {
			return fmt.Errorf("-loads: no load is named %q", id)
		}
		if all[i].half && !slices.Contains(only, closedLoop) {
			return fmt.Errorf("-loads: %s needs %s", id, closedLoop)
		}
	}
	o.size.only = only
	return nil
}

//go:embed setup.sh
var setup string

// install runs setup.sh if a server is not there.
func install(ctx context.Context, kinds []kind, stderr io.Writer) error {
	if !slices.ContainsFunc(kinds, func(k kind) bool { return !k.installed() }) {
		return nil
	}
	cmd := exec.CommandContext(ctx, "bash", "-s")
	cmd.Stdin, cmd.Stderr = strings.NewReader(setup), stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("installing the servers: %w", err)
	}
	return nil
}

// measure has everything run in a temporary directory, of which nothing stays.
func measure(ctx context.Context, o options, stderr io.Writer) (r *result, err error) {
	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{options: o, dir: dir, stderr: stderr,
		chatd: filepath.Join(dir, "chatd"), chatload: filepath.Join(dir, "chatload")}
	defer b.stopAll()
	return b.run(ctx)
}
