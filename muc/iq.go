package muc

import (
	"context"
	"encoding/hex"
	"strings"

	"chatd/router"
	"chatd/stanza"
)

// iq takes a request for a room or for an occupant, or an occupant's answer to one.
func (s *Service) iq(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) {
	var err error
	switch {
	case !st.To.IsBare():
		err = s.relay(ctx, b, sess, st)
	case st.Type == stanza.Get || st.Type == stanza.Set:
		err = s.roomRequest(ctx, b, sess, st)
	}
	if err != nil {
		s.fail(b, st, err)
	}
}

// roomRequest is for the room itself.
func (s *Service) roomRequest(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	set := st.Type == stanza.Set
	if s.hiddenFrom(b, st) {
		return errNoRoom
	}
	switch space := string(st.Space); {
	case space == nsAdmin:
		return s.administer(ctx, b, sess, st)
	case space == nsOwner:
		return s.own(ctx, b, sess, st)
	case space == nsRegister:
		return s.register(ctx, b, sess, st)
	case space == nsCommands && set:
		return s.command(ctx, b, sess, st)
	case space == nsModerate && set:
		return s.moderate(ctx, b, sess, st)
	case space == nsVCard:
		return s.vcard(ctx, b, sess, st)
	case set:
	case space == nsDiscoInfo:
		return s.roomInfo(ctx, b, sess, st)
	case space == nsDiscoItems:
		return s.roomItems(ctx, b, sess, st)
	case space == nsPing:
		return s.visit(ctx, b, st.To.Local(), func(*room) error { s.answer(b, sess, st, nil); return nil })
	}
	return s.visit(ctx, b, st.To.Local(), func(*room) error { return stanza.ErrServiceUnavailable })
}

// hiddenFrom reports whether the room is locked, and so not there yet for the sender (XEP-0045 §10.1.1).
func (s *Service) hiddenFrom(b *router.Batch, st *stanza.Stanza) bool {
	r := s.lock(b, st.To.Local())
	if r == nil {
		return false
	}
	defer s.unlock(b, r)
	return r.phase == locked && r.affiliation(st.From) < Owner
}

// relay passes a request from one occupant to another, and the answer back, without revealing the address of either (XEP-0045 §17.4).
func (s *Service) relay(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	request := st.Type == stanza.Get || st.Type == stanza.Set
	r := s.lock(b, st.To.Local())
	if r == nil {
		return errOutside(st)
	}
	out, err := r.relayed(st)
	self := request && err == nil && out.To.IsZero()
	s.unlock(b, r)
	switch {
	case self: // XEP-0410 §3.3
		s.answer(b, sess, st, nil)
	case err != nil && request:
		return err
	case err == nil:
		s.r.Route(ctx, b, out)
	}
	return nil
}

// errOutside is for somebody who is not in the room: XEP-0045 §6.6, XEP-0410 §3.2. An answer gets none.
func errOutside(st *stanza.Stanza) error {
	switch {
	case st.Type != stanza.Get && st.Type != stanza.Set:
		return nil
	case string(st.Space) == nsDiscoInfo, string(st.Space) == nsDiscoItems:
		return stanza.ErrBadRequest
	}
	return &stanza.Error{Type: "cancel", Condition: "not-acceptable"}
}

// relayed is what becomes of a request to an occupant or of its answer. A ping to oneself becomes nothing to anybody.
func (r *room) relayed(st *stanza.Stanza) (*stanza.Stanza, error) {
	out := *st
	request := st.Type == stanza.Get || st.Type == stanza.Set
	to := r.named(st.To.Resource())
	from := r.of(st.From)
	if from == nil && !request && st.From.IsBare() { // the server answers for an account
		if all := r.ofUser(st.From); len(all) > 0 {
			from = all[0]
		}
	}
	switch {
	case from == nil:
		return nil, errOutside(st)
	case to == nil:
		return nil, stanza.ErrItemNotFound
	}
	out.From = from.at
	if !request {
		full, id, ok := r.asked(to, string(st.ID))
		if !ok {
			return nil, stanza.ErrItemNotFound
		}
		out.To, out.ID = full, []byte(id)
		return &out, nil
	}
	if from == to && string(st.Space) == nsPing {
		out.To = stanza.JID{}
		return &out, nil
	}
	out.To, out.ID = to.seats[0].jid, []byte(r.mark(st.From)+string(st.ID))
	if string(st.Space) == nsVCard { // the account has it
		out.To = out.To.Bare()
	}
	return &out, nil
}

// markBytes is how much of its digest marks a session in the id of a request.
const markBytes = 8

// mark is put before the id of a session's request, so that the answer finds the way back without anything being kept.
func (r *room) mark(full stanza.JID) string {
	sum := r.secret.sum("iq " + full.String())
	return hex.EncodeToString(sum[:markBytes]) + "-"
}

// asked is which of an occupant's sessions has sent the request with this id, and by which id it knows it.
func (r *room) asked(o *occupant, id string) (full stanza.JID, own string, ok bool) {
	for i := range o.seats {
		if own, ok := strings.CutPrefix(id, r.mark(o.seats[i].jid)); ok {
			return o.seats[i].jid, own, true
		}
	}
	return stanza.JID{}, "", false
}
