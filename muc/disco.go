package muc

import (
	"context"
	"encoding/xml"
	"slices"
	"strconv"
	"strings"

	"chatd/router"
	"chatd/stanza"
)

// pageRooms bounds one page of rooms.
const pageRooms = 100

// features of the service and of every room.
var features = []string{nsDiscoInfo, nsDiscoItems, NS, nsStableID, nsSelfPing, nsPing, nsRegister, nsVCard, nsOccupantID,
	stanza.NSStanzaID, nsRetract, nsRetract + "#tombstone", nsModerate}

// toHost answers for the service itself.
func (s *Service) toHost(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) {
	if st.Type == stanza.TypeError || st.Type == stanza.Result || st.Kind == stanza.Presence {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := error(stanza.ErrServiceUnavailable)
	if st.Kind == stanza.IQ && st.Type == stanza.Get && st.To.IsBare() {
		switch string(st.Space) {
		case nsDiscoInfo:
			err = s.hostInfo(b, sess, st)
		case nsDiscoItems:
			err = s.hostItems(ctx, b, sess, st)
		case nsPing:
			s.answer(b, sess, st, nil)
			err = nil
		}
	}
	if err != nil {
		s.fail(b, st, err)
	}
}

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

// hostInfo is XEP-0045 §6.2.
func (s *Service) hostInfo(b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	q, err := readDisco(st)
	if err != nil {
		return err
	}
	if q.Node != "" {
		return stanza.ErrItemNotFound
	}
	payload := []byte("<query xmlns='" + nsDiscoInfo + "'><identity category='conference' type='text' name='Rooms'/>")
	payload = appendFeatures(payload, append(slices.Clone(features), nsRSM, "muc_rooms")...)
	s.answer(b, sess, st, append(payload, "</query>"...))
	return nil
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

// hostItems is XEP-0045 §6.3, in pages (XEP-0059).
func (s *Service) hostItems(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	q, err := readDisco(st)
	if err != nil {
		return err
	}
	if q.Node != "" {
		return stanza.ErrItemNotFound
	}
	part, err := s.partOf(q)
	if err != nil {
		return err
	}
	b.Flush()
	look := part
	if part.Max == 0 { // for the count (XEP-0059 §2.7)
		look.Max = maxLooked
	}
	page, more, err := s.List(ctx, look)
	if err != nil {
		return err
	}
	count := ""
	if !more && look.Beyond == "" {
		count = "<count>" + strconv.Itoa(len(page)) + "</count>"
	}
	page = page[:min(len(page), part.Max)]
	payload := []byte("<query xmlns='" + nsDiscoItems + "'>")
	for _, e := range page {
		payload = append(payload, "<item jid='"+stanza.Escape(e.Name+"@"+s.host.Domain())+"' name='"+stanza.Escape(e.Title)+"'/>"...)
	}
	if q.Set != nil || more {
		payload = append(payload, "<set xmlns='"+nsRSM+"'>"...)
		if len(page) > 0 {
			index := ""
			if count != "" {
				index = " index='0'"
			}
			payload = append(payload, "<first"+index+">"+stanza.Escape(page[0].Name+"@"+s.host.Domain())+"</first><last>"+stanza.Escape(page[len(page)-1].Name+"@"+s.host.Domain())+"</last>"...)
		}
		payload = append(payload, count+"</set>"...)
	}
	s.answer(b, sess, st, append(payload, "</query>"...))
	return nil
}

// partOf is the page that is asked for. The names of rooms are in order, so that one that is no more still says where to go on (XEP-0059 §2.4).
func (s *Service) partOf(q *discoQuery) (Part, error) {
	p := Part{Max: pageRooms}
	if q.Set == nil {
		return p, nil
	}
	if q.Set.Max != nil {
		if *q.Set.Max < 0 {
			return p, stanza.ErrBadRequest
		}
		p.Max = min(p.Max, *q.Set.Max)
	}
	beyond := q.Set.After
	switch {
	case q.Set.Index != nil:
		return p, &stanza.Error{Type: "cancel", Condition: "feature-not-implemented"} // XEP-0059 §2.6
	case q.Set.Before != nil && beyond != nil:
		return p, stanza.ErrBadRequest
	case q.Set.Before != nil:
		p.Back = true
		if beyond = q.Set.Before; *beyond == "" { // XEP-0059 §2.5
			return p, nil
		}
	}
	if beyond == nil {
		return p, nil
	}
	j, err := stanza.ParseJID(*beyond)
	if err != nil || j.Domain() != s.host.Domain() || j.Local() == "" {
		return p, stanza.ErrItemNotFound
	}
	p.Beyond = j.Local()
	return p, nil
}
