package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A remark is one message to a room.
type remark struct {
	by      *client
	room    *room
	seq     int // of its sender's in the room
	session int // of the sender
	at      time.Time
	on      int                 // the sender's node
	hearers map[*client]hearing // those who were in the room on the sender's side
	others  map[*client]int     // ... and to others
	acked   bool
	open    bool
	refused string
	came    time.Time // for the last time
	late    []string  // who had a later one of the sender's before
}

// A hearing is how often a remark has come to somebody, and by which node the one was in the room when it was sent.
type hearing struct{ times, at int }

// An ear is where a client hears another one: in a room.
type ear struct {
	by, to *client
	room   *room
}

// said notes the next message to a room and returns its id.
func (l *ledger) said(by *client, r *room, hearers map[*client]hearing) (id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spoken++
	id = fmt.Sprintf("%s>%s#%d", by.name, r.name, l.spoken)
	m := &remark{by: by, room: r, seq: l.spoken, session: by.logins, at: time.Now(), on: by.at, hearers: hearers, others: make(map[*client]int)}
	l.remarks[id] = m
	return id
}

// heard takes what a room says to a client.
func (l *ledger) heard(c *client, e *element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.remarks[e.attr("id")]
	switch {
	case m == nil, e.child("delay") != nil: // history
		return
	case e.attr("type") == "error":
		m.refused = e.child("error").condition()
		return
	}
	m.came = time.Now()
	l.last = m.came
	if h, meant := m.hearers[c]; meant {
		h.times++
		m.hearers[c] = h
	} else {
		m.others[c]++
	}
	on := ear{m.by, c, m.room}
	if before := l.latest[on]; before != nil && before.session == m.session && before.seq > m.seq {
		m.late = append(m.late, c.name)
		return
	}
	l.latest[on] = m
}

// roomTrouble notes what should not happen.
func (l *ledger) roomTrouble(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.troubles = append(l.troubles, time.Now().Format(clockTime)+" "+what); len(l.troubles) > mostExamples {
		l.troubles = l.troubles[1:]
	}
}

const mostExamples = 6

// echoedSince reports whether of each two who are meant in each of some rooms the one has heard something that the other said after a time.
func (l *ledger) echoedSince(rooms []*room, at time.Time, meant func(a, b *client) bool) bool {
	for _, r := range rooms {
		for _, a := range r.members {
			for _, b := range r.members {
				if meant(a, b) && !l.hasHeard(ear{a, b, r}, at) {
					return false
				}
			}
		}
	}
	return true
}

// hasHeard reports whether something has come since a time.
func (l *ledger) hasHeard(on ear, since time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.latest[on]
	return m != nil && m.at.After(since)
}

// A roomTally is what became of all that was said in rooms.
type roomTally struct {
	Said, Heard, Refused, Open   int
	Missed, Doubled, Reordered   int
	Forgotten, Repeated, Jumbled int // in the history
	Rooms, PutOut, Left          int
	Slowest                      time.Duration // from sending until the last one heard it
	Examples                     []string
}

// roomTally counts, when all clients have ended. Who has lost its session or was cut off from the sender while the remark was on its way need not have heard it live.
func (l *ledger) roomTally(excused func(m *remark, c *client) bool) (t roomTally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note := func(count *int, what, id string, m *remark) {
		if *count++; *count <= 3 {
			t.Examples = append(t.Examples, fmt.Sprintf("%s: %s at %s in %s of n%d", what, id, m.at.Format(clockTime), m.room.name, m.room.home+1))
		}
	}
	for id, m := range l.remarks {
		switch {
		case m.acked:
			t.Said++
		case m.open:
			t.Open++
		}
		if m.refused != "" {
			t.Refused++
		}
		for c, h := range m.hearers {
			n := h.times
			t.Heard += n
			if n == 0 && m.acked && m.refused == "" && !excused(m, c) {
				note(&t.Missed, "missed by "+c.name, id, m)
			}
			if n > 1 {
				note(&t.Doubled, fmt.Sprintf("heard %d times by %s", n, c.name), id, m)
			}
		}
		for c, n := range m.others {
			t.Heard += n
			if n > 1 {
				note(&t.Doubled, fmt.Sprintf("heard %d times by %s", n, c.name), id, m)
			}
		}
		if len(m.late) > 0 {
			note(&t.Reordered, "late for "+strings.Join(m.late, ", "), id, m)
		}
		if !m.came.IsZero() {
			t.Slowest = max(t.Slowest, m.came.Sub(m.at))
		}
	}
	t.Forgotten, t.Repeated, t.Jumbled = l.forgotten, l.repeated, l.jumbled
	t.Examples = append(t.Examples, l.troubles...)
	return t
}

// faults is what must not be.
func (t *roomTally) faults(again, stray bool) (err error) {
	for _, f := range []struct {
		count   int
		allowed bool
		what    string
	}{
		{t.Missed, again, "missed"}, {t.Doubled, again, "doubled"}, {t.Reordered, stray, "out of order"},
		{t.Forgotten, false, "missing in the history"}, {t.Repeated, again, "more than once in the history"}, {t.Jumbled, false, "in the history out of order"},
	} {
		if f.count > 0 && !f.allowed {
			err = errors.Join(err, fmt.Errorf("%d messages to rooms %s", f.count, f.what))
		}
	}
	return err
}

// A kept message is one of a room's history, as who enters is told.
type kept struct {
	id string
	at time.Time
}

// checkHistory compares what a room's history has with what was said: each message once, by time. What the sender does not know the fate of may
// be there or not.
func (l *ledger) checkHistory(r *room, history []kept, node int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note := func(count *int, what, id string) {
		if *count++; *count <= 3 {
			l.troubles = append(l.troubles, fmt.Sprintf("history of %s (n%d) on n%d: %s %s", r.name, r.home+1, node+1, id, what))
		}
	}
	times := make(map[string]int)
	for i, k := range history {
		times[k.id]++
		if i > 0 && k.at.Before(history[i-1].at) {
			note(&l.jumbled, "is older than what is before it", k.id)
		}
	}
	for id, m := range l.remarks {
		if m.room != r {
			continue
		}
		heard := m.came != time.Time{}
		switch n := times[id]; {
		case n > 1:
			note(&l.repeated, fmt.Sprintf("is there %d times", n), id)
		case n == 0 && (m.acked && m.refused == "" || heard):
			note(&l.forgotten, "of "+m.at.Format(clockTime)+" is missing", id)
		}
	}
}

// sorted is for messages.
func sorted(names []string) []string { slices.Sort(names); return names }
