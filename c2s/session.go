package c2s

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"chatd/router"
	"chatd/stanza"
	"chatd/xmlstream"
)

const (
	// inputBytes is what one read of a session takes at most.
	inputBytes = 16 << 10
	// smallRest is the largest unfinished element that waits outside of a scratch.
	smallRest = 1 << 10
	// endTimeout bounds what the store may take at the end of a session.
	endTimeout = 30 * time.Second
)

// A Session is one bound resource of a client on this node. Its reading
// goroutine owns the stream: it reads, checks, routes and answers one stanza
// after the other. Everyone else reaches it through Send.
type Session struct {
	srv   *Server
	jid   stanza.JID
	wire  transport
	state *router.State // goes with the session from one connection to the next
	out   outbox
	done  chan struct{}

	// Owned by the reading goroutine.
	scope    *xmlstream.Scope
	scratch  *scratch // only while there is input at hand
	rest     []byte   // the beginning of an unfinished small element
	stanzas  *rate.Limiter
	bytes    *rate.Limiter
	onInput  func() bool // readInput, bound once
	readErr  error       // what comes after the input at hand, as read has it
	tokens   int         // since the last message of a transport that has such
	lang     []byte      // xml:lang of the stream header; nil: none
	smID     string      // by which the session can be resumed
	graceful bool        // the client closed its stream
	napping  bool        // goes back to sleep after the next input
	alone    uint8       // how often it does not gather
	managed  bool        // stream management is on (XEP-0198)
	handled  uint32      // stanzas from the client that were dealt with since then, modulo 2^32
	sure     uint32      // ... and that no other node has yet to confirm
	owed     router.Owed // the nodes that have; empty without stream management
	deadline *time.Timer // ends the session with its token; nil without one, set before the first input
	expires  time.Time   // when the token does; zero without one

	silence // for how long the client has said nothing

	farewell []int64 // what the spool has of what a client was sent that left in order

	expiry *time.Timer // ends a detached session; set when it is detached
	until  time.Time   // when it does

	reason atomic.Pointer[stanza.StreamError] // why to end; set once
	away   atomic.Pointer[stanza.StreamError] // why to leave the connection and wait for resumption; set once
	// confirming ends the wait for other nodes; nil while there is none.
	confirming atomic.Pointer[context.CancelFunc]

	broken atomic.Bool // the connection is gone: nothing more can be written
	active atomic.Bool // had input since the last sweep
	grown  atomic.Bool // the reading goroutine's stack may have grown
}

// A scratch is what a session needs only while it works on input.
type scratch struct {
	scanner *xmlstream.Scanner
	in      []byte // the buffer; what is in use is in[from:to]
	from    int
	to      int
	rewrite []byte
	batch   router.Batch
	st      stanza.Stanza
}

var scratches = sync.Pool{New: func() any {
	return &scratch{scanner: xmlstream.NewScanner(xmlstream.Limits{}), in: make([]byte, inputBytes)}
}}

// JID is router.Session.
func (s *Session) JID() stanza.JID { return s.jid }

// State is router.Session.
func (s *Session) State() *router.State { return s.state }

// Done is router.Session.
func (s *Session) Done() <-chan struct{} { return s.done }

// Close is router.Session.
func (s *Session) Close(reason *stanza.StreamError) {
	if !s.reason.CompareAndSwap(nil, reason) {
		return
	}
	s.wire.writeDeadline(time.Now().Add(partingTimeout))
	s.interrupt()
	if s.claim() { // no reading goroutine is there to end it
		go s.end()
	}
}

// sendAway ends the session, or only its connection if it can be resumed on another one.
func (s *Session) sendAway(reason *stanza.StreamError) {
	s.out.mu.Lock()
	resumable := s.out.managed != nil && s.out.managed.id != ""
	s.out.mu.Unlock()
	if !resumable {
		s.srv.OnDismiss(s)
		s.Close(reason)
		return
	}
	s.away.Store(reason)
	s.wire.writeDeadline(time.Now().Add(partingTimeout))
	s.interrupt()
}

// fail tells the reading goroutine that the connection is no good any more.
func (s *Session) fail(err error) {
	s.srv.log.Debug("connection failed", "jid", s.jid, "err", err)
	s.broken.Store(true)
	s.interrupt()
}

// interrupt has the reading goroutine look at whether to stop.
func (s *Session) interrupt() {
	s.wire.wake()
	if cancel := s.confirming.Load(); cancel != nil {
		(*cancel)()
	}
}

// stopping reports whether the reading goroutine has to stop.
func (s *Session) stopping() bool { return s.dismissed() || s.broken.Load() }

// dismissed reports whether the client is to be told to go.
func (s *Session) dismissed() bool { return s.reason.Load() != nil || s.away.Load() != nil }

// begin is a session's first input: what negotiation read and did not need, on negotiation's goroutine, whose
// stack has grown. The session ends when its token expires; the zero time is for one that has none.
func (s *Session) begin(rest []byte, expires time.Time) {
	s.endAt(expires)
	err := s.wire.park()
	s.out.mu.Lock()
	s.writeLocked()
	if err != nil {
		s.endWith(err)
		s.leave()
		return
	}
	sc := s.borrow()
	for len(sc.in) < len(rest)+1 {
		sc.makeRoom()
	}
	sc.to = copy(sc.in, rest)
	if s.out.storing { // resumed
		s.srv.OnResume(s.srv.ctx, s, s.attached)
	}
	if err = s.work(); err != nil {
		sc.batch.Flush()
		s.endWith(err)
		s.leave()
		return
	}
	go s.run()
}

// run is the session's reading goroutine. It holds no buffer while it waits.
func (s *Session) run() {
	for {
		if s.stopping() {
			break
		}
		taken, err := s.wire.await(s.onInput)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.wire.rest()
			if s.stopping() {
				break
			}
			// The sweep found the session quiet: go on without a goroutine, or else with
			// one whose stack has not grown.
			if !s.sleep(s.nap) {
				go s.run()
			}
			return
		}
		if err == nil {
			s.throttle(s.bytes, taken)
			err = s.work()
		}
		if err != nil {
			s.endWith(err)
			break
		}
		if s.napping {
			s.napping = false
			if s.sleep(s.run) {
				return
			}
		}
	}
	s.leave()
}

// nap is run after sleep: after one input the session goes back to sleep, since what it gets
// is mostly the answer to a ping. When more comes it stays up, until a sweep finds it quiet.
func (s *Session) nap() {
	s.napping = true
	s.run()
}

// sleep has run called at the next input, and reports whether the session goes without a goroutine until then.
func (s *Session) sleep(run func()) bool {
	w, ok := s.wire.(sleeper)
	return ok && w.sleep(run)
}

// leave is the end of the reading goroutine.
func (s *Session) leave() {
	s.scratch, s.rest = nil, nil // who waits for resumption needs none
	if reason := s.away.Load(); reason != nil && s.reason.Load() == nil && !s.graceful && !s.broken.Load() {
		s.part(reason)
		s.broken.Store(true)
	}
	if !s.detach() {
		s.end()
	}
}

// errClosing says that reading stops because somebody has called Close: the
// connection is whole and the client is to be told why.
var errClosing = errors.New("c2s: session is closing")

// endWith notes why reading stopped.
func (s *Session) endWith(err error) {
	var se *stanza.StreamError
	switch {
	case s.graceful, errors.Is(err, errClosing):
	case errors.As(err, &se):
		s.Close(se)
	default:
		if !errors.Is(err, io.EOF) {
			s.srv.log.Debug("connection failed", "jid", s.jid, "err", err)
		}
		s.broken.Store(true)
	}
}

// readInput runs when there may be input: only now it takes a scratch. It
// reports false if there is nothing to read.
func (s *Session) readInput() bool {
	sc := s.borrow()
	n, err := s.wire.read(sc.in[sc.to:])
	if n < 0 {
		s.giveBack()
		return false
	}
	sc.to += n
	s.readErr = err
	return true
}

// borrow takes a scratch with room for input, and puts into it what waits in rest.
func (s *Session) borrow() *scratch {
	if s.scratch == nil {
		s.scratch = scratches.Get().(*scratch)
		sc := s.scratch
		if s.managed {
			sc.batch.Certain(&s.owed)
		}
		sc.scanner.SetLimits(s.srv.limits())
		sc.scanner.Resume(s.scope)
		sc.from, sc.to = 0, copy(sc.in, s.rest)
	}
	sc := s.scratch
	if sc.to == len(sc.in) {
		sc.makeRoom()
	}
	return sc
}

// makeRoom moves what is unfinished to the front, or doubles the buffer when it
// is full of one element; the scanner's limit bounds that.
func (sc *scratch) makeRoom() {
	if sc.from == 0 {
		bigger := make([]byte, 2*len(sc.in))
		copy(bigger, sc.in[:sc.to])
		sc.in = bigger
		return
	}
	sc.to = copy(sc.in, sc.in[sc.from:sc.to])
	sc.from = 0
}

// giveBack returns the scratch unless a large element is unfinished in it.
func (s *Session) giveBack() {
	sc := s.scratch
	left := sc.in[sc.from:sc.to]
	if len(left) > smallRest {
		return
	}
	if s.rest == nil && len(left) > 0 { // else it is still what borrow copied
		s.rest = append([]byte(nil), left...)
	}
	s.scratch = nil
	sc.batch.Certain(nil)
	sc.from, sc.to = 0, 0
	if cap(sc.rewrite) > keptBuffer {
		sc.rewrite = nil
	}
	if len(sc.in) <= keptBuffer {
		scratches.Put(sc)
	}
}

// work takes everything out of the input at hand.
func (s *Session) work() error {
	s.active.Store(true)
	s.grown.Store(true)
	s.rest = nil
	err := s.workOff()
	s.gather()
	s.scratch.batch.Flush()
	if err != nil {
		return err
	}
	s.giveBack()
	return nil
}

// workOff handles the input that was read, and what the transport has besides.
func (s *Session) workOff() error {
	sc := s.scratch
	for err := s.readErr; ; {
		if err := s.consume(); err != nil {
			return err
		}
		if s.wire.owed() > 0 {
			if err := s.flushBacklog(); err != nil {
				return err
			}
		}
		switch err {
		case errAgain:
			return nil
		case errUnit:
			if s.tokens != 1 || sc.from < sc.to {
				return errNotOne
			}
			s.tokens = 0
		case nil:
		default:
			return err
		}
		if sc.to == len(sc.in) {
			sc.makeRoom()
		}
		var n int
		n, err = s.wire.read(sc.in[sc.to:])
		sc.to += n
	}
}

// flushBacklog sees to what the transport has written by itself and could not get rid of,
// and ends a session that makes it write without reading.
func (s *Session) flushBacklog() error {
	if s.wire.unwritten() > 2*outboxBytes+s.srv.limits().Bytes {
		return stanza.StreamPolicyViolation
	}
	o := &s.out
	o.mu.Lock()
	if o.writing || o.failed {
		o.mu.Unlock()
		return nil
	}
	o.writing = true
	o.mu.Unlock()
	go s.drain()
	return nil
}

// consume handles every complete element in the buffer, in order (RFC 6120 §10.1).
func (s *Session) consume() error {
	sc := s.scratch
	for {
		tok, n, err := sc.scanner.Scan(sc.in[sc.from:sc.to])
		sc.from += n
		if err != nil {
			if errors.Is(err, xmlstream.ErrTooBig) {
				s.srv.router.Metrics.Reject(router.RuleSize, router.AtSender)
			}
			return streamError(err)
		}
		s.tokens++
		switch tok.Kind {
		case xmlstream.None:
			s.tokens--
			return nil
		case xmlstream.Element:
			s.throttle(s.stanzas, 1)
			if err := s.element(tok); err != nil {
				return err
			}
		case xmlstream.Close:
			s.graceful = true
			return io.EOF
		default:
			return stanza.StreamInternalServerError
		}
		if s.dismissed() {
			return errClosing
		}
	}
}

// element takes one child of the stream: a stanza, or the stream ends.
func (s *Session) element(tok *xmlstream.Token) error {
	sc := s.scratch
	if isStreamError(tok) { // who receives one closes the stream (RFC 6120 §4.9.1.1)
		s.graceful = true
		return io.EOF
	}
	if tok.Prefixed || tok.OuterPrefix {
		var err error
		if tok, sc.rewrite, err = standAlone(sc.scanner, tok, sc.rewrite); err != nil {
			return err
		}
	}
	switch string(tok.Space) {
	case nsSM:
		return s.manage(tok)
	case nsCSI:
		return s.indicate(tok)
	}
	if s.managed {
		defer func() { s.handled++ }() // once it is delivered, stored or answered (XEP-0198 §4)
	}
	st := &sc.st
	fault := st.Load(tok, s.srv.router.Table.Intern)
	if fault == stanza.ErrNotStanza {
		return notStanza(tok)
	}
	if st.Lang == nil && st.Kind != stanza.IQ {
		st.Lang = s.lang // RFC 6120 §8.1.5
	}
	if !st.From.IsZero() && st.From != s.jid && st.From != s.jid.Bare() {
		s.srv.router.Metrics.Reject(router.RuleSpoofedFrom, router.AtSender)
		return stanza.StreamInvalidFrom // RFC 6120 §8.1.2.1
	}
	st.From = s.jid
	if fault != nil {
		s.refuse(st, fault)
		return nil
	}
	s.srv.router.FromClient(s.srv.ctx, &sc.batch, s, st)
	return nil
}

// refuse answers a stanza that cannot be routed as it is.
func (s *Session) refuse(st *stanza.Stanza, fault error) {
	s.srv.Metrics.BadStanzas.Inc()
	if reply := stanza.Fault(fault).Reply(st); reply != nil {
		s.Send(&s.scratch.batch, reply)
	}
}

// isStreamError reports whether the client has ended the stream with an error.
func isStreamError(tok *xmlstream.Token) bool {
	return string(tok.Space) == stanza.NSStream && string(tok.Local) == "error"
}

// notStanza says what is wrong with an element that is no stanza.
func notStanza(tok *xmlstream.Token) error {
	if string(tok.Space) == stanza.NSClient {
		return stanza.StreamUnsupportedStanzaType // RFC 6120 §4.9.3.24
	}
	switch string(tok.Local) {
	case "message", "presence", "iq":
		return stanza.StreamInvalidNamespace // RFC 6120 §4.9.3.10
	}
	return stanza.StreamUnsupportedStanzaType
}

// streamError names a scanner's error as RFC 6120 §4.9.3 does.
func streamError(err error) error {
	switch {
	case errors.Is(err, xmlstream.ErrRestricted):
		return stanza.StreamRestrictedXML // §4.9.3.18
	case errors.Is(err, xmlstream.ErrTooBig), errors.Is(err, xmlstream.ErrTooDeep):
		return stanza.StreamPolicyViolation.WithText("element too large") // §4.9.3.14, §13.12
	case errors.Is(err, xmlstream.ErrEncoding):
		return stanza.StreamUnsupportedEncoding // §4.9.3.22
	case errors.Is(err, xmlstream.ErrNotWellFormed), errors.Is(err, xmlstream.ErrBadPrefix):
		return stanza.StreamNotWellFormed // §4.9.3.13, §11.3
	}
	return err
}

// standAlone rewrites an element that leans on the stream header's prefixes,
// so that its bytes mean the same in any other stream. buf is memory to use.
func standAlone(sc *xmlstream.Scanner, tok *xmlstream.Token, buf []byte) (*xmlstream.Token, []byte, error) {
	buf = sc.Rewrite(buf[:0], tok)
	other := xmlstream.NewScanner(stanza.RescanLimits(len(buf)))
	other.Resume(xmlstream.ClientScope)
	alone, _, err := other.Scan(buf)
	if err != nil {
		return nil, buf, streamError(err)
	}
	return alone, buf, nil
}

// end is the session's last act, on its reading goroutine: out of the table,
// last words, contacts told, what was not sent routed anew.
func (s *Session) end() {
	s.stopDeadline()
	s.retire()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.srv.ctx), endTimeout)
	defer cancel()
	s.srv.router.Ended(ctx, s)
	s.srv.forget(s.wire)
	if s.smID != "" {
		s.srv.notResumable(s.smID, s)
	}
	close(s.done)
	s.srv.log.Info("session ended", "jid", s.jid, "conn", s.wire.peer().id)
	s.wire.linger()
}

// retire takes the session out of the table, says goodbye, and finds other ways
// for what the client was not sent, before anything newer goes to its user.
func (s *Session) retire() {
	table := s.srv.router.Table
	row, _ := table.Row(s.jid)
	table.Ending(s)
	s.out.mu.Lock()
	s.out.closed = true
	s.out.mu.Unlock()
	if !s.broken.Load() {
		s.part(s.reason.Load())
	}
	s.wire.abort()
	s.forget(s.farewell)
	s.out.mu.Lock()
	stored := s.out.storedLocked()
	s.out.mu.Unlock()
	s.reroute(row)
	s.dropCopies()
	if len(stored) > 0 {
		go s.release(stored)
	}
	table.Unbind(s)
	if len(stored) > 0 { // the user may have come elsewhere, and have been handed what waits, before this session stored it
		table.Elsewhere.Held(s.jid)
	}
}

// release gives up what the spool keeps for this session, which ends. The client that gets it may be slow.
func (s *Session) release(stored []int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.srv.ctx), endTimeout)
	defer cancel()
	s.srv.router.Spool.Release(ctx, s.jid, stored, true)
}

// part closes the stream from our side (RFC 6120 §4.4), for a reason if there is one.
func (s *Session) part(reason *stanza.StreamError) {
	var words []byte
	if reason != nil {
		s.srv.Metrics.streamError(reason)
		if s.managed && s.srv.isClosing() { // what was dealt with needs not be sent again elsewhere
			words = s.appendAck(words, s.handled)
		}
		words = reason.AppendXML(words)
	}
	s.last(append(words, "</stream:stream>"...))
	s.wire.finish()
}

// throttle slows a client that is faster than its limits by not reading on.
func (s *Session) throttle(l *rate.Limiter, n int) {
	if l == nil {
		return
	}
	wait := l.ReserveN(time.Now(), min(n, l.Burst())).Delay()
	if wait <= 0 {
		return
	}
	s.srv.Metrics.Throttled.Inc()
	s.srv.router.Metrics.Reject(router.RuleRate, router.AtSender)
	s.scratch.batch.Flush()
	for wait > 0 && !s.stopping() {
		nap := min(wait, time.Second)
		time.Sleep(nap)
		wait -= nap
	}
}
