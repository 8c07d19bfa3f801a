package main

import (
	"fmt"
	"sync"
	"time"
)

// A ledger knows what became of every message. Any goroutine may call its methods.
type ledger struct {
	mu        sync.Mutex
	messages  map[string]*message
	last      time.Time // when something came that is no repetition
	conflicts int
	remarks   map[string]*remark
	latest    map[ear]*remark
	spoken    int
	troubles  []string // of rooms, the last ones
	forgotten int      // in the history of rooms
	repeated  int
	jumbled   int
	foreign   int                                                // messages that slixmpp got while it was there
	surely    map[login]uint32                                   // how much the server knows that has come
	parted    func(i, j int, at time.Time, d time.Duration) bool // lab.cutWithin; fixed
}

// A talk is the messages of one client to one address, in order.
type talk struct {
	from      *client
	to        string // address
	recipient string // name
	next      int
	latest    *message // that has come, guarded by the ledger's lock
}

// A message is one that was sent.
type message struct {
	talk      *talk
	seq       int
	session   int // of the sender: order is kept within one
	at        time.Time
	acked     bool
	open      bool   // whether the server had it can not be known any more
	refused   string // the error that came back
	got       int
	first     receipt
	doubled   bool // it came again, and nothing explains that
	on        int  // the sender's node
	collected bool // it came only at a later login
	ids       []string
	times     []string // at which it came, and in which session
	late      *message // that came before, and was sent later
	came      time.Time
	where     int // the recipient's node then
}

func newLedger(l *lab) *ledger {
	return &ledger{parted: l.cutWithin, messages: make(map[string]*message), remarks: make(map[string]*remark), latest: make(map[ear]*remark), surely: make(map[login]uint32)}
}

// sent notes the next message of a talk and returns its id.
func (l *ledger) sent(t *talk) (id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.next++
	id = fmt.Sprintf("%s>%s.%d", t.from.name, t.recipient, t.next)
	l.messages[id] = &message{talk: t, seq: t.next, session: t.from.logins, on: t.from.at, at: time.Now()}
	return id
}

func (l *ledger) acked(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.messages[id]; m != nil {
		m.acked = true
	}
	if m := l.remarks[id]; m != nil {
		m.acked = true
	}
}

func (l *ledger) open(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.messages[id]; m != nil {
		m.open = true
	}
	if m := l.remarks[id]; m != nil {
		m.open = true
	}
}

func (l *ledger) conflict() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conflicts++
}

// got takes a message that a client has received.
func (l *ledger) got(r receipt, e *element, collected bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.messages[e.attr("id")]
	if m == nil {
		return
	}
	if e.attr("type") == "error" {
		m.refused = e.child("error").condition()
		return
	}
	if r.name != m.talk.recipient {
		return
	}
	m.got++
	if id := e.child("stanza-id"); id != nil {
		m.ids = append(m.ids, id.attr("id"))
	}
	m.times = append(m.times, fmt.Sprintf("%s as %d of login %d", time.Now().Format(clockTime), r.number, r.login))
	if m.got > 1 {
		m.doubled = m.doubled || !l.excusedLocked(m, r)
		return
	}
	m.first = r
	l.last = time.Now()
	m.collected = collected
	if r.where < 0 {
		l.foreign++
	}
	m.came, m.where = l.last, r.where
	if latest := m.talk.latest; latest != nil && m.seq < latest.seq && m.session == latest.session {
		m.late = latest
		return
	}
	m.talk.latest = m
}

// heardSince reports whether something of a talk has come that was sent after a time.
func (l *ledger) heardSince(t *talk, at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return t.latest != nil && t.latest.at.After(at)
}

func (l *ledger) lastNews() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

const clockTime = "15:04:05.000"

// A tally is what became of all messages.
type tally struct {
	Sent, Acked, Delivered, Refused, Open  int
	Lost, Doubled, Reordered, Both, Strand int
	Again                                  int // came twice, as it has to where nobody can know whether it had come
	Conflicts, Foreign                     int
	Examples                               []string
}

// tally counts. Open messages may have come or not; all others have to have come once, or an error in their stead.
func (l *ledger) tally(online map[string]bool) (t tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note := func(count *int, what, id string, m *message) {
		if *count++; *count <= 3 {
			example := fmt.Sprintf("%s: %s sent %s to %s, came %v on n%d first %v, that session told %d, refused %q, acknowledged %t, open %t",
				what, id, m.at.Format(clockTime), m.talk.to, m.times, m.where+1, m.ids, l.surely[login{m.first.name, m.first.login}], m.refused, m.acked, m.open)
			if m.late != nil {
				example += fmt.Sprintf(", behind %d of %s, which came at %s on n%d", m.late.seq, m.late.at.Format(clockTime), m.late.came.Format(clockTime), m.late.where+1)
			}
			t.Examples = append(t.Examples, example)
		}
	}
	for id, m := range l.messages {
		t.Sent++
		switch {
		case m.acked:
			t.Acked++
		case m.open:
			t.Open++
		}
		if m.got > 0 {
			t.Delivered++
		}
		if m.refused != "" {
			t.Refused++
		}
		switch {
		case m.doubled:
			note(&t.Doubled, "doubled", id, m)
		case m.got > 1:
			note(&t.Again, "again", id, m)
		}
		if m.got > 0 && m.refused != "" {
			note(&t.Both, "delivered and refused", id, m)
		}
		if m.acked && m.got == 0 && m.refused == "" {
			note(&t.Lost, "lost", id, m)
		}
		if m.late != nil {
			note(&t.Reordered, "out of order", id, m)
		}
		if m.collected && online[m.talk.recipient] {
			note(&t.Strand, "stranded", id, m)
		}
	}
	t.Conflicts, t.Foreign = l.conflicts, l.foreign
	return t
}
