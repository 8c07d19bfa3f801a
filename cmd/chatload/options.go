package main

import (
	"errors"
	"flag"
	"io"
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
	Toggling    int    // presence: users of each group
	Occupants   int    // of a room
	Create      bool   // rooms: make rooms, instead of speaking in them
	Service     string // where rooms are; empty: what the server says
	Prepare     bool   // storm: log in once before
	Login       string // how to log in

	Relay     bool // run the same load through a relay as well
	RelayAddr string

	PIDs     []int
	Remote   bool
	JSON     bool
	Progress bool
}

// parseOptions reads the flags of a mode.
func parseOptions(mode string, args []string) (options, error) {
	o := options{Mode: mode, Group: 1, Login: loginPassword}
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
		fs.StringVar(&o.Login, "login", loginPassword, "")
		o.Concurrency = 0
	case "chat":
		count = fs.Int("pairs", 100, "")
		fs.IntVar(&o.Size, "size", 250, "")
		fs.BoolVar(&o.Relay, "relay", false, "")
		o.trafficFlags(fs)
	case "presence":
		count = fs.Int("users", 100, "")
		fs.IntVar(&o.Friends, "friends", 10, "")
		fs.IntVar(&o.Toggling, "toggling", 0, "")
		o.trafficFlags(fs)
	case "rooms":
		count = fs.Int("rooms", 10, "")
		fs.IntVar(&o.Occupants, "occupants", 20, "")
		fs.BoolVar(&o.Create, "create", false, "")
		fs.StringVar(&o.Service, "service", "", "")
		fs.IntVar(&o.Size, "size", 250, "")
		fs.BoolVar(&o.Relay, "relay", false, "")
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
		if o.Toggling == 0 {
			o.Toggling = o.Group
		}
	case "rooms":
		o.Group = o.Occupants
		o.Users = min(o.Users, maxUsers) * min(o.Occupants, maxUsers)
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
