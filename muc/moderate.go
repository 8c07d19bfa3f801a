package muc

import (
	"bytes"
	"context"
	"errors"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// moderate is a moderator's request to take a message back (XEP-0425 §3).
func (s *Service) moderate(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	e, err := stanza.RawPayload(st)
	if err != nil {
		return err
	}
	id, reason, err := readModerate(e)
	if err != nil {
		return err
	}
	known, err := s.recalls(ctx, b, st, id)
	if err != nil {
		return err
	}
	return s.visit(ctx, b, st.To.Local(), func(r *room) error {
		o := r.of(st.From)
		switch {
		case o == nil:
			return r.outside()
		case o.role < Moderator:
			return stanza.ErrForbidden
		}
		m := r.past.find(id)
		limits := s.cfg.Load()
		switch {
		case m == nil && !known:
			return stanza.ErrItemNotFound
		case len(r.unwritten) >= maxUnwritten:
			return stanza.ErrResourceConstraint
		case !o.messages.take(time.Now(), limits.MessagesPerSecond, limits.MessageBurst):
			s.Metrics.refuse(refusedMessageRate)
			return errTooFast
		}
		by := append([]byte("<moderated xmlns='"+nsModerate+"' by='"), stanza.Escape(o.at.String())...)
		by = o.id.append(append(by, "'>"...))
		by = append(by, "</moderated>"...)
		by = appendActor(by, "", reason)
		now := time.Now()
		s.bury(r, m, id, nil, nil, now, by)

		told := utterance{id: stanza.NewID(), at: r.past.after(now.UnixMilli())}
		inner := append([]byte("<retract xmlns='"+nsRetract+"' id='"), stanza.Escape(id)...)
		inner = append(append(append(inner, "'>"...), by...), "</retract>"...)
		inner = told.id.Append(inner, r.at)
		out := stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: r.at, ID: told.id[:], Inner: inner}
		s.remember(r, told, s.cast(b, r, &out))
		s.answer(b, sess, st, nil)
		return nil
	})
}

// recalls reports whether the store has a message that is not in the room's memory any more, if a moderator asks.
func (s *Service) recalls(ctx context.Context, b *router.Batch, st *stanza.Stanza, id string) (known bool, err error) {
	look := false
	err = s.visit(ctx, b, st.To.Local(), func(r *room) error {
		look = r.cfg.Persistent && r.past.find(id) == nil && r.role(st.From) == Moderator
		return nil
	})
	if err != nil || !look {
		return false, err
	}
	b.Flush()
	if _, err = s.store.HistoryMessage(ctx, st.To.Local(), id); errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// readModerate is which message is to be taken back, and why.
func readModerate(e stanza.Element) (id, reason string, err error) {
	all, err := e.Children()
	if err != nil {
		return "", "", err
	}
	id = e.Attribute("id")
	retract := false
	for _, c := range all {
		switch {
		case c.Is(nsRetract, "retract"):
			retract = true
		case c.Is(nsModerate, "reason"):
			reason = c.Text()
		}
	}
	if !retract || id == "" || len(id) > len(stanza.ID{}) || len(reason) > maxReason {
		return "", "", stanza.ErrBadRequest
	}
	return id, reason, nil
}

// retract takes back a message of the occupant's own (XEP-0424 §5): it is not told any more. What only the store has is looked for there, behind what is to
// be written.
func (s *Service) retract(r *room, o *occupant, id, by string, at int64) {
	m := r.past.find(id)
	if m != nil && m.by == o.id || m == nil && r.cfg.Persistent && len(id) <= len(stanza.ID{}) {
		s.bury(r, m, id, &o.id, []byte(by), time.UnixMilli(at), nil)
	}
}

// bury puts a tombstone in the place of a message (XEP-0424 §4, XEP-0425 §4). m is nil if only the store may have it; then it has to be of the author's,
// if that is not nil.
func (s *Service) bury(r *room, m *utterance, id string, author *occupantID, by []byte, at time.Time, moderated []byte) {
	stone := []byte("<retracted xmlns='" + nsRetract + "' stamp='" + at.UTC().Format(time.RFC3339) + "'")
	if by != nil {
		stone = append(append(stone, " id='"...), bytes.ReplaceAll(by, []byte("'"), []byte("&apos;"))...) // raw, and may have been in the other quotes
		stone = append(stone, '\'')
	}
	stone = append(append(append(stone, '>'), moderated...), "</retracted>"...)
	if m == nil {
		a := archived{replaces: true, stone: stone, by: author}
		copy(a.id[:], id)
		s.archive(r, a)
		return
	}
	wire, err := m.tombstone(r.at, stone)
	if err != nil {
		return
	}
	r.past.replace(m, wire)
	r.rep.remember(*m)
	s.archive(r, archived{utterance: *m, replaces: true})
}

// tombstone is what is left of a message.
func (m *utterance) tombstone(room stanza.JID, stone []byte) ([]byte, error) {
	st, err := stanza.Parse(m.wire)
	if err != nil {
		return nil, err
	}
	inner := stone
	if m.by != (occupantID{}) {
		inner = m.by.append(bytes.Clone(stone))
	}
	st.Attrs, st.Inner = nil, m.id.Append(inner, room)
	return st.Append(nil), nil
}
