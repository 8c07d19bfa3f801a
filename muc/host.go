package muc

import (
	"context"
	"slices"
	"strconv"

	"chatd/router"
	"chatd/stanza"
)

// pageRooms bounds one page of rooms.
const pageRooms = 100

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
