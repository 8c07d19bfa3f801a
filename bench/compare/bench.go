package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

const domain = "chat.test"

// A bench is one comparison under way. It belongs to the goroutine that runs it, but for running.
type bench struct {
	options
	dir                         string
	stderr                      io.Writer
	chatd, chatload             string // binaries
	certFile, keyFile, pairFile string // the certificate, its key, and both in one

	mu      sync.Mutex
	running []*instance
}

// run goes through the phases: accounts, idle sessions, and the loads in turns.
func (b *bench) run(ctx context.Context) (*result, error) {
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	if err := b.makeCertificate(); err != nil {
		return nil, err
	}
	r, err := newResult(b)
	if err != nil {
		return nil, err
	}
	for _, phase := range []struct {
		name string
		do   func(context.Context, *result) error
	}{{"accounts and friendships", b.seed}, {"idle sessions", b.idle}, {"loads", b.loads}} {
		b.say("%s", phase.name)
		err := phase.do(ctx, r)
		b.stopAll()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", phase.name, err)
		}
	}
	r.finish()
	return r, nil
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func (b *bench) build(ctx context.Context) error {
	for _, binary := range []string{b.chatd, b.chatload} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "chatd/cmd/"+filepath.Base(binary))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", cmd.Args, err, out)
		}
	}
	return nil
}

// together does one thing for each, all at the same time.
func together[T any](all []T, do func(T) error) error {
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for n, one := range all {
		group.Go(func() { errs[n] = do(one) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// seedDir has a server's data as all of its instances begin with.
func (b *bench) seedDir(k kind) string { return filepath.Join(b.dir, k.name+"-seed") }

// seed makes the accounts of every server, in-band, and the friendships.
func (b *bench) seed(ctx context.Context, _ *result) error {
	return together(b.kinds, func(k kind) error {
		i, err := b.start(ctx, k, b.seedDir(k))
		if err != nil {
			return err
		}
		for _, args := range b.size.seeds() {
			if _, err := b.load(ctx, i, args...); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
		}
		i.stop()
		return nil
	})
}

// fresh starts a server on a copy of its seed.
func (b *bench) fresh(ctx context.Context, k kind, purpose string) (*instance, error) {
	dir := filepath.Join(b.dir, k.name+"-"+purpose)
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS(filepath.Join(b.seedDir(k), "data"))); err != nil {
		return nil, err
	}
	return b.start(ctx, k, dir)
}

// idle measures the memory of sessions that do nothing. Waiting costs no processor, so all servers wait at the
// same time, each with and without TLS in a process of its own.
func (b *bench) idle(ctx context.Context, r *result) error {
	type one struct {
		load
		kind
	}
	var all []one
	for _, l := range b.size.idle() {
		for _, k := range b.kinds {
			all = append(all, one{l, k})
		}
	}
	return together(all, func(o one) error {
		i, err := b.fresh(ctx, o.kind, o.load.id)
		if err != nil {
			return err
		}
		if _, err := b.load(ctx, i, b.size.touch()...); err != nil {
			return fmt.Errorf("%s: %w", o.kind.name, err)
		}
		report, err := b.load(ctx, i, o.load.args...)
		r.add(o.load.id, o.kind.name, report, err)
		return ctx.Err()
	})
}

// loads runs each load on all servers in turns, whose order moves on from round to round: what disturbs the machine
// for a while meets them all.
func (b *bench) loads(ctx context.Context, r *result) error {
	instances := make([]*instance, len(b.kinds))
	for n, k := range b.kinds {
		var err error
		if instances[n], err = b.fresh(ctx, k, "loads"); err != nil {
			return err
		}
		if _, err := b.load(ctx, instances[n], b.size.warmUp()...); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	for _, l := range b.size.loads() {
		for round := range b.size.rounds {
			for n := range instances {
				i := instances[(n+round)%len(instances)]
				if l.only != "" && l.only != i.name {
					continue
				}
				args := l.args
				if l.half {
					args = append(args[:len(args):len(args)], "-rate", fmt.Sprint(r.median(closedLoop, i.name, perSecond)/2))
				}
				if i.name == "chatd" && l.relay {
					args = append(args[:len(args):len(args)], "-relay")
				}
				report, err := b.load(ctx, i, args...)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				r.add(l.id, i.name, report, err)
				b.say("%s, round %d, %s: %s", l.id, round+1, i.name, report.summary(err))
			}
		}
	}
	return nil
}
