package muc

import (
	"context"
	"encoding/xml"

	"chatd/router"
	"chatd/stanza"
)

// A destroyed is what is said of a room that ends (XEP-0045 §10.9).
type destroyed struct {
	Venue    string `xml:"jid,attr"`
	Password string `xml:"http://jabber.org/protocol/muc#owner password"`
	Reason   string `xml:"http://jabber.org/protocol/muc#owner reason"`
}

func (d *destroyed) append(b []byte) []byte {
	b = append(b, "<destroy"...)
	if d.Venue != "" {
		b = append(b, " jid='"...)
		b = stanza.AppendEscaped(b, d.Venue)
		b = append(b, '\'')
	}
	b = append(b, '>')
	if d.Password != "" {
		b = append(b, "<password>"...)
		b = stanza.AppendEscaped(b, d.Password)
		b = append(b, "</password>"...)
	}
	b = appendActor(b, "", d.Reason)
	return append(b, "</destroy>"...)
}

// destroyedBy is XEP-0045 §10.9.
func (s *Service) destroyedBy(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza, e stanza.Element) error {
	var d destroyed
	if err := xml.Unmarshal(e.Standalone(), &d); err != nil || len(d.Reason) > maxReason || len(d.Password) > maxPassword {
		return stanza.ErrBadRequest
	}
	if d.Venue != "" {
		venue, err := stanza.ParseJID(d.Venue)
		if err != nil {
			return stanza.ErrJIDMalformed
		}
		d.Venue = venue.String()
	}
	return s.change(ctx, b, st.To.Local(), func(r *room) (plan, error) {
		if r.affiliation(st.From) < Owner {
			return plan{}, stanza.ErrForbidden
		}
		return s.destruction(b, r, d, func() { s.answer(b, sess, st, nil) }), nil
	})
}

// destruction plans a room's end: each occupant is told, then done runs.
func (s *Service) destruction(b *router.Batch, r *room, d destroyed, done func()) plan {
	p := plan{apply: func() {
		inner := d.append([]byte("<x xmlns='" + nsUser + "'><item affiliation='none' role='none'/>"))
		inner = append(inner, "</x>"...)
		for _, o := range r.all {
			st := stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: o.at, Inner: o.id.append(inner[:len(inner):len(inner)])}
			for i := range o.seats {
				s.send(b, r, &o.seats[i], &st)
			}
		}
		s.Metrics.occupants.Sub(float64(r.seats))
		r.clear()
		r.unwritten = nil
		s.vanish(r)
		s.tellDestroyed(r, Destroyed, d.Reason)
		if done != nil {
			done()
		}
	}}
	if r.cfg.Persistent {
		p.store = func(ctx context.Context) error { return s.store.DeleteRoom(ctx, r.at.Local()) }
	}
	return p
}
