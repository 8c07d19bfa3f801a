package xmlstream

import (
	"bytes"
	"unicode/utf8"
)

const (
	nsClient = "jabber:client"
	nsStream = "http://etherx.jabber.org/streams"
	nsXML    = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS  = "http://www.w3.org/2000/xmlns/"
)

var bytesXML = []byte(nsXML)

// maxScope bounds the bytes of the names and namespaces that a stream holds on to.
const maxScope = 2048

// A Scope is what a stream header declares: its default namespace and
// prefixes. It is immutable; the scope of the usual header is shared by all
// streams. The zero Scope declares nothing.
type Scope struct {
	root  []byte // qualified name of the root, which its end tag repeats
	decls []Attr // prefix (empty: default) and namespace, unescaped
}

// ClientScope is the scope of a stream whose header declares jabber:client as
// its default namespace and the prefix "stream", as nearly all do.
var ClientScope = &Scope{
	root: []byte("stream:stream"),
	decls: []Attr{
		{Name: nil, Value: []byte(nsClient)},
		{Name: []byte("stream"), Value: []byte(nsStream)},
	},
}

// find is the index of the declaration of prefix, -1 if there is none.
func (sc *Scope) find(prefix []byte) int32 {
	if sc != nil {
		for k, d := range sc.decls {
			if bytes.Equal(d.Name, prefix) {
				return int32(k)
			}
		}
	}
	return -1
}

// space is the namespace of declaration k.
func (sc *Scope) space(k int32) []byte {
	if k < 0 {
		return nil
	}
	return sc.decls[k].Value
}

// equal reports whether the scopes declare the same.
func (sc *Scope) equal(other *Scope) bool {
	if len(sc.decls) != len(other.decls) || !bytes.Equal(sc.root, other.root) {
		return false
	}
	for _, d := range sc.decls {
		if k := other.find(d.Name); k < 0 || !bytes.Equal(other.space(k), d.Value) {
			return false
		}
	}
	return true
}

// A space names a namespace without pointing into the buffer, which may move.
type space struct {
	home home
	span // in the buffer or in Scanner.spare; in the scope from is the declaration's index
}

type home uint8

const (
	nowhere home = iota // no namespace
	inBuffer
	inSpare
	inScope
	inXML // what the prefix xml is always bound to
)

// uri is the namespace that sp names.
func (s *Scanner) uri(b []byte, sp space) []byte {
	switch sp.home {
	case inBuffer:
		return sp.of(b)
	case inSpare:
		return sp.of(s.spare)
	case inScope:
		return s.scope.space(sp.from)
	case inXML:
		return bytesXML
	}
	return nil
}

// A binding is a prefix that an open element declares.
type binding struct {
	prefix span
	space  space
}

// isDecl reports whether a declares a namespace.
func (a attr) isDecl(b []byte) bool {
	if a.name.colon == 0 {
		return string(a.name.of(b)) == "xmlns"
	}
	return string(a.name.prefix(b)) == "xmlns"
}

// resolveTag binds what the tag under way declares, checks its attributes, and
// is the namespace of its name.
func (s *Scanner) resolveTag(b []byte) (space, error) {
	attrs := s.attrs[s.keep:]
	prefixed := false
	for k, a := range attrs {
		name := a.name.of(b)
		for _, earlier := range attrs[:k] {
			if bytes.Equal(name, earlier.name.of(b)) {
				return space{}, ErrNotWellFormed // XML 1.0 §3.1, unique attributes
			}
		}
		if a.isDecl(b) {
			if err := s.declare(b, a); err != nil {
				return space{}, err
			}
		} else if a.name.colon != 0 {
			prefixed = true
		}
	}
	if prefixed {
		if err := s.resolveAttrs(b, attrs); err != nil {
			return space{}, err
		}
	}
	return s.resolve(b, s.elem)
}

// resolveAttrs checks that prefixes of attributes are bound and that no two
// attributes have the same expanded name (Namespaces in XML §6.3).
func (s *Scanner) resolveAttrs(b []byte, attrs []attr) error {
	for k, a := range attrs {
		if a.name.colon == 0 || a.isDecl(b) {
			continue
		}
		sp, err := s.resolve(b, a.name)
		if err != nil {
			return err
		}
		for _, earlier := range attrs[:k] {
			if earlier.name.colon == 0 || earlier.isDecl(b) || !bytes.Equal(earlier.name.local(b), a.name.local(b)) {
				continue
			}
			esp, _ := s.resolve(b, earlier.name)
			if bytes.Equal(s.uri(b, esp), s.uri(b, sp)) {
				return ErrNotWellFormed
			}
		}
	}
	return nil
}

// resolve is the namespace of a name: of its prefix, or for an element
// without one the default namespace.
func (s *Scanner) resolve(b []byte, q qname) (space, error) {
	if q.colon == 0 {
		if s.def.home == inScope && !s.clientDefault {
			s.outer = true
		}
		return s.def, nil
	}
	prefix := q.prefix(b)
	for k := len(s.bindings) - 1; k >= 0; k-- {
		if bytes.Equal(s.bindings[k].prefix.of(b), prefix) {
			return s.bindings[k].space, nil
		}
	}
	if string(prefix) == "xml" {
		return space{home: inXML}, nil
	}
	k := s.scope.find(prefix)
	if k < 0 {
		return space{}, ErrBadPrefix
	}
	s.outer = true
	return space{home: inScope, span: span{from: k}}, nil
}

// declare binds what a declares, by the rules of Namespaces in XML §3.
func (s *Scanner) declare(b []byte, a attr) error {
	sp := s.declared(b, a.value)
	uri := s.uri(b, sp)
	reserved := string(uri) == nsXML || string(uri) == nsXMLNS
	if a.name.colon == 0 {
		if reserved {
			return ErrNotWellFormed
		}
		s.def = sp
		return nil
	}
	switch local := a.name.local(b); {
	case string(local) == "xml":
		if string(uri) != nsXML {
			return ErrNotWellFormed
		}
		return nil
	case reserved || len(uri) == 0 || string(local) == "xmlns":
		return ErrNotWellFormed
	}
	if len(s.bindings) >= s.limits.Depth+s.limits.Attrs { // keeps lookups short
		return ErrTooDeep
	}
	prefix := span{a.name.colon + 1, a.name.to}
	s.bindings = append(s.bindings, binding{prefix, sp})
	return nil
}

// declared is the namespace that a declaration's value names, unescaped if
// need be.
func (s *Scanner) declared(b []byte, value span) space {
	raw := value.of(b)
	if len(raw) == 0 {
		return space{}
	}
	if !bytes.ContainsAny(raw, "&\t\r\n") {
		return space{inBuffer, value}
	}
	from := int32(len(s.spare))
	s.spare = appendNormalized(s.spare, raw)
	return space{inSpare, span{from, int32(len(s.spare))}}
}

// appendNormalized appends an attribute value as XML 1.0 §2.11 and §3.3.3 have it.
func appendNormalized(dst, raw []byte) []byte {
	for len(raw) > 0 {
		k := bytes.IndexAny(raw, "&\t\r\n")
		if k < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:k]...)
		raw = raw[k:]
		size := 1
		switch {
		case raw[0] == '&':
			size = bytes.IndexByte(raw, ';') + 1
			r, _ := expand(raw[1 : size-1])
			dst = utf8.AppendRune(dst, r)
		default:
			if bytes.HasPrefix(raw, []byte("\r\n")) {
				size = 2
			}
			dst = append(dst, ' ')
		}
		raw = raw[size:]
	}
	return dst
}

// openRoot takes the scope from the header, whose tag is in tok.
func (s *Scanner) openRoot(raw []byte) error {
	sc := &Scope{root: s.top.of(raw)}
	size := len(sc.root)
	for _, a := range s.attrs {
		if !a.isDecl(raw) {
			continue
		}
		var prefix []byte
		if a.name.colon != 0 {
			prefix = a.name.local(raw)
		}
		uri := appendNormalized(nil, a.value.of(raw))
		if size += len(prefix) + len(uri); size > maxScope {
			return ErrTooBig
		}
		if string(prefix) != "xml" {
			sc.decls = append(sc.decls, Attr{prefix, uri})
		}
	}
	if sc.equal(ClientScope) {
		sc = ClientScope
	} else {
		sc = sc.clone()
	}
	empty := s.emptyRoot
	s.Resume(sc)
	if empty {
		s.phase = atEmpty
	}
	return nil
}

// clone is sc in memory of its own.
func (sc *Scope) clone() *Scope {
	c := &Scope{root: bytes.Clone(sc.root)}
	for _, d := range sc.decls {
		c.decls = append(c.decls, Attr{bytes.Clone(d.Name), d.Value})
	}
	return c
}

// closeRoot makes the Close token; raw is the root's end tag, nothing if the root was empty.
func (s *Scanner) closeRoot(raw []byte) {
	q := qname{span: span{0, int32(len(s.scope.root))}}
	q.colon = int32(max(bytes.IndexByte(s.scope.root, ':'), 0))
	s.tok = Token{Kind: Close, Raw: raw, Local: q.local(s.scope.root), Prefixed: q.colon != 0}
	s.tok.Space = s.scope.space(s.scope.find(q.prefix(s.scope.root)))
	s.phase = afterRoot
}
