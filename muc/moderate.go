package muc

import (
	"bytes"
	"context"
	"time"

	"chatd/router"
	"chatd/stanza"
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
	return s.visit(ctx, b, st.To.Local(), func(r *room) error {
		o := r.of(st.From)
		switch {
		case o == nil:
			return errNotOccupant
		case o.role < Moderator:
			return stanza.ErrForbidden
		}
		m := r.past.find(id)
		if m == nil && !r.cfg.Persistent {
			return stanza.ErrItemNotFound
		}
		by := append([]byte("<moderated xmlns='"+nsModerate+"' by='"), stanza.Escape(o.at.String())...)
		by = o.id.append(append(by, "'>"...))
		by = append(by, "</moderated>"...)
		by = appendActor(by, "", reason)
		now := time.Now()
		s.bury(r, m, id, nil, now, by)

		told := utterance{id: stanza.NewID(), at: now.UnixMilli()}
		inner := append([]byte("<retract xmlns='"+nsRetract+"' id='"), stanza.Escape(id)...)
		inner = append(append(append(inner, "'>"...), by...), "</retract>"...)
		inner = told.id.Append(inner, r.at)
		out := stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: r.at, ID: told.id[:], Inner: inner}
		s.remember(r, told, s.cast(b, r, &out))
		s.answer(b, sess, st, nil)
		return nil
	})
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

// retract takes back a message of the occupant's own (XEP-0424 §5): it is not told any more.
func (s *Service) retract(r *room, o *occupant, id, by string, at int64) {
	if m := r.past.find(id); m != nil && m.by == o.id {
		s.bury(r, m, id, []byte(by), time.UnixMilli(at), nil)
	}
}

// bury puts a tombstone in the place of a message (XEP-0424 §4, XEP-0425 §4). m is nil if only the store has it.
func (s *Service) bury(r *room, m *utterance, id string, by []byte, at time.Time, moderated []byte) {
	stone := []byte("<retracted xmlns='" + nsRetract + "' stamp='" + at.UTC().Format(time.RFC3339) + "'")
	if by != nil {
		stone = append(append(stone, " id='"...), bytes.ReplaceAll(by, []byte("'"), []byte("&apos;"))...) // raw, and may have been in the other quotes
		stone = append(stone, '\'')
	}
	stone = append(append(append(stone, '>'), moderated...), "</retracted>"...)
	a := archived{replaces: true}
	copy(a.id[:], id)
	if m == nil {
		st := stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: r.at, Inner: a.id.Append(stone, r.at)}
		a.wire = st.Append(nil)
		s.archive(r, a)
		return
	}
	st, err := stanza.Parse(m.wire)
	if err != nil {
		return
	}
	inner := stone
	if m.by != (occupantID{}) {
		inner = m.by.append(bytes.Clone(stone))
	}
	st.Attrs, st.Inner = nil, m.id.Append(inner, r.at)
	r.past.replace(m, st.Append(nil))
	r.rep.remember(*m)
	a.utterance = *m
	s.archive(r, a)
}
