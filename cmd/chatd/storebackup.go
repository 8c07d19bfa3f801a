package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"chatd/store/sqlstore"
)

// storeBackup is chatd store backup.
func storeBackup(ctx context.Context, e environment, args []string) error {
	w, rest, err := parseStore("backup", args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usagef("store backup needs one FILE")
	}
	path, err := w.database(e.getenv)
	if err != nil {
		return err
	}
	r, err := sqlstore.Backup(ctx, path, rest[0])
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already: a backup is not written over anything", rest[0])
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s: written and checked, %s\n", rest[0], summary(r))
	return nil
}

// storeCheck is chatd store check.
func storeCheck(ctx context.Context, e environment, args []string) error {
	w, rest, err := parseStore("check", args)
	if err != nil {
		return err
	}
	var path string
	switch {
	case len(rest) > 1 || len(rest) == 1 && w != (where{}):
		return usagef("store check needs one FILE, or -config or -data")
	case len(rest) == 1:
		path = rest[0]
	default:
		if path, err = w.database(e.getenv); err != nil {
			return err
		}
	}
	r, err := sqlstore.Check(ctx, path)
	if err != nil {
		return err
	}
	if len(r.Faults) > 0 {
		return fmt.Errorf("%s is damaged: %s", path, strings.ReplaceAll(strings.Join(r.Faults, "; "), "\n", " "))
	}
	fmt.Fprintf(e.stdout, "%s: ok, %s\n", path, summary(r))
	return nil
}

func parseStore(verb string, args []string) (w where, rest []string, err error) {
	fs := flag.NewFlagSet("store "+verb, flag.ContinueOnError)
	w.flags(fs)
	rest, err = parse(fs, args)
	return w, rest, err
}

// database is the file of a server that keeps its data in SQLite.
func (w *where) database(getenv func(string) string) (string, error) {
	cfg, err := w.load(getenv)
	if err != nil {
		return "", err
	}
	if cfg.Store.Driver != "sqlite" {
		return "", fmt.Errorf("the store is %s: this is for SQLite, the database has commands of its own", cfg.Store.Driver)
	}
	path := databaseFile(cfg)
	if !exists(path) {
		return "", fmt.Errorf("there is no database %s: start chatd first, or name its -data or -config", path)
	}
	return path, nil
}

// databaseFile is where SQLite's database is.
func databaseFile(cfg *Config) string {
	if path := beside(cfg.File, cfg.Store.DSN); path != "" {
		return path
	}
	return filepath.Join(cfg.Data, "chatd.db")
}

func summary(r sqlstore.Report) string {
	return fmt.Sprintf("accounts %d, messages that wait %d, rooms %d, schema %d, bytes %d", r.Accounts, r.Messages, r.Rooms, r.Schema, r.Bytes)
}
