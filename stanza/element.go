package stanza

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"sync"

	"chatd/xmlstream"
)

// An Element is one XML element as a client sent it: a view into the stanza
// that it came in, or into a copy.
type Element struct {
	xml.StartElement
	At    int // where it begins among its parent's children
	Raw   []byte
	scope []xml.Attr // namespace declarations of its ancestors
}

// Elements is the children of a stanza. The error is for the sender; what
// came through the scanner gives none.
func Elements(st *Stanza) ([]Element, error) {
	return split(st.Document())
}

// RawPayload is the one child of an IQ.
func RawPayload(st *Stanza) (Element, error) {
	all, err := Elements(st)
	if err != nil {
		return Element{}, err
	}
	if len(all) != 1 {
		return Element{}, ErrBadRequest
	}
	return all[0], nil
}

// Children is the child elements of e.
func (e Element) Children() ([]Element, error) { return split(e.Standalone()) }

// Is reports whether e has this name.
func (e Element) Is(space, local string) bool {
	return e.Name.Space == space && e.Name.Local == local
}

// Attribute is the value of an attribute without a prefix, "" if there is none.
func (e Element) Attribute(name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// Standalone is e's bytes with the namespaces that it inherits declared on it.
func (e Element) Standalone() []byte {
	var decls []byte
	for _, d := range e.scope {
		name := "xmlns"
		if d.Name.Local != "xmlns" {
			if !bytes.Contains(e.Raw, []byte(d.Name.Local+":")) {
				continue
			}
			name += ":" + d.Name.Local
		}
		if !declares(e.Attr, d.Name) {
			decls = append(decls, " "+name+"='"...)
			decls = AppendEscaped(decls, d.Value)
			decls = append(decls, '\'')
		}
	}
	if len(decls) == 0 {
		return e.Raw
	}
	end := 1 + bytes.IndexAny(e.Raw[1:], " \t\r\n/>") // of the name
	out := make([]byte, 0, len(e.Raw)+len(decls))
	out = append(out, e.Raw[:end]...)
	out = append(out, decls...)
	return append(out, e.Raw[end:]...)
}

// split finds the child elements of a document's root, which needs no outer
// declarations.
func split(doc []byte) ([]Element, error) {
	if all, ok := splitPlain(doc); ok {
		return all, nil
	}
	return splitAny(doc)
}

var scanners = sync.Pool{New: func() any { return xmlstream.NewScanner(xmlstream.Limits{}) }}

// splitPlain is split for what is usual: the scanner takes the root for a stream. It is not ok for text between the elements, attributes with prefixes,
// and what is wrong.
func splitPlain(doc []byte) (all []Element, ok bool) {
	sc := scanners.Get().(*xmlstream.Scanner)
	defer scanners.Put(sc)
	sc.SetLimits(RescanLimits(len(doc)))
	sc.Reset()
	tok, content, err := sc.Scan(doc)
	if err != nil || tok.Kind != xmlstream.Open || len(tok.Raw) != content || doc[1] == '?' {
		return nil, false
	}
	scope, ok := appendDeclarations(nil, tok.Decls)
	for at := content; ok; {
		tok, n, err := sc.Scan(doc[at:])
		at += n
		if err != nil {
			return nil, false
		}
		switch tok.Kind {
		case xmlstream.Element:
			e := Element{At: at - len(tok.Raw) - content, Raw: doc[at-len(tok.Raw) : at], scope: scope}
			if e.StartElement, ok = startOf(tok); ok {
				all = append(all, e)
			}
		case xmlstream.Close:
			return all, at == len(doc)
		default:
			return nil, false
		}
	}
	return nil, false
}

// startOf is a start tag as encoding/xml has it.
func startOf(tok *xmlstream.Token) (start xml.StartElement, ok bool) {
	start.Name = xml.Name{Space: string(tok.Space), Local: string(tok.Local)}
	if start.Attr, ok = appendDeclarations(nil, tok.Decls); !ok {
		return start, false
	}
	for _, a := range tok.Attrs {
		if bytes.IndexByte(a.Name, ':') >= 0 || bytes.IndexByte(a.Value, '\r') >= 0 {
			return start, false
		}
		start.Attr = append(start.Attr, xml.Attr{Name: xml.Name{Local: string(a.Name)}, Value: unescaped(a.Value)})
	}
	return start, true
}

func appendDeclarations(to []xml.Attr, decls []xmlstream.Attr) (all []xml.Attr, ok bool) {
	for _, d := range decls {
		if bytes.IndexByte(d.Value, '\r') >= 0 {
			return nil, false
		}
		name := xml.Name{Local: "xmlns"}
		if prefix, found := bytes.CutPrefix(d.Name, []byte("xmlns:")); found {
			name = xml.Name{Space: "xmlns", Local: string(prefix)}
		}
		to = append(to, xml.Attr{Name: name, Value: unescaped(d.Value)})
	}
	return to, true
}

func unescaped(raw []byte) string {
	if bytes.IndexByte(raw, '&') < 0 {
		return string(raw)
	}
	return string(xmlstream.Unescape(nil, raw))
}

func splitAny(doc []byte) ([]Element, error) {
	d := xml.NewDecoder(bytes.NewReader(doc))
	tok, err := d.Token()
	if err != nil {
		return nil, ErrBadRequest
	}
	root, ok := tok.(xml.StartElement)
	if !ok {
		return nil, ErrBadRequest
	}
	scope := declarations(root.Copy().Attr)
	content := d.InputOffset()
	var all []Element
	for {
		from := d.InputOffset()
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, ErrBadRequest
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		start = start.Copy()
		if err := d.Skip(); err != nil {
			return nil, ErrBadRequest
		}
		all = append(all, Element{start, int(from - content), doc[from:d.InputOffset()], scope})
	}
}

func isDeclaration(n xml.Name) bool {
	return n.Space == "xmlns" || n.Space == "" && n.Local == "xmlns"
}

func declarations(attrs []xml.Attr) []xml.Attr {
	var decls []xml.Attr
	for _, a := range attrs {
		if isDeclaration(a.Name) {
			decls = append(decls, a)
		}
	}
	return decls
}

func declares(attrs []xml.Attr, name xml.Name) bool {
	for _, a := range attrs {
		if a.Name == name {
			return true
		}
	}
	return false
}

// Text is the character data directly in e.
func (e Element) Text() string {
	d := xml.NewDecoder(bytes.NewReader(e.Standalone()))
	var text []byte
	for depth := 0; ; {
		tok, err := d.Token()
		if err != nil {
			return string(text)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 1 {
				text = append(text, t...)
			}
		}
	}
}
