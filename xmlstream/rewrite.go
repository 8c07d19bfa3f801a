package xmlstream

import (
	"bytes"
	"strconv"
)

// Rewrite appends an element to dst as it must read where jabber:client is
// the default namespace and no prefix but xml is declared: elements of
// jabber:client lose their prefix, prefixes that the stream header declares are declared on
// the element, and namespaces have no references but those that they cannot do without. For tokens that are Prefixed or OuterPrefix; anything
// else may be used as it is.
//
// It allocates. The result is longer than the element by what the header declares at most,
// and a few bytes for each element in it. Only an element in the
// namespace of the prefix xml, which cannot be a default, remains Prefixed.
func (s *Scanner) Rewrite(dst []byte, tok *Token) []byte {
	scope := s.scope
	if scope == nil {
		scope = &Scope{}
	}
	r := rewriter{raw: tok.Raw, scope: scope, used: make([]bool, len(scope.decls))}
	return r.element(dst)
}

// A rewriter copies one element that a Scanner has accepted. Inside the copy
// default namespaces change where they change in the original, with one
// difference: the copy's top-level element has no prefix, so that its own
// namespace becomes the default there. Where the original's default is still
// the one of its top-level start tag, names without prefix get one that is made up.
type rewriter struct {
	raw      []byte
	scope    *Scope
	used     []bool // declarations of scope that the copy needs
	bindings []Attr // prefixes that open elements declare, namespaces unescaped
	open     []copied
	body     []byte // the copy after the top-level start tag

	inherited []byte // default namespace in the original's top-level element
	madeUp    string // prefix for inherited; empty until needed
}

// copied is an open element.
type copied struct {
	name     []byte // for the copy's end tag
	in, out  []byte // default namespace in the original and in the copy
	bindings int    // those outside of it
}

func (r *rewriter) element(dst []byte) []byte {
	top, rest := cutTag(r.raw)
	inherited, _ := r.declare(top, r.scope.space(r.scope.find(nil)))
	r.inherited = inherited
	prefix, name := cutName(top.name)
	space := inherited
	if len(prefix) > 0 {
		space = r.lookup(prefix)
	}
	if string(space) == nsXML {
		name, space = top.name, []byte(nsClient)
	}
	var attrs []byte
	for _, a := range top.attrs {
		if string(a.Name) != "xmlns" {
			attrs = r.appendAttr(attrs, a)
		}
	}
	if !top.empty {
		r.open = append(r.open, copied{name: name, in: inherited, out: space})
		r.content(rest)
	}

	dst = append(append(dst, '<'), name...)
	if string(space) != nsClient {
		dst = appendDecl(dst, "", space)
	}
	dst = append(dst, attrs...)
	for k, d := range r.scope.decls {
		if r.used[k] {
			dst = appendDecl(dst, string(d.Name), d.Value)
		}
	}
	if r.madeUp != "" {
		dst = appendDecl(dst, r.madeUp, inherited)
	}
	if top.empty {
		return append(dst, "/>"...)
	}
	return append(append(dst, '>'), r.body...)
}

// content copies what follows the top-level start tag.
func (r *rewriter) content(rest []byte) {
	for len(r.open) > 0 {
		lt := bytes.IndexByte(rest, '<')
		r.body = append(r.body, rest[:lt]...)
		rest = rest[lt:]
		switch rest[1] {
		case '!':
			end := bytes.Index(rest, []byte("]]>")) + 3
			r.body = append(r.body, rest[:end]...)
			rest = rest[end:]
		case '/':
			e := r.open[len(r.open)-1]
			r.open = r.open[:len(r.open)-1]
			r.bindings = r.bindings[:e.bindings]
			r.body = append(append(append(r.body, "</"...), e.name...), '>')
			rest = rest[bytes.IndexByte(rest, '>')+1:]
		default:
			var t tag
			t, rest = cutTag(rest)
			r.start(t)
		}
	}
}

// start copies a start tag below the top.
func (r *rewriter) start(t tag) {
	parent := r.open[len(r.open)-1]
	e := copied{name: t.name, in: parent.in, out: parent.out, bindings: len(r.bindings)}
	own, ok := r.declare(t, parent.in)
	if ok {
		e.in, e.out = own, own
	}
	undeclare := false
	switch prefix, local := cutName(t.name); {
	case len(prefix) > 0 && bytes.Equal(r.lookup(prefix), e.out):
		e.name = local
	case len(prefix) > 0:
		r.use(prefix)
	case bytes.Equal(e.in, e.out):
	case len(e.in) == 0:
		e.out, undeclare = nil, true
	default:
		e.name = append([]byte(r.inheritedPrefix()+":"), local...)
	}
	r.body = append(append(r.body, '<'), e.name...)
	if undeclare {
		r.body = appendDecl(r.body, "", nil)
	}
	for _, a := range t.attrs {
		r.body = r.appendAttr(r.body, a)
	}
	if t.empty {
		r.body = append(r.body, "/>"...)
		r.bindings = r.bindings[:e.bindings]
		return
	}
	r.body = append(r.body, '>')
	r.open = append(r.open, e)
}

// declare takes note of the prefixes that t declares. It is the default
// namespace in t, and whether t declares it.
func (r *rewriter) declare(t tag, outer []byte) (space []byte, own bool) {
	space = outer
	for _, a := range t.attrs {
		prefix, local := cutName(a.Name)
		switch {
		case string(prefix) == "xmlns":
			r.bindings = append(r.bindings, Attr{local, Unescape(nil, a.Value)})
		case string(a.Name) == "xmlns":
			space, own = Unescape(nil, a.Value), true
		}
	}
	return space, own
}

// lookup is the namespace that a prefix is bound to.
func (r *rewriter) lookup(prefix []byte) []byte {
	for k := len(r.bindings) - 1; k >= 0; k-- {
		if bytes.Equal(r.bindings[k].Name, prefix) {
			return r.bindings[k].Value
		}
	}
	if string(prefix) == "xml" {
		return bytesXML
	}
	return r.scope.space(r.scope.find(prefix))
}

// use takes note that the copy has this prefix.
func (r *rewriter) use(prefix []byte) {
	for _, b := range r.bindings {
		if bytes.Equal(b.Name, prefix) {
			return
		}
	}
	if k := r.scope.find(prefix); k >= 0 {
		r.used[k] = true
	}
}

func (r *rewriter) appendAttr(dst []byte, a Attr) []byte {
	switch prefix, local := cutName(a.Name); {
	case string(prefix) == "xmlns":
		return appendDecl(dst, string(local), Unescape(nil, a.Value))
	case string(a.Name) == "xmlns":
		return appendDecl(dst, "", Unescape(nil, a.Value))
	case len(prefix) > 0:
		r.use(prefix)
	}
	quote := byte('\'')
	if bytes.IndexByte(a.Value, quote) >= 0 {
		quote = '"'
	}
	dst = append(append(dst, ' '), a.Name...)
	dst = append(append(dst, '=', quote), a.Value...)
	return append(dst, quote)
}

// inheritedPrefix is a prefix for the namespace inherited that nothing else declares.
func (r *rewriter) inheritedPrefix() string {
	if r.madeUp != "" {
		return r.madeUp
	}
	taken := map[string]bool{}
	for _, d := range r.scope.decls {
		taken[string(d.Name)] = true
	}
	for _, after := range bytes.Split(r.raw, []byte("xmlns:"))[1:] {
		end := bytes.IndexAny(after, "= \t\r\n")
		taken[string(after[:max(end, 0)])] = true
	}
	for k := 0; r.madeUp == ""; k++ {
		if p := "ns" + strconv.Itoa(k); !taken[p] {
			r.madeUp = p
		}
	}
	return r.madeUp
}

// appendDecl appends a namespace declaration.
func appendDecl(dst []byte, prefix string, uri []byte) []byte {
	dst = append(dst, " xmlns"...)
	if prefix != "" {
		dst = append(append(dst, ':'), prefix...)
	}
	dst = append(dst, "='"...)
	for _, c := range uri {
		switch c {
		case '&':
			dst = append(dst, "&amp;"...)
		case '\'':
			dst = append(dst, "&apos;"...)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '\'')
}

// A tag is a start tag taken apart.
type tag struct {
	name  []byte
	attrs []Attr
	empty bool
}

// cutTag takes a valid start tag off the front of b.
func cutTag(b []byte) (t tag, rest []byte) {
	end := bytes.IndexAny(b, " \t\r\n/>")
	t.name, b = b[1:end], b[end:]
	for {
		b = b[skipSpace(b, 0):]
		switch b[0] {
		case '>':
			return t, b[1:]
		case '/':
			t.empty = true
			return t, b[2:]
		}
		end := bytes.IndexAny(b, "= \t\r\n")
		open := bytes.IndexAny(b, `'"`)
		size := bytes.IndexByte(b[open+1:], b[open])
		t.attrs = append(t.attrs, Attr{b[:end], b[open+1 : open+1+size]})
		b = b[open+size+2:]
	}
}

// cutName is the prefix and the local part of a qualified name.
func cutName(name []byte) (prefix, local []byte) {
	if k := bytes.IndexByte(name, ':'); k >= 0 {
		return name[:k], name[k+1:]
	}
	return nil, name
}
