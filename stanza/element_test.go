package stanza

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"slices"
	"testing"
)

func TestElements(t *testing.T) {
	st := &Stanza{Attrs: []byte(" xmlns:p='urn:p' a='&amp;'"), Inner: []byte("t<a b='1' p:b='2'>x</a> <p:c/><d xmlns='urn:d'><e/></d>")}
	all, err := Elements(st)
	if err != nil || len(all) != 3 {
		t.Fatalf("%d elements, %v", len(all), err)
	}
	for i, want := range []struct{ space, local, raw, alone string }{
		{NSClient, "a", "<a b='1' p:b='2'>x</a>", "<a xmlns='jabber:client' xmlns:p='urn:p' b='1' p:b='2'>x</a>"},
		{"urn:p", "c", "<p:c/>", "<p:c xmlns='jabber:client' xmlns:p='urn:p'/>"},
		{"urn:d", "d", "<d xmlns='urn:d'><e/></d>", "<d xmlns='urn:d'><e/></d>"},
	} {
		e := all[i]
		if !e.Is(want.space, want.local) || string(e.Raw) != want.raw || string(e.Standalone()) != want.alone {
			t.Errorf("got {%s}%s %s %s", e.Name.Space, e.Name.Local, e.Raw, e.Standalone())
		}
		if got := st.Inner[e.At : e.At+len(e.Raw)]; string(got) != want.raw {
			t.Errorf("offset %d is of %s", e.At, got)
		}
	}
	if all[0].Attribute("b") != "1" || all[0].Attribute("c") != "" {
		t.Error("wrong attribute")
	}
	below, err := all[2].Children()
	if err != nil || len(below) != 1 || !below[0].Is("urn:d", "e") {
		t.Errorf("children: %v, %v", below, err)
	}
}

func TestElementsOfBrokenXML(t *testing.T) {
	for _, inner := range []string{"<", "<a>", "</a>", "<a></b>", "&bad;"} {
		if all, err := Elements(&Stanza{Inner: []byte(inner)}); err != ErrBadRequest {
			t.Errorf("%s: %v, %v", inner, all, err)
		}
	}
}

// FuzzElements checks that whatever the stanza parser accepts is split into
// elements that stand alone and keep their names.
func FuzzElements(f *testing.F) {
	f.Add("<message xmlns:p='urn:p'><a p:b='2'>x</a><p:c/><d xmlns='urn:d'><e/></d></message>")
	f.Add("<iq id='1' type='set'><query xmlns='jabber:iq:private' xmlns:x='y'><x:a/></query></iq>")
	f.Add("<presence a=\"'\"><b c='&lt;&#x10FFFF;'/>]]&gt;<![CDATA[<]]></presence>")
	f.Fuzz(func(t *testing.T, raw string) {
		st, err := Parse([]byte(raw))
		if err != nil {
			return
		}
		all, err := Elements(st)
		if err != nil {
			t.Skip("encoding/xml knows less")
		}
		for _, e := range all {
			var got xml.StartElement
			d := xml.NewDecoder(bytes.NewReader(e.Standalone()))
			tok, err := d.Token()
			if err == nil {
				got = tok.(xml.StartElement)
				err = d.Skip()
			}
			if err != nil || got.Name != e.Name {
				t.Errorf("%s: %s is %v, %v", raw, e.Standalone(), got.Name, err)
			}
			if string(st.Inner[e.At:e.At+len(e.Raw)]) != string(e.Raw) {
				t.Errorf("%s: %s is not at %d", raw, e.Raw, e.At)
			}
		}
	})
}

// FuzzSplit checks that elements are found as encoding/xml finds them.
func FuzzSplit(f *testing.F) {
	for _, doc := range []string{
		"<iq xmlns='jabber:client' xmlns:p='urn:p' id='1'><query xmlns='jabber:iq:private' a='&lt;' b=\"'\"><a/></query> <p:b xmlns:p='urn:q'/></iq>",
		"<x/>", "<x></x>", "<x xmlns='jabber:x:data'><field var='a'><value>1</value></field></x>",
		"<x>t<y/></x>", "<x><y p:a='1' xmlns:p='q'/></x>", "<x><y a='\r\n'/></x>", "<x><!-- --><y/></x>", "<x><y/></x><z/>", "<p:x><y/></p:x>",
		"<stream:stream xmlns='a' xmlns:stream='b'><stream:error/></stream:stream>", "<x xmlns='a'><y xmlns=''><z/></y></x>",
		"<x xmlns='&amp;'><y xmlns:a='&#38;' xml:lang='en'/></x> ", "<?xml version='1.0'?><x><y/></x>",
	} {
		f.Add(doc)
	}
	sorted := func(all []xml.Attr) []xml.Attr {
		return slices.SortedFunc(slices.Values(all), func(a, b xml.Attr) int {
			return cmp.Or(cmp.Compare(a.Name.Space, b.Name.Space), cmp.Compare(a.Name.Local, b.Name.Local))
		})
	}
	f.Fuzz(func(t *testing.T, doc string) {
		got, ok := splitPlain([]byte(doc))
		if !ok {
			return
		}
		want, err := splitAny([]byte(doc))
		if err != nil || len(got) != len(want) {
			t.Fatalf("%q: %d elements, not %d, %v", doc, len(got), len(want), err)
		}
		for i, g := range got {
			w := want[i]
			if g.Name != w.Name || g.At != w.At || !bytes.Equal(g.Raw, w.Raw) || !slices.Equal(sorted(g.Attr), sorted(w.Attr)) || !slices.Equal(sorted(g.scope), sorted(w.scope)) {
				t.Errorf("%q: %+v, not %+v", doc, g, w)
			}
		}
	})
}

func BenchmarkElements(b *testing.B) {
	st := &Stanza{Kind: IQ, Type: Set, ID: []byte("a"), Inner: []byte("<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>")}
	b.ReportAllocs()
	for b.Loop() {
		all, err := Elements(st)
		if err == nil {
			all, err = all[0].Children()
		}
		if err != nil || len(all) != 1 {
			b.Fatal(len(all), err)
		}
	}
}
