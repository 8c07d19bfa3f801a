package muc

import (
	"context"
	"encoding/xml"
	"strings"

	"chatd/router"
	"chatd/stanza"
)

// features of the service and of every room.
var features = []string{nsDiscoInfo, nsDiscoItems, NS, nsStableID, nsSelfPing, nsPing, nsRegister, nsVCard, nsOccupantID,
	stanza.NSStanzaID, nsRetract, nsRetract + "#tombstone", nsModerate}

type discoQuery struct {
	Node string `xml:"node,attr"`
	Set  *struct {
		Max    *int    `xml:"max"`
		After  *string `xml:"after"`
		Before *string `xml:"before"`
		Index  *int    `xml:"index"`
	} `xml:"http://jabber.org/protocol/rsm set"`
}

func readDisco(st *stanza.Stanza) (*discoQuery, error) {
	e, err := stanza.RawPayload(st)
	if err != nil {
		return nil, err
	}
	q := new(discoQuery)
	if xml.Unmarshal(e.Standalone(), q) != nil {
		return nil, stanza.ErrBadRequest
	}
	return q, nil
}

func appendFeatures(b []byte, all ...string) []byte {
	for _, f := range all {
		b = append(b, "<feature var='"+f+"'/>"...)
	}
	return b
}

// roomInfo is XEP-0045 §6.4, with §7.12 and §18.1.1 by their nodes.
func (s *Service) roomInfo(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	q, err := readDisco(st)
	if err != nil {
		return err
	}
	return s.visit(ctx, b, st.To.Local(), func(r *room) error {
		payload := []byte("<query xmlns='" + nsDiscoInfo + "'")
		switch q.Node {
		case "":
			payload = append(payload, '>')
			payload = r.appendInfo(payload, r.of(st.From) != nil || r.maySee(st.From))
		case "x-roomuser-item": // §7.12
			payload = append(payload, " node='x-roomuser-item'>"...)
			if nick := r.affiliates.of(st.From).nick; nick != "" {
				payload = append(payload, "<identity category='conference' type='text' name='"+stanza.Escape(nick)+"'/>"...)
			}
		case nsTraffic: // §18.1.1: all is allowed
			return stanza.ErrServiceUnavailable
		default:
			c := hatCommandNamed(q.Node)
			if c == nil {
				return stanza.ErrItemNotFound
			}
			payload = append(payload, " node='"+stanza.Escape(q.Node)+"'><identity category='automation' type='command-node' name='"+stanza.Escape(c.title)+"'/>"...)
			payload = appendFeatures(payload, nsCommands, nsForms)
		}
		s.answer(b, sess, st, append(payload, "</query>"...))
		return nil
	})
}

// maySee reports whether somebody who is not in the room may know what is talked about there: who could enter it without being let in, or is
// something to it (XEP-0045 §14.4).
func (r *room) maySee(user stanza.JID) bool {
	switch as := r.affiliation(user); as {
	case Outcast:
		return false
	case None:
		return !r.cfg.MembersOnly && r.cfg.Password == ""
	}
	return true
}

// appendInfo writes what a room says of itself.
func (r *room) appendInfo(b []byte, subject bool) []byte {
	c := r.cfg
	title := c.Title
	if title == "" {
		title = r.at.Local()
	}
	b = append(b, "<identity category='conference' type='text' name='"+stanza.Escape(title)+"'/>"...)
	b = appendFeatures(b, features...)
	b = appendFeatures(b, nsRoomConfig, nsRoomInfo, nsRegForm, nsRequest, nsHats, nsCommands) // forms of XEP-0045 §16.3, XEP-0317 §2
	either := func(is bool, yes, no string) {
		if is {
			no = yes
		}
		b = appendFeatures(b, no)
	}
	either(c.Public, "muc_public", "muc_hidden")
	either(c.Persistent, "muc_persistent", "muc_temporary")
	either(c.MembersOnly, "muc_membersonly", "muc_open")
	either(c.Moderated, "muc_moderated", "muc_unmoderated")
	either(c.NonAnonymous, "muc_nonanonymous", "muc_semianonymous")
	either(c.Password != "", "muc_passwordprotected", "muc_unsecured")
	var w formWriter
	w.begin("result", "", "", nsRoomInfo)
	w.field("text-single", "muc#roominfo_description", "Description", c.About)
	if subject {
		w.field("text-single", "muc#roominfo_subject", "Subject", subjectText(r.subject))
	}
	w.boolean("muc#roominfo_subjectmod", "Participants may change the subject", c.ChangeSubject)
	w.boolean("muc#roomconfig_changesubject", "Participants may change the subject", c.ChangeSubject) // as §6.4 has it
	w.number("muc#roominfo_occupants", "Occupants", len(r.all))
	w.field("text-single", "muc#roominfo_lang", "Language of the discussion", c.Language)
	w.number("muc#maxhistoryfetch", "Messages of history for who enters", c.History)
	w.list("list-single", "muc#roomconfig_allowpm", "Who may send private messages", nil, privateOptions[c.Private-Visitor].value)
	if c.PubSub != "" {
		w.field("text-single", "muc#roomconfig_pubsub", "Associated node", c.PubSub)
	}
	if c.Hats != nil { // XEP-0317 §2
		w.field("text-single", "hats#hash", "Hats hash", c.Hats.hash())
	}
	if c.Avatars != "" { // XEP-0486 §3.3
		w.field("text-multi", "muc#roominfo_avatarhash", "Avatar hash", strings.Fields(c.Avatars)...)
	}
	return append(b, w.end()...)
}

func subjectText(wire []byte) string {
	if wire == nil {
		return ""
	}
	st, err := stanza.Parse(wire)
	if err != nil {
		return ""
	}
	all, err := stanza.Elements(st)
	if err != nil {
		return ""
	}
	for _, e := range all {
		if e.Is(stanza.NSClient, "subject") {
			return e.Text()
		}
	}
	return ""
}

// roomItems is XEP-0045 §6.5: who is in a room is not told. By their node it is the ad-hoc commands that may be run (XEP-0050 §2.2).
func (s *Service) roomItems(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	q, err := readDisco(st)
	if err != nil {
		return err
	}
	if q.Node != "" && q.Node != nsCommands {
		return stanza.ErrItemNotFound
	}
	return s.visit(ctx, b, st.To.Local(), func(r *room) error {
		if q.Node == "" {
			s.answer(b, sess, st, []byte("<query xmlns='"+nsDiscoItems+"'/>"))
			return nil
		}
		payload := []byte("<query xmlns='" + nsDiscoItems + "' node='" + nsCommands + "'>")
		for _, c := range hatCommands {
			if r.mayRun(st.From, c) {
				payload = append(payload, "<item jid='"+stanza.Escape(r.at.String())+"' node='"+c.node()+"' name='"+c.title+"'/>"...)
			}
		}
		s.answer(b, sess, st, append(payload, "</query>"...))
		return nil
	})
}
