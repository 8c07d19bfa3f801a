package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A coordinator runs one load: it starts the workers, tells them when all have reached
// a mark, reads the server's usage at each, and adds up what they counted.
type coordinator struct {
	options
	title     string // of the progress line
	stderr    io.Writer
	workers   []*remote
	events    chan message
	quit      chan struct{} // closed when nobody takes events any more
	listeners sync.WaitGroup
	usage     map[string]usage // by mark, and "before"
	reached   map[string]int
	latest    []progress
	ends      int // workers that have sent their last event
	total     outcome
}

// A remote is a worker, seen from here.
type remote struct {
	in   io.WriteCloser
	wait func() error
}

// A message is an event and who sent it.
type message struct {
	from int
	event
	err error // no further event
}

// run is one load from beginning to end.
func (c *coordinator) run(ctx context.Context) (*outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Limit, errors.New("the time of -limit is over"))
	defer cancel()
	c.usage, c.reached = make(map[string]usage), make(map[string]int)
	c.events, c.quit, c.latest = make(chan message), make(chan struct{}), make([]progress, c.Processes)
	if err := c.measure("before"); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	err := c.start(ctx)
	if err == nil {
		err = c.follow(ctx)
	}
	stop()
	if isTerminal(c.stderr) {
		fmt.Fprintln(c.stderr)
	}
	return &c.total, errors.Join(err, c.end())
}

func (c *coordinator) start(ctx context.Context) error {
	j := job{Options: c.options, Run: rand.Uint32()}
	for i := range c.Processes {
		j.Index = i
		w, out, err := c.worker(ctx)
		if err != nil {
			return err
		}
		c.workers = append(c.workers, w)
		c.listeners.Go(func() { c.listen(i, out) })
		if err := json.NewEncoder(w.in).Encode(j); err != nil {
			return err
		}
	}
	return nil
}

// worker starts one: by itself it lives in this process, several are processes.
func (c *coordinator) worker(ctx context.Context) (*remote, io.Reader, error) {
	if c.Processes == 1 {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		done := make(chan error, 1)
		go func() {
			err := work(ctx, inR, outW)
			outW.Close()
			inR.Close()
			done <- err
		}()
		return &remote{in: inW, wait: sync.OnceValue(func() error { return <-done })}, outR, nil
	}
	cmd, err := self("worker")
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = os.Stderr // a panic, at most
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return &remote{in: in, wait: func() error { return waitFor(cmd) }}, out, cmd.Start()
}

// waitFor waits for a process that has been told to end, and kills it if it does not.
func waitFor(cmd *exec.Cmd) error {
	kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended after all
	defer kill.Stop()
	return cmd.Wait()
}

// self is this program, to be run with a sub-command.
func self(args ...string) (*exec.Cmd, error) {
	path, err := os.Executable()
	return exec.Command(path, args...), err
}

// listen hands on what a worker says, up to its last event. It reads on, so that no
// worker ever waits for it, until the worker ends.
func (c *coordinator) listen(from int, out io.Reader) {
	d := json.NewDecoder(out)
	for last := false; !last; {
		r := message{from: from}
		r.err = d.Decode(&r.event)
		last = r.err != nil || r.Outcome != nil || r.Error != ""
		select {
		case c.events <- r:
		case <-c.quit:
			last = true
		}
	}
	io.Copy(io.Discard, out) //nolint:errcheck // until its end, whatever that is
}

// follow takes events until each worker has sent its last.
func (c *coordinator) follow(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	started := time.Now()
	for c.ends < c.Processes {
		select {
		case r := <-c.events:
			if err := c.take(r); err != nil {
				return err
			}
		case <-tick.C:
			c.progress(time.Since(started))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (c *coordinator) take(r message) error {
	switch {
	case r.err != nil:
		return fmt.Errorf("worker %d ended early: %w", r.from, r.err)
	case r.Error != "":
		return errors.New(r.Error)
	case r.Progress != nil:
		c.latest[r.from] = *r.Progress
	case r.Outcome != nil:
		c.total.merge(r.Outcome)
		c.ends++
	case r.Mark != "":
		return c.mark(r.Mark)
	}
	return nil
}

// mark reads the server's usage when the last worker gets there, and lets them
// go on who wait.
func (c *coordinator) mark(name string) error {
	if c.reached[name]++; c.reached[name] < c.Processes {
		return nil
	}
	if err := c.measure(name); err != nil {
		return err
	}
	for _, w := range c.workers {
		fmt.Fprintln(w.in, "go", name) //nolint:errcheck // who has ended does not wait
	}
	return nil
}

func (c *coordinator) measure(name string) (err error) {
	c.usage[name], err = usageOf(c.PIDs)
	return err
}

// end has all workers end, if they have not, and waits for them.
func (c *coordinator) end() error {
	close(c.quit)
	for _, w := range c.workers {
		w.in.Close() //nolint:errcheck // its end is all that matters
	}
	var errs []error
	for _, w := range c.workers {
		errs = append(errs, w.wait())
	}
	c.listeners.Wait()
	return errors.Join(errs...)
}

// progress says how far it is; a terminal sees one line.
func (c *coordinator) progress(elapsed time.Duration) {
	var sum progress
	for _, p := range c.latest {
		sum.Online += p.Online
		sum.Failed += p.Failed
		sum.Sent += p.Sent
		sum.Delivered += p.Delivered
	}
	line := fmt.Sprintf("%s %3.0fs  online %d  failed %d  sent %d  delivered %d",
		c.title, elapsed.Seconds(), sum.Online, sum.Failed, sum.Sent, sum.Delivered)
	switch {
	case isTerminal(c.stderr):
		fmt.Fprintf(c.stderr, "\r%s\x1b[K", line)
	case c.Progress:
		fmt.Fprintln(c.stderr, line)
	}
}
