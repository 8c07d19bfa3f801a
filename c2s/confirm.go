package c2s

import (
	"context"
	"errors"
	"os"
)

// A confirmer is a transport that learns only later what the client has of what write took, such
// as BOSH does from the client's next requests. What a wire took counts as delivered instead.
type confirmer interface {
	// settle blocks until the client is known to have all stanzas that were written, ctx ends, or the
	// write deadline passes: then it fails with os.ErrDeadlineExceeded and may be called again.
	settle(ctx context.Context) error

	// settled reports whether settle would return at once.
	settled() bool

	// unsettled ends the transport's efforts and is what was written, in whole elements, of which it
	// is not known whether the client has it. The holder of writing calls it, after abort.
	unsettled() []byte
}

// settleLocked blocks, unlocked, until the client is known to have what was written, as the holder of
// writing. With stream management that is the client's to acknowledge.
func (s *Session) settleLocked(ctx context.Context) error {
	o := &s.out
	if o.confirms == nil || o.managed != nil {
		return nil
	}
	o.mu.Unlock()
	defer o.mu.Lock()
	for {
		ending := s.allowTime()
		err := o.confirms.settle(ctx)
		if !errors.Is(err, os.ErrDeadlineExceeded) || ending {
			return err
		}
	}
}

// handOverLocked blocks, unlocked, until the client has a page of messages that the spool keeps until
// then, as the holder of writing. After a failure nothing is written any more.
func (s *Session) handOverLocked(ctx context.Context, page *[]byte) error {
	o := &s.out
	if err := s.settleLocked(ctx); err != nil {
		return err
	}
	o.sending, o.sent, o.spooled = page, 0, true
	err := s.sendAllLocked()
	if err == nil {
		if err = s.settleLocked(ctx); err != nil {
			s.wroteLocked(err)
		}
	}
	if err != nil {
		o.sending = nil // the spool has it
		return err
	}
	o.spooled = false
	return nil
}
