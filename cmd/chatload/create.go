package main

import (
	"fmt"
	"strings"
)

// A maker is one group's room, over and over: the first makes it and opens it, the others enter, and when all are in all leave.
type maker struct {
	members []*session
	number  int   // of the room
	at      int64 // when the first asked for it
	in, out int   // members that are in; that have left it again
}

// create: groups of users make one room after another, as fast as it goes (XEP-0045 §10.1, §7.2, §7.14).
func (w *worker) create() error {
	makers := make([]maker, len(w.online)/w.Group)
	for i := range makers {
		makers[i].members = w.online[i*w.Group : (i+1)*w.Group]
	}
	r := &creation{w: w, makers: makers}
	w.element = r.element
	if err := w.barrier("start"); err != nil {
		return err
	}
	if err := r.run(); err != nil {
		return err
	}
	return w.settle()
}

// A creation is the load of create.
type creation struct {
	w          *worker
	makers     []maker
	busy       int   // makers whose room is not over
	begin, end int64 // of the window that is measured
	refused    error
}

func (r *creation) run() error {
	w := r.w
	r.begin = w.loop.clock() + int64(w.Warmup)
	r.end = r.begin + int64(w.Duration)
	for i := range r.makers {
		r.make(&r.makers[i])
	}
	if _, err := w.until(w.Warmup, func() bool { return r.refused != nil }); err != nil {
		return err
	}
	w.mark("begin")
	used := processorTime()
	if _, err := w.until(w.Duration, func() bool { return r.refused != nil }); err != nil {
		return err
	}
	w.out.CPU, w.out.Window = processorTime()-used, w.Duration
	w.mark("end")
	if _, err := w.until(w.Drain, func() bool { return r.busy == 0 || r.refused != nil }); err != nil {
		return err
	}
	w.out.Lost += uint64(r.busy)
	return r.refused
}

func (m *maker) room(w *worker) string {
	return fmt.Sprintf("load-%08x-%d-%d@%s", w.Run, m.members[0].user, m.number, w.Service)
}

// make begins the next room.
func (r *creation) make(m *maker) {
	m.number, m.in, m.out, m.at = m.number+1, 0, 0, r.w.loop.clock()
	r.busy++
	r.w.out.Sent++
	r.enter(m, m.members[0])
}

// enter asks to be let in (XEP-0045 §7.2.1).
func (r *creation) enter(m *maker, s *session) {
	r.w.loop.send(s, func(b []byte) []byte {
		return fmt.Appendf(b, "<presence to='%s/%d'><x xmlns='http://jabber.org/protocol/muc'/></presence>", m.room(r.w), s.user)
	})
}

func (r *creation) element(s *session, elem []byte) {
	m := &r.makers[(s.user-r.w.first)/r.w.Group]
	owner := s == m.members[0]
	switch {
	case !strings.HasPrefix(string(attribute(elem, "from")), m.room(r.w)):
	case isError(elem):
		r.refused = fmt.Errorf("user %d in %s: %s", s.user, m.room(r.w), condition(elem))
	case owner && isReply(elem, "unlock"):
		m.in++
		for _, other := range m.members[1:] {
			r.enter(m, other)
		}
		r.entered(m)
	case !isSelfPresence(elem):
	case string(attribute(elem, "type")) == "unavailable":
		r.left(m)
	case owner && hasStatus(elem, "201"):
		r.w.loop.send(s, func(b []byte) []byte { return appendUnlock(b, m.room(r.w)) })
	case !owner:
		m.in++
		r.entered(m)
	}
}

// entered has all leave once all are in (XEP-0045 §7.14).
func (r *creation) entered(m *maker) {
	if m.in < len(m.members) {
		return
	}
	if now := r.w.loop.now; m.at >= r.begin && m.at < r.end {
		r.w.out.Latency.add(now - m.at)
	}
	for _, s := range m.members {
		r.w.loop.send(s, func(b []byte) []byte {
			return fmt.Appendf(b, "<presence type='unavailable' to='%s/%d'/>", m.room(r.w), s.user)
		})
	}
}

// left begins the next room once all have left.
func (r *creation) left(m *maker) {
	if m.out++; m.out < len(m.members) {
		return
	}
	r.busy--
	r.w.out.Delivered++
	now := r.w.loop.now
	if now >= r.begin && now < r.end {
		r.w.out.Measured++
	}
	if now < r.end && r.refused == nil {
		r.make(m)
	}
}

// A roomsReport is what rooms -create comes to.
type roomsReport struct {
	Made      uint64        `json:"made"`
	Lost      uint64        `json:"lost"`
	Measured  uint64        `json:"measured"`
	Seconds   float64       `json:"seconds"`
	PerSecond float64       `json:"per_second"`
	Filled    latencyReport `json:"filled_ms"`
}

func newRoomsReport(out *outcome) *roomsReport {
	return &roomsReport{Made: out.Sent, Lost: out.Lost, Measured: out.Measured, Seconds: out.Window.Seconds(),
		PerSecond: rate(out.Measured, out.Window), Filled: newLatencyReport(&out.Latency)}
}

func (m *roomsReport) print(line func(name, format string, args ...any)) {
	line("rooms", "%d made, filled and left; %d were not", m.Made-m.Lost, m.Lost)
	line("measured", "%d in %.2f s, %.0f/s", m.Measured, m.Seconds, m.PerSecond)
	line("filled after", "%v", m.Filled)
}
