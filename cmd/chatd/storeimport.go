package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"

	"chatd/portable"
)

// An importCommand is the command line of chatd store import and export.
type importCommand struct {
	where
	file    string
	host    string
	replace bool
}

func parseImport(verb string, args []string) (c importCommand, err error) {
	fs := flag.NewFlagSet("store "+verb, flag.ContinueOnError)
	c.where.flags(fs)
	if verb == "import" {
		fs.StringVar(&c.host, "host", "", "")
		fs.BoolVar(&c.replace, "replace", false, "")
	}
	rest, err := parse(fs, args)
	if err == nil && len(rest) != 1 {
		err = usagef("store %s needs one file", verb)
	}
	if err == nil {
		c.file = rest[0]
	}
	return c, err
}

// storeImport is chatd store import.
func storeImport(ctx context.Context, e environment, args []string) (err error) {
	c, err := parseImport("import", args)
	if err != nil {
		return err
	}
	if !exists(c.file) {
		return fmt.Errorf("there is no %s", c.file)
	}
	cfg, err := c.where.load(e.getenv)
	if err != nil {
		return err
	}
	lock, err := lockData(cfg.Data)
	if err != nil {
		return fmt.Errorf("stop chatd first: %w", err)
	}
	defer lock.Close()
	db, err := openStore(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	report, err := portable.Import(ctx, db, c.file, portable.Importing{
		Domain: cfg.Domain, Host: c.host, Replace: c.replace,
		Refused: func(user string, why error) { fmt.Fprintf(e.stderr, "refused %q: %v\n", user, why) },
	})
	printReport(e.stdout, report)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted: the same command goes on with the users who are not there yet")
	case err == nil && report.Refused > 0:
		err = fmt.Errorf("%d users refused", report.Refused)
	}
	return err
}

func printReport(out io.Writer, r portable.Report) {
	fmt.Fprintf(out, "imported %d users with %d messages that wait for them\n", r.Imported, r.Messages)
	if r.Exist > 0 {
		fmt.Fprintf(out, "%d users exist already and are as they were\n", r.Exist)
	}
	if r.Refused > 0 {
		fmt.Fprintf(out, "refused %d users\n", r.Refused)
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Skipped)) {
		fmt.Fprintf(out, "not kept: %d × %s\n", r.Skipped[kind], kind)
	}
	if r.Unproven > 0 {
		fmt.Fprintf(out, "%d users have no password that could be taken over: they need a token to log in, or chatd user passwd\n", r.Unproven)
	}
	if r.OnlySHA1 > 0 {
		fmt.Fprintf(out, "%d users have a password for SCRAM-SHA-1 only: set auth.scram = [\"SCRAM-SHA-1\"] until they have another one\n", r.OnlySHA1)
	}
}

// storeExport is chatd store export. It only reads, so that the server may run.
func storeExport(ctx context.Context, e environment, args []string) (err error) {
	c, err := parseImport("export", args)
	if err != nil {
		return err
	}
	cfg, err := c.where.load(e.getenv)
	if err != nil {
		return err
	}
	if !exists(cfg.Data) {
		return fmt.Errorf("there is no data in %s: name the server's -data or -config", cfg.Data)
	}
	db, err := openStore(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	users := 0
	err = replaceFile(c.file, os.FileMode(0o600), func(w io.Writer) error {
		users, err = portable.Export(ctx, db, cfg.Domain, w)
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "%s: %d users; keep it to yourself: who has it can try passwords\n", c.file, users)
	return err
}
