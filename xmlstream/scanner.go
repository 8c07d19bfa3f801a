package xmlstream

import "errors"

// errMore ends a Scan whose input ends within a token.
var errMore = errors.New("xmlstream: more input needed")

// A Scanner reads one stream. It belongs to one goroutine. Between two
// top-level elements all that it knows of the stream is its Scope, so that a
// connection with nothing pending can give its scanner away and later take
// another one with Resume.
type Scanner struct {
	limits Limits
	scope  *Scope
	phase  phase
	err    error // final until Reset or Resume

	// The token under way. Offsets count from its first byte.
	state     state
	back      state // where a reference returns to
	pos       int   // next byte to look at; 0: no token under way
	mark      int   // start of the name or value under way
	colon     int   // colon of the name under way; 0: none yet
	lt        int   // last '<'
	amp       int   // last '&'
	chunk     int   // start of the character data under way
	quote     byte  // what ends the attribute value under way
	emptyRoot bool  // the header was an empty-element tag
	gap       bool  // white space stands before the attribute that may come

	kind     Kind    // of the token, once finished
	elem     qname   // name of the tag under way
	attrs    []attr  // of the top-level tag, from keep on of the tag under way
	keep     int     // attributes of the top-level tag
	stack    []frame // open elements
	bindings []binding
	def      space  // default namespace
	spare    []byte // namespace names that had to be unescaped

	top, child           qname
	topSpace, childSpace space
	children             int
	inner, innerEnd      int
	outer                bool // Token.OuterPrefix
	clientDefault        bool // the stream's default namespace is jabber:client

	tok      Token
	tokAttrs []Attr
	tokDecls []Attr
}

// phase is how far the stream has come.
type phase uint8

const (
	atStart   phase = iota // nothing read: byte order mark and XML declaration may come
	inProlog               // the header must come
	inStream               // children or the end tag must come
	atEmpty                // the root was an empty element: its end is due
	afterRoot              // nothing but white space may come
)

// state is the construct that pos is in.
type state uint8

const (
	inMarkup    state = iota // after '<'
	inBang                   // in "<![CDATA["
	inContent                // character data
	inCDATA                  // after "<![CDATA["
	inReference              // after '&'
	inTagName
	inTag // between attributes
	inAttrName
	inEquals
	inQuote // before the value
	inValue
	inEmptyTag // after '/'
	inEndName
	inEndSpace
	finished // the token is complete
)

// A span is a piece of the token under way.
type span struct{ from, to int32 }

func (p span) of(b []byte) []byte { return b[p.from:p.to] }

// A qname is a qualified name; colon is the offset of its colon, 0 if it has none.
type qname struct {
	span
	colon int32
}

func (q qname) prefix(b []byte) []byte {
	if q.colon == 0 {
		return nil
	}
	return b[q.from:q.colon]
}

func (q qname) local(b []byte) []byte {
	if q.colon == 0 {
		return q.of(b)
	}
	return b[q.colon+1 : q.to]
}

// An attr is an attribute of the tag under way.
type attr struct {
	name  qname
	value span
	space space // of a prefixed attribute that is no declaration
	decl  bool  // declares a namespace; known once the tag is complete
}

// A frame is an open element: its name, and what holds again after it.
type frame struct {
	name     span
	bindings int32
	def      space
}

// NewScanner makes a scanner that expects a stream header.
func NewScanner(l Limits) *Scanner { return &Scanner{limits: l.withDefaults()} }

// SetLimits changes the limits from the next Scan on.
func (s *Scanner) SetLimits(l Limits) { s.limits = l.withDefaults() }

// Reset makes the scanner expect a new stream header.
func (s *Scanner) Reset() { s.restart(nil, atStart) }

// Resume makes the scanner expect the next child of a stream with this scope.
func (s *Scanner) Resume(sc *Scope) { s.restart(sc, inStream) }

func (s *Scanner) restart(sc *Scope, p phase) {
	s.scope, s.phase = sc, p
	s.pos, s.err = 0, nil
	s.clientDefault = sc != nil && string(sc.space(sc.find(nil))) == nsClient
}

// Scope is the open stream's scope; nil before the header.
func (s *Scanner) Scope() *Scope { return s.scope }

// Scan looks for the next token at the front of buf and reports how many bytes
// to drop from it: white space between elements and the token. tok is valid
// until the next call or until buf changes. With tok.Kind None the caller keeps buf[n:], appends
// more input and calls again with a buffer that begins with those same bytes; work
// already done is not repeated, so that input in single bytes costs linear time.
// After an error every Scan returns it again, until Reset or Resume.
func (s *Scanner) Scan(buf []byte) (tok *Token, n int, err error) {
	s.tok = Token{}
	if s.err != nil {
		return &s.tok, 0, s.err
	}
	if s.phase == atEmpty {
		s.closeRoot(nil)
		return &s.tok, 0, nil
	}
	n, err = s.between(buf)
	if err == nil {
		err = s.token(buf[n:])
		n += len(s.tok.Raw)
	}
	if err == errMore {
		return &s.tok, n, nil
	}
	if err != nil {
		s.err = err
		s.tok = Token{}
	}
	return &s.tok, n, err
}

// between consumes what may stand before a token, up to its '<'.
func (s *Scanner) between(buf []byte) (n int, err error) {
	if s.phase == atStart {
		if n, err = s.declaration(buf); err != nil {
			return n, err
		}
		s.phase = inProlog
		s.pos = 0
	}
	if s.pos > 0 {
		return 0, nil
	}
	n = skipSpace(buf, n)
	switch {
	case n == len(buf):
		return n, errMore
	case buf[n] != '<' || s.phase == afterRoot:
		return n, ErrNotWellFormed
	}
	return n, nil
}

// token goes on with the token at the front of b. What lies beyond the limit
// is not looked at, so that the verdict does not depend on how the input was cut.
func (s *Scanner) token(b []byte) error {
	within := b[:min(len(b), s.limits.Bytes)]
	err := s.run(within)
	if err == errMore && len(within) < len(b) {
		return ErrTooBig
	}
	return err
}

// run is the state machine's loop.
func (s *Scanner) run(b []byte) (err error) {
	i := s.pos
	if i == 0 {
		s.begin()
		i = 1
	}
	for err == nil && s.state != finished {
		if i >= len(b) {
			err = errMore
			break
		}
		switch s.state {
		case inMarkup:
			i, err = s.markup(b, i)
		case inBang:
			i, err = s.bang(b, i)
		case inContent:
			i, err = s.content(b, i)
		case inCDATA:
			i, err = s.cdata(b, i)
		case inReference:
			i, err = s.reference(b, i)
		case inEndName, inEndSpace:
			i, err = s.endTag(b, i)
		default:
			i, err = s.startTag(b, i)
		}
	}
	s.pos = i
	if err == nil {
		s.pos = 0
		return s.finish(b[:i])
	}
	return err
}

// begin prepares for a token, whose '<' has been seen.
func (s *Scanner) begin() {
	s.state = inMarkup
	s.lt, s.keep, s.children = 0, 0, 0
	s.attrs, s.stack, s.bindings = s.attrs[:0], s.stack[:0], s.bindings[:0]
	s.spare = nil
	s.child, s.childSpace = qname{}, space{}
	s.outer = false
	s.def = space{home: inScope, span: span{from: s.scope.find(nil)}}
}

// markup looks at the byte after '<'.
func (s *Scanner) markup(b []byte, i int) (int, error) {
	switch b[i] {
	case '/':
		if len(s.stack) == 0 && s.phase != inStream {
			return i, ErrNotWellFormed
		}
		s.state = inEndName
		s.mark = i + 1
		return i + 1, nil
	case '!':
		s.state = inBang
		return i + 1, nil
	case '?':
		return i, ErrRestricted
	}
	s.state = inTagName
	s.mark, s.colon = i, 0
	s.attrs = s.attrs[:s.keep]
	return i, nil
}

// finish turns offsets into the token. raw is all of it.
func (s *Scanner) finish(raw []byte) error {
	t := &s.tok
	switch s.kind {
	case Close:
		s.closeRoot(raw)
		return nil
	case Open:
		s.fillTag(raw)
		return s.openRoot(raw)
	}
	s.fillTag(raw)
	t.Inner = raw[s.inner:s.innerEnd]
	if s.children > 0 {
		t.Children = s.children
		t.ChildSpace = s.uri(raw, s.childSpace)
		t.ChildLocal = s.child.local(raw)
	}
	t.OuterPrefix = s.outer
	return nil
}

// fillTag sets what Open and Element have in common.
func (s *Scanner) fillTag(raw []byte) {
	s.tokAttrs, s.tokDecls = s.tokAttrs[:0], s.tokDecls[:0]
	for k := range s.attrs[:s.keep] {
		a := &s.attrs[k]
		out := Attr{Name: a.name.of(raw), Value: a.value.of(raw)}
		if a.decl {
			s.tokDecls = append(s.tokDecls, out)
		} else {
			s.tokAttrs = append(s.tokAttrs, out)
		}
	}
	t := &s.tok
	t.Kind, t.Raw = s.kind, raw
	t.Space = s.uri(raw, s.topSpace)
	t.Local = s.top.local(raw)
	t.Attrs, t.Decls = s.tokAttrs, s.tokDecls
	t.Prefixed = s.top.colon != 0
}
