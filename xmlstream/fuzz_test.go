package xmlstream

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// FuzzScan holds the scanner against encoding/xml: whole streams, accepted or
// not, and all that a token says.
func FuzzScan(f *testing.F) {
	for _, in := range streams {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := scanStream(in)
		if errors.Is(err, ErrTooBig) || errors.Is(err, ErrTooDeep) || hasMissingName(in) {
			return
		}
		want, valid := readOracle(string(in))
		if valid != (err == nil) {
			t.Fatalf("scanner says %v, encoding/xml valid=%v\n%q", err, valid, in)
		}
		if valid {
			compare(t, got, want)
		}
	})
}

var errIncomplete = errors.New("stream not complete")

// scanStream scans one whole stream, to copies of the tokens' texts.
func scanStream(in []byte) (found []expected, err error) {
	s := NewScanner(Limits{})
	for {
		tok, n, err := s.Scan(in)
		in = in[n:]
		switch {
		case err != nil:
			return found, err
		case tok.Kind == None && len(in) == 0 && s.phase == afterRoot:
			return found, nil
		case tok.Kind == None:
			return found, errIncomplete
		case tok.Kind != Close:
			found = append(found, expectation(tok))
		}
	}
}

// expectation is a token in the oracle's terms.
func expectation(tok *Token) expected {
	e := expected{
		name: xml.Name{Space: string(tok.Space), Local: string(tok.Local)},
		raw:  string(tok.Raw), inner: string(tok.Inner),
		children: tok.Children,
		child:    xml.Name{Space: string(tok.ChildSpace), Local: string(tok.ChildLocal)},
	}
	attrs := func(list []Attr) (out []xml.Attr) {
		for _, a := range list {
			prefix, local := cutName(a.Name)
			value := Unescape(nil, lineEnds(a.Value))
			out = append(out, xml.Attr{Name: xml.Name{Space: string(prefix), Local: string(local)}, Value: string(value)})
		}
		return out
	}
	e.attrs, e.decls = attrs(tok.Attrs), attrs(tok.Decls)
	return e
}

func compare(t *testing.T, got []expected, want *oracle) {
	t.Helper()
	all := append([]expected{*want.root}, want.elems...)
	if len(got) != len(all) {
		t.Fatalf("%d tokens, want %d", len(got), len(all))
	}
	for k := range all {
		if g, w := fmt.Sprintf("%+v", got[k]), fmt.Sprintf("%+v", all[k]); g != w {
			t.Fatalf("token %d:\n got %s\nwant %s", k, g, w)
		}
	}
}

// FuzzSplit cuts the input where the bytes of cuts say, and by single bytes: tokens and
// errors must be those of the whole.
func FuzzSplit(f *testing.F) {
	for k, in := range streams {
		f.Add([]byte(in), []byte{byte(k), 3, 40, 1})
	}
	f.Fuzz(func(t *testing.T, in, cuts []byte) {
		limits := Limits{Bytes: 300, Depth: 5, Attrs: 5}
		want, wantErr := scanAll(NewScanner(limits), string(in), wholeInput)
		k := 0
		byCuts := func() int {
			if k++; len(cuts) == 0 {
				return 1
			}
			return 1 + int(cuts[k%len(cuts)])
		}
		for _, next := range []func() int{byCuts, byByte} {
			got, err := scanAll(NewScanner(limits), string(in), next)
			if strings.Join(got, "\n") != strings.Join(want, "\n") || !errors.Is(err, wantErr) {
				t.Fatalf("%q\n got %v %v\nwant %v %v", in, got, err, want, wantErr)
			}
		}
	})
}

// FuzzRewrite rewrites every element of a stream: the copy must mean the
// same, to encoding/xml too, in a stream that declares nothing but jabber:client.
func FuzzRewrite(f *testing.F) {
	for _, in := range streams {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := NewScanner(Limits{})
		var head string
		for {
			tok, n, err := s.Scan(in)
			if err != nil || tok.Kind == None || tok.Kind == Close {
				return
			}
			if tok.Kind == Open {
				head = strings.TrimSuffix(string(tok.Raw), "/>")
				head = strings.TrimSuffix(head, ">") + ">"
			} else {
				checkRewrite(t, s, head, tok)
			}
			in = in[n:]
		}
	})
}

const bareHeader = `<root xmlns='jabber:client'>`

func checkRewrite(t *testing.T, s *Scanner, head string, tok *Token) {
	t.Helper()
	before := string(tok.Raw)
	want := meaning(t, head+before)
	if !tok.Prefixed && !tok.OuterPrefix {
		if got := meaning(t, bareHeader+before); got != want {
			t.Fatalf("%s%s does not stand alone:\n got %s\nwant %s", head, before, got, want)
		}
	}
	copied := s.Rewrite(nil, tok)
	if got := meaning(t, bareHeader+string(copied)); got != want {
		t.Fatalf("%s%s becomes %s:\n got %s\nwant %s", head, before, copied, got, want)
	}
	if string(tok.Space) == nsXML {
		return
	}
	again := NewScanner(Limits{Bytes: 1 << 29, Attrs: 1000})
	again.Resume(ClientScope)
	re, n, err := again.Scan(copied)
	if err != nil || n != len(copied) || re.Kind != Element || re.Prefixed || re.OuterPrefix {
		t.Fatalf("%s%s becomes %s: %+v %v", head, before, copied, re, err)
	}
}

// meaning is what the last element of an unfinished stream means, as encoding/xml has it:
// expanded names, attributes and text, without prefixes and declarations.
func meaning(t *testing.T, in string) string {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(in))
	var out bytes.Buffer
	for depth := 0; ; {
		tok, err := d.Token()
		if err != nil {
			return out.String() // at the end, the root being open
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth++; depth == 1 {
				continue
			}
			fmt.Fprintf(&out, "<%q", tok.Name)
			for _, a := range tok.Attr {
				if a.Name.Space != "xmlns" && a.Name != (xml.Name{Local: "xmlns"}) {
					fmt.Fprintf(&out, " %q=%q", a.Name, a.Value)
				}
			}
			out.WriteString(">")
		case xml.EndElement:
			depth--
			out.WriteString("</>")
		case xml.CharData:
			out.Write(tok)
		}
	}
}
