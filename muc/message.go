package muc

import (
	"bytes"
	"context"
	"time"

	"chatd/router"
	"chatd/stanza"
)

// message takes a message for a room or for an occupant.
func (s *Service) message(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) {
	limits := s.cfg.Load()
	var err error
	switch {
	case limits.MessageBytes > 0 && len(st.Inner) > limits.MessageBytes:
		s.Metrics.refuse(refusedSize)
		err = errTooLarge
	case !st.To.IsBare() && st.Type == stanza.Groupchat:
		err = stanza.ErrBadRequest // XEP-0045 §7.5
	case !st.To.IsBare():
		err = s.private(ctx, b, st)
	case st.Type != stanza.Groupchat:
		err = s.request(ctx, b, st)
	default:
		err = s.groupchat(ctx, b, st)
	}
	if err != nil {
		s.fail(b, st, err)
	}
}

// groupchat is a message to all (XEP-0045 §7.4), or a new subject (§8.1).
func (s *Service) groupchat(ctx context.Context, b *router.Batch, st *stanza.Stanza) error {
	subject, err := isSubject(st)
	if err != nil {
		return err
	}
	if subject {
		return s.setSubject(ctx, b, st)
	}
	r := s.lock(b, st.To.Local())
	if r == nil {
		return s.absent(ctx, b, st)
	}
	defer s.unlock(b, r)
	o, err := s.speaker(r, st, time.Now())
	if err != nil {
		return err
	}
	return s.say(b, r, o, st)
}

// absent is the error for somebody who is not in a room that nobody is in (XEP-0045 §7.4, §17.2).
func (s *Service) absent(ctx context.Context, b *router.Batch, st *stanza.Stanza) error {
	return s.visit(ctx, b, st.To.Local(), func(r *room) error { return r.outside() })
}

// errNotOccupant is for who is not in the room (XEP-0045 §7.4).
var errNotOccupant = stanza.ErrNotAcceptable.WithText("you are not in the room")

// outside is the error for somebody who is not in the room: a locked one is not there.
func (r *room) outside() error {
	if r.phase == locked {
		return errNoRoom
	}
	return errNotOccupant
}

// speaker is the occupant that st is from, if it may speak to all now.
func (s *Service) speaker(r *room, st *stanza.Stanza, now time.Time) (*occupant, error) {
	o := r.of(st.From)
	limits := s.cfg.Load()
	switch {
	case o == nil:
		return nil, r.outside()
	case o.role < Participant:
		return nil, stanza.ErrForbidden
	case !o.messages.take(now, limits.MessagesPerSecond, limits.MessageBurst):
		s.Metrics.refuse(refusedMessageRate)
		return nil, errTooFast
	case !r.rate.take(now, limits.RoomMessagesPerSecond, limits.RoomMessageBurst):
		s.Metrics.refuse(refusedRoomRate)
		return nil, errTooFast
	case len(r.unwritten) >= maxUnwritten:
		return nil, stanza.ErrResourceConstraint
	}
	return o, nil
}

// say gives an occupant's message to all, the occupant included. The caller holds the room's lock.
func (s *Service) say(b *router.Batch, r *room, o *occupant, st *stanza.Stanza) error {
	inner, retracts, err := withoutForgeries(r.at, st)
	if err != nil {
		return err
	}
	if o.affiliation == Owner {
		if inner, err = dated(r.at, st, inner); err != nil {
			return err
		}
	}
	m := utterance{id: st.StanzaID, by: o.id, at: r.past.after(time.Now().UnixMilli())}
	if m.id == (stanza.ID{}) {
		m.id = stanza.NewID()
	} else if s.sayAgain(b, r, r.rep.nodeOf(o.seat(st.From).session), st) { // before the room lost its home
		return nil
	}
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	*buf = append((*buf)[:0], inner...)
	*buf = o.id.append(*buf)
	*buf = m.id.Append(*buf, r.at)
	out := stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: o.at, ID: st.ID, Lang: st.Lang, Attrs: st.Attrs, Inner: *buf}
	wire := s.cast(b, r, &out)
	if r.rep != nil {
		r.rep.spoken = m.id
	}
	if retracts != "" {
		s.retract(r, o, retracts, string(st.ID), m.at)
	}
	if memorable(st) {
		s.remember(r, m, wire)
		if s.Watcher != nil {
			s.Watcher.RoomMessage(r.at, st.From.Bare(), o.nick(), string(m.id[:]), &out)
		}
	} else {
		s.Metrics.messages.Inc()
	}
	return nil
}

// memorable reports whether a message is worth keeping: one that says something, and not only that somebody is typing, say.
func memorable(st *stanza.Stanza) bool {
	return bytes.Contains(st.Inner, []byte("body")) || bytes.Contains(st.Inner, []byte(nsRetract)) || bytes.Contains(st.Inner, []byte("urn:xmpp:hints"))
}

// suspicious are the words without which a message has nothing in it that only a room may say, nor retracts anything.
var suspicious = [...][]byte{[]byte("stanza-id"), []byte("occupant-id"), []byte("protocol/muc"), []byte("message-retract"), []byte("message-moderate"), []byte(nsDelay)}

// withoutForgeries is the children of a message but for what only the room may say (XEP-0203 §5, XEP-0359 §5, XEP-0421 §4, XEP-0425 §5), and the id of
// the message that it retracts.
func withoutForgeries(room stanza.JID, st *stanza.Stanza) (inner []byte, retracts string, err error) {
	clean := true
	for _, word := range suspicious {
		if bytes.Contains(st.Inner, word) {
			clean = false
			break
		}
	}
	if clean {
		return st.Inner, "", nil
	}
	all, err := stanza.Elements(st)
	if err != nil {
		return nil, "", err
	}
	from := 0
	for _, e := range all {
		if e.Is(nsRetract, "retract") {
			retracts = e.Attribute("id")
			kids, err := e.Children()
			if err != nil {
				return nil, "", err
			}
			if len(kids) == 0 {
				continue
			}
		} else if !forged(e, room) {
			continue
		}
		inner = append(inner, st.Inner[from:e.At]...)
		from = e.At + len(e.Raw)
		if e.Is(nsRetract, "retract") { // a moderator's says more, and the room alone says it
			inner = append(inner, "<retract xmlns='"+nsRetract+"' id='"...)
			inner = stanza.AppendEscaped(inner, retracts)
			inner = append(inner, "'/>"...)
		}
	}
	return append(inner, st.Inner[from:]...), retracts, nil
}

// forged reports whether an element is one that only the room may make.
func forged(e stanza.Element, room stanza.JID) bool {
	switch {
	case e.Is(nsOccupantID, "occupant-id"), e.Is(nsUser, "x"), e.Name.Space == nsModerate:
		return true
	case e.Is(stanza.NSStanzaID, "stanza-id"):
		by, err := stanza.ParseJID(e.Attribute("by"))
		return err == nil && by == room
	case e.Is(nsDelay, "delay"): // XEP-0203 §5
		by, err := stanza.ParseJID(e.Attribute("from"))
		return err == nil && by.Bare() == room
	}
	return false
}
