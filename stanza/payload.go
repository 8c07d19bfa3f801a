package stanza

import "encoding/xml"

// Document is a copy of the stanza's children in an element that declares what they rely
// on: the default namespace and the prefixes of the stanza itself.
func (s *Stanza) Document() []byte {
	doc := make([]byte, 0, len(s.Attrs)+len(s.Inner)+64)
	doc = append(doc, "<stanza xmlns='"+NSClient+"'"...)
	doc = append(doc, s.Attrs...)
	doc = append(doc, '>')
	doc = append(doc, s.Inner...)
	return append(doc, "</stanza>"...)
}

// Payload decodes the one child of an IQ as encoding/xml does. The error is
// ErrBadRequest. It is for the slow path.
func Payload[T any](s *Stanza) (T, error) {
	var iq struct {
		Payload T `xml:",any"`
	}
	if err := xml.Unmarshal(s.Document(), &iq); err != nil {
		return iq.Payload, ErrBadRequest
	}
	return iq.Payload, nil
}
