package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"chatd/auth"
	"chatd/roster"
	"chatd/router"
	"chatd/stanza"
	"chatd/store"
	"chatd/xep"
)

// userVerbs is what chatd user can do.
var userVerbs = []string{"add", "passwd", "remove", "list"}

// user is chatd user. It opens the server's store by itself, so that it works
// with and without a running server.
func user(ctx context.Context, e environment, args []string) (err error) {
	c, err := parseUser(args)
	if err != nil {
		return err
	}
	cfg, err := c.where.load(e.getenv)
	if err != nil {
		return err
	}
	if cfg.Store.Driver == "sqlite" && (c.where == (where{}) || c.verb != "add") && !exists(cfg.Data) {
		return fmt.Errorf("there is no data in %s: start chatd first, or name its -data or -config", cfg.Data)
	}
	var who stanza.JID
	if c.verb != "list" {
		if who, err = accountJID(c.jid, cfg.Domain); err != nil {
			return err
		}
	}
	if c.password == nil && (c.verb == "add" || c.verb == "passwd") {
		typed, err := askPassword(ctx, e, who.String())
		if err != nil {
			return err
		}
		c.password = &typed
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return err
	}
	db, err := openStore(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	newHooks(cfg, db, slog.New(slog.DiscardHandler)).Reload(cfg.Webhooks) // a running server delivers what this is to be told of
	if c.verb == "list" {
		return listUsers(ctx, e.stdout, db, cfg.Domain)
	}
	return c.change(ctx, e.stdout, cfg, db, who)
}

// A userCommand is the command line of chatd user.
type userCommand struct {
	where
	verb     string
	jid      string  // as given; "" for list
	password *string // nil: to be asked for
}

func parseUser(args []string) (c userCommand, err error) {
	if len(args) == 0 {
		return c, usagef("user needs one of %s", strings.Join(userVerbs, ", "))
	}
	if isHelp(args[0]) {
		return c, flag.ErrHelp
	}
	if c.verb = args[0]; !slices.Contains(userVerbs, c.verb) {
		return c, usagef("unknown command \"user %s\"%s", c.verb, didYouMean(c.verb, userVerbs))
	}
	fs := flag.NewFlagSet("user", flag.ContinueOnError)
	c.where.flags(fs)
	if c.verb == "add" || c.verb == "passwd" {
		fs.Func("password", "", func(s string) error { c.password = &s; return nil })
	}
	rest, err := parse(fs, args[1:])
	switch {
	case err != nil:
		return c, err
	case c.verb == "list" && len(rest) > 0:
		return c, usagef("user list takes no JID")
	case c.verb != "list" && len(rest) != 1:
		return c, usagef("user %s needs one JID", c.verb)
	case c.verb != "list":
		c.jid = rest[0]
	}
	return c, nil
}

// change does add, passwd or remove and says so, or why not in the words of
// the caller.
func (c userCommand) change(ctx context.Context, out io.Writer, cfg *Config, db store.Store, who stanza.JID) error {
	decoy, err := decoyKey(cfg)
	if err != nil {
		return err
	}
	accounts := auth.New(db, cfg.Domain, decoy)
	done := "added"
	switch c.verb {
	case "add":
		_, err = accounts.Register(ctx, who.Local(), *c.password)
	case "passwd":
		err, done = accounts.SetPassword(ctx, who.Local(), *c.password), "password changed"
	case "remove":
		err, done = remove(ctx, accounts, db, who), "removed"
	}
	switch {
	case errors.Is(err, auth.ErrExists):
		return fmt.Errorf("%s exists already", who)
	case errors.Is(err, auth.ErrNotFound):
		return fmt.Errorf("there is no account %s", who)
	case errors.Is(err, auth.ErrBadPassword):
		return errors.New("the password is empty or has characters that are not allowed")
	case err != nil:
		return err
	}
	fmt.Fprintf(out, "%s: %s\n", who, done)
	return nil
}

// remove deletes an account. Its friends lose it first, or who gets the name
// next would inherit them.
func remove(ctx context.Context, accounts *auth.Service, db store.Store, who stanza.JID) error {
	if known, err := accounts.Exists(ctx, who.Local()); err != nil || !known {
		return cmp.Or(err, auth.ErrNotFound)
	}
	quiet := slog.New(slog.DiscardHandler)
	rt := router.New(stanza.MustJID(who.Domain()), quiet)
	friends := roster.New(rt, db, roster.Config{}, quiet)
	rt.Presence, rt.Users = friends, accounts
	rt.Blocks = xep.NewBlocking(rt, db, friends.BlocklistChanged)
	if err := friends.RemoveUser(ctx, who); err != nil {
		return err
	}
	return accounts.Remove(ctx, who.Local())
}

// accountJID is the account's JID, of which a caller may leave out the domain.
func accountJID(arg, domain string) (stanza.JID, error) {
	full := arg
	if !strings.Contains(arg, "@") {
		full += "@" + domain
	}
	j, err := stanza.ParseJID(full)
	switch {
	case err != nil || j.Local() == "":
		return j, fmt.Errorf("%q is not a JID like alice@%s", arg, domain)
	case !j.IsBare():
		return j, fmt.Errorf("%q has a resource: the account is %s", arg, j.Bare())
	case j.Domain() != domain:
		return j, fmt.Errorf("%s is not of this server's domain, %s", j, domain)
	}
	return j, nil
}

// listPage is how many names are read at once.
const listPage = 1000

func listUsers(ctx context.Context, out io.Writer, db store.Accounts, domain string) error {
	for after := ""; ; {
		names, err := db.ListAccounts(ctx, after, listPage)
		if err != nil {
			return err
		}
		for _, n := range names {
			if _, err := fmt.Fprintf(out, "%s@%s\n", n, domain); err != nil {
				return err
			}
			after = n
		}
		if len(names) < listPage {
			return nil
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
