package stanza

import (
	"bytes"
	"errors"

	"chatd/xmlstream"
)

// ErrNotStanza is what Load returns for an element that is no stanza.
var ErrNotStanza = errors.New("stanza: not a message, presence or iq in jabber:client")

// Load fills s with views into a scanned element, which must be neither
// Prefixed nor OuterPrefix. intern, if not nil, finds addresses without
// allocating. From is set as the element has it: the connection checks and
// stamps it. An error is ErrNotStanza or a *Error for the sender, and then s
// holds as much as is needed to answer: Kind, ID, Type, and From and To where they could be parsed.
func (s *Stanza) Load(tok *xmlstream.Token, intern func([]byte) (JID, bool)) error {
	last := s.To
	*s = Stanza{Inner: tok.Inner, Space: tok.ChildSpace, Local: tok.ChildLocal, Attrs: s.Attrs[:0]}
	if string(tok.Space) != NSClient {
		return ErrNotStanza
	}
	switch string(tok.Local) {
	case "message":
		s.Kind = Message
	case "presence":
		s.Kind = Presence
	case "iq":
		s.Kind = IQ
	default:
		return ErrNotStanza
	}
	var typ []byte
	var fault error
	for _, a := range tok.Attrs {
		switch string(a.Name) {
		case "to":
			if last.spells(a.Value) { // clients write to whom they have just written to
				s.To = last
			} else if err := loadJID(&s.To, a.Value, intern); err != nil {
				fault = err
			}
		case "from":
			if err := loadJID(&s.From, a.Value, intern); err != nil {
				fault = err
			}
		case "id":
			s.ID = a.Value
		case "type":
			typ = a.Value
		case "xml:lang":
			s.Lang = a.Value
		default:
			s.appendExtra(a)
		}
	}
	for _, d := range tok.Decls {
		if string(d.Name) != "xmlns" {
			s.appendExtra(d)
		}
	}
	t, ok := ParseType(s.Kind, typ)
	s.Type = t
	if fault != nil {
		return fault
	}
	if !ok && s.Kind != Message {
		return ErrBadRequest // RFC 6120 §8.2.3, RFC 6121 §4.7.1
	}
	if s.Kind == IQ {
		return s.checkIQ(tok)
	}
	return nil
}

// checkIQ is RFC 6120 §8.2.3: an id always, exactly one child in a request,
// at most one in a result.
func (s *Stanza) checkIQ(tok *xmlstream.Token) error {
	switch {
	case len(s.ID) == 0:
		return ErrBadRequest.WithText("an iq needs an id")
	case (s.Type == Get || s.Type == Set) && tok.Children != 1:
		return ErrBadRequest.WithText("an iq request needs exactly one child element")
	case s.Type == Result && tok.Children > 1:
		return ErrBadRequest.WithText("an iq result has at most one child element")
	}
	return nil
}

func (s *Stanza) appendExtra(a xmlstream.Attr) {
	s.Attrs = append(s.Attrs, ' ')
	s.Attrs = append(s.Attrs, a.Name...)
	s.Attrs = appendAttr(s.Attrs, "=", a.Value)
}

// spells reports whether raw is j, written without a reference.
func (j JID) spells(raw []byte) bool {
	return j.s != "" && j.s == string(raw) && bytes.IndexByte(raw, '&') < 0
}

func loadJID(j *JID, raw []byte, intern func([]byte) (JID, bool)) error {
	if bytes.IndexByte(raw, '&') >= 0 {
		raw = xmlstream.Unescape(nil, raw)
	}
	if intern != nil {
		if found, ok := intern(raw); ok {
			*j = found
			return nil
		}
	}
	parsed, err := ParseJID(string(raw))
	if err != nil {
		return ErrJIDMalformed
	}
	*j = parsed
	return nil
}

// RescanLimits are for stanzas that we encoded, so many bytes of them: what the client
// was allowed, and what we have put into and around it.
func RescanLimits(bytes int) xmlstream.Limits {
	return xmlstream.Limits{Bytes: bytes + 1, Depth: 1024, Attrs: 1024}
}

// Parse reads one whole stanza as Append wrote it. It copies raw.
func Parse(raw []byte) (*Stanza, error) {
	sc := xmlstream.NewScanner(RescanLimits(len(raw)))
	sc.Resume(xmlstream.ClientScope)
	tok, _, err := sc.Scan(raw)
	if err != nil {
		return nil, err
	}
	if tok.Kind != xmlstream.Element {
		return nil, ErrNotStanza
	}
	var s Stanza
	if err := s.Load(tok, nil); err != nil {
		return nil, err
	}
	return s.Clone(), nil
}
