package muc

import (
	"chatd/router"
	"chatd/stanza"
)

// lettersTo is what is sent to those who are not in the room: invitations to new members of a members-only room (XEP-0045 §9.5), and to the others that
// their affiliation has changed (§18.1).
func (s *Service) lettersTo(r *room, cfg *Settings, by stanza.JID, list []affiliate) (letters []*stanza.Stanza) {
	for _, a := range list {
		jid, err := stanza.ParseJID(a.jid)
		was := r.affiliation(jid)
		if err != nil || jid.Local() == "" || jid.Domain() != s.r.Domain.Domain() || was == a.as || len(r.ofUser(jid)) > 0 {
			continue
		}
		if cfg.MembersOnly && was == None && a.as >= Member {
			inv := invitation{reason: a.reason}
			letter := &stanza.Stanza{Kind: stanza.Message, From: r.at, To: jid, Inner: inv.appendInvite(nil, r.inviter(by), cfg.Password, r.at)}
			letter.Identify()
			letters = append(letters, letter)
			continue
		}
		inner := []byte("<x xmlns='" + nsUser + "'><item affiliation='" + a.as.String() + "' role='none' jid='" + stanza.Escape(a.jid) + "'")
		if a.reason == "" {
			inner = append(inner, "/>"...)
		} else {
			inner = append(appendActor(append(inner, '>'), "", a.reason), "</item>"...)
		}
		inner = append(appendStatus(inner, 101), "</x>"...)
		letters = append(letters, &stanza.Stanza{Kind: stanza.Message, Type: stanza.Headline, From: r.at, To: jid, Inner: inner})
	}
	return letters
}

// maxTold bounds the items of one message about affiliations.
const maxTold = 100

// tellAffiliations tells those who may see addresses of new affiliations of users who are not in the room (XEP-0045 §10.3, §10.6 and §10.7).
func (s *Service) tellAffiliations(b *router.Batch, r *room, list []affiliate) {
	for len(list) > 0 {
		part := list[:min(len(list), maxTold)]
		list = list[len(part):]
		inner := []byte("<x xmlns='" + nsUser + "'>")
		for _, a := range part {
			inner = append(inner, "<item affiliation='"+a.as.String()+"' jid='"+stanza.Escape(a.jid)+"' role='none'/>"...)
		}
		st := stanza.Stanza{Kind: stanza.Message, From: r.at, Inner: append(inner, "</x>"...)}
		st.Wire = st.Append(nil)
		s.sendAll(b, r, &st, func(o *occupant, _ *seat) bool { return r.reveals(o) })
	}
}
