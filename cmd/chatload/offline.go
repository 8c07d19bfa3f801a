package main

import "time"

// A mailbox is a user who is away, 2n+1, with the one who writes, 2n.
type mailbox struct {
	from     *session
	sent     uint32
	received uint32 // or bounced
	seen     sequence
	fill     messageFill
	fetching time.Time // when the login began that fetches
}

// offline: messages to users who are away, who then come back for them.
func (w *worker) offline() error {
	if err := w.prepare(w.all(1, 2)); err != nil {
		return err
	}
	if err := w.logins(w.all(0, 2), w.Concurrency, w.once, w.enter); err != nil {
		return err
	}
	if w.out.LoginFailed > 0 {
		return w.loginFailure()
	}
	w.dialer.Register = false // all exist by now
	boxes := w.mailboxes()
	w.element = func(s *session, elem []byte) { w.mail(boxes, s, elem) }
	if err := w.barrier("start"); err != nil {
		return err
	}
	w.mark("begin")
	if err := w.leave(boxes); err != nil {
		return err
	}
	if err := w.barrier("stored"); err != nil {
		return err
	}
	if err := w.fetch(boxes); err != nil {
		return err
	}
	w.mark("end")
	if err := w.settle(); err != nil {
		return err
	}
	for _, b := range boxes {
		w.out.Lost += b.seen.lost(b.sent)
		w.out.Unsent += uint64(w.Messages) - uint64(b.sent)
	}
	return nil
}

// mailboxes are addressed by bare JID: nobody knows a resource of who is away.
func (w *worker) mailboxes() []mailbox {
	boxes := make([]mailbox, len(w.online)/2)
	for i := range boxes {
		from := w.online[2*i]
		boxes[i] = mailbox{from: from, fill: newMessageFill(w.dialer.address(from.user+1), "chat", w.Size)}
	}
	return boxes
}

// leave sends all messages. Each sender has -inflight of them on the way, and then waits for
// the answer to a ping, which says that the server has dealt with them.
func (w *worker) leave(boxes []mailbox) error {
	start, used := time.Now(), processorTime()
	for i := range boxes {
		w.batch(&boxes[i])
	}
	_, err := w.until(w.Duration, func() bool {
		for i := range boxes {
			if b := &boxes[i]; !b.from.dead && (int(b.sent) < w.Messages || b.from.pings > 0) {
				return false
			}
		}
		return true
	})
	w.out.Store, w.out.CPU = time.Since(start), processorTime()-used
	return err
}

// batch sends the next messages of one sender, and a ping after them.
func (w *worker) batch(b *mailbox) {
	n := min(w.Inflight, w.Messages-int(b.sent))
	if n == 0 {
		return
	}
	for range n {
		m := marker{run: w.Run, stream: uint32(b.from.user), number: b.sent, at: w.loop.clock()}
		b.sent++
		w.out.Sent++
		w.loop.send(b.from, func(buf []byte) []byte { return b.fill.append(buf, m) })
	}
	w.ping(b.from)
}

// fetch logs in those who were away, and waits until they have all.
func (w *worker) fetch(boxes []mailbox) error {
	start, used := time.Now(), processorTime()
	err := w.logins(w.all(1, 2), w.Concurrency, w.once, func(l login) {
		if l.err == nil {
			boxes[(l.session.user-w.first)/2].fetching = l.at.Add(-l.took)
		}
		w.enter(l)
	})
	if err != nil {
		return err
	}
	at := 0
	_, err = w.until(w.Duration, func() bool {
		for at < len(boxes) && boxes[at].received >= boxes[at].sent {
			at++
		}
		return at == len(boxes)
	})
	w.out.Fetch = time.Since(start)
	w.out.Measured, w.out.Window = w.out.Delivered, w.out.Store+w.out.Fetch
	w.out.CPU += processorTime() - used
	return err
}

// mail takes what arrives, at senders and at those who were away.
func (w *worker) mail(boxes []mailbox, s *session, elem []byte) {
	if isReply(elem, pingID) {
		if at := s.user - w.first; at%2 == 0 {
			w.batch(&boxes[at/2])
		}
		return
	}
	m, ok := findMarker(elem)
	if !ok || m.run != w.Run {
		return
	}
	at := int(m.stream) - w.first
	if at < 0 || at/2 >= len(boxes) || at%2 != 0 {
		w.out.Unexpected++
		return
	}
	b := &boxes[at/2]
	switch {
	case isError(elem):
		b.received++
		w.out.Bounced++
		w.out.failures("bounced: "+condition(elem), 1)
	case s.user != b.from.user+1:
		w.out.Unexpected++
	case w.out.judge(b.seen.see(m.number, b.sent)):
		b.received++
		if b.received == b.sent {
			w.out.Latency.add(int64(time.Since(b.fetching)))
		}
	}
}
