package c2s

import (
	"context"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/xmlstream"
)

// keepAfter is how long who waits for an acknowledgement waits for a client that is slow to take what it was sent. Then the spool gets a
// copy.
const keepAfter = 100 * time.Millisecond

// Copies are the numbers of messages in the spool, for each time that copies were made. They are of what waits in the outbox, so that
// they are bounded as that is.
type copies []copied

type copied struct {
	end  uint64 // of the stanzas, as outbox.written counts
	seqs []int64
}

// kept is up to where there are copies of all that can be stored.
func (c copies) kept() uint64 {
	if len(c) == 0 {
		return 0
	}
	return c[len(c)-1].end
}

// Confirm is router.Confirmer: it waits until the operating system has all that is queued, or the spool has copies of it. If the session
// ends, or waits for resumption, all is where that takes it.
func (s *Session) Confirm(ctx context.Context) bool {
	o := &s.out
	o.mu.Lock()
	var patience <-chan time.Time
	end := o.took + uint64(len(o.queueLocked()))
	enough := len(o.copies) > 0 || !o.stuck.IsZero() && time.Since(o.stuck) >= keepAfter
	for o.written < end && o.copies.kept() < end && !o.left && !o.detached {
		if next := o.next; next != nil {
			o.mu.Unlock()
			return next.Confirm(ctx)
		}
		settled := o.idleLocked()
		if o.keeping != nil {
			settled = o.keeping
		} else if enough && !o.closed && !o.leaving {
			if !s.keepLocked(ctx) {
				o.mu.Unlock()
				return false
			}
			continue
		}
		o.mu.Unlock()
		if patience == nil {
			patience = time.After(keepAfter)
		}
		select {
		case <-settled:
		case <-s.done:
			if o.next == nil {
				return true
			}
		case <-patience:
			enough = true
		case <-ctx.Done():
			return false
		}
		o.mu.Lock()
	}
	o.mu.Unlock()
	return true
}

// keepLocked makes copies of what is queued or being sent and has none, unlocked, and reports whether the spool has them.
func (s *Session) keepLocked(ctx context.Context) bool {
	o := &s.out
	begin := o.written
	waiting := append(o.sendingLocked()[:o.took-begin:o.took-begin], o.queueLocked()...)
	end := begin + uint64(len(waiting))
	waiting = append([]byte(nil), waiting[max(begin, o.copies.kept())-begin:]...)
	o.keeping = make(chan struct{})
	o.mu.Unlock()
	seqs, err := s.keep(ctx, waiting)
	o.mu.Lock()
	close(o.keeping)
	o.keeping = nil
	if err != nil {
		s.srv.log.Log(ctx, stanza.FaultLevel(err), "no copies of what a client is slow to take", "jid", s.jid, "err", err)
		go s.drop(seqs)
		return false
	}
	o.copies = append(o.copies, copied{end, seqs})
	s.dropCopiesLocked()
	return true
}

// keep has the spool keep the messages among some stanzas.
func (s *Session) keep(ctx context.Context, stanzas []byte) (seqs []int64, err error) {
	sc := xmlstream.NewScanner(stanza.RescanLimits(len(stanzas)))
	sc.Resume(xmlstream.ClientScope)
	for at := 0; at < len(stanzas); {
		tok, n, err := sc.Scan(stanzas[at:])
		if err != nil {
			return seqs, err
		}
		at += n
		var st stanza.Stanza
		if tok.Kind != xmlstream.Element || st.Load(tok, nil) != nil || !router.Storable(&st) || st.From.IsZero() || isCopy(&st) {
			continue
		}
		seq, err := s.srv.router.Spool.Keep(ctx, &st)
		if err != nil {
			return seqs, err
		}
		if seq != 0 {
			seqs = append(seqs, seq)
		}
	}
	return seqs, nil
}

// dropCopiesLocked has the spool drop the copies of what was written.
func (s *Session) dropCopiesLocked() {
	o := &s.out
	for len(o.copies) > 0 && o.copies[0].end <= o.written {
		if seqs := o.copies[0].seqs; len(seqs) > 0 {
			go s.drop(seqs) // it blocks on the store, within endTimeout
		}
		o.copies = o.copies[1:]
	}
	if len(o.copies) == 0 {
		o.copies = nil
	}
}

// dropCopies has the spool drop all copies: what they are copies of has found its way.
func (s *Session) dropCopies() {
	o := &s.out
	o.mu.Lock()
	o.awaitCopiesLocked()
	all := o.copies
	o.copies = nil
	o.mu.Unlock()
	for _, c := range all {
		if len(c.seqs) > 0 {
			s.drop(c.seqs)
		}
	}
}

// awaitCopiesLocked waits, unlocked, for whoever is making copies.
func (o *outbox) awaitCopiesLocked() {
	for o.keeping != nil {
		done := o.keeping
		o.mu.Unlock()
		<-done
		o.mu.Lock()
	}
}
