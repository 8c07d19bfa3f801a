package webhook

import (
	"bytes"
	"encoding/xml"
	"strings"

	"chatd/stanza"
)

// texts is what a message says: its <body/> children (RFC 6121 §5.2.3), wherever they stand and whatever prefix they have.
type texts struct {
	doc    []byte // the children within an element; see stanza.Document
	from   int    // where they begin
	to     int    // and end
	bodies []body
}

// A body is one of them.
type body struct {
	lang     string // "" if it does not say
	text     string
	from, to int // its content in doc
}

// findBodies looks at the direct children only. It returns an error for the rare XML that our scanner takes and
// encoding/xml does not: names of characters that are younger than its tables.
func findBodies(st *stanza.Stanza) (texts, error) {
	t := texts{doc: st.Document()}
	d := xml.NewDecoder(bytes.NewReader(t.doc))
	if _, err := d.Token(); err != nil {
		return texts{}, err
	}
	t.from = int(d.InputOffset())
	for {
		t.to = int(d.InputOffset())
		tok, err := d.Token()
		if err != nil {
			return texts{}, err
		}
		switch child := tok.(type) {
		case xml.EndElement: // of the document
			return t, nil
		case xml.StartElement:
			if child.Name.Space != stanza.NSClient || child.Name.Local != "body" {
				err = d.Skip()
			} else {
				err = t.addBody(d, child)
			}
			if err != nil {
				return texts{}, err
			}
		}
	}
}

// addBody reads up to the body's end.
func (t *texts) addBody(d *xml.Decoder, start xml.StartElement) error {
	b := body{from: int(d.InputOffset())}
	for _, a := range start.Attr {
		if a.Name.Local == "lang" && (a.Name.Space == "xml" || a.Name.Space == "http://www.w3.org/XML/1998/namespace") {
			b.lang = a.Value
		}
	}
	var text strings.Builder
	for depth := 1; depth > 0; {
		b.to = int(d.InputOffset())
		tok, err := d.Token()
		if err != nil {
			return err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		case xml.CharData:
			text.Write(tok)
		}
	}
	b.text = text.String()
	t.bodies = append(t.bodies, b)
	return nil
}

// empty reports whether there is nothing to judge.
func (t texts) empty() bool {
	for _, b := range t.bodies {
		if b.text != "" {
			return false
		}
	}
	return true
}

// replaced is the message with another text in each of its bodies that is not empty, and nothing else changed.
func (t texts) replaced(st *stanza.Stanza, text string) *stanza.Stanza {
	inner := make([]byte, 0, t.to-t.from+len(t.bodies)*(len(text)+16))
	at := t.from
	for _, b := range t.bodies {
		if b.from == b.to { // also <body/>, which has no place for a text
			continue
		}
		inner = append(inner, t.doc[at:b.from]...)
		inner = stanza.AppendEscaped(inner, text)
		at = b.to
	}
	c := *st
	c.Inner = append(inner, t.doc[at:t.to]...)
	return &c
}
