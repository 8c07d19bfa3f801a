package muc

import (
	"chatd/router"
	"chatd/stanza"
)

// Members who are not in a room are shown by the nicks that they have reserved, if it is so configured: by unavailable presence, as occupants are who
// have left (XEP-0045 §16.6, status codes 102 and 103).

// absentee is the presence of a member who is not in the room; false if nothing of them is to be shown.
func (r *room) absentee(a affiliate) (st stanza.Stanza, ok bool) {
	at, err := r.at.WithResource(a.nick)
	if a.nick == "" || err != nil || r.named(a.nick) != nil {
		return st, false
	}
	user, err := stanza.ParseJID(a.jid)
	if err != nil {
		return st, false
	}
	inner := []byte("<x xmlns='" + nsUser + "'><item affiliation='" + a.as.String() + "' role='none'/></x>")
	return stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: at, Inner: r.secret.identify(user).append(inner)}, true
}

// introduceAbsent shows a session the members who are not in the room.
func (s *Service) introduceAbsent(b *router.Batch, r *room, to *seat) {
	if !r.cfg.ShowAbsent {
		return
	}
	in := make(map[string]bool, len(r.all))
	for _, o := range r.all {
		in[o.user().String()] = true
	}
	for _, a := range r.affiliates {
		if a.as < Member || in[a.jid] {
			continue
		}
		if st, ok := r.absentee(a); ok {
			s.send(b, r, to, &st)
		}
	}
}

// showChanged shows everybody what has become of the affiliation of somebody who is not in the room.
func (s *Service) showChanged(b *router.Batch, r *room, was, is affiliate) {
	if !r.cfg.ShowAbsent {
		return
	}
	if is.nick != was.nick {
		was.as = None
		s.showAbsent(b, r, was)
	}
	s.showAbsent(b, r, is)
}

func (s *Service) showAbsent(b *router.Batch, r *room, a affiliate) {
	st, ok := r.absentee(a)
	if !ok {
		return
	}
	st.Wire = st.Append(nil)
	s.sendAll(b, r, &st, nil)
}
