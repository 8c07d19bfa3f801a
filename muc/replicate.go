package muc

import (
	"encoding/binary"
	"slices"
)

// replicate tells other nodes what has changed in a room: the one that has its copy everything, the nodes of its occupants what these
// are. The caller holds the room's lock.
func (s *Service) replicate(r *room) {
	p := r.rep
	if p == nil || r.phase == loading {
		return
	}
	configured, subject := false, false
	if r.phase != gone {
		configured, subject = p.stamp(r)
		s.copyTo(r, configured, subject)
	}
	s.tellNodes(r)
	p.touched, p.seated, p.told, p.affiliated, p.voiced = p.touched[:0], 0, nil, nil, nil
	if cap(p.touched) > few {
		p.touched = nil
	}
}

// copyTo brings the copy up to date, or has another one made.
func (s *Service) copyTo(r *room, configured, subject bool) {
	p, name := r.rep, r.at.Local()
	second := ""
	if len(r.all) > 0 {
		second = s.Place.Second(name)
	}
	if second != p.second {
		s.discard(r)
		if second != "" && s.sendState(r, second, frameCopy) {
			p.second = second
		}
		return
	}
	if second == "" {
		return
	}
	ok := true
	if configured || subject || len(p.touched)+len(p.affiliated)+len(p.voiced) > 0 {
		ok = s.sendJSON(second, frameChange, name, s.changed(r, configured, subject))
	}
	for i := range p.told {
		m := &p.told[i]
		head := binary.LittleEndian.AppendUint64(nil, uint64(m.Stored.UnixMilli()))
		ok = s.Place.Send(second, frameHistory, name, appendText(head, m.ID), m.Stanza) && ok
	}
	if !ok { // the next change makes a new copy
		p.second = ""
	}
}

// changed is what has changed in a room.
func (s *Service) changed(r *room, configured, subject bool) *State {
	p := r.rep
	x := &State{Name: r.at.Local()}
	if configured {
		if rec, err := r.record(r.cfg); err == nil {
			x.Config, x.Configured, x.Created, x.Locked = rec.Config, p.configured, rec.Created, r.phase == locked
		}
	}
	if subject {
		x.Subject, x.SubjectSet = r.subject, p.subjectSet
	}
	for _, jid := range p.affiliated {
		if x.Stamps == nil {
			x.Stamps = make(map[string]int64)
		}
		x.Stamps[jid] = p.stamps[jid]
		if i, ok := r.affiliates.find(jid); ok {
			x.Affiliations = append(x.Affiliations, r.affiliates[i].stored())
		}
	}
	for _, user := range p.voiced {
		if x.Voices == nil {
			x.Voices = make(map[string]string)
		}
		x.Voices[user] = r.voices[user].String()
	}
	r.addTouched(x, r.rep.touched, "")
	return x
}

// addTouched adds what sessions are that have changed: those of one node, or all.
func (r *room) addTouched(x *State, touched []touch, only string) {
	seen := make(map[*occupant]bool)
	for _, t := range touched {
		if only != "" && t.node != only {
			continue
		}
		switch o := r.of(t.full); {
		case o == nil:
			x.Left = append(x.Left, t.full.String())
		case only != "" && r.rep.awaits[only] && r.rep.doubted[t.full.String()]: // that node is about to tell it
		case only != "" && !r.rep.isOn(o.seat(t.full), only): // is elsewhere by now, or looked for
			x.Left = append(x.Left, t.full.String())
		case !seen[o]:
			seen[o] = true
			x.Occupants = append(x.Occupants, o.state(r.rep, only))
		}
	}
}

// tellNodes tells each node what its own sessions are in the room, as far as they have changed.
func (s *Service) tellNodes(r *room) {
	if r.rep == nil || r.rep.seated == len(r.rep.touched) {
		return
	}
	touched := r.rep.touched[r.rep.seated:]
	r.rep.seated = len(r.rep.touched)
	var nodes []string
	for _, t := range touched {
		if t.node != r.rep.self && t.node != "" && !slices.Contains(nodes, t.node) {
			nodes = append(nodes, t.node)
		}
	}
	for _, n := range nodes {
		x := &State{Name: r.at.Local()}
		if r.addTouched(x, touched, n); len(x.Occupants)+len(x.Left) > 0 {
			r.rep.sent++
			s.sendJSON(n, frameSeats, x.Name, x)
		}
	}
}

// discard has the copy of a room forgotten. The caller holds the room's lock.
func (s *Service) discard(r *room) {
	if r.rep != nil && r.rep.second != "" {
		s.Place.Send(r.rep.second, frameForget, r.at.Local())
		r.rep.second = ""
	}
}
