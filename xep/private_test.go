package xep

import (
	"fmt"
	"strings"
	"testing"
)

func private(inner string) string { return "<query xmlns='jabber:iq:private'>" + inner + "</query>" }

func TestPrivate(t *testing.T) {
	f := newFixture(t)
	NewPrivate(f.Router, f.db, nil)
	romeo := f.online("romeo@chat.test/orchard", 0)

	f.result(f.ask(romeo, "get", "", private("<exodus xmlns='exodus:prefs'/>")), private("<exodus xmlns='exodus:prefs'/>"))

	stored := "<exodus  xmlns='exodus:prefs' a=\"1\"><nick>Hamlet &amp; &#65;</nick>\n<!-- --></exodus>"
	stored = strings.Replace(stored, "<!-- -->", "", 1) // as sent, byte for byte
	f.result(f.ask(romeo, "set", "", private(stored)), "")
	f.result(f.ask(romeo, "get", "romeo@chat.test", private("<exodus xmlns='exodus:prefs'/>")), private(stored))

	// Several in one, and one of them replaced.
	f.result(f.ask(romeo, "set", "", private("<exodus xmlns='exodus:prefs'/> <b xmlns='urn:b'>1</b>")), "")
	f.result(f.ask(romeo, "get", "", private("<exodus xmlns='exodus:prefs'/>")), private("<exodus xmlns='exodus:prefs'/>"))
	f.result(f.ask(romeo, "get", "", private("<b xmlns='urn:b'/>")), private("<b xmlns='urn:b'>1</b>"))
	f.result(f.ask(romeo, "get", "", private("<b xmlns='urn:c'/>")), private("<b xmlns='urn:c'/>"))

	// Another user neither reads nor writes it.
	juliet := f.online("juliet@chat.test/balcony", 0)
	for _, typ := range []string{"get", "set"} {
		f.refused(f.ask(juliet, typ, "romeo@chat.test", private("<b xmlns='urn:b'/>")), "service-unavailable")
	}
	f.result(f.ask(juliet, "get", "", private("<b xmlns='urn:b'/>")), private("<b xmlns='urn:b'/>"))
}

func TestPrivateRefuses(t *testing.T) {
	f := newFixture(t)
	NewPrivate(f.Router, f.db, nil)
	romeo := f.online("romeo@chat.test/orchard", 0)
	for _, inner := range []string{
		"", "text", "<a/>", // no element, none with a namespace of its own
		"<vCard xmlns='vcard-temp'/>", "<query xmlns='jabber:iq:roster'/>", "<x xmlns='http://jabber.org/x'/>",
		"<b xmlns='urn:b'/><a/>", "<a xmlns=''/>",
	} {
		for _, typ := range []string{"get", "set"} {
			f.refused(f.ask(romeo, typ, "", private(inner)), "not-acceptable")
		}
	}
	f.refused(f.ask(romeo, "get", "", private("<b xmlns='urn:b'/><c xmlns='urn:b'/>")), "not-acceptable")

	var many strings.Builder
	for i := range maxPrivate {
		fmt.Fprintf(&many, "<a%d xmlns='urn:a'/>", i)
	}
	f.result(f.ask(romeo, "set", "", private(many.String())), "")
	f.refused(f.ask(romeo, "set", "", private("<one-more xmlns='urn:a'/>")), "policy-violation")
	f.result(f.ask(romeo, "set", "", private("<a7 xmlns='urn:a'>new</a7>")), "")
}

// What is stored must mean the same in the result, whose prefixes differ.
func TestPrivateKeepsNamespaces(t *testing.T) {
	f := newFixture(t)
	NewPrivate(f.Router, f.db, nil)
	romeo := f.online("romeo@chat.test/orchard", 0)
	f.send(romeo, "<iq id='q' type='set' xmlns:p='jabber:iq:private' xmlns:i='urn:i'>"+
		"<p:query xmlns:e='urn:e'><e:a><b i:x='1'/></e:a></p:query></iq>")
	f.equal("set", romeo.take(), "<iq from='romeo@chat.test' to='romeo@chat.test/orchard' id='q' type='result'/>")
	f.result(f.ask(romeo, "get", "", private("<a xmlns='urn:e'/>")),
		private("<e:a xmlns='jabber:client' xmlns:i='urn:i' xmlns:e='urn:e'><b i:x='1'/></e:a>"))
}
