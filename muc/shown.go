package muc

import (
	"slices"

	"chatd/stanza"
)

// An exposure is that the sessions of this node in a room elsewhere have been shown an occupant.
type exposure struct {
	id  string   // XEP-0421
	but []string // sessions that have not, or that have been shown since that it is gone
}

// exposures are by nick.
type exposures map[string]*exposure

// exposed is what all sessions have been shown: ids by nick.
func exposed(all map[string]string) exposures {
	e := make(exposures, len(all))
	for nick, id := range all {
		e[nick] = &exposure{id: id}
	}
	return e
}

// unlike is put before the id of an occupant whom not all sessions of a node have been shown.
const unlike = "~"

// told is it as a room is told.
func (e exposures) told() map[string]string {
	all := make(map[string]string, len(e))
	for nick, x := range e {
		if all[nick] = x.id; len(x.but) > 0 {
			all[nick] = unlike + x.id
		}
	}
	return all
}

// sessions are those of this node that are in the room.
func (a *away) sessions() (all []string) {
	for i := range a.seats.Occupants {
		for _, session := range a.seats.Occupants[i].Sessions {
			all = append(all, session.JID)
		}
	}
	return all
}

// entered notes that sessions which are in the room from now on have been shown nobody.
func (a *away) entered(x *State) {
	if len(a.seats.Occupants) == 0 {
		a.shown = nil
	}
	if len(a.shown) == 0 {
		return
	}
	were := a.sessions()
	for _, s := range sittings(x) {
		if slices.Contains(were, s.JID) {
			continue
		}
		for _, e := range a.shown {
			if !slices.Contains(e.but, s.JID) {
				e.but = append(e.but, s.JID)
			}
		}
	}
}

// noteShown takes note of a presence that sessions here are shown.
func (s *Service) noteShown(node, room string, token Token, st *stanza.Stanza, to []stanza.JID) {
	nick := st.From.Resource()
	if st.Kind != stanza.Presence || nick == "" || st.Type != stanza.None && st.Type != stanza.Unavailable {
		return
	}
	sh := s.laneShard(room)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.away[room]
	if a == nil {
		if st.Type == stanza.Unavailable {
			return
		}
		a = &away{home: node, token: token} // its seat is told next
		sh.putAway(room, a)
	}
	told := make([]string, len(to))
	for i := range to {
		told[i] = to[i].String()
	}
	if st.Type == stanza.Unavailable {
		a.hidden(nick, told)
		return
	}
	by := authorOf(st)
	a.showed(nick, string(by[:]), told)
}

func (a *away) showed(nick, id string, to []string) {
	e := a.shown[nick]
	if e == nil || e.id != id {
		if a.shown == nil {
			a.shown = make(exposures)
		}
		e = &exposure{id, a.sessions()}
		a.shown[nick] = e
	}
	e.but = slices.DeleteFunc(e.but, func(s string) bool { return slices.Contains(to, s) })
}

func (a *away) hidden(nick string, from []string) {
	e := a.shown[nick]
	if e == nil {
		return
	}
	for _, s := range from {
		if !slices.Contains(e.but, s) {
			e.but = append(e.but, s)
		}
	}
	if !slices.ContainsFunc(a.sessions(), func(s string) bool { return !slices.Contains(e.but, s) }) {
		delete(a.shown, nick)
	}
}
