package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// presence: users are friends in groups of -friends + 1, all with all, and each
// toggles between available and away. Numbers decide who belongs together, so that the
// friendships of one run serve the next.
func (w *worker) presence() error {
	w.dialer.keepRoster = true
	if err := w.logins(w.all(0, 1), w.Concurrency, w.once, w.enter); err != nil {
		return err
	}
	if w.out.LoginFailed > 0 {
		return w.loginFailure()
	}
	if err := w.befriend(); err != nil {
		return err
	}
	t := &traffic{w: w, streams: make([]stream, len(w.online)), fanout: uint64(w.Friends), fill: fillPresence}
	for i, s := range w.online {
		t.streams[i] = stream{from: s, seen: make([]sequence, w.Friends)}
	}
	t.recipient = func(from int, s *session) int {
		switch to := s.user - w.first; {
		case to == from || to/w.Group != from/w.Group: // oneself (RFC 6121 §4.4.2), and friends of other runs
			return bystander
		case to < from:
			return to % w.Group
		default:
			return to%w.Group - 1
		}
	}
	return t.run()
}

// fillPresence makes one toggle, as a client's idle detection does; its status is the marker.
func fillPresence(b []byte, _ int, m marker) []byte {
	b = append(b, "<presence>"...)
	if m.number%2 == 0 {
		b = append(b, "<show>away</show>"...)
	}
	b = append(b, "<status>"...)
	b = appendMarker(b, m)
	return append(b, "</status></presence>"...)
}

// A wish is a subscription that is to be approved: of a user to a contact.
type wish struct {
	user    int
	contact string
}

// befriend subscribes all in a group to one another, as far as they are not yet
// (RFC 6121 §3.1).
func (w *worker) befriend() error {
	wishes, last := make(map[wish]bool), time.Now()
	w.element = func(s *session, elem []byte) {
		if string(tagName(elem)) != "presence" {
			return
		}
		from, _, _ := strings.Cut(string(attribute(elem, "from")), "/")
		switch string(attribute(elem, "type")) {
		case "subscribe":
			w.subscription(s, from, "subscribed")
		case "subscribed":
			delete(wishes, wish{s.user, from})
			last = time.Now()
		}
	}
	for i, s := range w.online {
		has := contacts(s.roster)
		s.roster = nil
		group := i / w.Group * w.Group
		for _, friend := range w.online[group : group+w.Group] {
			if friend != s && !has[friend.bare] {
				wishes[wish{s.user, friend.bare}] = true
				w.subscription(s, friend.bare, "subscribe")
			}
			delete(has, friend.bare)
		}
		w.out.ForeignContacts += uint64(len(has))
	}
	for len(wishes) > 0 {
		if time.Since(last) > w.Timeout {
			return fmt.Errorf("%d subscriptions were not approved", len(wishes))
		}
		if err := w.step(turn); err != nil {
			return err
		}
	}
	return w.settle()
}

func (w *worker) subscription(s *session, to, kind string) {
	w.loop.send(s, func(b []byte) []byte { return append(b, "<presence to='"+to+"' type='"+kind+"'/>"...) })
}

// contacts are those in a roster whose presence the user gets.
func contacts(roster []byte) map[string]bool {
	has := make(map[string]bool)
	for {
		at := bytes.Index(roster, []byte("<item"))
		if at < 0 {
			return has
		}
		item := roster[at:]
		if kind := string(attribute(item, "subscription")); kind == "to" || kind == "both" {
			has[string(attribute(item, "jid"))] = true
		}
		roster = item[1:]
	}
}
