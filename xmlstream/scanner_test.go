package xmlstream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

const header = `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='chat.test' version='1.0'>`

// describe is a token in words.
func describe(t *Token) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d {%s}%s raw=%q inner=%q", t.Kind, t.Space, t.Local, t.Raw, t.Inner)
	for _, a := range t.Attrs {
		fmt.Fprintf(&b, " %s=%q", a.Name, a.Value)
	}
	for _, a := range t.Decls {
		fmt.Fprintf(&b, " decl %s=%q", a.Name, a.Value)
	}
	fmt.Fprintf(&b, " children=%d {%s}%s outer=%v prefixed=%v", t.Children, t.ChildSpace, t.ChildLocal, t.OuterPrefix, t.Prefixed)
	return b.String()
}

// scanAll feeds in to s, piece by piece as next cuts it, in a buffer that moves on every call, and
// collects the tokens in words.
func scanAll(s *Scanner, in string, next func() int) (tokens []string, err error) {
	var buf []byte
	for {
		size := min(next(), len(in))
		buf = append(append(make([]byte, 0, len(buf)+size), buf...), in[:size]...)
		in = in[size:]
		for {
			tok, n, err := s.Scan(buf)
			if err != nil {
				return tokens, err
			}
			if tok.Kind != None {
				tokens = append(tokens, describe(tok))
			}
			buf = buf[n:]
			if tok.Kind == None {
				break
			}
		}
		if in == "" {
			if len(buf) > 0 {
				tokens = append(tokens, "rest")
			}
			return tokens, nil
		}
	}
}

func wholeInput() int { return 1 << 30 }
func byByte() int     { return 1 }

// scanEveryWay scans in whole, by byte and in random pieces, and fails if that makes a difference.
func scanEveryWay(t *testing.T, l Limits, prepare func(*Scanner), in string) ([]string, error) {
	t.Helper()
	scan := func(next func() int) ([]string, error) {
		s := NewScanner(l)
		if prepare != nil {
			prepare(s)
		}
		return scanAll(s, in, next)
	}
	want, wantErr := scan(wholeInput)
	rng := rand.New(rand.NewPCG(1, uint64(len(in))))
	ways := []func() int{byByte}
	for range 8 {
		ways = append(ways, func() int { return 1 + rng.IntN(9) })
	}
	for _, next := range ways {
		got, err := scan(next)
		if strings.Join(got, "\n") != strings.Join(want, "\n") || !errors.Is(err, wantErr) {
			t.Fatalf("input %q cut into pieces\n got %v %v\nwant %v %v", in, got, err, want, wantErr)
		}
	}
	return want, wantErr
}

func inClientStream(s *Scanner) { s.Resume(ClientScope) }

func TestElements(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`<a/>`,
			`2 {jabber:client}a raw="<a/>" inner="" children=0 {} outer=false prefixed=false`},
		{`<message to='a@b' type="chat"><body>hi</body></message>`,
			`2 {jabber:client}message raw="<message to='a@b' type=\"chat\"><body>hi</body></message>" inner="<body>hi</body>"` +
				` to="a@b" type="chat" children=1 {jabber:client}body outer=false prefixed=false`},
		{"<iq\tid = '1'\r\nxml:lang\n=\n\"de\" >\n <q xmlns='u:q'/><b/>t</iq\n>",
			`2 {jabber:client}iq raw="<iq\tid = '1'\r\nxml:lang\n=\n\"de\" >\n <q xmlns='u:q'/><b/>t</iq\n>" inner="\n <q xmlns='u:q'/><b/>t"` +
				` id="1" xml:lang="de" children=2 {u:q}q outer=false prefixed=false`},
		{`<a b="'" c='"' d='&lt;>'/>`,
			`2 {jabber:client}a raw="<a b=\"'\" c='\"' d='&lt;>'/>" inner="" b="'" c="\"" d="&lt;>" children=0 {} outer=false prefixed=false`},
		{`<é·/>`, // Latin-1 in names
			`2 {jabber:client}é· raw="<é·/>" inner="" children=0 {} outer=false prefixed=false`},
		{`<a><![CDATA[<b>&]]]]></a>`,
			`2 {jabber:client}a raw="<a><![CDATA[<b>&]]]]></a>" inner="<![CDATA[<b>&]]]]>" children=0 {} outer=false prefixed=false`},
	} {
		got, err := scanEveryWay(t, Limits{}, inClientStream, c.in)
		if err != nil || len(got) != 1 || got[0] != c.want {
			t.Errorf("%s\n got %v %v\nwant %s", c.in, got, err, c.want)
		}
	}
}

func TestNamespaces(t *testing.T) {
	const (
		client = `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:o='u:o'>`
		other  = `<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>`
		none   = `<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>`
	)
	for _, c := range []struct {
		header, in, want string // name, decls, first child, flags
	}{
		{client, `<a><b/></a>`, `{jabber:client}a {jabber:client}b`},
		{client, `<a xmlns='u:a'><b/></a>`, `{u:a}a xmlns {u:a}b`},
		{client, `<a xmlns='u:a&amp;b'><b/></a>`, `{u:a&b}a xmlns {u:a&b}b`},
		{client, `<a xmlns=''><b/></a>`, `{}a xmlns {}b`},
		{client, `<a><b xmlns='u:b'/></a>`, `{jabber:client}a {u:b}b`},
		{client, `<a><p:b xmlns:p='u:b'/></a>`, `{jabber:client}a {u:b}b`},
		{client, `<p:a xmlns:p='u:a'><b/></p:a>`, `{u:a}a xmlns:p {jabber:client}b prefixed`},
		{client, `<p:a xmlns:p='jabber:client'><p:b/></p:a>`, `{jabber:client}a xmlns:p {jabber:client}b prefixed`},
		{client, `<a xml:lang='de'><xml:b/></a>`, `{jabber:client}a {http://www.w3.org/XML/1998/namespace}b`},
		{client, `<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:b=''/>`, `{jabber:client}a xmlns:xml {}`},
		{client, `<stream:a/>`, `{http://etherx.jabber.org/streams}a {} outer prefixed`},
		{client, `<a><stream:b/></a>`, `{jabber:client}a {http://etherx.jabber.org/streams}b outer`},
		{client, `<a><b stream:c=''/></a>`, `{jabber:client}a {jabber:client}b outer`},
		{client, `<a><stream:b xmlns:stream='u:s'/></a>`, `{jabber:client}a {u:s}b`},
		{client, `<a><b xmlns:o='u:p'><o:c/></b><o:c/></a>`, `{jabber:client}a {jabber:client}b outer`},
		{client, `<a xmlns:p='u:1'><b xmlns:p='u:2'/><p:c/></a>`, `{jabber:client}a xmlns:p {jabber:client}b`},
		{client, `<a xmlns:p='u:1' xmlns:q='u:2' p:b='' q:b='' b=''/>`, `{jabber:client}a xmlns:p xmlns:q {}`},
		{other, `<message xmlns='jabber:client'><b/></message>`, `{jabber:client}message xmlns {jabber:client}b`},
		{other, `<message/>`, `{http://etherx.jabber.org/streams}message {} outer`},
		{other, `<c:message><c:b/></c:message>`, `{jabber:client}message {jabber:client}b outer prefixed`},
		{other, `<message xmlns='jabber:client'><b xmlns=''/></message>`, `{jabber:client}message xmlns {}b`},
		{none, `<message/>`, `{}message {} outer`},
		{none, `<message xmlns=''/>`, `{}message xmlns {}`},
	} {
		s := NewScanner(Limits{})
		tok, n, err := s.Scan([]byte(c.header))
		if err != nil || tok.Kind != Open || n != len(c.header) {
			t.Fatal(tok.Kind, n, err)
		}
		tok, _, err = s.Scan([]byte(c.in))
		if err != nil || tok.Kind != Element {
			t.Errorf("%s%s: %v %v", c.header, c.in, tok.Kind, err)
			continue
		}
		var got strings.Builder
		fmt.Fprintf(&got, "{%s}%s", tok.Space, tok.Local)
		for _, d := range tok.Decls {
			fmt.Fprintf(&got, " %s", d.Name)
		}
		fmt.Fprintf(&got, " {%s}%s", tok.ChildSpace, tok.ChildLocal)
		if tok.OuterPrefix {
			got.WriteString(" outer")
		}
		if tok.Prefixed {
			got.WriteString(" prefixed")
		}
		if got.String() != c.want {
			t.Errorf("%s%s\n got %s\nwant %s", c.header, c.in, got.String(), c.want)
		}
	}
}

func TestStream(t *testing.T) {
	for in, want := range map[string]string{
		"<?xml version='1.0'?>" + header + " \n<a/>\t<b/> </stream:stream>\n": "open stream, a, b, close stream",
		"<?xml version = \"1.0\" encoding='utf-8' standalone='yes' ?>\n<r>":   "open r",
		byteOrderMark + "<?xml version='1.0'?><r></r >":                       "open r, close r",
		byteOrderMark + "<r/>":  "open r, close r",
		"<x:r xmlns:x='u:1'/> ": "open r, close r",
		"  <r a='b'>":           "open r",
		"":                      "",
		" ":                     "",
	} {
		s := NewScanner(Limits{})
		var got []string
		for buf := []byte(in); ; {
			tok, n, err := s.Scan(buf)
			if err != nil {
				t.Fatalf("%q: %v", in, err)
			}
			buf = buf[n:]
			if tok.Kind == None {
				break
			}
			got = append(got, map[Kind]string{Open: "open ", Close: "close "}[tok.Kind]+string(tok.Local))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%q: %v, want %s", in, got, want)
		}
		if _, err := scanEveryWay(t, Limits{}, nil, in); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// The usual header must not cost a connection memory for its scope.
func TestScope(t *testing.T) {
	for in, shared := range map[string]bool{
		header: true,
		`<stream:stream xmlns:stream="http://etherx.jabber.org/streams" xmlns="jabber:client" xmlns:xml="http://www.w3.org/XML/1998/namespace">`: true,
		`<stream:stream xmlns:stream="http://etherx.jabber.org/streams" xmlns="jabber:server">`:                                                  false,
		`<stream:stream xmlns:stream="http://etherx.jabber.org/streams" xmlns="jabber:client" xmlns:a="u:1">`:                                    false,
		`<s:stream xmlns:s="http://etherx.jabber.org/streams" xmlns="jabber:client">`:                                                            false,
		`<stream:flow xmlns:stream="http://etherx.jabber.org/streams" xmlns="jabber:client">`:                                                    false,
	} {
		s := NewScanner(Limits{})
		if s.Scope() != nil {
			t.Fatal("a scope before the header")
		}
		buf := []byte(in)
		if _, _, err := s.Scan(buf); err != nil || (s.Scope() == ClientScope) != shared {
			t.Errorf("%s: shared=%v %v", in, s.Scope() == ClientScope, err)
		}
		clear(buf) // the scope must have copied what it needs
		again := NewScanner(Limits{})
		again.Resume(s.Scope())
		end := "</" + in[1:strings.IndexByte(in, ' ')] + ">"
		if tok, _, err := again.Scan([]byte(end)); err != nil || tok.Kind != Close {
			t.Errorf("%s: end tag after Resume: %v %v", in, tok.Kind, err)
		}
	}
}

// Reset in the middle of an element must leave nothing behind.
func TestReset(t *testing.T) {
	s := NewScanner(Limits{})
	for range 3 {
		in := "<?xml version='1.0'?>" + header + "<a x='y"
		tok, n, err := s.Scan([]byte(in))
		if err != nil || tok.Kind != Open {
			t.Fatal(tok.Kind, err)
		}
		if tok, _, err = s.Scan([]byte(in[n:])); err != nil || tok.Kind != None {
			t.Fatal(tok.Kind, err)
		}
		s.Reset()
	}
}

func TestSetLimits(t *testing.T) {
	s := NewScanner(Limits{Bytes: 10})
	s.Resume(ClientScope)
	s.SetLimits(Limits{Bytes: 100})
	if tok, _, err := s.Scan([]byte("<message>" + strings.Repeat("x", 50))); tok.Kind != None || err != nil {
		t.Fatal(tok.Kind, err)
	}
	s.SetLimits(Limits{Bytes: 20})
	if _, _, err := s.Scan([]byte("<message>" + strings.Repeat("x", 51))); err != ErrTooBig {
		t.Fatal(err)
	}
}

// Input in single bytes must cost linear time: every byte is looked at once.
func TestSingleBytesAreLinear(t *testing.T) {
	big := strings.Repeat("x", 1<<18)
	for name, in := range map[string]string{
		"text":      "<a>" + big + "</a>",
		"CDATA":     "<a><![CDATA[" + big + "]]></a>",
		"value":     "<a b='" + big + "'/>",
		"name":      "<" + big + "></" + big + ">",
		"reference": "<a>&#" + strings.Repeat("0", 1<<18) + "65;</a>",
		"spaces":    "<a " + strings.Repeat(" ", 1<<18) + "/>",
		"children":  "<a>" + strings.Repeat("<b c='d'/>", 1<<15) + "</a>",
	} {
		s := NewScanner(Limits{Bytes: 1 << 20})
		s.Resume(ClientScope)
		buf, looked := []byte(in), 0
		for k := 1; k < len(buf); k++ {
			before := s.pos
			tok, _, err := s.Scan(buf[:k])
			if err != nil || tok.Kind != None {
				t.Fatalf("%s: %v %v", name, tok.Kind, err)
			}
			if s.pos < before {
				t.Fatalf("%s: went back from %d to %d", name, before, s.pos)
			}
			looked += k - before
		}
		if looked > 2*len(in) {
			t.Errorf("%s: looked at %d bytes for %d", name, looked, len(in))
		}
		if tok, n, err := s.Scan(buf); err != nil || tok.Kind != Element || n != len(buf) {
			t.Errorf("%s: %v %d %v", name, tok.Kind, n, err)
		}
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	s := NewScanner(Limits{})
	s.Resume(ClientScope)
	in := []byte(strings.Join(stanzas, "") + `<x:a xmlns:x='u:1' x:b='&lt;'><x:c>é&#x41;<![CDATA[]]></x:c></x:a>`)
	scan := func() {
		for rest := in; len(rest) > 0; {
			_, n, err := s.Scan(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
	}
	scan()
	if n := testing.AllocsPerRun(100, scan); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
