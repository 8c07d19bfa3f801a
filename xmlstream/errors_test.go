package xmlstream

import (
	"errors"
	"strings"
	"testing"
)

// errorCases are whole streams, each with the error that ends it.
var errorCases = []struct {
	in   string
	want error
}{
	// RFC 6120 §11.1
	{"<r><a><!-- c --></a></r>", ErrRestricted},
	{"<r><!-- c --></r>", ErrRestricted},
	{"<!-- c --><r/>", ErrRestricted},
	{"<r><a><?pi x?></a></r>", ErrRestricted},
	{"<?pi?><r/>", ErrRestricted},
	{"<?xmlx?><r/>", ErrRestricted},
	{"<!DOCTYPE r><r/>", ErrRestricted},
	{"<r><!ELEMENT a ANY></r>", ErrRestricted},
	{"<r><a>&nbsp;</a></r>", ErrRestricted},
	{"<r><a b='&lol9;'/></r>", ErrRestricted},

	// the XML declaration
	{" <?xml version='1.0'?><r/>", ErrRestricted},
	{"<r><?xml version='1.0'?></r>", ErrRestricted},
	{"<?xml version='1.0'?><?xml version='1.0'?><r/>", ErrRestricted},
	{"<?xml version='1.1'?><r/>", ErrNotWellFormed},
	{"<?xml encoding='UTF-8'?><r/>", ErrNotWellFormed},
	{"<?xml version='1.0' x='y'?><r/>", ErrNotWellFormed},
	{"<?xml version='1.0' standalone='maybe'?><r/>", ErrNotWellFormed},
	{"<?xml version='1.0'encoding='UTF-8'?><r/>", ErrNotWellFormed},
	{"<?xml version=1.0?><r/>", ErrNotWellFormed},
	{"<?xml version='1.0?><r/>", ErrNotWellFormed},
	{"<?xml version='1.0' encoding='ISO-8859-1'?><r/>", ErrEncoding},
	{"<?xml version='1.0' encoding='UTF-16'?><r/>", ErrEncoding},

	// characters and references
	{"<r><a>\x00</a></r>", ErrNotWellFormed},
	{"<r><a>\x1f</a></r>", ErrNotWellFormed},
	{"<r><a>\ufffe</a></r>", ErrNotWellFormed},
	{"<r><a>\xff</a></r>", ErrNotWellFormed},
	{"<r><a>\xc0\x80</a></r>", ErrNotWellFormed},
	{"<r><a>\xed\xa0\x80</a></r>", ErrNotWellFormed},
	{"<r><a>\xf4\x90\x80\x80</a></r>", ErrNotWellFormed},
	{"<r><a>\xe2\x82</a></r>", ErrNotWellFormed},
	{"<r><a b='\xe2\x82'/></r>", ErrNotWellFormed},
	{"<r><a b='\x01'/></r>", ErrNotWellFormed},
	{"<r><a><![CDATA[\x01]]></a></r>", ErrNotWellFormed},
	{"<r><a>&#0;</a></r>", ErrNotWellFormed},
	{"<r><a>&#x1F;</a></r>", ErrNotWellFormed},
	{"<r><a>&#xD800;</a></r>", ErrNotWellFormed},
	{"<r><a>&#x110000;</a></r>", ErrNotWellFormed},
	{"<r><a>&#99999999999999999999;</a></r>", ErrNotWellFormed},
	{"<r><a>&#x;</a></r>", ErrNotWellFormed},
	{"<r><a>&#;</a></r>", ErrNotWellFormed},
	{"<r><a>&#X41;</a></r>", ErrNotWellFormed},
	{"<r><a>&#-1;</a></r>", ErrNotWellFormed},
	{"<r><a>&;</a></r>", ErrNotWellFormed},
	{"<r><a>& </a></r>", ErrNotWellFormed},
	{"<r><a>&lt</a></r>", ErrNotWellFormed},
	{"<r><a>]]></a></r>", ErrNotWellFormed},
	{"<r><a>]]]></a></r>", ErrNotWellFormed},
	{"<r><a><![CDATA[x]]>]]></a></r>", ErrNotWellFormed},
	{"<r><a><![CDAT[x]]></a></r>", ErrNotWellFormed},
	{"<r><![CDATA[ ]]></r>", ErrNotWellFormed},

	// text beside the elements of the stream
	{"<r>text</r>", ErrNotWellFormed},
	{"<r>&#32;</r>", ErrNotWellFormed},
	{"<r><a/>x</r>", ErrNotWellFormed},
	{"x<r/>", ErrNotWellFormed},
	{"<r/>x", ErrNotWellFormed},
	{"<r></r><r>", ErrNotWellFormed},
	{" \ufeff<r/>", ErrNotWellFormed},
	{"</r>", ErrNotWellFormed},

	// tags
	{"<r><a></b></r>", ErrNotWellFormed},
	{"<r><a></ab></a></r>", ErrNotWellFormed},
	{"<r><ab></a></r>", ErrNotWellFormed},
	{"<r><a></a b=''></r>", ErrNotWellFormed},
	{"<r><a></ a></r>", ErrNotWellFormed},
	{"<r><a/></s>", ErrNotWellFormed},
	{"<r>< a/></r>", ErrNotWellFormed},
	{"<r><></r>", ErrNotWellFormed},
	{"<r><1a/></r>", ErrNotWellFormed},
	{"<r><-a/></r>", ErrNotWellFormed},
	{"<r><a\x01/></r>", ErrNotWellFormed},
	{"<r><\u00d7/></r>", ErrNotWellFormed},
	{"<r><\u00b7/></r>", ErrNotWellFormed},
	{"<r><\u0370/></r>", ErrNotWellFormed},
	{"<r><\U00010000/></r>", ErrNotWellFormed},
	{"<r><a / ></r>", ErrNotWellFormed},
	{"<r><a<b/></a></r>", ErrNotWellFormed},

	// attributes
	{"<r><a b/></r>", ErrNotWellFormed},
	{"<r><a b=c/></r>", ErrNotWellFormed},
	{"<r><a b='c/></r>", ErrNotWellFormed},
	{"<r><a b='<'/></r>", ErrNotWellFormed},
	{"<r><a b='&'/></r>", ErrNotWellFormed},
	{"<r><a b='1'c='2'/></r>", ErrNotWellFormed},
	{"<r><a b='1' b='2'/></r>", ErrNotWellFormed},
	{"<r><a b='1' c='' b=\"1\"/></r>", ErrNotWellFormed},
	{"<r><a ='1'/></r>", ErrNotWellFormed},
	{"<r><a 'b'='1'/></r>", ErrNotWellFormed},

	// namespaces
	{"<p:r/>", ErrBadPrefix},
	{"<r><p:a/></r>", ErrBadPrefix},
	{"<r><a p:b=''/></r>", ErrBadPrefix},
	{"<r><a xmlns:p='u:1'/><p:b/></r>", ErrBadPrefix},
	{"<r><a><b xmlns:p='u:1'/><p:c/></a></r>", ErrBadPrefix},
	{"<r><xmlns:a/></r>", ErrBadPrefix},
	{"<r><a:b:c xmlns:a='u:1'/></r>", ErrNotWellFormed},
	{"<r><:a/></r>", ErrNotWellFormed},
	{"<r><a:/></r>", ErrNotWellFormed},
	{"<r><a:1 xmlns:a='u:1'/></r>", ErrNotWellFormed},
	{"<r><a b:c:d=''/></r>", ErrNotWellFormed},
	{"<r><a xmlns:=''/></r>", ErrNotWellFormed},
	{"<r><a xmlns:p=''/></r>", ErrNotWellFormed},
	{"<r><a xmlns:xmlns='u:1'/></r>", ErrNotWellFormed},
	{"<r><a xmlns:xml='u:1'/></r>", ErrNotWellFormed},
	{"<r><a xmlns:p='http://www.w3.org/XML/1998/namespace'/></r>", ErrNotWellFormed},
	{"<r><a xmlns='http://www.w3.org/XML/1998/namespace'/></r>", ErrNotWellFormed},
	{"<r><a xmlns:p='http://www.w3.org/2000/xmlns/'/></r>", ErrNotWellFormed},
	{"<r><a xmlns='http://www.w3.org/2000/xmlns/'/></r>", ErrNotWellFormed},
	{"<r><a xmlns='u:1' xmlns='u:1'/></r>", ErrNotWellFormed},
	{"<r><a xmlns:p='u:1' xmlns:p='u:2'/></r>", ErrNotWellFormed},
	{"<r><a xmlns:p='u:1' xmlns:q='u:1' p:b='' q:b=''/></r>", ErrNotWellFormed},
	{"<r xmlns:p='u&amp;1'><a xmlns:q='u&#x26;1' p:b='' q:b=''/></r>", ErrNotWellFormed},
	{"<r><a xmlns='u 1'/></r>", ErrNotWellFormed},
	{"<r><a xmlns:p='u}1'/></r>", ErrNotWellFormed},
	{"<r><a xmlns:p='u&#124;1'/></r>", ErrNotWellFormed},
}

func TestErrors(t *testing.T) {
	for _, c := range errorCases {
		if _, err := scanEveryWay(t, Limits{}, nil, c.in); err != c.want {
			t.Errorf("%q: %v, want %v", c.in, err, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	attrs := func(n int) string {
		var b strings.Builder
		for k := range n {
			b.WriteString(" a" + strings.Repeat("x", k) + "=''")
		}
		return b.String()
	}
	decls := func(tags int) string {
		var b strings.Builder
		for k := range tags {
			p := strings.Repeat("x", 4*k+1)
			b.WriteString("<a xmlns:a" + p + "='u' xmlns:b" + p + "='u' xmlns:c" + p + "='u' xmlns:d" + p + "='u'>")
		}
		return b.String()
	}
	l := Limits{Bytes: 1000, Depth: 4, Attrs: 4}
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"size":              {"<a>" + strings.Repeat("x", 1000-7) + "</a>", nil},
		"one byte too many": {"<a>" + strings.Repeat("x", 1001-7) + "</a>", ErrTooBig},
		"incomplete":        {"<a>" + strings.Repeat("x", 998), ErrTooBig},
		"long tag":          {"<a b='" + strings.Repeat("x", 1000), ErrTooBig},
		"long name":         {"<" + strings.Repeat("x", 1000), ErrTooBig},
		"long reference":    {"<a>&#" + strings.Repeat("0", 1000), ErrTooBig},
		"white space":       {strings.Repeat(" ", 5000) + "<a/>", nil},
		"depth":             {nested(4), nil},
		"too deep":          {nested(5), ErrTooDeep},
		"too deep, empty":   {"<a><a><a><a><a/></a></a></a></a>", ErrTooDeep},
		"attributes":        {"<a" + attrs(4) + "/>", nil},
		"too many":          {"<a" + attrs(5) + "/>", ErrTooDeep},
		"in a child":        {"<a" + attrs(4) + "><b" + attrs(5) + "/></a>", ErrTooDeep},
		"prefixes":          {decls(2), nil},
		"too many prefixes": {decls(3), ErrTooDeep},
	} {
		if _, err := scanEveryWay(t, l, inClientStream, c.in); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for name, in := range map[string]string{
		"declaration":            "<?xml " + strings.Repeat(" ", 1000) + "version='1.0'?><r>",
		"incomplete declaration": "<?xml " + strings.Repeat(" ", 1000),
		"header":                 "<r a='" + strings.Repeat("x", 1000) + "'>",
	} {
		if _, err := scanEveryWay(t, l, nil, in); err != ErrTooBig {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := "<r xmlns='" + strings.Repeat("x", maxScope) + "'>"
	if _, err := scanEveryWay(t, Limits{}, nil, long); err != ErrTooBig {
		t.Errorf("scope: %v", err)
	}
}

func TestErrorIsFinal(t *testing.T) {
	s := NewScanner(Limits{})
	if _, _, err := s.Scan([]byte("<r><a></b>")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		tok, n, err := s.Scan([]byte("<a></b>"))
		if !errors.Is(err, ErrNotWellFormed) || tok.Kind != None {
			t.Fatalf("%v %d %v", tok.Kind, n, err)
		}
	}
	if _, _, err := s.Scan([]byte("<a/>")); !errors.Is(err, ErrNotWellFormed) {
		t.Fatalf("an error must be final: %v", err)
	}
	s.Reset()
	if tok, _, err := s.Scan([]byte("<r>")); err != nil || tok.Kind != Open {
		t.Fatalf("after Reset: %v %v", tok.Kind, err)
	}
}
