package stanza

import (
	"bytes"
	"encoding/xml"
	"math/rand/v2"
)

// NSStanzaID is the namespace of stanza-ids (XEP-0359).
const NSStanzaID = "urn:xmpp:sid:0"

// An ID is what a message is known by wherever it goes: 120 random bits, in the alphabet of
// RFC 4648 §5. The zero ID is none.
type ID [20]byte

const idAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// NewID makes one that nothing else has.
func NewID() (id ID) {
	one, two := rand.Uint64(), rand.Uint64()
	for i := 0; i < len(id); i += 2 {
		id[i], id[i+1] = idAlphabet[one%64], idAlphabet[two%64]
		one, two = one/64, two/64
	}
	return id
}

// Identify gives a message the stanza-id by which its recipient's account knows it (XEP-0359 §3.1),
// in place of any that claims to be that (§5). It does not allocate unless there is one.
func (s *Stanza) Identify() {
	if mentionsID(s.Inner) {
		s.Inner = s.withoutIDs()
	}
	s.StanzaID = NewID()
}

// mentionsID reports whether the words stanza-id are in XML. It looks at each hyphen: there are few.
func mentionsID(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '-')
		if i < 0 {
			return false
		}
		if bytes.HasSuffix(b[:i], []byte("stanza")) && bytes.HasPrefix(b[i:], []byte("-id")) {
			return true
		}
		b = b[i+1:]
	}
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

// WrittenID is the ID of a message that was read as Append had written it; the zero ID if it has none.
func (s *Stanza) WrittenID() (id ID) {
	rest, ok := bytes.CutSuffix(s.Inner, []byte("'/>"))
	if !ok || len(rest) < len(id) {
		return ID{}
	}
	before, found := rest[:len(rest)-len(id)], rest[len(rest)-len(id):]
	at := bytes.LastIndexByte(before, '<')
	if at < 0 || !bytes.HasPrefix(before[at:], []byte("<stanza-id xmlns='"+NSStanzaID+"' by=")) || !bytes.HasSuffix(before, []byte(" id='")) {
		return ID{}
	}
	copy(id[:], found)
	return id
}

func (s *Stanza) appendStanzaID(b []byte) []byte { return s.StanzaID.Append(b, s.To.Bare()) }

// Append writes the element that says who gave the id (XEP-0359 §3.1).
func (id ID) Append(b []byte, by JID) []byte {
	b = appendJID(b, "<stanza-id xmlns='"+NSStanzaID+"' by=", by)
	b = append(b, " id='"...)
	b = append(b, id[:]...)
	return append(b, "'/>"...)
}
