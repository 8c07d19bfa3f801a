package xmlstream

import "bytes"

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

// openRoot takes the scope from the header, whose start tag is raw.
func (s *Scanner) openRoot(raw []byte) error {
	sc := &Scope{root: bytes.Clone(s.top.of(raw))}
	size := len(sc.root)
	for _, d := range s.tokDecls {
		prefix, local := cutName(d.Name)
		if len(prefix) == 0 {
			local = nil // the default namespace
		}
		if string(local) == "xml" {
			continue
		}
		decl := Attr{bytes.Clone(local), Unescape(nil, d.Value)}
		sc.decls = append(sc.decls, decl)
		size += len(decl.Name) + len(decl.Value)
	}
	if size > maxScope {
		return ErrTooBig
	}
	if sc.equal(ClientScope) {
		sc = ClientScope
	}
	s.Resume(sc)
	if s.emptyRoot {
		s.phase = atEmpty
	}
	return nil
}

// closeRoot makes the Close token; raw is the root's end tag, nothing if the root was empty.
func (s *Scanner) closeRoot(raw []byte) {
	q := qname{span: span{0, int32(len(s.scope.root))}}
	q.colon = int32(max(bytes.IndexByte(s.scope.root, ':'), 0))
	s.tok = Token{Kind: Close, Raw: raw, Local: q.local(s.scope.root), Prefixed: q.colon != 0}
	s.tok.Space = s.scope.space(s.scope.find(q.prefix(s.scope.root)))
	s.phase = afterRoot
}

// WithDefault is the same scope with another default namespace, for a root whose
// children are to be read as if they stood in another stream.
func (sc *Scope) WithDefault(space string) *Scope {
	other := &Scope{root: sc.root, decls: []Attr{{Value: []byte(space)}}}
	for _, d := range sc.decls {
		if len(d.Name) > 0 {
			other.decls = append(other.decls, d)
		}
	}
	return other
}
