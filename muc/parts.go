package muc

import (
	"encoding/json"
	"maps"
)

// partBytes is about how much of a room one frame has.
const partBytes = 512 << 10

// sendState sends a whole room, in frames of one kind of which the first has Config.
func (s *Service) sendState(r *room, node string, kind byte) bool {
	x, err := r.state()
	if err != nil {
		s.log.Error("room not copied", "room", r.at, "err", err)
		return false
	}
	for _, part := range x.parts() {
		if !s.sendJSON(node, kind, x.Name, part) {
			return false
		}
	}
	return true
}

// parts is a room in parts that are not too long: the first, and what has changed since then.
func (x *State) parts() (all []*State) {
	first := *x
	first.Occupants, first.History, first.Affiliations = nil, nil, nil
	first.Stamps = maps.Clone(x.Stamps)
	all = append(all, &first)
	part := &State{Name: x.Name}
	size := 0
	next := func(n int) {
		if size += n; size >= partBytes {
			all = append(all, part)
			part, size = &State{Name: x.Name}, 0
		}
	}
	for _, a := range x.Affiliations {
		part.Affiliations = append(part.Affiliations, a)
		if at, ok := x.Stamps[a.JID]; ok { // alone it would say that there is none
			if part.Stamps == nil {
				part.Stamps = make(map[string]int64)
			}
			part.Stamps[a.JID] = at
			delete(first.Stamps, a.JID)
		}
		next(len(a.JID) + len(a.Nick) + len(a.Reason) + 64)
	}
	for _, o := range x.Occupants {
		part.Occupants = append(part.Occupants, o)
		next(len(o.Nick) + 128)
		for _, session := range o.Sessions {
			next(len(session.JID) + len(session.Presence) + 64)
			for _, text := range session.Waits {
				next(len(text))
			}
		}
	}
	for _, m := range x.History {
		part.History = append(part.History, m)
		next(2*len(m.Stanza) + 128)
	}
	return append(all, part)
}

func (s *Service) sendJSON(node string, kind byte, room string, x *State) bool {
	raw, err := json.Marshal(x)
	if err != nil { // strings, numbers and bytes
		panic(err)
	}
	return s.Place.Send(node, kind, room, s.Place.Token().append(nil), raw)
}

// readState reads what sendJSON sends.
func readState(room string, payload []byte) (*State, Token, bool) {
	t, raw, ok := cutToken(payload)
	x := new(State)
	if !ok || json.Unmarshal(raw, x) != nil || x.Name != room {
		return nil, t, false
	}
	return x, t, true
}
