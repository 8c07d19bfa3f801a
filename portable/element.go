package portable

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"chatd/stanza"
	"chatd/xmlstream"
)

const (
	// maxToken bounds what the file may have between two tags, and a tag, in bytes.
	maxToken = 4 << 20
	// maxDepth is how deep elements may be nested in a file.
	maxDepth = 100
	// maxElement bounds one element that is kept, such as a message or a vCard, in bytes.
	maxElement = 256 << 10
)

var (
	errTooDeep   = fmt.Errorf("elements nested more than %d deep", maxDepth)
	errBigToken  = fmt.Errorf("more than %d bytes without a tag, or in one", maxToken)
	errBig       = fmt.Errorf("an element with more than %d bytes", maxElement)
	errDocType   = errors.New("a document type declaration, which is not allowed")
	errTruncated = errors.New("the file ends in the middle")
)

// A parser reads tokens, each of which costs bounded memory.
type parser struct {
	*xml.Decoder
	guard guard
	depth int
}

func newParser(r io.Reader) *parser {
	p := &parser{guard: guard{r: r}}
	p.Decoder = xml.NewDecoder(&p.guard)
	return p
}

// A guard ends a token that is too long.
type guard struct {
	r    io.Reader
	left int
}

func (g *guard) Read(b []byte) (int, error) {
	if g.left <= 0 {
		return 0, errBigToken
	}
	n, err := g.r.Read(b)
	g.left -= n
	return n, err
}

// next returns the next start, end or text. A name without a namespace of its own is in the one around it. io.EOF is the end
// of the file, behind its root element.
func (p *parser) next() (xml.Token, error) {
	for {
		p.guard.left = maxToken
		token, err := p.Token()
		if err != nil {
			if _, ok := err.(*xml.SyntaxError); ok && strings.Contains(err.Error(), "unexpected EOF") {
				err = errTruncated
			}
			return nil, err
		}
		switch token.(type) {
		case xml.StartElement:
			if p.depth++; p.depth > maxDepth {
				return nil, errTooDeep
			}
			return token, nil
		case xml.EndElement:
			p.depth--
			return token, nil
		case xml.CharData:
			return token, nil
		case xml.Directive:
			return nil, errDocType
		}
	}
}

// skip reads to the end of the element that has begun.
func (p *parser) skip() error {
	for end := p.depth - 1; p.depth > end; {
		if _, err := p.next(); err != nil {
			return err
		}
	}
	return nil
}

// children calls do for each child element of the one that has begun, up to its end. do reads the child to its end.
func (p *parser) children(do func(xml.StartElement) error) error {
	for end := p.depth - 1; ; {
		token, err := p.next()
		if err != nil {
			return err
		}
		if start, ok := token.(xml.StartElement); ok {
			if err := do(start); err != nil {
				return err
			}
		}
		if p.depth <= end {
			return nil
		}
	}
}

// An element is what has been read of one, whole.
type element struct {
	xml.StartElement
	content []any // *element and string
}

// element reads to the end of the element that has begun. One that is too big is skipped, and nil with errBig.
func (p *parser) element(start xml.StartElement) (*element, error) {
	root := &element{StartElement: start.Copy()}
	open, size, end := []*element{root}, tagSize(start), p.depth-1
	for p.depth > end {
		token, err := p.next()
		if err != nil {
			return nil, err
		}
		top := open[len(open)-1]
		switch token := token.(type) {
		case xml.StartElement:
			child := &element{StartElement: token.Copy()}
			top.content, open = append(top.content, child), append(open, child)
			size += tagSize(token)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			top.content = append(top.content, string(token))
			size += len(token)
		}
		if size > maxElement {
			for p.depth > end {
				if _, err := p.next(); err != nil {
					return nil, err
				}
			}
			return nil, errBig
		}
	}
	return root, nil
}

// tagSize is more than a tag without anything: an element in memory has its price.
func tagSize(start xml.StartElement) int {
	size := 100 + len(start.Name.Local)
	for _, a := range start.Attr {
		size += 50 + len(a.Name.Local) + len(a.Value)
	}
	return size
}

// parseElement reads one element from what a store keeps; space is the namespace that it is in without saying so.
func parseElement(raw []byte, space string) (*element, error) {
	p := newParser(io.MultiReader(strings.NewReader("<x xmlns='"+space+"'>"), strings.NewReader(string(raw)), strings.NewReader("</x>")))
	if _, err := p.next(); err != nil {
		return nil, err
	}
	var found *element
	err := p.children(func(start xml.StartElement) (err error) {
		found, err = p.element(start)
		return err
	})
	if err == nil && found == nil {
		err = errTruncated
	}
	return found, err
}

func (e *element) is(space, local string) bool { return e.Name.Space == space && e.Name.Local == local }

func attr(start xml.StartElement, local string) string {
	for _, a := range start.Attr {
		if a.Name.Space == "" && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

func (e *element) attr(local string) string { return attr(e.StartElement, local) }

// setAttr changes an attribute that is there.
func (e *element) setAttr(local, value string) {
	for i := range e.Attr {
		if e.Attr[i].Name.Space == "" && e.Attr[i].Name.Local == local {
			e.Attr[i].Value = value
		}
	}
}

// elements are the children that are elements.
func (e *element) elements() (all []*element) {
	for _, c := range e.content {
		if c, ok := c.(*element); ok {
			all = append(all, c)
		}
	}
	return all
}

// text is what stands in the element itself.
func (e *element) text() string {
	var b strings.Builder
	for _, c := range e.content {
		if c, ok := c.(string); ok {
			b.WriteString(c)
		}
	}
	return b.String()
}

// moveTo gives another namespace to all that is in a namespace that is none of XMPP's.
func (e *element) moveTo(space string) {
	if e.Name.Space == "" || isPIE(e.Name.Space) {
		e.Name.Space = space
	}
	for _, c := range e.elements() {
		c.moveTo(space)
	}
}

const nsXML = "http://www.w3.org/XML/1998/namespace"

// append writes the element where the default namespace is space, without prefixes.
func (e *element) append(b []byte, space string) []byte {
	b = append(append(b, '<'), e.Name.Local...)
	if e.Name.Space != space {
		b = appendAttr(b, "xmlns", e.Name.Space)
	}
	prefixes := 0
	for _, a := range e.Attr {
		switch {
		case a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns":
		case a.Name.Space == "":
			b = appendAttr(b, a.Name.Local, a.Value)
		case a.Name.Space == nsXML || a.Name.Space == "xml":
			b = appendAttr(b, "xml:"+a.Name.Local, a.Value)
		default:
			prefixes++
			prefix := fmt.Sprintf("a%d", prefixes)
			b = appendAttr(b, "xmlns:"+prefix, a.Name.Space)
			b = appendAttr(b, prefix+":"+a.Name.Local, a.Value)
		}
	}
	if len(e.content) == 0 {
		return append(b, "/>"...)
	}
	b = append(b, '>')
	for _, c := range e.content {
		switch c := c.(type) {
		case *element:
			b = c.append(b, e.Name.Space)
		case string:
			b = stanza.AppendEscaped(b, c)
		}
	}
	return append(append(append(b, "</"...), e.Name.Local...), '>')
}

// wellFormed holds what is kept to what XMPP allows (RFC 6120 §11), since it is sent as it is: encoding/xml lets more pass.
func wellFormed(raw []byte) bool {
	s := xmlstream.NewScanner(stanza.RescanLimits(len(raw)))
	s.Resume(xmlstream.ClientScope)
	token, n, err := s.Scan(raw)
	return err == nil && token.Kind == xmlstream.Element && n == len(raw)
}

func appendAttr(b []byte, name, value string) []byte {
	b = append(append(append(b, ' '), name...), "='"...)
	return append(stanza.AppendEscaped(b, value), '\'')
}
