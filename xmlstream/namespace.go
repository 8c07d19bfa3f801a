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

// isDecl reports whether an attribute of this name declares a namespace.
func isDecl(b []byte, name qname) bool {
	if name.colon == 0 {
		return string(name.of(b)) == "xmlns"
	}
	return string(name.prefix(b)) == "xmlns"
}

// resolveTag binds what the tag under way declares, checks its attributes, and
// is the namespace of its name.
func (s *Scanner) resolveTag(b []byte) (space, error) {
	attrs := s.attrs[s.keep:]
	prefixed := false
	for k := range attrs {
		a := &attrs[k]
		name := a.name.of(b)
		for e := range attrs[:k] {
			if bytes.Equal(name, attrs[e].name.of(b)) {
				return space{}, ErrNotWellFormed // XML 1.0 §3.1, unique attributes
			}
		}
		if a.decl = isDecl(b, a.name); a.decl {
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
	for k := range attrs {
		a := &attrs[k]
		if a.name.colon == 0 || a.decl {
			continue
		}
		var err error
		if a.space, err = s.resolve(b, a.name); err != nil {
			return err
		}
		for _, earlier := range attrs[:k] {
			if earlier.space.home != nowhere && bytes.Equal(earlier.name.local(b), a.name.local(b)) &&
				bytes.Equal(s.uri(b, earlier.space), s.uri(b, a.space)) {
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
func (s *Scanner) declare(b []byte, a *attr) error {
	sp := s.declared(b, a.value)
	uri := s.uri(b, sp)
	if !isURI(uri) {
		return ErrNotWellFormed
	}
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
	if bytes.IndexByte(raw, '&') < 0 {
		return space{inBuffer, value}
	}
	s.outer = s.outer || disguised(raw)
	from := int32(len(s.spare))
	s.spare = Unescape(s.spare, raw)
	return space{inSpare, span{from, int32(len(s.spare))}}
}

// disguised reports whether a declaration's value has references that it could do without: who looks for the namespace in the
// bytes would not find it.
func disguised(raw []byte) bool {
	for {
		i := bytes.IndexByte(raw, '&')
		if i < 0 {
			return false
		}
		raw = raw[i:]
		if !bytes.HasPrefix(raw, []byte("&amp;")) && !bytes.HasPrefix(raw, []byte("&apos;")) {
			return true
		}
		raw = raw[1:]
	}
}

// isURI reports whether uri has only characters that a URI or IRI has. Others
// do no harm here, but expat refuses a namespace that contains the character by which
// its user has it separate namespaces from names: a space, a brace or a bar.
func isURI(uri []byte) bool {
	for _, c := range uri {
		if class[c]&classURI == 0 && c < utf8.RuneSelf {
			return false
		}
	}
	return true
}
