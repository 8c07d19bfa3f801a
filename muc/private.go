package muc

import (
	"bytes"
	"context"

	"chatd/router"
	"chatd/stanza"
)

// private is a message to one occupant (XEP-0045 §7.5): to all its sessions (§7.2.8).
func (s *Service) private(ctx context.Context, b *router.Batch, st *stanza.Stanza) error {
	r := s.lock(b, st.To.Local())
	if r == nil {
		return s.absent(ctx, b, st)
	}
	from, to, err := s.correspondents(r, st)
	if err != nil {
		s.unlock(b, r)
		return err
	}
	inner, err := privateInner(r.at, from.id, st)
	out := *st
	out.From, out.Inner = from.at, inner
	sessions := make([]stanza.JID, len(to.seats))
	for i := range to.seats {
		sessions[i] = to.seats[i].jid
	}
	s.unlock(b, r)
	if err != nil {
		return err
	}
	for _, full := range sessions { // without the lock: what cannot be delivered waits in the store, or comes back as an error
		one := out
		one.To = full
		if router.Storable(&one) {
			one.Identify()
		}
		s.r.Route(ctx, b, &one)
	}
	return nil
}

// correspondents is who st is from and to, if the one may write to the other.
func (s *Service) correspondents(r *room, st *stanza.Stanza) (from, to *occupant, err error) {
	from, to = r.of(st.From), r.named(st.To.Resource())
	limits := s.cfg.Load()
	switch {
	case from == nil:
		return nil, nil, r.outside()
	case to == nil:
		return nil, nil, stanza.ErrItemNotFound
	case from.role < r.cfg.Private:
		return nil, nil, stanza.ErrForbidden
	case !from.messages.take(now(), limits.MessagesPerSecond, limits.MessageBurst):
		s.Metrics.refuse(refusedMessageRate)
		return nil, nil, errTooFast
	}
	return from, to, nil
}

// privateInner is the children of a private message: one <x/> by which it is known (XEP-0045 §7.5), and who it is from (XEP-0421 §4).
func privateInner(room stanza.JID, from occupantID, st *stanza.Stanza) ([]byte, error) {
	inner, _, err := withoutForgeries(room, st)
	if err != nil {
		return nil, err
	}
	inner = append(bytes.Clone(inner), "<x xmlns='"+nsUser+"'/>"...)
	return from.append(inner), nil
}
