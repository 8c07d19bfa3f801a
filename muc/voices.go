package muc

import "chatd/stanza"

// maxVoices bounds how many users' voice is remembered in one room. Only moderators make a user one of them.
const maxVoices = 1000

// keepVoice notes whether somebody who leaves a moderated room had voice, if not as they would have it by entering (XEP-0045 §5.1): who was denied it does not have it
// again by coming back. It is remembered for as long as the room is in memory.
func (r *room) keepVoice(o *occupant, has Role) {
	initial := r.cfg.initial(o.affiliation)
	if !r.cfg.Moderated || initial == Moderator {
		return
	}
	user := o.user().String()
	if has = min(has, Participant); has == initial {
		r.forgetVoice(user)
		return
	}
	if r.voices == nil {
		r.voices = make(map[string]Role)
	}
	if _, known := r.voices[user]; known || len(r.voices) < maxVoices {
		r.voices[user] = has
		r.rep.voice(user)
	}
}

func (r *room) forgetVoice(user string) {
	if _, ok := r.voices[user]; ok {
		delete(r.voices, user)
		r.rep.voice(user)
	}
}

// returning is the role of a user who enters.
func (r *room) returning(user stanza.JID, as Affiliation) Role {
	role := r.cfg.initial(as)
	if has, ok := r.voices[user.Bare().String()]; ok && role < Moderator {
		return has
	}
	return role
}

// voice notes that what is remembered of a user's voice has changed.
func (p *replication) voice(user string) {
	if p != nil {
		p.voiced = append(p.voiced, user)
	}
}

// namedRoles is roles as a State has them.
func namedRoles(all map[string]Role) map[string]string {
	if len(all) == 0 {
		return nil
	}
	named := make(map[string]string, len(all))
	for user, role := range all {
		named[user] = role.String()
	}
	return named
}

// readRoles is what namedRoles made.
func readRoles(named map[string]string) map[string]Role {
	if len(named) == 0 {
		return nil
	}
	all := make(map[string]Role, len(named))
	for user, name := range named {
		if role, ok := ParseRole(name); ok && role != NoRole {
			all[user] = role
		}
	}
	return all
}

// mergeVoices is what both remember, and of what they do not agree about, the least.
func mergeVoices(a, b map[string]string) map[string]string {
	all := readRoles(a)
	for user, role := range readRoles(b) {
		if has, ok := all[user]; ok {
			role = min(role, has)
		}
		if all == nil {
			all = make(map[string]Role)
		}
		all[user] = role
	}
	return namedRoles(all)
}
