package xmlstream

import (
	"bytes"
	"encoding/xml"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The oracle reads a whole stream with encoding/xml in strict mode. That
// decoder lets pass what it does not look at, so the oracle adds, on top of
// its tokens, the checks it leaves out:
//
//   - comments, processing instructions and directives, and text beside the stream's elements;
//   - attributes twice in a tag, by name or by namespace and local name;
//   - white space missing between attributes;
//   - prefixes that nothing binds, and what Namespaces in XML reserves;
//   - names with an empty or malformed part beside their colon;
//   - character references to surrogates, which it turns into U+FFFD;
//   - more than one root, and anything after the root;
//   - namespaces with characters that no URI has (see isURI).
//
// The other way round, its tables of name characters lack some of XML 1.0's
// Fourth Edition (hasMissingName), and it takes a byte order mark for text.

// expected is what the scanner must find of one element, or of the header.
type expected struct {
	name       xml.Name
	attrs      []xml.Attr // with qualified names
	decls      []xml.Attr
	raw, inner string
	children   int
	child      xml.Name
}

// level is an open element.
type level struct {
	qname string
	bound map[string]string // prefix to namespace, with "" for the default
}

type oracle struct {
	in     string
	stack  []level
	root   *expected
	elems  []expected
	closed bool
}

// readOracle is the oracle's account of in, and whether in is a stream that
// the scanner must accept.
func readOracle(in string) (*oracle, bool) {
	in = strings.TrimPrefix(in, byteOrderMark)
	o := &oracle{in: in}
	if surrogateRef(in) {
		return o, false
	}
	// Two decoders in step: one gives prefixes, one namespaces.
	raw, cooked := xml.NewDecoder(strings.NewReader(in)), xml.NewDecoder(strings.NewReader(in))
	for {
		from := raw.InputOffset()
		rt, rerr := raw.RawToken()
		ct, cerr := cooked.Token()
		if cerr == io.EOF && rerr == io.EOF {
			return o, o.closed
		}
		if cerr != nil || rerr != nil || !o.token(rt, ct, int(from), int(raw.InputOffset())) {
			return o, false
		}
	}
}

// token takes one token, in both readings, from in[from:to].
func (o *oracle) token(rt, ct xml.Token, from, to int) bool {
	text := o.in[from:to]
	switch rt := rt.(type) {
	case xml.StartElement:
		return o.start(rt, ct.(xml.StartElement), from, to)
	case xml.EndElement:
		o.end(from, to)
		return true
	case xml.CharData:
		outside := len(o.stack) < 2
		return !outside || strings.Trim(text, " \t\r\n") == ""
	case xml.ProcInst: // encoding/xml has checked what it knows of a declaration
		return from == 0 && rt.Target == "xml" && checkDeclaration(append([]byte(" "), rt.Inst...)) == nil
	}
	return false
}

var afterValue = regexp.MustCompile(`^<[^\s/>]+(\s+[^\s=]+\s*=\s*("[^"]*"|'[^']*'))*\s*/?>$`)

func (o *oracle) start(raw, cooked xml.StartElement, from, to int) bool {
	if o.closed || !afterValue.MatchString(o.in[from:to]) || !validQName(raw.Name) || raw.Name.Space == "xmlns" {
		return false
	}
	e := expected{name: cooked.Name}
	l := level{qname: qualified(raw.Name), bound: map[string]string{}}
	if len(o.stack) > 0 {
		for p, uri := range o.stack[len(o.stack)-1].bound {
			l.bound[p] = uri
		}
	} else {
		l.bound["xml"] = nsXML
	}
	for _, a := range raw.Attr {
		if !validQName(a.Name) || slices.ContainsFunc(e.decls, sameName(a)) || slices.ContainsFunc(e.attrs, sameName(a)) {
			return false
		}
		if a.Name.Space != "xmlns" && a.Name != (xml.Name{Local: "xmlns"}) {
			e.attrs = append(e.attrs, a)
			continue
		}
		e.decls = append(e.decls, a)
		if !validDecl(a) {
			return false
		}
		prefix := ""
		if a.Name.Space != "" {
			prefix = a.Name.Local
		}
		l.bound[prefix] = a.Value
	}
	if _, ok := l.bound[raw.Name.Space]; !ok && raw.Name.Space != "" {
		return false
	}
	seen := map[xml.Name]bool{}
	for _, a := range e.attrs {
		uri, ok := l.bound[a.Name.Space]
		if a.Name.Space == "" {
			continue
		}
		expanded := xml.Name{Space: uri, Local: a.Name.Local}
		if !ok || seen[expanded] {
			return false
		}
		seen[expanded] = true
	}
	o.stack = append(o.stack, l)
	switch len(o.stack) {
	case 1:
		e.raw = o.in[from:to]
		o.root = &e
	case 2:
		e.raw, e.inner = o.in[from:], o.in[to:]
		o.elems = append(o.elems, e)
	case 3:
		top := &o.elems[len(o.elems)-1]
		if top.children++; top.children == 1 {
			top.child = e.name
		}
	}
	return true
}

func (o *oracle) end(from, to int) {
	o.stack = o.stack[:len(o.stack)-1]
	switch len(o.stack) {
	case 0:
		o.closed = true
	case 1:
		e := &o.elems[len(o.elems)-1]
		e.raw = e.raw[:len(e.raw)-(len(o.in)-to)]
		e.inner = e.inner[:max(0, len(e.inner)-(len(o.in)-from))]
	}
}

func qualified(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

func sameName(a xml.Attr) func(xml.Attr) bool {
	return func(b xml.Attr) bool { return a.Name == b.Name }
}

// validQName reports whether each part of a name is a name.
func validQName(n xml.Name) bool {
	if strings.Contains(n.Local, ":") {
		return false
	}
	return xml.Unmarshal([]byte("<"+n.Local+"/>"), new(struct{})) == nil
}

// validDecl is Namespaces in XML §3 and the scanner's own rule on URIs.
func validDecl(a xml.Attr) bool {
	reserved := a.Value == nsXML || a.Value == nsXMLNS
	notURI := func(r rune) bool {
		return r < 0x80 && !strings.ContainsRune("-._~:/?#[]@!$&'()*+,;=%", r) &&
			!(r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z')
	}
	switch {
	case strings.ContainsFunc(a.Value, notURI):
		return false
	case a.Name.Space == "":
		return !reserved
	case a.Name.Local == "xml":
		return a.Value == nsXML
	}
	return !reserved && a.Value != "" && a.Name.Local != "xmlns"
}

var numericRef = regexp.MustCompile(`&#(x?)([0-9a-fA-F]+);`)

// surrogateRef reports whether a character reference, wherever it may stand, names a
// surrogate.
func surrogateRef(in string) bool {
	for _, m := range numericRef.FindAllStringSubmatch(in, -1) {
		base := 10
		if m[1] != "" {
			base = 16
		}
		if n, err := strconv.ParseUint(m[2], base, 64); err == nil && n >= 0xD800 && n <= 0xDFFF {
			return true
		}
	}
	return false
}

// hasMissingName reports whether in has one of the characters that the
// tables of encoding/xml lack.
func hasMissingName(in []byte) bool {
	return bytes.ContainsAny(in, "\u05C4\u0640\u1175\u119E\u11A8\u11AB\u11EB\u11F0\u1F59\u1F5B\u20E1\u3005")
}
