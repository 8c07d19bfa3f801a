package muc

import (
	"context"
	"encoding/xml"
	"slices"

	"chatd/router"
	"chatd/stanza"
)

// maxItems bounds the items of one request.
const maxItems = 1000

// An adminQuery is the payload of XEP-0045 §8 and §9.
type adminQuery struct {
	Items []adminItem `xml:"http://jabber.org/protocol/muc#admin item"`
}

type adminItem struct {
	JID         string  `xml:"jid,attr"`
	Nick        *string `xml:"nick,attr"`
	Affiliation string  `xml:"affiliation,attr"`
	Role        string  `xml:"role,attr"`
	Reason      string  `xml:"http://jabber.org/protocol/muc#admin reason"`
}

// maxReason bounds a reason in bytes.
const maxReason = 1024

// readAdminQuery is XEP-0045 §17.4: an item is about a role or about an affiliation.
func readAdminQuery(st *stanza.Stanza) (*adminQuery, error) {
	e, err := stanza.RawPayload(st)
	if err != nil {
		return nil, err
	}
	q := new(adminQuery)
	if err := xml.Unmarshal(e.Standalone(), q); err != nil || len(q.Items) == 0 {
		return nil, stanza.ErrBadRequest
	}
	if len(q.Items) > maxItems {
		return nil, stanza.ErrPolicyViolation.WithText("too many items at once")
	}
	for i := range q.Items {
		if it := &q.Items[i]; (it.Role == "") == (it.Affiliation == "") || len(it.Reason) > maxReason {
			return nil, stanza.ErrBadRequest
		}
	}
	return q, nil
}

// administer is an IQ of namespace muc#admin.
func (s *Service) administer(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) error {
	q, err := readAdminQuery(st)
	if err != nil {
		return err
	}
	roles := q.Items[0].Role != ""
	if slices.ContainsFunc(q.Items, func(it adminItem) bool { return (it.Role != "") != roles }) {
		return stanza.ErrBadRequest
	}
	switch {
	case st.Type == stanza.Get:
		return s.list(ctx, b, sess, st, &q.Items[0])
	case roles:
		return s.changeRoles(ctx, b, sess, st, q.Items)
	}
	return s.changeAffiliations(ctx, b, sess, st, q.Items)
}

// list answers with who has a role or an affiliation (XEP-0045 §8.5, §9.2, §9.5, §9.8, §10.5, §10.8).
func (s *Service) list(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza, it *adminItem) error {
	return s.visit(ctx, b, st.To.Local(), func(r *room) error {
		payload := []byte("<query xmlns='" + nsAdmin + "'>")
		if it.Role != "" {
			role, ok := ParseRole(it.Role)
			if !ok || role == NoRole {
				return stanza.ErrBadRequest
			}
			if r.role(st.From) < Moderator && r.affiliation(st.From) < Admin {
				return stanza.ErrForbidden
			}
			payload = r.appendRoles(payload, role)
		} else {
			as, ok := ParseAffiliation(it.Affiliation)
			if !ok || as == None {
				return stanza.ErrBadRequest
			}
			if !r.mayList(st.From, as) {
				return stanza.ErrForbidden
			}
			payload = r.appendAffiliates(payload, as)
		}
		s.answer(b, sess, st, append(payload, "</query>"...))
		return nil
	})
}

// mayList is XEP-0045 §9.5, §10.5 and §10.8.
func (r *room) mayList(user stanza.JID, list Affiliation) bool {
	as := r.affiliation(user)
	switch {
	case as >= Owner, as >= Admin && list <= Member:
		return true
	case !r.cfg.NonAnonymous || list == Outcast:
		return false
	case list == Member:
		return as >= Member || r.cfg.MemberList.has(r.role(user))
	}
	return as >= Member
}

func (r *room) appendRoles(b []byte, role Role) []byte {
	for _, o := range r.all {
		if o.role == role {
			b = append(b, "<item affiliation='"+o.affiliation.String()+"' role='"+role.String()+"' nick='"...)
			b = stanza.AppendEscaped(b, o.nick())
			b = append(b, "' jid='"...)
			b = stanza.AppendEscaped(b, o.seats[0].jid.String())
			b = append(b, "'/>"...)
		}
	}
	return b
}

func (r *room) appendAffiliates(b []byte, as Affiliation) []byte {
	for _, a := range r.affiliates {
		if a.as != as {
			continue
		}
		b = append(b, "<item affiliation='"+as.String()+"' jid='"...)
		b = stanza.AppendEscaped(b, a.jid)
		if a.nick != "" {
			b = append(b, "' nick='"...)
			b = stanza.AppendEscaped(b, a.nick)
		}
		if a.reason == "" {
			b = append(b, "'/>"...)
			continue
		}
		b = append(b, "'>"...)
		b = appendActor(b, "", a.reason)
		b = append(b, "</item>"...)
	}
	return b
}

// actor is the nick of who does something, as others are told.
func (r *room) actor(user stanza.JID) string {
	if o := r.of(user); o != nil {
		return o.nick()
	}
	return ""
}
