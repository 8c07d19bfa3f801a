// Package xmlstream cuts a byte stream into bounded, well-formed, top-level
// XML elements and validates the XML subset that XMPP allows (RFC 6120 §11)
// while it scans. It knows XML and nothing of XMPP.
//
// The scanner never copies and never allocates in steady state: what it
// returns are views into the caller's buffer, valid until the caller reuses
// that buffer. Fuzz tests hold it against encoding/xml.
//
// # How it works
//
// Scanner.Scan is a state machine over bytes. Its loop (scanner.go) picks the
// construct that the state names, and the construct's function consumes as much
// of it as there is: character data, CDATA and references (text.go), start and end
// tags (tag.go). A finished start tag gets its namespaces (namespace.go). When
// the input ends in the middle, the state and the offset of the next byte stay in
// the Scanner; the next Scan goes on right there, so that the work is linear however
// the input is cut, and the cuts cannot be seen in the result. Only a
// character of several bytes is read again from its first byte.
//
// Everything that must outlive a Scan (open elements, declarations,
// attributes) is kept as offsets from the first byte of the top-level element,
// because the caller's buffer may move between two calls. Offsets become
// slices once, when the element is complete.
package xmlstream

import "errors"

// Errors that Scan returns. They are final: the stream cannot be resumed.
var (
	// ErrNotWellFormed: malformed XML or invalid UTF-8 (RFC 6120 §4.9.3.13, §11.3, §11.6).
	ErrNotWellFormed = errors.New("xmlstream: not well-formed")
	// ErrRestricted: a comment, processing instruction, DTD or entity
	// reference other than the five predefined and character references (RFC 6120 §11.1).
	ErrRestricted = errors.New("xmlstream: restricted XML")
	// ErrBadPrefix: a namespace prefix that no declaration in scope binds (RFC 6120 §4.9.3.2).
	ErrBadPrefix = errors.New("xmlstream: undeclared namespace prefix")
	// ErrTooBig: an element larger than Limits.Bytes, or a stream header too large.
	ErrTooBig = errors.New("xmlstream: element too large")
	// ErrTooDeep: nesting deeper than Limits.Depth, or more attributes in one
	// tag than Limits.Attrs, or more prefixes bound at one place than both together.
	ErrTooDeep = errors.New("xmlstream: too deep or too many attributes")
	// ErrEncoding: an XML declaration that names an encoding other than UTF-8 (RFC 6120 §4.9.3.22).
	ErrEncoding = errors.New("xmlstream: unsupported encoding")
)

// Limits bound what one element may cost. A zero field means the default.
type Limits struct {
	Bytes int // bytes of one top-level element or of the stream header; default 262144
	Depth int // nesting below the stream root; default 64
	Attrs int // attributes of one tag, namespace declarations included; default 64
}

// maxBytes keeps every offset within an int32.
const maxBytes = 1 << 30

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 262144
	}
	if l.Depth <= 0 {
		l.Depth = 64
	}
	if l.Attrs <= 0 {
		l.Attrs = 64
	}
	l.Bytes = min(l.Bytes, maxBytes)
	return l
}

// Kind says what a Token is.
type Kind uint8

// Kinds of tokens.
const (
	// None: no complete token in the buffer; append more bytes and scan again.
	None Kind = iota
	// Open: the start tag of the root element: the stream header.
	Open
	// Element: a complete child of the root.
	Element
	// Close: the end tag of the root element.
	Close
)

// An Attr is one attribute as it stands on the wire.
type Attr struct {
	Name  []byte // qualified name, with its prefix if it has one
	Value []byte // raw: still escaped, without its quotes
}

// A Token is what Scan found. All its slices are views into the scanned buffer
// (or into static or stream-scoped memory for namespaces) and are valid until
// the caller changes that buffer or calls Scan again.
type Token struct {
	Kind  Kind
	Raw   []byte // the whole token
	Space []byte // namespace of the element, resolved and unescaped
	Local []byte // local name of the element

	// Attributes in document order, namespace declarations left out.
	// The slice belongs to the scanner and is overwritten by the next Scan.
	Attrs []Attr

	// Decls holds the element's own namespace declarations (xmlns and
	// xmlns:p) in document order; owned like Attrs.
	Decls []Attr

	// Inner is everything between the start and the end tag; empty for <a/>.
	Inner []byte

	// ChildSpace and ChildLocal name the first child element; empty if none.
	ChildSpace []byte
	ChildLocal []byte
	// Children counts the child elements (depth 1 below this element).
	Children int

	// OuterPrefix is set when the element or something in it uses a prefix
	// that only the stream header declares, relies on the header's default
	// namespace and that is not jabber:client, or writes a namespace with
	// references in the place of characters: its bytes do not stand alone. An element that is neither OuterPrefix nor Prefixed means the same in
	// any stream whose default namespace is jabber:client.
	OuterPrefix bool
	// Prefixed is set when the element's own name carries a prefix
	// (<c:message/>): its bytes cannot be forwarded as they are.
	Prefixed bool
}
