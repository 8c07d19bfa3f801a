package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// bounds of what can be asked for.
const (
	maxUsers     = 1_000_000
	maxProcesses = 100
	maxPerSocket = 18_000 // sessions of a process
	maxMessages  = 1_000_000_000
	maxSize      = 60_000
)

// check finds what cannot be done.
func (o *options) check() error {
	for _, c := range []struct {
		flag     string
		v        int
		min, max int
		modes    string // empty: all
	}{
		{"-friends", o.Friends, 1, 1000, "presence"},
		{"-toggling", o.Toggling, 1, o.Friends + 1, "presence"},
		{"-occupants", o.Occupants, 1, 1000, "rooms"},
		{"number of users or sessions", o.Users, 1, maxUsers, ""},
		{"-concurrency", o.Concurrency, 0, maxUsers, ""},
		{"-processes", o.Processes, 0, maxProcesses, ""},
		{"-messages", o.Messages, 0, maxMessages, "chat presence rooms"},
		{"-messages", o.Messages, 1, 1_000_000, "offline"},
		{"-inflight", o.Inflight, 1, 10_000, "chat presence rooms offline"},
		{"-size", o.Size, 200, maxSize, "chat rooms offline"},
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
	case !slices.Contains([]string{loginPassword, loginToken, loginResume}, o.Login):
		return usagef("-login must be scram, fast or resume, not %q", o.Login)
	case o.Login != loginPassword && (!o.Prepare || o.TLS == tlsOff):
		return usagef("-login %s needs TLS and a login before", o.Login)
	case o.Rate < 0 || o.Rate > 10_000_000:
		return usagef("-rate must be from 0 to 10000000, not %v", o.Rate)
	case o.Create && (o.Relay || o.Rate > 0 || o.Messages > 0 || o.Inflight != 1):
		return usagef("-create is without -relay, -rate, -messages and -inflight: no messages are sent")
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
