package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// An environment is what a command may use of the world.
type environment struct {
	program        string // how the program was called, for examples
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// A command is what stands first on the command line. Its run returns a
// usageError for wrong usage and flag.ErrHelp when asked for help.
type command struct {
	name, summary, help string
	run                 func(context.Context, environment, []string) error
}

func commands() []command {
	return []command{
		{"serve", "run the server (the default)", serveHelp, serve},
		{"user", "add, change, remove and list accounts", userHelp, user},
		{"store", "back up, check and move what is stored", storeHelp, storeCommand},
		{"cluster", "show the cluster, have a node leave it, or forget one", clusterHelp, clusterCommand},
		{"check", "check a configuration file", checkHelp, check},
		{"version", "print the version", versionHelp, version},
	}
}

// A usageError is the caller's mistake.
type usageError struct{ what string }

func (e usageError) Error() string { return e.what }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// dispatch finds the command and turns what it returns into an exit code.
func dispatch(ctx context.Context, e environment, args []string) int {
	name := "serve"
	if len(args) > 0 && (!strings.HasPrefix(args[0], "-") || isHelp(args[0])) {
		name, args = args[0], args[1:]
	}
	if isHelp(name) {
		return help(e, args)
	}
	c, err := find(name)
	if err == nil {
		err = c.run(ctx, e, args)
	}
	var wrong usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(e.stdout, c.help)
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintf(e.stderr, "chatd: %v; see: %s\n", err, strings.TrimSpace(e.program+" help "+c.name))
		return exitUsage
	}
	fmt.Fprintln(e.stderr, prefixed(err))
	return exitFailed
}

// prefixed says who speaks, but leaves alone what begins with a file's name,
// which editors and people want to find at the front.
func prefixed(err error) string {
	var ce configErrors
	if errors.As(err, &ce) {
		return err.Error()
	}
	return "chatd: " + err.Error()
}

func find(name string) (command, error) {
	var names []string
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	return command{}, usagef("unknown command %q%s", name, didYouMean(name, names))
}

func isHelp(arg string) bool {
	return arg == "help" || arg == "-h" || arg == "-help" || arg == "--help"
}

func help(e environment, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(e.stdout, topHelp())
		return exitOK
	}
	c, err := find(args[0])
	if err != nil {
		fmt.Fprintf(e.stderr, "chatd: %v; see: %s help\n", err, e.program)
		return exitUsage
	}
	fmt.Fprint(e.stdout, c.help)
	return exitOK
}

// parse reads flags before, between and after the other arguments, and returns
// those.
func parse(fs *flag.FlagSet, args []string) ([]string, error) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	var rest []string
	for {
		err := fs.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		if err != nil {
			return nil, usageError{err.Error()}
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// where are the flags that name a server's configuration and data.
type where struct{ config, data string }

func (w *where) flags(fs *flag.FlagSet) {
	fs.StringVar(&w.config, "config", "", "")
	fs.StringVar(&w.data, "data", "", "")
}

// load is the configuration file's configuration, or without one that of
// development mode.
func (w *where) load(getenv func(string) string) (*Config, error) {
	cfg := developmentConfig()
	if w.config != "" {
		var err error
		if cfg, err = loadConfig(w.config, getenv); err != nil {
			return nil, err
		}
	}
	if w.data != "" {
		cfg.Data = w.data
	}
	return cfg, nil
}
