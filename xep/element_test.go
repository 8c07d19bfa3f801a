package xep

import (
	"bytes"
	"context"
	"encoding/xml"
	"testing"

	"chatd/router"
	"chatd/stanza"
)

func TestElements(t *testing.T) {
	st := &stanza.Stanza{Attrs: []byte(" xmlns:p='urn:p' a='&amp;'"), Inner: []byte("t<a b='1' p:b='2'>x</a> <p:c/><d xmlns='urn:d'><e/></d>")}
	all, err := elements(st)
	if err != nil || len(all) != 3 {
		t.Fatalf("%d elements, %v", len(all), err)
	}
	for i, want := range []struct{ space, local, raw, alone string }{
		{stanza.NSClient, "a", "<a b='1' p:b='2'>x</a>", "<a xmlns='jabber:client' xmlns:p='urn:p' b='1' p:b='2'>x</a>"},
		{"urn:p", "c", "<p:c/>", "<p:c xmlns='jabber:client' xmlns:p='urn:p'/>"},
		{"urn:d", "d", "<d xmlns='urn:d'><e/></d>", "<d xmlns='urn:d'><e/></d>"},
	} {
		e := all[i]
		if !e.is(want.space, want.local) || string(e.raw) != want.raw || string(e.standalone()) != want.alone {
			t.Errorf("got {%s}%s %s %s", e.Name.Space, e.Name.Local, e.raw, e.standalone())
		}
		if got := st.Inner[e.at : e.at+len(e.raw)]; string(got) != want.raw {
			t.Errorf("offset %d is of %s", e.at, got)
		}
	}
	if all[0].attr("b") != "1" || all[0].attr("c") != "" {
		t.Error("wrong attribute")
	}
	below, err := all[2].children()
	if err != nil || len(below) != 1 || !below[0].is("urn:d", "e") {
		t.Errorf("children: %v, %v", below, err)
	}
}

func TestElementsOfBrokenXML(t *testing.T) {
	for _, inner := range []string{"<", "<a>", "</a>", "<a></b>", "&bad;"} {
		if all, err := elements(&stanza.Stanza{Inner: []byte(inner)}); err != stanza.ErrBadRequest {
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
		st, err := stanza.Parse([]byte(raw))
		if err != nil {
			return
		}
		all, err := elements(st)
		if err != nil {
			t.Skip("encoding/xml knows less")
		}
		for _, e := range all {
			var got xml.StartElement
			d := xml.NewDecoder(bytes.NewReader(e.standalone()))
			tok, err := d.Token()
			if err == nil {
				got = tok.(xml.StartElement)
				err = d.Skip()
			}
			if err != nil || got.Name != e.Name {
				t.Errorf("%s: %s is %v, %v", raw, e.standalone(), got.Name, err)
			}
			if string(st.Inner[e.at:e.at+len(e.raw)]) != string(e.raw) {
				t.Errorf("%s: %s is not at %d", raw, e.raw, e.at)
			}
		}
	})
}

// FuzzRequests gives every extension any request: each is answered once, with
// XML, and nothing breaks.
func FuzzRequests(f *testing.F) {
	for _, payload := range []string{
		infoQuery, itemsQuery, emptyVCard, lastGet, photo("image"), private("<b xmlns='urn:b'/>"),
		blocking("block", "a@b/c", "d"), blocking("unblock"), blocking("blocklist"),
		"<enable xmlns='urn:xmpp:carbons:2'/>", "<ping xmlns='urn:xmpp:ping'/>", "<time xmlns='urn:xmpp:time'/>",
		"<query xmlns='jabber:iq:version'/>", register("<username>romeo</username><password>p</password>"), register("<remove/>"),
	} {
		for to := range byte(4) {
			f.Add(to, to%2 == 0, payload)
		}
	}
	f.Fuzz(func(t *testing.T, to byte, isSet bool, payload string) {
		st, err := stanza.Parse([]byte("<iq id='q' type='get'>" + payload + "</iq>"))
		if err != nil {
			return
		}
		x := newFixture(t)
		all(x)
		romeo := x.online("romeo@chat.test/orchard", 0)
		x.online("juliet@chat.test/balcony", 0)
		st.From, st.To = romeo.jid, stanza.MustJID([]string{"chat.test", "romeo@chat.test", "juliet@chat.test", "tybalt@chat.test"}[to%4])
		if isSet {
			st.Type = stanza.Set
		}
		x.FromClient(t.Context(), nil, romeo, st)
		answers := 0
		for _, got := range romeo.take() {
			reply, err := stanza.Parse([]byte(got))
			if err != nil {
				t.Fatalf("%s: %s: %v", payload, got, err)
			}
			if reply.Type == stanza.Result || reply.Type == stanza.TypeError {
				answers++
			}
		}
		if answers != 1 {
			t.Errorf("%s: %d answers", payload, answers)
		}
	})
}

// all registers every extension.
func all(f *fixture) {
	a := &accounts{}
	NewPing(f.Router)
	NewSession(f.Router)
	NewVersion(f.Router, "1", "")
	NewTime(f.Router)
	NewLast(f.Router, f.friends, f.db)
	NewPrivate(f.Router, f.db, nil)
	NewVCard(f.Router, f.db, NewAvatar(f.Router, f.db, reannounce))
	f.Blocks = NewBlocking(f.Router, f.db, func(context.Context, *router.Batch, stanza.JID, *router.Blocklist, *router.Blocklist) error {
		return nil
	})
	NewRegister(f.Router, a, a.unfriend)
	NewDisco(f.Router, f.friends, "urn:x", nil, nil)
}
