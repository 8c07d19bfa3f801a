package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"chatd/store"
	"chatd/store/riak"
	"chatd/store/sqlstore"
	"chatd/store/storecopy"
)

// A copyCommand is the command line of chatd store copy.
type copyCommand struct {
	from, to       string // DSNs
	verify         bool
	resume, forced bool
}

func parseCopy(args []string, getenv func(string) string) (c copyCommand, err error) {
	fs := flag.NewFlagSet("store copy", flag.ContinueOnError)
	fs.StringVar(&c.from, "from", "", "")
	fs.StringVar(&c.to, "to", "", "")
	fs.BoolVar(&c.verify, "verify", false, "")
	fs.BoolVar(&c.resume, "resume", false, "")
	fs.BoolVar(&c.forced, "force", false, "")
	rest, err := parse(fs, args)
	switch {
	case err != nil:
		return c, err
	case len(rest) > 0:
		return c, usagef("store copy takes no argument, not %q", rest[0])
	case c.from == "" || c.to == "":
		return c, usagef("store copy needs --from DSN and --to DSN")
	case c.verify && (c.resume || c.forced):
		return c, usagef("--verify copies nothing: it goes with neither --resume nor --force")
	}
	reveal := revealer{getenv: getenv}.reveal
	var errFrom, errTo error
	c.from, errFrom = reveal(c.from)
	c.to, errTo = reveal(c.to)
	return c, errors.Join(errFrom, errTo)
}

// storeCopy is chatd store copy.
func storeCopy(ctx context.Context, e environment, args []string) (err error) {
	c, err := parseCopy(args, e.getenv)
	if err != nil {
		return err
	}
	from, err := parseDSN(c.from)
	if err != nil {
		return err
	}
	to, err := parseDSN(c.to)
	if err != nil {
		return err
	}
	if same, err := from.same(to); err != nil || same {
		return cmp.Or(err, error(usagef("--from and --to are the same store")))
	}
	source, err := from.open(ctx, false)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := to.open(ctx, !c.verify)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	return c.run(ctx, e, source, target)
}

// run copies and compares.
func (c copyCommand) run(ctx context.Context, e environment, from, to store.Store) error {
	job := &storecopy.Copy{From: from, To: to, Resume: c.resume, Force: c.forced}
	total, err := job.Count(ctx)
	if err != nil {
		return err
	}
	if !c.verify {
		if err := c.copy(ctx, e, job, total); err != nil {
			return err
		}
	}
	var done storecopy.Done
	bar := startProgress(e.stderr, "compared", 2*total, &done)
	want, err := storecopy.Summed(ctx, from, &done)
	var have *storecopy.Sums
	if err == nil {
		have, err = storecopy.Summed(ctx, to, &done)
	}
	bar.stop()
	if err != nil {
		return fmt.Errorf("comparing: %w", err)
	}
	return printSums(e.stdout, want, have)
}

func (c copyCommand) copy(ctx context.Context, e environment, job *storecopy.Copy, total int64) error {
	bar := startProgress(e.stderr, "copied", total, &job.Done)
	err := job.Run(ctx)
	bar.stop()
	switch {
	case err == storecopy.ErrNotEmpty:
		return fmt.Errorf("%w: --resume goes on with a copy that was broken off, --force makes the target the same as the source, whatever is in it", err)
	case ctx.Err() != nil:
		return errors.New("interrupted: the same command with --resume goes on from here")
	}
	return err
}

// printSums says of each domain whether both sides have the same.
func printSums(out io.Writer, want, have *storecopy.Sums) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tfrom\tto\tchecksum")
	differ := 0
	for i, from := range want.All() {
		to := have.All()[i]
		sum := from.Checksum()[:16]
		if from != to {
			differ++
			sum += " is not " + to.Checksum()[:16]
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", from.Domain, from.Count, to.Count, sum)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if differ > 0 {
		return fmt.Errorf("the stores differ in %d of %d kinds of records", differ, len(want.All()))
	}
	fmt.Fprintln(out, "The two stores have the same.")
	return nil
}

// A dsn names a store of some driver.
type dsn struct{ driver, rest string }

func parseDSN(text string) (dsn, error) {
	driver, rest, _ := strings.Cut(text, ":")
	switch driver {
	case "sqlite", "mysql", "riak":
		if rest != "" {
			return dsn{driver, rest}, nil
		}
	}
	return dsn{}, usagef("%q is not sqlite:PATH, mysql:DSN or riak:HOST:PORT", driver+":…")
}

// same reports whether two names are of one store.
func (d dsn) same(o dsn) (bool, error) {
	if d.driver != "sqlite" || o.driver != "sqlite" {
		return d == o, nil
	}
	a, err := os.Stat(d.rest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	b, errOther := os.Stat(o.rest)
	if errors.Is(errOther, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && errOther == nil && os.SameFile(a, b), errors.Join(err, errOther)
}

// A lockedStore has the data directory that it is in to itself.
type lockedStore struct {
	store.Store
	lock io.Closer
}

func (l lockedStore) Close() error { return errors.Join(l.Store.Close(), l.lock.Close()) }

// open opens a store that no running chatd has. make says that it may be new.
func (d dsn) open(ctx context.Context, make bool) (store.Store, error) {
	switch d.driver {
	case "sqlite":
		return openSQLiteFile(ctx, d.rest, make)
	case "mysql":
		return sqlstore.OpenMySQL(ctx, sqlstore.MySQL{DSN: d.rest})
	}
	nodes, err := riak.ParseNodes(d.rest)
	if err != nil {
		return nil, err
	}
	return riak.Open(ctx, riak.Config{Nodes: nodes})
}

func openSQLiteFile(ctx context.Context, path string, make bool) (store.Store, error) {
	if _, err := os.Stat(path); err != nil && !make {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	lock, err := lockData(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	db, err := sqlstore.Open(ctx, sqlstore.Config{Path: path, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lockedStore{db, lock}, nil
}
