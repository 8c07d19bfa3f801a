package xep

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"

	"chatd/stanza"
)

// An element is one XML element as a client sent it: a view into the stanza
// that it came in, or into a copy.
type element struct {
	xml.StartElement
	at    int // where it begins among its parent's children
	raw   []byte
	scope []xml.Attr // namespace declarations of its ancestors
}

// elements is the children of a stanza. The error is for the sender; what
// came through the scanner gives none.
func elements(st *stanza.Stanza) ([]element, error) {
	return split(st.Document())
}

// rawPayload is the one child of an IQ.
func rawPayload(st *stanza.Stanza) (element, error) {
	all, err := elements(st)
	if err != nil {
		return element{}, err
	}
	if len(all) != 1 {
		return element{}, stanza.ErrBadRequest
	}
	return all[0], nil
}

// children is the child elements of e.
func (e element) children() ([]element, error) { return split(e.standalone()) }

// is reports whether e has this name.
func (e element) is(space, local string) bool {
	return e.Name.Space == space && e.Name.Local == local
}

// attr is the value of an attribute without a prefix, "" if there is none.
func (e element) attr(name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// standalone is e's bytes with the namespaces that it inherits declared on it.
func (e element) standalone() []byte {
	var decls []byte
	for _, d := range e.scope {
		name := "xmlns"
		if d.Name.Local != "xmlns" {
			if !bytes.Contains(e.raw, []byte(d.Name.Local+":")) {
				continue
			}
			name += ":" + d.Name.Local
		}
		if !declares(e.Attr, d.Name) {
			decls = append(decls, " "+name+"='"...)
			decls = stanza.AppendEscaped(decls, d.Value)
			decls = append(decls, '\'')
		}
	}
	if len(decls) == 0 {
		return e.raw
	}
	end := 1 + bytes.IndexAny(e.raw[1:], " \t\r\n/>") // of the name
	out := make([]byte, 0, len(e.raw)+len(decls))
	out = append(out, e.raw[:end]...)
	out = append(out, decls...)
	return append(out, e.raw[end:]...)
}

// split finds the child elements of a document's root, which needs no outer
// declarations.
func split(doc []byte) ([]element, error) {
	d := xml.NewDecoder(bytes.NewReader(doc))
	tok, err := d.Token()
	if err != nil {
		return nil, stanza.ErrBadRequest
	}
	root, ok := tok.(xml.StartElement)
	if !ok {
		return nil, stanza.ErrBadRequest
	}
	scope := declarations(root.Copy().Attr)
	content := d.InputOffset()
	var all []element
	for {
		from := d.InputOffset()
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, stanza.ErrBadRequest
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		start = start.Copy()
		if err := d.Skip(); err != nil {
			return nil, stanza.ErrBadRequest
		}
		all = append(all, element{start, int(from - content), doc[from:d.InputOffset()], scope})
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
