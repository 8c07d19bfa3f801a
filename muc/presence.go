package muc

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
	"unique"

	"chatd/router"
	"chatd/stanza"
)

// maxNick bounds a nick in bytes.
const maxNick = 128

// A joining is what a presence says that asks to be let in (XEP-0045 §7.2.1).
type joining struct {
	password string
	history  wanted
}

// presence takes a presence for a room.
func (s *Service) presence(ctx context.Context, b *router.Batch, sess router.Session, bound int64, st *stanza.Stanza) {
	switch st.Type {
	case stanza.Unavailable:
		s.leave(b, sess, bound, st)
		return
	case stanza.None:
	case stanza.Subscribe:
		s.fail(b, st, stanza.ErrNotAllowed) // a room has no roster
		return
	default: // XEP-0045 §17.3
		return
	}
	inner, join, err := readPresence(st)
	if err == nil {
		err = s.checkPresence(st, inner)
	}
	if err == nil && join != nil {
		err = s.enter(ctx, b, sess, bound, st, inner, join)
	} else if err == nil {
		err = s.update(b, st, inner)
	}
	if err != nil {
		refused := *st
		refused.Inner = nil
		if join != nil {
			refused.Inner = []byte("<x xmlns='" + NS + "'/>") // without the password
		}
		s.fail(b, &refused, err)
	}
}

// checkPresence is XEP-0045 §7.2.1 and §17.1.
func (s *Service) checkPresence(st *stanza.Stanza, inner []byte) error {
	nick := st.To.Resource()
	if invisible(nick) {
		return stanza.ErrJIDMalformed
	}
	if len(nick) > maxNick {
		return stanza.ErrNotAcceptable.WithText("the nick is too long")
	}
	if limit := s.cfg.Load().PresenceBytes; limit > 0 && len(inner) > limit {
		s.Metrics.refuse(refusedSize)
		return errTooLarge
	}
	return nil
}

// usual is how most clients ask to be let in.
var usual = [...]string{"<x xmlns='" + NS + "'/>", "<x xmlns=\"" + NS + "\"/>"}

// readPresence is the children that others may see, and what it says about entering, nil if that is nothing.
func readPresence(st *stanza.Stanza) (inner []byte, join *joining, err error) {
	for _, u := range usual {
		if string(st.Inner) == u {
			return nil, &joining{history: everything}, nil
		}
	}
	if !slices.ContainsFunc(telling, func(word []byte) bool { return bytes.Contains(st.Inner, word) }) && len(st.Attrs) == 0 {
		return bytes.Clone(st.Inner), nil, nil
	}
	all, err := stanza.Elements(st)
	if err != nil {
		return nil, nil, err
	}
	password := ""
	for _, e := range all {
		switch {
		case e.Is(NS, "x"):
			if join, err = readJoining(e); err != nil {
				return nil, nil, err
			}
		case e.Is(nsUser, "x"): // XEP-0045 §17.3: it may have the password
			has, err := readJoining(e)
			if err != nil {
				return nil, nil, err
			}
			password = has.password
		case strings.HasPrefix(e.Name.Space, NS), e.Is(nsOccupantID, "occupant-id"), e.Name.Space == nsHats: // XEP-0045 §17.3, XEP-0421 §4
		case e.Is(stanza.NSClient, "status") && len(st.Lang) > 0:
			inner = append(inner, inLanguage(e, string(st.Lang))...)
		default:
			inner = append(inner, e.Standalone()...)
		}
	}
	if join != nil && join.password == "" {
		join.password = password
	}
	return inner, join, nil
}

// telling are the words without which a presence has nothing in it but what others may see as it is.
var telling = [][]byte{[]byte("muc"), []byte("occupant-id"), []byte("hats"), []byte("<status")}

// inLanguage is a status that says its language itself, as the presence does that the room sends it in (RFC 6120 §8.1.5).
func inLanguage(status stanza.Element, lang string) []byte {
	raw := status.Standalone()
	if bytes.Contains(raw, []byte("xml:lang")) || !bytes.HasPrefix(raw, []byte("<status")) {
		return raw
	}
	said := append([]byte("<status xml:lang='"), stanza.Escape(lang)...)
	return append(append(said, '\''), raw[len("<status"):]...)
}

func readJoining(x stanza.Element) (*joining, error) {
	j := &joining{history: everything}
	all, err := x.Children()
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		switch {
		case e.Is(x.Name.Space, "password"):
			j.password = e.Text()
		case e.Is(NS, "history"):
			j.history = readWanted(e)
		}
	}
	return j, nil
}

// readWanted is XEP-0045 §7.2.14. What cannot be understood is no limit.
func readWanted(e stanza.Element) wanted {
	w := everything
	number := func(name string, to *int) {
		if n, err := strconv.Atoi(e.Attribute(name)); err == nil && n >= 0 {
			*to = n
		}
	}
	number("maxchars", &w.chars)
	number("maxstanzas", &w.stanzas)
	seconds := -1
	number("seconds", &seconds)
	if seconds >= 0 {
		w.since = time.Now().Add(-time.Duration(min(seconds, 1<<30)) * time.Second)
	}
	if t, err := time.Parse(time.RFC3339, e.Attribute("since")); err == nil && t.After(w.since) {
		w.since = t
	}
	return w
}

// update is a presence of somebody who is in the room (XEP-0045 §7.6, §7.7).
func (s *Service) update(b *router.Batch, st *stanza.Stanza, inner []byte) error {
	r := s.lock(b, st.To.Local())
	if r == nil {
		s.notInRoom(b, st)
		return nil
	}
	defer s.unlock(b, r)
	o := r.of(st.From)
	if o == nil {
		s.notInRoom(b, st)
		return nil
	}
	if o.nick() != st.To.Resource() {
		return s.rename(b, r, o, st)
	}
	if limits := s.cfg.Load(); !o.messages.take(now(), limits.MessagesPerSecond, limits.MessageBurst) {
		s.Metrics.refuse(refusedPresence)
		return errTooFast
	}
	s.changePresence(r, o, st.From, unique.Make(string(inner)))
	s.show(b, r, o, &notice{id: st.ID})
	return nil
}

// changePresence makes a session the one whose presence is shown.
func (s *Service) changePresence(r *room, o *occupant, full stanza.JID, presence unique.Handle[string]) {
	for i := range o.seats {
		if o.seats[i].jid == full {
			o.seats[i].presence = presence
			r.rep.touch(full, o.seats[i].session)
			o.seats[0], o.seats[i] = o.seats[i], o.seats[0]
		}
	}
}

// notInRoom tells a client that it is not in a room although it thinks so (XEP-0045 §7.2.18).
func (s *Service) notInRoom(b *router.Batch, st *stanza.Stanza) {
	s.give(b, nil, &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: st.To, To: st.From, ID: st.ID,
		Inner: []byte("<x xmlns='" + nsUser + "'><item affiliation='none' role='none'><reason>You are not in the room.</reason></item>" +
			"<status code='110'/><status code='307'/><status code='333'/></x>")})
}
