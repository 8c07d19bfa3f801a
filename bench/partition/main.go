// Command partition runs chatd as several processes, each in a network namespace of its own, with one MariaDB and with clients
// that never stop talking, cuts the network between the nodes, kills and stops and restarts them, and says what
// became of every message. It needs Linux, root, ip, nft and MariaDB, which scripts/setup.sh installs.
//
//	go run ./bench/partition                       all scenarios, a quarter of an hour; writes docs/cluster-tests.md
//	go run ./bench/partition -list                 their names
//	go run ./bench/partition -run 'story|full'     some of them; prints the table alone
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal means it
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "partition:", err)
		os.Exit(1)
	}
}

// options are the command line's.
type options struct {
	binary  string
	skewed  string // chatd whose clock can be wrong
	nodes   int
	groups  int
	rate    float64
	rooms   int
	only    *regexp.Regexp
	list    bool
	verbose bool
	keep    string
	out     string
}

func parseOptions(args []string) (o options, err error) {
	fs := flag.NewFlagSet("partition", flag.ContinueOnError)
	fs.StringVar(&o.binary, "binary", "", "chatd to test; empty: built from this source")
	fs.IntVar(&o.nodes, "nodes", 3, "of the cluster, 3 to 9")
	fs.IntVar(&o.groups, "groups", 4, "of friends, one on each node")
	fs.Float64Var(&o.rate, "rate", 4, "messages a second from each user to each friend")
	fs.IntVar(&o.rooms, "rooms", 2, "of which each node is the home, at least; 0: there are none")
	only := fs.String("run", "", "regular expression of the scenarios to run; without it all are run")
	fs.BoolVar(&o.list, "list", false, "print the names of the scenarios, and that is all")
	fs.BoolVar(&o.verbose, "v", false, "say what clients meet")
	fs.StringVar(&o.keep, "keep", "", "directory for the nodes' logs; empty: they are kept nowhere")
	fs.StringVar(&o.out, "out", "", "file for the report; empty: docs/cluster-tests.md if all scenarios are run with three nodes, else none")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 || o.nodes < 3 || o.nodes > 9 || o.rooms < 0 {
		return o, errors.New("wrong usage, see -help")
	}
	if o.out == "" && *only == "" && o.nodes == 3 {
		o.out = "docs/cluster-tests.md"
	}
	o.only, err = regexp.Compile(*only)
	return o, err
}

// run is the whole program. It fails if a scenario did.
func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	chosen := chosen(o)
	if o.list {
		for _, s := range chosen {
			fmt.Fprintf(stdout, "%-28s %s\n", s.name, s.about)
		}
		return nil
	}
	dir, err := os.MkdirTemp("", "partition")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.binary == "" {
		o.binary = filepath.Join(dir, "chatd")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "chatd/cmd/chatd").CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if slices.ContainsFunc(chosen, func(s scenario) bool { return s.clocks != nil }) {
		if o.skewed, err = buildSkewed(ctx, dir); err != nil {
			return err
		}
	}
	l, err := newLab(o.nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	db, err := newDatabase(ctx, filepath.Join(dir, "mariadb"), l.host())
	if err != nil {
		return err
	}
	defer db.close()

	var r report
	for _, s := range chosen {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		res := s.play(ctx, l, o, db, filepath.Join(dir, s.name))
		r.add(res)
		res.print(stdout)
	}
	if o.out != "" {
		if err := r.write(o.out, o); err != nil {
			return err
		}
	}
	r.markdown(stdout)
	return r.verdict()
}
