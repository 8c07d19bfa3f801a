package xep

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPing(t *testing.T) {
	f := newFixture(t)
	NewPing(f.Router)
	romeo := f.online("romeo@chat.test/orchard", 0)
	juliet := f.online("juliet@chat.test/balcony", 0)
	ping := "<ping xmlns='urn:xmpp:ping'/>"
	for _, to := range []string{"", "chat.test", "romeo@chat.test"} {
		f.result(f.ask(romeo, "get", to, ping), "")
	}
	f.refused(f.ask(romeo, "set", "chat.test", ping), "not-allowed")
	f.refused(f.ask(romeo, "get", "chat.test", "<ping xmlns='urn:other'/>"), "service-unavailable")
	f.refused(f.ask(romeo, "get", "juliet@chat.test", ping), "service-unavailable")

	if got := f.ask(romeo, "get", "juliet@chat.test/balcony", ping); got != "" {
		t.Errorf("the server answered for a client: %s", got)
	}
	f.equal("client", juliet.take(), "<iq from='romeo@chat.test/orchard' to='juliet@chat.test/balcony' id='q' type='get'>"+ping+"</iq>")
}

func TestSession(t *testing.T) {
	f := newFixture(t)
	NewSession(f.Router)
	romeo := f.online("romeo@chat.test/orchard", 0)
	session := "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>"
	f.result(f.ask(romeo, "set", "", session), "")
	f.result(f.ask(romeo, "set", "chat.test", session), "")
	f.refused(f.ask(romeo, "get", "", session), "not-allowed")
}

func TestVersion(t *testing.T) {
	f := newFixture(t)
	NewVersion(f.Router, "1.0 <dev>", "")
	romeo := f.online("romeo@chat.test/orchard", 0)
	query := "<query xmlns='jabber:iq:version'/>"
	f.result(f.ask(romeo, "get", "chat.test", query),
		"<query xmlns='jabber:iq:version'><name>chatd</name><version>1.0 &lt;dev&gt;</version></query>")
	f.refused(f.ask(romeo, "set", "chat.test", query), "not-allowed")
	f.refused(f.ask(romeo, "get", "juliet@chat.test", query), "service-unavailable")
}

func TestVersionWithOS(t *testing.T) {
	f := newFixture(t)
	NewVersion(f.Router, "1", "Plan 9")
	f.result(f.ask(f.online("romeo@chat.test/orchard", 0), "get", "chat.test", "<query xmlns='jabber:iq:version'/>"),
		"<query xmlns='jabber:iq:version'><name>chatd</name><version>1</version><os>Plan 9</os></query>")
}

func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		NewTime(f.Router)
		now := time.Now()
		got := f.ask(f.online("romeo@chat.test/orchard", 0), "get", "chat.test", "<time xmlns='urn:xmpp:time'/>")
		f.result(got, "<time xmlns='urn:xmpp:time'><tzo>"+now.Format("-07:00")+"</tzo><utc>2000-01-01T00:00:00Z</utc></time>")
	})
}

func TestUnknown(t *testing.T) {
	f := newFixture(t)
	NewDisco(f.Router, f.friends, "urn:x", nil, nil)
	romeo := f.online("romeo@chat.test/orchard", 0)
	for _, payload := range []string{
		"<services xmlns='urn:xmpp:extdisco:2'/>", // XEP-0215
		"<query xmlns='jabber:iq:privacy'/>",
		"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='x'/></pubsub>",
		"<x xmlns='" + nsDiscoInfo + "'/>",
		"<query xmlns='urn:unknown'>" + strings.Repeat("<a>", 50) + strings.Repeat("</a>", 50) + "</query>",
	} {
		for _, to := range []string{"", "chat.test", "juliet@chat.test", "nobody@chat.test", "nobody@chat.test/x"} {
			f.refused(f.ask(romeo, "get", to, payload), "service-unavailable")
		}
	}
}
