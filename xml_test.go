package chatd_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	nsClient  = "jabber:client"
	nsStream  = "http://etherx.jabber.org/streams"
	nsTLS     = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBind    = "urn:ietf:params:xml:ns:xmpp-bind"
	nsSM      = "urn:xmpp:sm:3"
	nsStreams = "urn:ietf:params:xml:ns:xmpp-streams"
	nsXML     = "http://www.w3.org/XML/1998/namespace"
)

// A node is an element with all its names resolved.
type node struct {
	name  xml.Name
	attrs []xml.Attr // in document order, namespace declarations left out
	kids  []*node
	text  string // character data; white space around children is dropped
}

func (n *node) attr(name string) string {
	for _, a := range n.attrs {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// child is the first child with this local name, nil if there is none.
func (n *node) child(local string) *node {
	if n == nil {
		return nil
	}
	for _, k := range n.kids {
		if k.name.Local == local {
			return k
		}
	}
	return nil
}

func (n *node) is(space, local string) bool {
	return n != nil && n.name.Space == space && n.name.Local == local
}

var errStreamEnd = errors.New("the stream was closed")

// readElement reads the next child of the stream from d. White space between
// elements is skipped; a closing stream tag is errStreamEnd. What XMPP forbids
// on the wire (RFC 6120 §11.1) is an error: the server must never send it.
func readElement(d *xml.Decoder) (*node, error) {
	for {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			return readNode(d, tok)
		case xml.EndElement:
			return nil, errStreamEnd
		case xml.CharData:
			if strings.TrimSpace(string(tok)) != "" {
				return nil, fmt.Errorf("text between stanzas: %q", tok)
			}
		default:
			return nil, fmt.Errorf("restricted XML: %T", tok)
		}
	}
}

func readNode(d *xml.Decoder, start xml.StartElement) (*node, error) {
	n := &node{name: start.Name}
	if err := resolved(start.Name); err != nil {
		return nil, err
	}
	for _, a := range start.Attr {
		if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
			continue
		}
		if a.Name.Space != "" {
			if err := resolved(a.Name); err != nil {
				return nil, err
			}
		}
		n.attrs = append(n.attrs, a)
	}
	var text strings.Builder
	for {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			kid, err := readNode(d, tok)
			if err != nil {
				return nil, err
			}
			n.kids = append(n.kids, kid)
		case xml.EndElement:
			n.text = text.String()
			if len(n.kids) > 0 {
				n.text = strings.TrimSpace(n.text)
			}
			return n, nil
		case xml.CharData:
			text.Write(tok)
		default:
			return nil, fmt.Errorf("restricted XML: %T", tok)
		}
	}
}

// resolved refuses a name whose prefix nothing declares, which encoding/xml
// lets pass with the prefix for its namespace.
func resolved(name xml.Name) error {
	if name.Space != "" && !strings.Contains(name.Space, ":") && name.Space != "vcard-temp" {
		return fmt.Errorf("undeclared prefix %s:%s", name.Space, name.Local)
	}
	return nil
}

// parseElements parses a sequence of elements as they would stand in a stream.
func parseElements(text string) ([]*node, error) {
	d := xml.NewDecoder(strings.NewReader("<stream:stream xmlns='" + nsClient + "' xmlns:stream='" + nsStream + "'>" + text + "</stream:stream>"))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var nodes []*node
	for {
		n, err := readElement(d)
		if errors.Is(err, errStreamEnd) {
			if _, err := d.Token(); err != io.EOF {
				return nil, errors.New("unbalanced end tag")
			}
			return nodes, nil
		}
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
}

// String is the element as a conversation file shows it: indented, with a
// namespace declaration wherever the default namespace changes.
func (n *node) String() string {
	var b strings.Builder
	n.print(&b, nsClient, "")
	return b.String()
}

func (n *node) print(b *strings.Builder, space, indent string) {
	name := n.name.Local
	inner := space
	b.WriteString(indent + "<")
	if n.name.Space == nsStream {
		name = "stream:" + name
		b.WriteString(name)
	} else {
		b.WriteString(name)
		if n.name.Space != space {
			inner = n.name.Space
			fmt.Fprintf(b, " xmlns='%s'", escape(inner))
		}
	}
	for i, a := range n.attrs {
		switch a.Name.Space {
		case "":
			fmt.Fprintf(b, " %s='%s'", a.Name.Local, escape(a.Value))
		case nsXML:
			fmt.Fprintf(b, " xml:%s='%s'", a.Name.Local, escape(a.Value))
		default:
			fmt.Fprintf(b, " xmlns:n%d='%s' n%d:%s='%s'", i, escape(a.Name.Space), i, a.Name.Local, escape(a.Value))
		}
	}
	switch {
	case len(n.kids) == 0 && n.text == "":
		b.WriteString("/>")
	case len(n.kids) == 0:
		fmt.Fprintf(b, ">%s</%s>", escape(n.text), name)
	default:
		b.WriteString(">\n")
		for _, k := range n.kids {
			k.print(b, inner, indent+"  ")
			b.WriteString("\n")
		}
		if n.text != "" {
			b.WriteString(indent + "  " + escape(n.text) + "\n")
		}
		fmt.Fprintf(b, "%s</%s>", indent, name)
	}
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;")

func escape(s string) string { return escaper.Replace(s) }
