package main

import (
	"math"
	"time"
)

// A stream is all that one session sends, numbered from 0.
type stream struct {
	from *session
	sent uint32
	due  uint32     // open loop: how many should have been sent by now
	got  uint64     // deliveries to all recipients
	seen []sequence // by recipient
	wait bool       // in traffic.waiting
}

// Traffic is the load of the modes in which sessions that are online send and
// receive. In a closed loop a stream sends again as its messages arrive. In an open
// loop message n of stream s of S is due at start + (n*S + s)*interval, come what may, and
// its latency counts from then: a server that stalls cannot make the messages
// go away that would have met the stall (coordinated omission).
type traffic struct {
	w         *worker
	streams   []stream
	fanout    uint64
	fill      func(b []byte, from int, m marker) []byte // appends a message
	recipient func(from int, s *session) int            // which one s is: 0 to fanout-1, bystander or stranger

	interval   float64 // ns between two messages; 0: closed loop
	start      int64   // of the schedule
	begin, end int64   // of the window that is measured
	popped     uint64  // open loop: messages that have become due
	counted    uint64  // messages sent in the window
	limit      uint64  // of counted
	sending    bool
	waiting    []int // open loop: streams whose session is slower than the schedule
}

const (
	bystander = -1 // may get what is sent, which does not count
	stranger  = -2 // must not get it
)

// run plays the traffic: warm-up, the measured window, and until all has arrived.
func (t *traffic) run() error {
	w := t.w
	t.begin, t.end = math.MaxInt64, math.MaxInt64
	t.limit = math.MaxUint64
	if w.Messages > 0 {
		t.limit = uint64(w.part(w.Messages, w.Index))
	}
	if w.Rate > 0 {
		t.interval = 1e9 / (w.Rate * float64(len(w.online)) / float64(w.Users))
	}
	w.element = t.element
	if err := w.barrier("start"); err != nil {
		return err
	}
	if err := t.measure(); err != nil {
		return err
	}
	if _, err := w.until(w.Drain, func() bool { t.pump(); return t.complete() && len(t.waiting) == 0 }); err != nil {
		return err
	}
	if w.RelayAddr == "" {
		if err := w.settle(); err != nil {
			return err
		}
	}
	t.conclude()
	return nil
}

// measure returns at the end of the window.
func (t *traffic) measure() error {
	w := t.w
	t.start = w.loop.clock()
	t.sending = true
	if t.interval == 0 {
		for i := range t.streams {
			t.refill(i)
		}
	}
	begin := t.start + int64(w.Warmup)
	end := begin + int64(w.Duration)
	var used time.Duration
	for t.end == math.MaxInt64 {
		now := w.loop.clock()
		if now >= begin && t.begin == math.MaxInt64 {
			t.begin = begin
			used = processorTime()
			w.mark("begin")
		}
		t.pump()
		if t.counted >= t.limit {
			end = min(end, now+int64(w.Drain)) // what is lost never comes
		}
		if now >= end || t.w.loop.alive == 0 || t.begin == begin && t.counted >= t.limit && t.complete() {
			t.end = min(now, end)
			break
		}
		if err := w.step(t.patience(w.loop.clock(), begin, end)); err != nil {
			return err
		}
	}
	t.sending = false
	w.out.CPU = processorTime() - used
	w.out.Window = max(0, time.Duration(t.end-t.begin))
	w.mark("end")
	return nil
}

// patience is how long there is nothing to do but to receive.
func (t *traffic) patience(now, begin, end int64) time.Duration {
	next := end
	if t.begin == math.MaxInt64 {
		next = begin
	}
	if t.interval > 0 && t.sending {
		next = min(next, t.dueAt(t.popped))
	}
	return max(0, min(time.Duration(next-now), turn))
}

// dueAt is when the k-th message of all streams is due.
func (t *traffic) dueAt(k uint64) int64 { return t.start + int64(float64(k)*t.interval) }

// pump sends what is due.
func (t *traffic) pump() {
	if t.interval == 0 {
		return
	}
	waiting := t.waiting
	t.waiting = t.waiting[:0]
	for _, i := range waiting {
		t.streams[i].wait = false
		t.catchUp(i)
	}
	// A bounded number at a time, lest arrivals wait for a late schedule.
	for n := 0; n < 1000 && t.sending; n++ {
		at := t.dueAt(t.popped)
		if at > t.w.loop.clock() {
			return
		}
		i := int(t.popped % uint64(len(t.streams)))
		t.popped++
		t.streams[i].due++
		t.count(at)
		t.catchUp(i)
	}
}

// catchUp sends what is due on one stream, as far as its session takes it.
func (t *traffic) catchUp(i int) {
	st := &t.streams[i]
	for st.sent < st.due && !st.from.dead && !st.from.blocked() {
		at := t.dueAt(uint64(st.sent)*uint64(len(t.streams)) + uint64(i))
		if at >= t.begin && at < t.end {
			t.w.out.Lag.add(t.w.loop.clock() - at)
		}
		t.write(i, at)
	}
	if st.sent < st.due && !st.wait && !st.from.dead {
		st.wait = true
		t.waiting = append(t.waiting, i)
	}
}

// refill sends as much on one stream as may be under way, closed loop.
func (t *traffic) refill(i int) {
	st := &t.streams[i]
	for t.sending && !st.from.dead && uint64(st.sent)*t.fanout-st.got <= uint64(t.w.Inflight-1)*t.fanout {
		now := t.w.loop.clock()
		t.write(i, now)
		t.count(now)
	}
}

// count keeps to the limit on messages.
func (t *traffic) count(at int64) {
	if at >= t.begin {
		t.counted++
		t.sending = t.sending && t.counted < t.limit
	}
}

func (t *traffic) write(i int, at int64) {
	st := &t.streams[i]
	m := marker{run: t.w.Run, stream: uint32(t.w.first + i), number: st.sent, at: at}
	st.sent++
	t.w.out.Sent++
	t.w.loop.send(st.from, func(b []byte) []byte { return t.fill(b, i, m) })
}

// element takes what arrives.
func (t *traffic) element(s *session, elem []byte) {
	m, ok := findMarker(elem)
	if !ok || m.run != t.w.Run {
		return
	}
	out := &t.w.out
	i := int(m.stream) - t.w.first
	if i < 0 || i >= len(t.streams) {
		out.Unexpected++
		return
	}
	if isError(elem) {
		out.Bounced++
		out.failures("bounced: "+condition(elem), 1)
		return
	}
	st := &t.streams[i]
	k := t.recipient(i, s)
	switch k {
	case stranger:
		out.Unexpected++
		return
	case bystander:
		return
	}
	if out.judge(st.seen[k].see(m.number, st.sent)) {
		t.arrived(i, m.at)
	}
}

func (t *traffic) arrived(i int, at int64) {
	out, now := &t.w.out, t.w.loop.now
	if now >= t.begin && now < t.end {
		out.Measured++
	}
	if at >= t.begin && at < t.end {
		out.Latency.add(now - at)
	}
	t.streams[i].got++
	if t.interval == 0 {
		t.refill(i)
	}
}

// complete is whether all that was sent has arrived, or nobody is left.
func (t *traffic) complete() bool {
	return t.w.out.Delivered >= t.w.out.Sent*t.fanout || t.w.loop.alive == 0
}

// conclude counts what is missing.
func (t *traffic) conclude() {
	for i := range t.streams {
		st := &t.streams[i]
		if t.interval > 0 {
			t.w.out.Unsent += uint64(st.due - st.sent)
		}
		for k := range st.seen {
			t.w.out.Lost += st.seen[k].lost(st.sent)
		}
	}
}
