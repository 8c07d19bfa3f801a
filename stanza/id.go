package stanza

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"math/rand/v2"
)

// NSStanzaID is the namespace of stanza-ids (XEP-0359).
const NSStanzaID = "urn:xmpp:sid:0"

// An ID is what a message is known by wherever it goes: 120 random bits, in the alphabet of
// RFC 4648 §5. The zero ID is none.
type ID [20]byte

func newID() (id ID) {
	var random [16]byte
	binary.LittleEndian.PutUint64(random[:], rand.Uint64())
	binary.LittleEndian.PutUint64(random[8:], rand.Uint64())
	base64.RawURLEncoding.Encode(id[:], random[:15])
	return id
}

// Identify gives a message the stanza-id by which its recipient's account knows it (XEP-0359 §3.1),
// in place of any that claims to be that (§5). It does not allocate unless there is one.
func (s *Stanza) Identify() {
	if bytes.Contains(s.Inner, []byte("stanza-id")) {
		s.Inner = s.withoutIDs()
	}
	s.StanzaID = newID()
}

// withoutIDs is the children but for stanza-ids by the recipient.
func (s *Stanza) withoutIDs() []byte {
	doc := s.Document()
	d := xml.NewDecoder(bytes.NewReader(doc))
	if _, err := d.Token(); err != nil {
		return s.Inner
	}
	var kept []byte
	from := d.InputOffset()
	for {
		at := d.InputOffset()
		tok, err := d.Token()
		if err != nil {
			return s.Inner
		}
		switch child := tok.(type) {
		case xml.EndElement: // of the document
			return append(kept, doc[from:at]...)
		case xml.StartElement:
			forged := s.claims(child)
			if d.Skip() != nil {
				return s.Inner
			}
			if forged {
				kept = append(kept, doc[from:at]...)
				from = d.InputOffset()
			}
		}
	}
}

// claims reports whether a child says that it is the stanza-id by the recipient.
func (s *Stanza) claims(child xml.StartElement) bool {
	if child.Name.Space != NSStanzaID || child.Name.Local != "stanza-id" {
		return false
	}
	for _, a := range child.Attr {
		if a.Name.Space == "" && a.Name.Local == "by" {
			by, err := ParseJID(a.Value)
			return err == nil && by == s.To.Bare()
		}
	}
	return false
}

func (s *Stanza) appendStanzaID(b []byte) []byte {
	b = append(b, "<stanza-id xmlns='"+NSStanzaID+"' by='"...)
	b = AppendEscaped(b, s.To.s[:s.To.bare])
	b = append(b, "' id='"...)
	b = append(b, s.StanzaID[:]...)
	return append(b, "'/>"...)
}
