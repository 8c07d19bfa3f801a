package xmlstream

import (
	"strings"
	"testing"
)

func TestRewrite(t *testing.T) {
	const (
		usual  = header
		prefix = `<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:c='jabber:client' xmlns='u:d&amp;' xmlns:o="u:'o">`
		bare   = `<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>`
	)
	for _, c := range []struct{ header, in, want string }{
		// prefixes that the element declares itself
		{usual, `<c:a xmlns:c='jabber:client' to="x"><c:b/>t</c:a >`, `<a xmlns:c='jabber:client' to='x'><b/>t</a>`},
		{usual, `<c:a xmlns:c='jabber:client' to="'"/>`, `<a xmlns:c='jabber:client' to="'"/>`},
		{usual, `<c:a xmlns:c='jabber:client'><b/><b xmlns='u:1'><c:d/><d/></b></c:a>`,
			`<a xmlns:c='jabber:client'><b/><b xmlns='u:1'><c:d/><d/></b></a>`},
		{usual, `<c:a xmlns:c='jabber:client' xmlns='u:1'><b/><c:b><b/></c:b></c:a>`,
			`<a xmlns:c='jabber:client' xmlns:ns0='u:1'><ns0:b/><b><ns0:b/></b></a>`},
		{usual, `<c:a xmlns:c='jabber:client' xmlns=''><b><b/></b><c:b/></c:a>`,
			`<a xmlns:c='jabber:client'><b xmlns=''><b/></b><b/></a>`},
		{usual, `<p:a xmlns:p='u:1'><p:b/><b/></p:a>`,
			`<a xmlns='u:1' xmlns:p='u:1' xmlns:ns0='jabber:client'><b/><ns0:b/></a>`},
		{usual, `<p:a xmlns:p='u:1' xmlns:ns0='u:2' p:x='1'><ns0:b><b/></ns0:b></p:a>`,
			`<a xmlns='u:1' xmlns:p='u:1' xmlns:ns0='u:2' p:x='1' xmlns:ns1='jabber:client'><ns0:b><ns1:b/></ns0:b></a>`},

		// prefixes of the header
		{usual, `<a><stream:b/></a>`, `<a xmlns:stream='http://etherx.jabber.org/streams'><stream:b/></a>`},
		{usual, `<stream:a><stream:b/></stream:a>`, `<a xmlns='http://etherx.jabber.org/streams'><b/></a>`},
		{prefix, `<c:a><c:b>&lt;<![CDATA[<b/>]]></c:b></c:a>`, `<a><b>&lt;<![CDATA[<b/>]]></b></a>`},
		{prefix, `<c:a><c:b c:d=''/></c:a>`, `<a xmlns:c='jabber:client'><b c:d=''/></a>`},
		{prefix, `<c:a><b><o:e/></b></c:a>`, `<a xmlns:o='u:&apos;o' xmlns:ns0='u:d&amp;'><ns0:b><o:e/></ns0:b></a>`},
		{prefix, `<a><b/></a>`, `<a xmlns='u:d&amp;'><b/></a>`},
		{prefix, `<c:a><b xmlns:o='u:2'><o:e/></b></c:a>`, `<a xmlns:ns0='u:d&amp;'><ns0:b xmlns:o='u:2'><o:e/></ns0:b></a>`},
		{bare, `<a><c:b/></a>`, `<a xmlns='' xmlns:c='jabber:client'><c:b/></a>`},
		{bare, `<c:a><b/></c:a>`, `<a><b xmlns=''/></a>`},
		{usual, `<a><b xmlns='u:&#x62;&amp;' xmlns:o="&#117;:o"><o:c/></b></a>`, `<a><b xmlns='u:b&amp;' xmlns:o='u:o'><o:c/></b></a>`},
		{usual, `<xml:a><stream:b/></xml:a>`, `<xml:a xmlns:stream='http://etherx.jabber.org/streams'><stream:b/></xml:a>`},
	} {
		s := NewScanner(Limits{})
		if _, _, err := s.Scan([]byte(c.header)); err != nil {
			t.Fatal(err)
		}
		tok, _, err := s.Scan([]byte(c.in))
		if err != nil || tok.Kind != Element {
			t.Fatalf("%s: %v %v", c.in, tok.Kind, err)
		}
		if got := string(s.Rewrite([]byte("x"), tok)); got != "x"+c.want {
			t.Errorf("%s\n got %s\nwant x%s", c.in, got, c.want)
		}
		checkRewrite(t, s, c.header, tok)
	}
}

// However an element is made, its copy must stay of its size.
func TestRewriteDoesNotGrow(t *testing.T) {
	long := "u:" + strings.Repeat("x", 1500)
	head := `<s:stream xmlns:s='` + long + `' xmlns:c='jabber:client' xmlns='u:d'>`
	for _, in := range []string{
		`<c:a xmlns='` + long + `'>` + strings.Repeat("<b/>", 1000) + `</c:a>`,
		`<c:a>` + strings.Repeat("<s:b/>", 1000) + `</c:a>`,
		`<c:a>` + strings.Repeat("<b/>", 1000) + `</c:a>`,
	} {
		s := NewScanner(Limits{})
		if _, _, err := s.Scan([]byte(head)); err != nil {
			t.Fatal(err)
		}
		tok, _, err := s.Scan([]byte(in))
		if err != nil || tok.Kind != Element {
			t.Fatal(tok.Kind, err)
		}
		if got := len(s.Rewrite(nil, tok)); got > 2*len(in)+len(head) {
			t.Errorf("%.40s: %d bytes become %d", in, len(in), got)
		}
	}
}
