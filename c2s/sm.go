package c2s

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"chatd/stanza"
	"chatd/xmlstream"
)

// nsSM is stream management (XEP-0198).
const nsSM = "urn:xmpp:sm:3"

// askAck asks the client for an acknowledgement (XEP-0198 §4).
const askAck = "<r xmlns='" + nsSM + "'/>"

// askEvery is how many stanzas go out between two requests for an acknowledgement.
const askEvery = 8

// A managed is the outbound half of stream management: what was sent and not yet acknowledged. It is
// guarded by its outbox's lock.
type managed struct {
	id       string        // names the session for resumption; "" if it cannot be resumed
	wait     time.Duration // for how long it can be once its connection is gone
	handled  uint32        // what the client has acknowledged so far, modulo 2^32 (XEP-0198 §4)
	unacked  []byte        // stanzas that were written, oldest first, from offset from
	from     int
	sizes    []int32 // their sizes; 0: not kept here
	stored   []int64 // under which number the spool has each, 0 or missing if it has not
	queued   []int32 // sizes of what is in the queue; negative for what is no stanza
	asked    bool    // a request is out
	sinceAsk int     // stanzas written since the last request
}

// full reports whether another stanza of so many bytes would be too much.
func (m *managed) full(size int, cfg *Config) bool {
	return len(m.sizes)+len(m.queued) >= cfg.UnackedStanzas || len(m.unacked)-m.from+size > cfg.UnackedBytes
}

// written moves what is being written from the queue to the unacknowledged.
func (m *managed) written(queue []byte) {
	for _, size := range m.queued {
		if size < 0 {
			queue = queue[-size:]
			continue
		}
		m.unacked = append(m.unacked, queue[:size]...)
		m.sizes = append(m.sizes, size)
		m.sinceAsk++
		queue = queue[size:]
	}
	m.queued = m.queued[:0]
}

// ask reports whether it is time for a request, and notes that it goes out.
func (m *managed) ask(always bool) bool {
	if m.asked || len(m.sizes) == 0 || !always && m.sinceAsk < askEvery {
		return false
	}
	m.asked, m.sinceAsk = true, 0
	return true
}

// ack forgets what the client has handled, and returns what the spool has of it. ok is
// false if the client claims more than it was sent (XEP-0198 §4).
func (m *managed) ack(h uint32) (stored []int64, ok bool) {
	n := int(h - m.handled)
	if n < 0 || n > len(m.sizes) {
		return nil, false
	}
	size := 0
	for i, s := range m.sizes[:n] {
		size += int(s)
		if i < len(m.stored) && m.stored[i] != 0 {
			stored = append(stored, m.stored[i])
		}
	}
	m.handled = h
	m.asked = false
	m.from += size
	m.sizes = append(m.sizes[:0], m.sizes[n:]...)
	m.stored = m.stored[min(n, len(m.stored)):]
	switch {
	case len(m.sizes) == 0:
		m.unacked, m.sizes, m.stored, m.from = nil, nil, nil, 0 // an idle session keeps nothing
	case m.from > len(m.unacked)/2:
		m.unacked = append(m.unacked[:0], m.unacked[m.from:]...)
		m.from = 0
	}
	return stored, true
}

// add notes messages that the spool has.
func (m *managed) add(seqs []int64) {
	m.stored = append(m.stored, make([]int64, len(m.sizes)-len(m.stored))...)
	m.stored = append(m.stored, seqs...)
	m.sizes = append(m.sizes, make([]int32, len(seqs))...)
}

// store offers each unacknowledged stanza to keep, which returns the number under which it
// is stored, or 0 if it is not. What is stored is not kept here. Only the caller changes m meanwhile but for what is queued; others
// look at it under the outbox's lock, which the caller does not hold.
func (m *managed) store(lock sync.Locker, keep func(raw []byte) int64) {
	stored, sizes := make([]int64, len(m.sizes)), slices.Clone(m.sizes)
	copy(stored, m.stored)
	var rest []byte
	at := m.from
	for i, size := range sizes {
		if size == 0 {
			continue
		}
		raw := m.unacked[at : at+int(size)]
		at += int(size)
		if stored[i] = keep(raw); stored[i] != 0 {
			sizes[i] = 0
			continue
		}
		rest = append(rest, raw...)
	}
	lock.Lock()
	defer lock.Unlock()
	m.stored, m.sizes, m.unacked, m.from = stored, sizes, rest, 0
}

// toSend is what is to be sent again, with the sizes: all that is kept here.
func (m *managed) toSend() (stanzas []byte, sizes []int32) {
	for _, size := range m.sizes {
		if size > 0 {
			sizes = append(sizes, size)
		}
	}
	return m.unacked[m.from:], sizes
}

// left is every stanza that the client has not acknowledged and the spool does not have,
// sent or not.
func (m *managed) left(queue []byte) []byte {
	m.written(queue)
	return m.unacked[m.from:]
}

// manage takes an element of stream management from a client that has a session.
func (s *Session) manage(tok *xmlstream.Token) error {
	switch string(tok.Local) {
	case "enable":
		s.enable(tok)
	case "r":
		if !s.managed {
			return s.smFailed("unexpected-request")
		}
		s.scratch.batch.Flush() // what is acknowledged has left this process, or waits for a slow client
		if s.confirmed() {
			s.sure = s.handled
		}
		s.control(s.appendAck(nil, s.sure))
	case "a":
		h, err := strconv.ParseUint(attr(tok, "h"), 10, 32)
		if err != nil {
			return stanza.StreamPolicyViolation.WithText("an acknowledgement without a number")
		}
		return s.acknowledged(uint32(h))
	case "resume": // only before a resource is bound (XEP-0198 §5)
		return s.smFailed("unexpected-request")
	default:
		return stanza.StreamUnsupportedStanzaType
	}
	return nil
}

// newManaged begins stream management, and answers as XEP-0198 §3 has it.
func (s *Server) newManaged(resume bool, preferred string) (m *managed, answer string) {
	if !resume {
		return &managed{}, "<enabled xmlns='" + nsSM + "'/>"
	}
	m = &managed{id: s.newSessionID(), wait: s.resumeTime(preferred)}
	return m, s.enabled(m)
}

// newSessionID names a session for its resumption, on whatever node that will be.
func (s *Server) newSessionID() string {
	if s.Node == "" {
		return randomName()
	}
	return s.Node + "." + randomName()
}

// enable is XEP-0198 §3.
func (s *Session) enable(tok *xmlstream.Token) {
	if s.managed {
		_ = s.smFailed("unexpected-request")
		return
	}
	m, answer := s.srv.newManaged(isTrue(attr(tok, "resume")), attr(tok, "max"))
	o := &s.out
	o.mu.Lock()
	if o.queue != nil { // what was queued before does not count
		m.queued = append(m.queued, -int32(len(*o.queue)))
	}
	o.managed = m
	o.mu.Unlock()
	s.managed = true
	s.scratch.batch.Certain(&s.owed)
	s.control([]byte(answer))
	if m.id != "" {
		s.smID = m.id
		s.srv.resumable(m.id, s)
	}
}

// resumeTime is how long a session may wait for resumption: what the client prefers, in
// seconds, unless that is longer than allowed (XEP-0198 §3).
func (s *Server) resumeTime(preferred string) time.Duration {
	allowed := s.cfg.Load().ResumeTime
	if n, err := strconv.ParseUint(preferred, 10, 31); err == nil {
		return min(allowed, time.Duration(n)*time.Second)
	}
	return allowed
}

// enabled tells a client how it can resume its session (XEP-0198 §3).
func (s *Server) enabled(m *managed) string {
	b := fmt.Appendf(nil, "<enabled xmlns='%s' id='%s' resume='true' max='%d'", nsSM, m.id, int(m.wait.Seconds()))
	if address := s.cfg.Load().Address; address != "" {
		b = append(b, " location='"...)
		b = append(stanza.AppendEscaped(b, address), '\'')
	}
	return string(append(b, "/>"...))
}

// appendAck appends the acknowledgement of what the client has sent (XEP-0198 §4). Only the reading
// goroutine may call it.
func (s *Session) appendAck(b []byte, h uint32) []byte {
	return fmt.Appendf(b, "<a xmlns='%s' h='%d'/>", nsSM, h)
}

// confirmTimeout is how long an acknowledgement waits for other nodes: longer than one takes that is gone to be missed.
const confirmTimeout = 4 * time.Second

// confirmed waits until other nodes have what the client has sent to their users, or the session has to stop: then what it was sent
// is to be stored without delay.
func (s *Session) confirmed() bool {
	ctx, cancel := context.WithTimeout(s.srv.ctx, confirmTimeout)
	defer cancel()
	s.confirming.Store(&cancel)
	defer s.confirming.Store(nil)
	if s.stopping() {
		cancel()
	}
	return s.owed.Confirmed(ctx)
}

func (s *Session) smFailed(condition string) error {
	s.control([]byte(smFailure(condition)))
	return nil
}

// acknowledged takes an <a/>. It may block on the store.
func (s *Session) acknowledged(h uint32) error {
	o := &s.out
	o.mu.Lock()
	m := o.managed
	if m == nil {
		o.mu.Unlock()
		return nil
	}
	sent := m.handled + uint32(len(m.sizes))
	stored, ok := m.ack(h)
	o.mu.Unlock()
	if !ok {
		return handledTooMany(h, sent)
	}
	s.forget(stored)
	return nil
}

// forget drops from the spool what the client has. What cannot be dropped comes again
// with the next login.
func (s *Session) forget(stored []int64) {
	if len(stored) == 0 {
		return
	}
	if s.scratch != nil {
		s.scratch.batch.Flush()
	}
	s.drop(stored)
}

// drop is forget on any goroutine.
func (s *Session) drop(stored []int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.srv.ctx), endTimeout)
	defer cancel()
	stored = append(stored, s.state.Handed.Had(stored)...)
	if err := s.srv.router.Spool.Forget(ctx, s.jid.Local(), stored); err != nil {
		s.srv.log.Log(ctx, stanza.FaultLevel(err), "delivered messages not removed", "jid", s.jid, "err", err)
	}
}

// handledTooMany is XEP-0198 §4.
func handledTooMany(h, sent uint32) *stanza.StreamError {
	e := *stanza.StreamUndefinedCondition
	e.App = fmt.Sprintf("<handled-count-too-high xmlns='%s' h='%d' send-count='%d'/>", nsSM, h, sent)
	return &e
}

// control queues what is no stanza and does not count, and flushes.
func (s *Session) control(xml []byte) {
	o := &s.out
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return
	}
	if o.queue == nil {
		o.queue = buffers.Get().(*[]byte)
	}
	*o.queue = append(*o.queue, xml...)
	if o.managed != nil {
		o.managed.queued = append(o.managed.queued, -int32(len(xml)))
	}
	s.queuedLocked(nil)
}

// askAgain asks for an acknowledgement where something has waited for one since the last
// sweep and too little came after it to ask. It reports whether the client has been asked before and has
// not answered, and whether it is inactive.
func (s *Session) askAgain() (asked, inactive bool) {
	o := &s.out
	o.mu.Lock()
	inactive = o.inactive != nil
	asked = o.managed != nil && o.managed.asked
	ask := o.managed != nil && o.managed.ask(true)
	o.mu.Unlock()
	if ask {
		s.control([]byte(askAck))
	}
	return asked, inactive
}

// areYouThere makes a silent client say something: an acknowledgement, or the answer
// to a ping (XEP-0199 §4.1).
func (s *Session) areYouThere() {
	o := &s.out
	o.mu.Lock()
	managed := o.managed != nil
	o.mu.Unlock()
	if managed {
		s.control([]byte(askAck))
		return
	}
	s.Send(nil, &stanza.Stanza{Kind: stanza.IQ, Type: stanza.Get, From: s.srv.router.Domain, To: s.jid,
		ID: []byte("alive"), Inner: []byte("<ping xmlns='urn:xmpp:ping'/>")})
}
