package xep

import (
	"strings"
	"testing"
)

const infoQuery = "<query xmlns='" + nsDiscoInfo + "'/>"
const itemsQuery = "<query xmlns='" + nsDiscoItems + "'/>"

func TestCapsVer(t *testing.T) {
	// XEP-0115 §5.2
	got := capsVer([]Identity{{"client", "pc", "Exodus 0.9.1"}}, []string{
		"http://jabber.org/protocol/muc", "http://jabber.org/protocol/disco#items",
		"http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/caps"})
	if want := "QgayPKawpkPSDYmwT/WM94uAlu0="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDisco(t *testing.T) {
	f := newFixture(t)
	d := NewDisco(f.Router, f.friends, "urn:x", []string{"b", "a", "b"}, []string{"c"})
	romeo := f.online("romeo@chat.test/o'rchard", 0)
	f.connect("romeo@chat.test/silent")
	juliet := f.online("juliet@chat.test/balcony", 0)
	tybalt := f.online("tybalt@chat.test/street", 0)

	host := "<identity category='server' type='im' name='chatd'/><feature var='a'/><feature var='b'/>" +
		"<feature var='" + nsCaps + "'/><feature var='" + nsDiscoInfo + "'/><feature var='" + nsDiscoItems + "'/>"
	account := "<identity category='account' type='registered'/><feature var='c'/>" +
		"<feature var='" + nsDiscoInfo + "'/><feature var='" + nsDiscoItems + "'/>"
	resources := "<query xmlns='" + nsDiscoItems + "'><item jid='romeo@chat.test/o&apos;rchard'/></query>"
	ver := capsVer([]Identity{{"server", "im", "chatd"}}, []string{"a", "b", nsCaps, nsDiscoInfo, nsDiscoItems})
	node := " node='urn:x#" + ver + "'"

	if got, want := string(d.CapsElement()), "<c xmlns='"+nsCaps+"' hash='sha-1' node='urn:x' ver='"+ver+"'/>"; got != want {
		t.Errorf("caps: got %s, want %s", got, want)
	}
	withNode := func(q, node string) string { return strings.Replace(q, "/>", node+"/>", 1) }

	f.result(f.ask(romeo, "get", "chat.test", infoQuery), "<query xmlns='"+nsDiscoInfo+"'>"+host+"</query>")
	f.result(f.ask(romeo, "get", "chat.test", withNode(infoQuery, node)), "<query xmlns='"+nsDiscoInfo+"'"+node+">"+host+"</query>")
	f.result(f.ask(romeo, "get", "chat.test", itemsQuery), itemsQuery)
	f.result(f.ask(romeo, "get", "", infoQuery), "<query xmlns='"+nsDiscoInfo+"'>"+account+"</query>")
	f.result(f.ask(juliet, "get", "romeo@chat.test", infoQuery), "<query xmlns='"+nsDiscoInfo+"'>"+account+"</query>")
	f.result(f.ask(romeo, "get", "", itemsQuery), resources)
	f.result(f.ask(juliet, "get", "romeo@chat.test", itemsQuery), resources)

	f.refused(f.ask(romeo, "set", "chat.test", infoQuery), "not-allowed")
	f.refused(f.ask(romeo, "get", "chat.test", withNode(infoQuery, " node='no'")), "item-not-found")
	f.refused(f.ask(romeo, "get", "chat.test", withNode(itemsQuery, " node='no'")), "item-not-found")
	f.refused(f.ask(romeo, "get", "", withNode(infoQuery, " node='no'")), "item-not-found")
	for _, to := range []string{"romeo@chat.test", "nobody@chat.test"} { // indistinguishable
		for _, q := range []string{infoQuery, itemsQuery, withNode(infoQuery, " node='no'")} {
			f.refused(f.ask(tybalt, "get", to, q), "service-unavailable")
		}
	}
}
