package c2s

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// takeOverTimeout is how long a resumption waits for the old connection's goroutine.
const takeOverTimeout = 10 * time.Second

// detach leaves a session without a connection, if it may be resumed: it stays in
// the table and keeps receiving. It runs at the end of the reading goroutine.
func (s *Session) detach() bool {
	o := &s.out
	s.wire.writeDeadline(past) // no writer stays blocked
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.managed == nil || o.managed.id == "" || s.graceful || o.closed {
		return false
	}
	_ = o.acquireLocked(context.Background()) // and never given back: nobody writes
	if s.reason.Load() == nil {
		o.leaving = true
		o.mu.Unlock()
		s.journal()
		o.mu.Lock()
		o.left = true
		o.wakeLocked() // who waits for this client; s may itself, or for others that wait for s
		o.mu.Unlock()
		s.awaitOthers()
		o.mu.Lock()
	}
	if s.reason.Load() != nil || o.closed {
		o.stopWritingLocked()
		return false
	}
	release(o.sending)
	o.sending = nil
	o.detached = true
	if o.idle != nil { // who waits to write does so in vain
		close(o.idle)
		o.idle = nil
	}
	go s.dropCopies() // the messages are where they are waited for
	s.broken.Store(true)
	s.until = time.Now().Add(o.managed.wait)
	s.expiry = time.AfterFunc(o.managed.wait, s.expire)
	if o.taken != nil { // the old stream is told (XEP-0198 §5)
		s.srv.Metrics.streamError(stanza.StreamConflict)
		_, _, _ = s.wire.write(append(stanza.StreamConflict.AppendXML(nil), "</stream:stream>"...))
	}
	go s.wire.linger()
	s.srv.forget(s.wire)
	s.srv.log.Debug("session waits for resumption", "jid", s.jid, "conn", s.wire.peer().id)
	if o.taken != nil {
		close(o.taken)
	}
	return true
}

// awaitOthers waits until other nodes have what the client has sent to their users: who resumes is told that all was dealt with. What the
// client was sent is stored by now.
func (s *Session) awaitOthers() {
	ctx, cancel := context.WithTimeout(s.srv.ctx, confirmTimeout)
	defer cancel()
	s.owed.Confirmed(ctx)
}

// journal stores the messages that the client has not acknowledged, so that they
// survive this process, and makes the router store those that are still to come, if nobody else of the user's can be reached. Else they are
// stored for this session alone, until it ends. It runs while the holder of writing keeps everyone else from m.unacked.
func (s *Session) journal() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.srv.ctx), endTimeout)
	defer cancel()
	if row, ok := s.srv.router.Table.Row(s.jid); !ok || !row.Reachable() {
		return // what is for the user is not for this resource (XEP-0160 §2)
	}
	ready := make(chan struct{})
	defer close(ready)
	s.srv.router.Table.Detach(s, ready)
	defer s.srv.router.Table.Settled(s)
	o := &s.out
	o.mu.Lock()
	o.storing = true
	m := o.managed
	m.written(o.queueLocked())
	release(o.queue)
	o.queue = nil
	o.mu.Unlock()
	m.store(&o.mu, func(raw []byte) int64 {
		st, err := stanza.Parse(raw)
		if err != nil || !router.Storable(st) {
			return 0
		}
		s.state.Handed.Stored(st.WrittenID())
		seq, err := s.srv.router.Spool.Hold(ctx, st)
		if errors.Is(err, router.ErrReachable) && !isCopy(st) {
			seq, err = s.srv.router.Spool.Keep(ctx, st)
		}
		if err != nil {
			return 0
		}
		if s.srv.Node != "" {
			s.state.Handed.Take(st.WrittenID(), seq)
		}
		return seq
	})
}

// storedLocked is the numbers of the messages that the client has not acknowledged and the spool has.
func (o *outbox) storedLocked() []int64 {
	if o.managed == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(o.managed.stored), func(seq int64) bool { return seq == 0 })
}

// attached ends a resumed session's catching up.
func (s *Session) attached() {
	s.out.mu.Lock()
	s.out.storing = false
	s.out.mu.Unlock()
	s.srv.router.Table.Attach(s)
}

// expire ends a detached session, unless somebody has been faster.
func (s *Session) expire() {
	if s.claim() {
		s.end()
	}
}

// claim reports whether the session is detached and the caller is the one who may end it
// or take it over.
func (s *Session) claim() bool {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.detached || o.over {
		return false
	}
	o.over = true
	s.expiry.Stop()
	return true
}

// unclaim leaves a session that the caller has claimed as it was: waiting for resumption.
func (s *Session) unclaim() {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	s.out.over = false
	s.expiry.Reset(time.Until(s.until))
}

// detachNow makes the session leave its old connection for a new one, and reports
// whether it has and the caller may take it over. Of several callers one may.
func (s *Session) detachNow() bool {
	o := &s.out
	o.mu.Lock()
	if !o.detached {
		if o.taken != nil || o.closed {
			o.mu.Unlock()
			return false
		}
		taken := make(chan struct{})
		o.taken = taken
		o.mu.Unlock()
		s.broken.Store(true)
		s.wire.writeDeadline(past) // it may be blocked in SendNow
		s.interrupt()
		select {
		case <-taken:
		case <-s.done:
			return false
		case <-time.After(takeOverTimeout):
			return false
		}
	} else {
		o.mu.Unlock()
	}
	return s.claim()
}

// A resumption is what a client says to go on with a session that it had.
type resumption struct{ id, handled string }

// resume is XEP-0198 §5. A nil session without an error means that it cannot be, for which the answer is as well.
func (n *negotiation) resume(r *resumption) (s *Session, answer []byte, err error) {
	h, err := strconv.ParseUint(r.handled, 10, 32)
	if err != nil || r.id == "" {
		return nil, []byte(smFailure("bad-request")), nil
	}
	if n.srv.isClosing() {
		return nil, nil, stanza.StreamSystemShutdown // what waits is kept
	}
	n.turn.end() // the old connection may take its time
	old, err := n.claim(r.id)
	if err != nil {
		return nil, nil, err
	} else if old == nil {
		n.srv.Metrics.Resumptions.WithLabelValues("failed").Inc()
		return nil, n.srv.notFound(r.id, n.user), nil
	}
	s, err = n.takeOver(old, uint32(h))
	if err != nil {
		n.srv.Metrics.Resumptions.WithLabelValues("failed").Inc()
		if err == error(stanza.StreamSystemShutdown) {
			old.unclaim()
		} else {
			old.end()
		}
		return nil, nil, err
	}
	n.srv.Metrics.Resumptions.WithLabelValues("ok").Inc()
	n.srv.log.Debug("session resumed", "jid", s.jid, "conn", n.wire.peer().id)
	answer = fmt.Appendf(nil, "<resumed xmlns='%s' previd='", nsSM)
	answer = stanza.AppendEscaped(answer, r.id)
	return s, fmt.Appendf(answer, "' h='%d'/>", s.handled), nil
}

// claim has the session leave its connection for this one. A client whose resumption breaks off may ask again before that has come to
// its end: the later one waits for the earlier one, and goes on where that has stopped.
func (n *negotiation) claim(id string) (*Session, error) {
	timeout := time.After(takeOverTimeout)
	for {
		old := n.srv.resumableBy(id)
		if old == nil {
			old = n.fetch(id)
		}
		if old == nil || old.jid.Local() != n.user {
			return nil, nil
		}
		if old.detachNow() {
			return old, nil
		}
		select {
		case <-old.done:
		case <-n.srv.open.Done():
			return nil, stanza.StreamSystemShutdown // what waits is kept
		case <-timeout:
			return nil, nil
		}
	}
}

// fetch gets the session from the node that has it.
func (n *negotiation) fetch(id string) *Session {
	dot := strings.LastIndexByte(id, '.')
	if dot < 0 || n.srv.Fetch == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(n.srv.ctx, takeOverTimeout)
	defer cancel()
	x, err := n.srv.Fetch(ctx, id, n.user)
	if err != nil {
		if s := n.srv.resumableBy(id); s != nil { // the other node was just giving it to this one
			return s
		}
		n.srv.log.Info("session not taken over from another node", "user", n.user, "node", id[:dot], "err", err)
		return nil
	}
	x.Begun = n.srv.router.Table.Elsewhere.Now() // newer than its row there, which others may see for a moment longer
	n.srv.Restore(n.srv.ctx, x)
	return n.srv.resumableBy(id)
}

// Yield gives up a session that can be resumed, for another node to go on with it. It blocks until the session has left its
// connection. The error says that there is no such session of the user's, or that somebody else is resuming it.
func (s *Server) Yield(id, user string) (*Suspended, error) {
	old := s.resumableBy(id)
	if old == nil || old.jid.Local() != user {
		return nil, errNoSession
	}
	if !old.detachNow() {
		if s.isClosing() { // it may just be given to another node: then it is there when this returns
			select {
			case <-old.Done():
			case <-time.After(takeOverTimeout):
			}
		}
		return nil, errNoSession
	}
	x := old.export()
	x.Storing = true // what comes while the session is nowhere is in the store
	old.depart()
	return x, nil
}

var errNoSession = errors.New("c2s: no such session")

// takeOver makes a session on this connection that goes on where old stopped.
func (n *negotiation) takeOver(old *Session, h uint32) (*Session, error) {
	s := n.session(old.jid)
	s.state, s.managed, s.handled, s.sure, s.smID = old.state, true, old.handled, old.handled, old.smID
	if err := n.acknowledged(old, h); err != nil {
		return nil, err
	}
	o := &old.out
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.managed
	s.out.mu.Lock() // from now on others see it
	defer s.out.mu.Unlock()
	if !n.srv.bound(n.wire, s) {
		return nil, stanza.StreamSystemShutdown
	}
	o.catchUpLocked() // the client is active again until it says otherwise (XEP-0352 §5.2)
	m.written(o.queueLocked())
	again, sizes := m.toSend()
	s.out.storing = o.storing
	n.srv.router.Spool.Release(n.srv.ctx, s.jid, o.storedLocked(), false) // it is handed them with all that waits
	s.out.managed = &managed{id: m.id, wait: m.wait, handled: h, queued: sizes}
	if len(again) > 0 {
		s.out.queue = &again
	}
	o.closed, o.next, o.queue, o.managed = true, s, nil, nil
	old.stopDeadline() // the one of this login counts
	n.srv.router.Table.Resume(old, s)
	n.srv.resumable(m.id, s)
	close(old.done)
	return s, nil
}

// acknowledged drops what the client says that it has. If the spool cannot, the session
// cannot be resumed: the client would get it twice.
func (n *negotiation) acknowledged(old *Session, h uint32) error {
	o := &old.out
	o.mu.Lock()
	m := o.managed
	m.written(o.queueLocked())
	release(o.queue)
	o.queue = nil
	sent := m.handled + uint32(len(m.sizes))
	stored, ok := m.ack(h)
	o.mu.Unlock() // others may send meanwhile
	if !ok {
		return handledTooMany(h, sent)
	}
	if len(stored) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(n.srv.ctx, loginTimeout)
	defer cancel()
	stored = append(stored, old.state.Handed.Had(stored)...)
	if err := n.srv.router.Spool.Forget(ctx, old.jid.Local(), stored); err != nil {
		n.srv.log.Log(ctx, stanza.FaultLevel(err), "delivered messages not removed", "jid", old.jid, "err", err)
		return stanza.StreamInternalServerError
	}
	return nil
}

// notFound answers a resumption that came too late. The client is told what of its stanzas
// was dealt with, if that is still known (XEP-0198 §5).
func (s *Server) notFound(id, user string) []byte {
	s.mu.Lock()
	was, ok := s.ended[id]
	s.mu.Unlock()
	if !ok || was.user != user {
		return []byte(smFailure("item-not-found"))
	}
	return fmt.Appendf(nil, "<failed xmlns='%s' h='%d'><item-not-found xmlns='%s'/></failed>", nsSM, was.handled, stanza.NSStanzas)
}

func smFailure(condition string) string {
	return "<failed xmlns='" + nsSM + "'><" + condition + " xmlns='" + stanza.NSStanzas + "'/></failed>"
}

// resumable notes under which id a session can be resumed.
func (s *Server) resumable(id string, session *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[id] = session
}

func (s *Server) resumableBy(id string) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}

// endedKept is of how many ended sessions it is known for a while what they have handled.
const endedKept = 4096

// An endedSession is what is left of a session that could have been resumed.
type endedSession struct {
	user    string // localpart
	handled uint32 // stanzas from the client that were dealt with
}

// notResumable forgets a session that has ended but for what it has handled.
func (s *Server) notResumable(id string, session *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[id] != session {
		return
	}
	delete(s.byID, id)
	if len(s.endedIDs) < endedKept {
		s.endedIDs = append(s.endedIDs, id)
	} else {
		delete(s.ended, s.endedIDs[s.endedNext])
		s.endedIDs[s.endedNext] = id
		s.endedNext = (s.endedNext + 1) % endedKept
	}
	s.ended[id] = endedSession{session.jid.Local(), session.handled}
}
