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
	"slices"
	"strings"
	"text/tabwriter"

	"chatd/store"
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
	from, err := parseDSN(c.from, e.getenv)
	if err != nil {
		return err
	}
	to, err := parseDSN(c.to, e.getenv)
	if err != nil {
		return err
	}
	if same, err := from.same(to); err != nil || same {
		return cmp.Or(err, error(usagef("--from and --to are the same store")))
	}
	if !c.verify {
		if err := to.makeFolder(); err != nil {
			return err
		}
	}
	locks, err := lockFolders(from.folder, to.folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, locks.Close()) }()
	if err := from.exists(); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	source, err := from.open(ctx)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if c.verify {
		err = to.exists()
	}
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	target, err := to.open(ctx)
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
type dsn struct {
	cfg    *Config // as a server would have it
	folder string  // the data directory that a running chatd would have taken; "": not known
}

// parseDSN understands what storeHelp says.
func parseDSN(text string, getenv func(string) string) (dsn, error) {
	driver, rest, _ := strings.Cut(text, ":")
	cfg := defaultConfig()
	cfg.Store.Driver, cfg.Store.DSN = driver, rest
	switch {
	case rest == "":
	case driver == "config":
		cfg, err := loadConfig(rest, getenv)
		if err != nil {
			return dsn{}, err
		}
		return dsn{cfg, cfg.Data}, nil
	case driver == "sqlite":
		return dsn{cfg, filepath.Dir(rest)}, nil
	case driver == "mysql", driver == "riak":
		return dsn{cfg: cfg}, nil
	}
	return dsn{}, usagef("%q is not sqlite:PATH, mysql:DSN, riak:HOST:PORT or config:FILE", driver+":…")
}

// file is the database file of SQLite; "" for other drivers.
func (d dsn) file() string {
	if d.cfg.Store.Driver != "sqlite" {
		return ""
	}
	return databaseFile(d.cfg)
}

// exists says why a store that is to be there already cannot be.
func (d dsn) exists() error {
	if d.file() == "" {
		return nil // opening it tells
	}
	_, err := os.Stat(d.file())
	return err
}

func (d dsn) makeFolder() error {
	if d.folder == "" {
		return nil
	}
	return os.MkdirAll(d.folder, 0o700)
}

// same reports whether two names are of one store.
func (d dsn) same(o dsn) (bool, error) {
	if d.file() == "" || o.file() == "" {
		return d.cfg.Store.Driver == o.cfg.Store.Driver && d.cfg.Store.DSN == o.cfg.Store.DSN, nil
	}
	a, err := os.Stat(d.file())
	b, errOther := os.Stat(o.file())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(errOther, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && errOther == nil && os.SameFile(a, b), errors.Join(err, errOther)
}

func (d dsn) open(ctx context.Context) (store.Store, error) {
	return openStore(ctx, d.cfg, slog.New(slog.DiscardHandler))
}

// locks are data directories that no chatd has.
type locks []io.Closer

func (l locks) Close() (err error) {
	for _, c := range l {
		err = errors.Join(err, c.Close())
	}
	return err
}

// lockFolders takes data directories for this process, each once; one that is not there is nobody's.
func lockFolders(folders ...string) (taken locks, err error) {
	var seen []os.FileInfo
	for _, folder := range folders {
		info, err := os.Stat(folder)
		if err != nil || slices.ContainsFunc(seen, func(o os.FileInfo) bool { return os.SameFile(o, info) }) {
			continue
		}
		seen = append(seen, info)
		lock, err := lockData(folder)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("stop chatd first: %w", err), taken.Close())
		}
		taken = append(taken, lock)
	}
	return taken, nil
}
