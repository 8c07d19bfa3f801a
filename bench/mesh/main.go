// Command mesh runs clusters of 1, 2, 4 and 8 processes of chatd on loopback, with one MariaDB, and has pairs of clients talk, some on the
// same node and some on different ones. It says how long messages and acknowledgements (XEP-0198) take, what they cost,
// what the processes cost that do nothing, and what becomes of them beside busy loops. It needs Linux and MariaDB, which
// scripts/setup.sh installs.
//
//	go run ./bench/mesh                          all of it, about five minutes
//	go run ./bench/mesh -nodes 8 -busy 0         one size, without the busy loops
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"chatd/store/storetest/mariadb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal means it
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mesh:", err)
		os.Exit(1)
	}
}

// options are the command line's.
type options struct {
	binary string
	nodes  []int
	pairs  int
	rate   float64
	window time.Duration
	busy   int
}

func parseOptions(args []string) (o options, err error) {
	fs := flag.NewFlagSet("mesh", flag.ContinueOnError)
	fs.StringVar(&o.binary, "binary", "", "chatd to measure; empty: built from this source")
	nodes := fs.String("nodes", "1,2,4,8", "sizes of clusters")
	fs.IntVar(&o.pairs, "pairs", 24, "of clients on the same node, and as many on different ones")
	fs.Float64Var(&o.rate, "rate", 1000, "messages a second, of all pairs together")
	fs.DurationVar(&o.window, "duration", 10*time.Second, "of each measurement")
	fs.IntVar(&o.busy, "busy", 2, "busy loops for each core beside the largest cluster; 0: leave that out")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	for word := range strings.SplitSeq(*nodes, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > 30 {
			return o, fmt.Errorf("-nodes: %q is not 1 to 30", word)
		}
		o.nodes = append(o.nodes, n)
	}
	if fs.NArg() > 0 || o.pairs < 1 || o.rate <= 0 || o.window < time.Second {
		return o, errors.New("wrong usage, see -help")
	}
	return o, nil
}

// run is the whole program. It fails if anything was lost, or a node that was there was taken for dead.
func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mesh")
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
	db, err := mariadb.Run(filepath.Join(dir, "mariadb"))
	if err != nil {
		return err
	}
	defer db.Kill()
	fmt.Fprintf(stdout, "%d pairs of each kind, %g messages a second, %v each; latencies in ms, CPU of all nodes in us a message beyond what they use idle\n\n",
		o.pairs, o.rate, o.window)
	fmt.Fprintln(stdout, "| nodes | clients on | sent | p50 | p99 | CPU | with acknowledgements: p50 | p99 | `<a/>` p50 | p99 | CPU | idle, % of a core |")
	fmt.Fprintln(stdout, "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	var alarms []string
	for _, n := range o.nodes {
		alarm, err := measure(ctx, o, db, filepath.Join(dir, fmt.Sprint("nodes", n)), n, stdout)
		if err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
		alarms = append(alarms, alarm)
	}
	fmt.Fprintf(stdout, "\n%s", strings.Join(alarms, ""))
	return nil
}
