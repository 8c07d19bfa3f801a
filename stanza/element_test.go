package stanza

import (
	"bytes"
	"encoding/xml"
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
