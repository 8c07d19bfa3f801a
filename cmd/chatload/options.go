package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Values of -tls.
const (
	tlsOff    = "off"
	tlsStart  = "starttls"
	tlsDirect = "direct"
)

// options are the command line's, the same for all processes.
type options struct {
	Mode       string
	Addr       string
	Domain     string
	TLS        string
	Insecure   bool
	Mech       string
	UserFormat string
	Password   string
	Register   bool
	Resource   string

	Users       int // of all processes: sessions, twice the pairs, users
	Group       int // users that have to be in the same process
	Concurrency int // logins at once, of all processes; 0: as many as there are
	Processes   int
	Timeout     time.Duration // of one login, and of what waits for one answer
	Limit       time.Duration // of all
	Duration    time.Duration
	Warmup      time.Duration
	Drain       time.Duration
	Messages    int     // 0: as many as there is time for; offline: for each user
	Inflight    int     // unanswered messages of each sender, closed loop
	Rate        float64 // of all processes; 0: closed loop
	Size        int     // bytes of a message as sent
	Friends     int
	Prepare     bool // storm: log in once before

	Relay     bool // run the same load through a relay as well
	RelayAddr string

	PIDs     []int
	Remote   bool
	JSON     bool
	Progress bool
}

// bounds of what can be asked for.
const (
	maxUsers     = 1_000_000
	maxProcesses = 100
	maxPerSocket = 18_000 // sessions of a process
	maxMessages  = 1_000_000_000
	maxSize      = 60_000
)

// parseOptions reads the flags of a mode.
func parseOptions(mode string, args []string) (options, error) {
	o := options{Mode: mode, Group: 1}
	fs := flag.NewFlagSet(mode, flag.ContinueOnError)
	pids := o.commonFlags(fs)
	count := o.modeFlags(fs)
	if err := parseFlags(fs, args); err != nil {
		return o, err
	}
	var err error
	if o.PIDs, err = parsePIDs(*pids); err != nil {
		return o, err
	}
	o.group(count)
	if err := o.check(); err != nil {
		return o, err
	}
	if o.Limit == 0 {
		o.Limit = 15*time.Minute + o.Warmup + 2*o.Duration + o.Drain
	}
	return o, nil
}

// parseFlags reads flags, and nothing but flags.
func parseFlags(fs *flag.FlagSet, args []string) error {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return usageError{err.Error()}
	case fs.NArg() > 0:
		return usagef("%s takes no argument, not %q", fs.Name(), fs.Arg(0))
	}
	return nil
}

func (o *options) commonFlags(fs *flag.FlagSet) (pids *string) {
	fs.StringVar(&o.Addr, "addr", "127.0.0.1:5222", "")
	fs.StringVar(&o.Domain, "domain", "localhost", "")
	fs.StringVar(&o.TLS, "tls", tlsStart, "")
	fs.BoolVar(&o.Insecure, "insecure", false, "")
	fs.StringVar(&o.Mech, "mech", "auto", "")
	fs.StringVar(&o.UserFormat, "user-format", "load%d", "")
	fs.StringVar(&o.Password, "password", "load", "")
	fs.BoolVar(&o.Register, "register", false, "")
	fs.StringVar(&o.Resource, "resource", "chatload", "")
	fs.IntVar(&o.Concurrency, "concurrency", 64, "")
	fs.IntVar(&o.Processes, "processes", 0, "")
	fs.DurationVar(&o.Timeout, "timeout", 30*time.Second, "")
	fs.DurationVar(&o.Limit, "limit", 0, "")
	fs.BoolVar(&o.Remote, "remote", false, "")
	fs.BoolVar(&o.JSON, "json", false, "")
	fs.BoolVar(&o.Progress, "progress", false, "")
	return fs.String("pid", "", "")
}

// modeFlags adds what only some modes have. What it returns is the mode's unit of
// size: sessions, pairs or users.
func (o *options) modeFlags(fs *flag.FlagSet) (count *int) {
	duration := 10 * time.Second
	switch o.Mode {
	case "idle":
		count = fs.Int("sessions", 1000, "")
		duration = 30 * time.Second
	case "storm":
		count = fs.Int("sessions", 1000, "")
		duration = time.Minute
		fs.BoolVar(&o.Prepare, "prepare", true, "")
		o.Concurrency = 0
	case "chat":
		count = fs.Int("pairs", 100, "")
		fs.IntVar(&o.Size, "size", 250, "")
		fs.BoolVar(&o.Relay, "relay", false, "")
		o.trafficFlags(fs)
	case "presence":
		count = fs.Int("users", 100, "")
		fs.IntVar(&o.Friends, "friends", 10, "")
		o.trafficFlags(fs)
	case "offline":
		count = fs.Int("users", 100, "")
		fs.IntVar(&o.Messages, "messages", 100, "")
		fs.IntVar(&o.Inflight, "inflight", 16, "")
		fs.IntVar(&o.Size, "size", 250, "")
		duration = time.Minute
	}
	fs.DurationVar(&o.Duration, "duration", duration, "")
	return count
}

func (o *options) trafficFlags(fs *flag.FlagSet) {
	fs.IntVar(&o.Messages, "messages", 0, "")
	fs.IntVar(&o.Inflight, "inflight", 1, "")
	fs.Float64Var(&o.Rate, "rate", 0, "")
	fs.DurationVar(&o.Warmup, "warmup", time.Second, "")
	fs.DurationVar(&o.Drain, "drain", 10*time.Second, "")
}

// group turns the unit of size into users, of whom those that belong together
// have numbers in a row.
func (o *options) group(count *int) {
	o.Users = *count
	switch o.Mode {
	case "chat", "offline":
		o.Group = 2
		o.Users = min(o.Users, maxUsers) * 2
	case "presence":
		o.Group = o.Friends + 1
	}
}

func parsePIDs(list string) (pids []int, err error) {
	if list == "" {
		return nil, nil
	}
	for s := range strings.SplitSeq(list, ",") {
		pid, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || pid < 1 {
			return nil, usagef("-pid: %q is not a process", s)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// check finds what cannot be done.
func (o *options) check() error {
	for _, c := range []struct {
		flag     string
		v        int
		min, max int
		modes    string // empty: all
	}{
		{"-friends", o.Friends, 1, 1000, "presence"},
		{"number of users or sessions", o.Users, 1, maxUsers, ""},
		{"-concurrency", o.Concurrency, 0, maxUsers, ""},
		{"-processes", o.Processes, 0, maxProcesses, ""},
		{"-messages", o.Messages, 0, maxMessages, "chat presence"},
		{"-messages", o.Messages, 1, 1_000_000, "offline"},
		{"-inflight", o.Inflight, 1, 10_000, "chat presence offline"},
		{"-size", o.Size, 200, maxSize, "chat offline"},
	} {
		if (c.modes == "" || slices.Contains(strings.Fields(c.modes), o.Mode)) && (c.v < c.min || c.v > c.max) {
			return usagef("%s must be from %d to %d, not %d", c.flag, c.min, c.max, c.v)
		}
	}
	for _, c := range []struct {
		flag     string
		v        time.Duration
		min, max time.Duration
	}{
		{"-duration", o.Duration, time.Millisecond, 24 * time.Hour},
		{"-warmup", o.Warmup, 0, time.Hour},
		{"-drain", o.Drain, 0, time.Hour},
		{"-timeout", o.Timeout, time.Millisecond, time.Hour},
		{"-limit", o.Limit, 0, 48 * time.Hour},
	} {
		if c.v < c.min || c.v > c.max {
			return usagef("%s must be from %v to %v, not %v", c.flag, c.min, c.max, c.v)
		}
	}
	return o.checkNames()
}

func (o *options) checkNames() error {
	switch {
	case !slices.Contains([]string{tlsOff, tlsStart, tlsDirect}, o.TLS):
		return usagef("-tls must be off, starttls or direct, not %q", o.TLS)
	case o.Mech != "auto" && !slices.Contains(mechanisms, o.Mech):
		return usagef("-mech must be auto, %s, not %q", strings.Join(mechanisms, ", "), o.Mech)
	case strings.Contains(fmt.Sprintf(o.UserFormat, 1), "%!") || fmt.Sprintf(o.UserFormat, 1) == fmt.Sprintf(o.UserFormat, 2):
		return usagef("-user-format must have one %%d, not %q", o.UserFormat)
	case o.Rate < 0 || o.Rate > 10_000_000:
		return usagef("-rate must be from 0 to 10000000, not %v", o.Rate)
	case o.Domain == "" || o.Resource == "":
		return usagef("-domain and -resource must not be empty")
	case o.Mode == "presence" && o.Users%o.Group != 0:
		return usagef("-users must be a multiple of -friends + 1, which is %d, not %d", o.Group, o.Users)
	}
	return o.checkProcesses(descriptorLimit() - 100)
}

// checkProcesses chooses how many processes there are, if that was left open.
func (o *options) checkProcesses(descriptors int) error {
	room := min(maxPerSocket, descriptors) / o.Group * o.Group
	if room < 1 {
		return usagef("this process may have %d sockets, too few for a group of %d; see ulimit -n", descriptors, o.Group)
	}
	need := (o.Users + room - 1) / room
	if o.Processes == 0 {
		o.Processes = need
	}
	switch {
	case need > maxProcesses:
		return usagef("%d sessions need more than %d processes", o.Users, maxProcesses)
	case o.Processes < need:
		return usagef("%d sessions need -processes %d, at most %d each; see ulimit -n", o.Users, need, room)
	case o.Processes > o.Users/o.Group:
		return usagef("-processes %d is more than there are groups of users, %d", o.Processes, o.Users/o.Group)
	case o.Messages > 0 && o.Messages < o.Processes:
		return usagef("-messages %d is fewer than one for each of %d processes", o.Messages, o.Processes)
	case o.Relay && o.Users > room:
		return usagef("-relay is for at most %d sessions", room)
	}
	return nil
}

// share is the users of process i: whole groups, evenly.
func (o *options) share(i int) (first, count int) {
	groups := o.Users / o.Group
	from, to := groups*i/o.Processes, groups*(i+1)/o.Processes
	return from * o.Group, (to - from) * o.Group
}

// part is process i's part of n.
func (o *options) part(n, i int) int { return n*(i+1)/o.Processes - n*i/o.Processes }

// checkTarget refuses what is not this machine, unless that is wanted, and
// replaces a name by its address: nothing is looked up while measuring.
func (o *options) checkTarget(ctx context.Context) error {
	host, port, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return usagef("-addr must be host:port: %v", err)
	}
	if host == "" {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	for _, ip := range ips {
		if !o.Remote && !ip.IP.IsLoopback() {
			return usagef("%s is not this machine; -remote if you may load it", host)
		}
	}
	slices.SortStableFunc(ips, func(a, b net.IPAddr) int { return len(a.IP.To4()) - len(b.IP.To4()) })
	o.Addr = net.JoinHostPort(ips[len(ips)-1].String(), port)
	return nil
}
