package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// presence: users are in groups of -friends + 1, of whom the first -toggling are friends with
// all of the group, and toggle between available and away. Numbers decide who belongs together, so
// that the friendships of one run serve the next.
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
	t := &traffic{w: w, fanout: uint64(w.Friends), fill: fillPresence}
	for i, s := range w.online {
		if w.toggles(i) {
			t.streams = append(t.streams, stream{from: s, seen: make([]sequence, w.Friends)})
		}
	}
	t.recipient = func(stream int, s *session) int {
		switch from, to := t.streams[stream].from.user-w.first, s.user-w.first; {
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

// toggles reports whether a user, counted from this process's first, is one who does.
func (w *worker) toggles(i int) bool { return i%w.Group < w.Toggling }

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

// maxWishes is how many subscriptions a process has under way. A server takes more, and milliseconds for each
// of them, and meanwhile answers nobody else.
const maxWishes = 64

// befriend subscribes who are to be friends to one another, as far as they are not yet
// (RFC 6121 §3.1).
func (w *worker) befriend() error {
	todo := w.wishes()
	wishes, last := make(map[wish]bool, maxWishes), time.Now()
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
	for len(todo)+len(wishes) > 0 {
		for ; len(todo) > 0 && len(wishes) < maxWishes; todo = todo[1:] {
			wishes[todo[0]] = true
			w.subscription(w.online[todo[0].user-w.first], todo[0].contact, "subscribe")
		}
		if time.Since(last) > w.Timeout {
			return fmt.Errorf("%d subscriptions were not approved", len(todo)+len(wishes))
		}
		if err := w.step(turn); err != nil {
			return err
		}
	}
	return w.settle()
}

// wishes are all subscriptions that there are not yet.
func (w *worker) wishes() (todo []wish) {
	for i, s := range w.online {
		has := contacts(s.roster)
		s.roster = nil
		group := i / w.Group * w.Group
		for k, friend := range w.online[group : group+w.Group] {
			if friend == s || !w.toggles(i) && !w.toggles(group+k) {
				continue
			}
			if !has[friend.bare] {
				todo = append(todo, wish{s.user, friend.bare})
			}
			delete(has, friend.bare)
		}
		w.out.ForeignContacts += uint64(len(has))
	}
	return todo
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
