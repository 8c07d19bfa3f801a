package muc

import (
	"bytes"
	"context"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// maxSubject bounds a subject in bytes of its message.
const maxSubject = 4096

// isSubject reports whether a message is a change of subject: it has a <subject/>, and neither <body/> nor <thread/> (XEP-0045 §8.1).
func isSubject(st *stanza.Stanza) (bool, error) {
	if !bytes.Contains(st.Inner, []byte("subject")) {
		return false, nil
	}
	all, err := stanza.Elements(st)
	if err != nil {
		return false, err
	}
	found := false
	for _, e := range all {
		switch {
		case e.Is(stanza.NSClient, "subject"):
			found = true
		case e.Is(stanza.NSClient, "body"), e.Is(stanza.NSClient, "thread"):
			return false, nil
		}
	}
	return found, nil
}

// setSubject is XEP-0045 §8.1. In a persistent room it is stored before anybody is told.
func (s *Service) setSubject(ctx context.Context, b *router.Batch, st *stanza.Stanza) error {
	if len(st.Inner) > maxSubject {
		s.Metrics.refuse(refusedSize)
		return errTooLarge
	}
	return s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		o := r.of(st.From)
		limits := s.cfg.Load()
		switch now := time.Now(); {
		case o == nil:
			return plan{}, r.outside()
		case o.role < Moderator && !(r.cfg.ChangeSubject && o.role == Participant):
			return plan{}, stanza.ErrForbidden
		case !o.messages.take(now, limits.MessagesPerSecond, limits.MessageBurst):
			s.Metrics.refuse(refusedMessageRate)
			return plan{}, errTooFast
		}
		inner, _, err := withoutForgeries(r.at, st)
		if err != nil {
			return plan{}, err
		}
		out := stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: o.at, ID: st.ID, Lang: st.Lang, Attrs: st.Attrs}
		id := st.StanzaID
		if id == (stanza.ID{}) {
			id = stanza.NewID()
		}
		out.Inner = id.Append(o.id.append(bytes.Clone(inner)), r.at)
		subject := delayed(out.Append(nil), r.at, time.Now())
		p := plan{apply: func() {
			r.subject = subject
			s.cast(b, r, &out)
		}}
		if r.cfg.Persistent {
			p.store = func(ctx context.Context) error {
				return s.store.UpdateRoom(ctx, r.at.Local(), func(rec *store.Room) error { rec.Subject = subject; return nil })
			}
		}
		return p, nil
	})
}

// tellSubject is the last that a session gets that has entered (XEP-0045 §7.2.15).
func (s *Service) tellSubject(b *router.Batch, r *room, to *seat) {
	st := stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: r.at, Wire: r.subject}
	if r.subject == nil {
		st.Inner = []byte("<subject/>")
	}
	s.send(b, r, to, &st)
}
