package main

import (
	"errors"
	"net"
	"time"
)

// An outcome is what one process counted; outcomes add up.
type outcome struct {
	LoggedIn, LoginFailed, Retries int
	LoginTime                      time.Duration // from the first login's beginning to the last one's end
	Login                          histogram     // of each login, from its own connect
	Back                           histogram     // storm: from the storm's beginning

	Sent, Delivered, Lost, Duplicated, Reordered uint64
	Bounced, Unsent, Unexpected, Disconnected    uint64
	ForeignContacts                              uint64

	Measured uint64        // deliveries in the window
	Window   time.Duration // that was measured
	Latency  histogram
	Lag      histogram     // open loop: from when a message was due to when it was written
	Store    time.Duration // offline: until all was accepted
	Fetch    time.Duration // offline: until all had come
	CPU      time.Duration // of this process in the window

	Failures map[string]int // kinds of errors, at most maxFailures
}

const maxFailures = 20

func (o *outcome) fail(err error) { o.failures(kind(err), 1) }

func (o *outcome) failures(what string, n int) {
	if o.Failures == nil {
		o.Failures = make(map[string]int)
	}
	if _, known := o.Failures[what]; !known && len(o.Failures) >= maxFailures {
		what = "others"
	}
	o.Failures[what] += n
}

// kind is an error's text without what makes each one differ.
func kind(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// judge counts what has arrived. It reports whether that is a delivery.
func (o *outcome) judge(v verdict) bool {
	switch v {
	case unexpected:
		o.Unexpected++
		return false
	case duplicated:
		o.Duplicated++
		return false
	case reordered:
		o.Reordered++
	}
	o.Delivered++
	return true
}

func (o *outcome) merge(p *outcome) {
	o.LoggedIn += p.LoggedIn
	o.LoginFailed += p.LoginFailed
	o.Retries += p.Retries
	o.LoginTime = max(o.LoginTime, p.LoginTime)
	o.Login.merge(&p.Login)
	o.Back.merge(&p.Back)
	o.Sent += p.Sent
	o.Delivered += p.Delivered
	o.Lost += p.Lost
	o.Duplicated += p.Duplicated
	o.Reordered += p.Reordered
	o.Bounced += p.Bounced
	o.Unsent += p.Unsent
	o.Unexpected += p.Unexpected
	o.Disconnected += p.Disconnected
	o.ForeignContacts += p.ForeignContacts
	o.Measured += p.Measured
	o.Window = max(o.Window, p.Window)
	o.Latency.merge(&p.Latency)
	o.Lag.merge(&p.Lag)
	o.Store = max(o.Store, p.Store)
	o.Fetch = max(o.Fetch, p.Fetch)
	o.CPU += p.CPU
	for what, n := range p.Failures {
		o.failures(what, n)
	}
}

// good is whether nothing went wrong that a server could be blamed for.
func (o *outcome) good() bool {
	return o.LoginFailed == 0 && o.Lost == 0 && o.Duplicated == 0 && o.Reordered == 0 &&
		o.Bounced == 0 && o.Unsent == 0 && o.Unexpected == 0 && o.Disconnected == 0
}
