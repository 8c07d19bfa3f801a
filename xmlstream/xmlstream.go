// Package xmlstream cuts a byte stream into bounded, well-formed, top-level
// XML elements and validates the XML subset that XMPP allows (RFC 6120 §11)
// while it scans. It knows XML and nothing of XMPP.
//
// The scanner never copies and never allocates in steady state: what it
// returns are views into the caller's buffer, valid until the caller reuses
// that buffer. Fuzz tests hold it against encoding/xml.
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
	// tag than Limits.Attrs.
	ErrTooDeep = errors.New("xmlstream: too deep or too many attributes")
	// ErrEncoding: an XML declaration that names an encoding other than UTF-8 (RFC 6120 §4.9.3.22).
	ErrEncoding = errors.New("xmlstream: unsupported encoding")
)

// Limits bound what one element may cost. A zero field means the default.
type Limits struct {
	Bytes int // bytes of one top-level element or of the stream header; default 262144
	Depth int // nesting below the stream root; default 64
	Attrs int // attributes of one tag; default 64
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
	Space []byte // namespace of the element, resolved
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
	// that only the stream header declares, so that its bytes do not stand
	// alone: see Scanner.Decls.
	OuterPrefix bool
	// Prefixed is set when the element's own name carries a prefix
	// (<c:message/>): its bytes cannot be forwarded as they are.
	Prefixed bool
}

// A Scope is what a stream header declares: its default namespace and
// prefixes. It is immutable; the scope of the usual header is shared by all streams.
type Scope struct {
	decls []Attr
}

// A Scanner reads one stream. It belongs to one goroutine. Between two
// top-level elements all that it knows of the stream is its Scope, so that a
// connection with nothing pending can give its scanner away and later take
// another one with Resume.
type Scanner struct {
	limits Limits
	scope  *Scope
}

// NewScanner makes a scanner that expects a stream header.
func NewScanner(l Limits) *Scanner { return &Scanner{limits: l} }

// SetLimits changes the limits from the next Scan on.
func (s *Scanner) SetLimits(l Limits) { s.limits = l }

// Reset makes the scanner expect a new stream header.
func (s *Scanner) Reset() { s.scope = nil }

// Scope is the open stream's scope; nil before the header.
func (s *Scanner) Scope() *Scope { return s.scope }

// Resume makes the scanner expect the next child of a stream with this scope.
func (s *Scanner) Resume(sc *Scope) { s.scope = sc }

// Scan looks for the next token at the front of buf and reports how many bytes
// to drop from it: white space between elements and the token. tok is valid
// until the next call or until buf changes. With tok.Kind None the caller keeps buf[n:], appends
// more input and calls again with a buffer that begins with those same bytes; work
// already done is not repeated, so that input in single bytes costs linear time.
func (s *Scanner) Scan(buf []byte) (tok *Token, n int, err error) { panic("not yet") }

// ClientScope is the scope of a stream whose header declares jabber:client as
// its default namespace and the prefix "stream", as nearly all do.
var ClientScope = &Scope{}

// Unescape appends raw to dst with its predefined entities and character
// references replaced, and returns the longer slice. raw has passed a Scanner.
func Unescape(dst, raw []byte) []byte { panic("not yet") }

// Rewrite appends an element to dst as it must read where jabber:client is
// the default namespace and no prefix but xml is declared: elements of
// jabber:client lose their prefix, prefixes that the stream header declares are declared on
// the element. For tokens that are Prefixed or OuterPrefix; anything else may be used as it is.
func (s *Scanner) Rewrite(dst []byte, tok *Token) []byte { panic("not yet") }
