package muc

import (
	"chatd/router"
	"chatd/stanza"
)

// voice is a visitor's request to speak (XEP-0045 §7.13), which the moderators get as a form, or a moderator's answer (§8.6).
func (s *Service) voice(b *router.Batch, st *stanza.Stanza, f *form) error {
	r := s.lock(b, st.To.Local())
	if r == nil {
		return errNotOccupant
	}
	defer s.unlock(b, r)
	o := r.of(st.From)
	if o == nil {
		return r.outside()
	}
	if f.Type == "cancel" {
		return nil
	}
	if allow, ok := f.value("muc#request_allow"); ok {
		return s.grantVoice(b, r, o, f, allow)
	}
	limits := s.cfg.Load()
	switch role, _ := f.value("muc#role"); {
	case role != "participant":
		return stanza.ErrBadRequest
	case o.role != Visitor:
		return nil // has it
	case !o.messages.take(now(), limits.MessagesPerSecond, limits.MessageBurst):
		s.Metrics.refuse(refusedMessageRate)
		return errTooFast
	}
	var w formWriter
	w.begin("form", "Voice request", "An occupant of the room wants to speak. To let them, submit the form with the box ticked.", nsRequest)
	w.field("list-single", "muc#role", "Requested role", "participant")
	w.field("jid-single", "muc#jid", "User", o.seats[0].jid.String())
	w.field("text-single", "muc#roomnick", "Nick in the room", o.nick())
	w.boolean("muc#request_allow", "Let them speak?", false)
	out := stanza.Stanza{Kind: stanza.Message, From: r.at, Inner: w.end()}
	for _, m := range r.all {
		if m.role == Moderator {
			for i := range m.seats {
				s.send(b, r, &m.seats[i], &out)
			}
		}
	}
	return nil
}

// grantVoice is XEP-0045 §8.6.
func (s *Service) grantVoice(b *router.Batch, r *room, by *occupant, f *form, allow string) error {
	if by.role < Moderator {
		return stanza.ErrForbidden
	}
	yes, ok := parseBoolean(allow)
	nick, _ := f.value("muc#roomnick")
	role, _ := f.value("muc#role")
	o := r.named(nick)
	if full, given := f.value("muc#jid"); given { // another may have the nick by now
		jid, err := stanza.ParseJID(full)
		if err != nil {
			return stanza.ErrBadRequest
		}
		o = r.of(jid)
	}
	switch {
	case !ok, role != "participant":
		return stanza.ErrBadRequest
	case o == nil:
		return stanza.ErrItemNotFound
	case yes && o.role == Visitor:
		s.setRole(b, r, o, Participant, o.affiliation, &notice{})
	}
	return nil
}
