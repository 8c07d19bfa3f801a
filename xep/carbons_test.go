package xep

import (
	"strings"
	"testing"

	"chatd/stanza"
)

func TestCarbonsRequests(t *testing.T) {
	f := newFixture(t)
	romeo := f.online("romeo@chat.test/orchard", 0)
	enable, disable := "<enable xmlns='urn:xmpp:carbons:2'/>", "<disable xmlns='urn:xmpp:carbons:2'/>"
	on := func(want bool) {
		t.Helper()
		row, _ := f.Table.Row(romeo.jid)
		if got := row.Flags != 0; got != want {
			t.Errorf("carbons %t, want %t", got, want)
		}
	}
	f.result(f.ask(romeo, "set", "", enable), "")
	f.result(f.ask(romeo, "set", "romeo@chat.test", enable), "")
	on(true)
	f.result(f.ask(romeo, "set", "chat.test", disable), "")
	f.result(f.ask(romeo, "set", "", disable), "")
	on(false)
	f.refused(f.ask(romeo, "get", "", enable), "not-allowed")
	f.refused(f.ask(romeo, "set", "juliet@chat.test", enable), "service-unavailable")
	f.refused(f.ask(romeo, "set", "", "<enable xmlns='urn:xmpp:carbons:1'/>"), "service-unavailable")
	f.refused(f.ask(romeo, "set", "", "<private xmlns='urn:xmpp:carbons:2'/>"), "service-unavailable")
	on(false)
}

func TestCarbonsCopy(t *testing.T) {
	f := newFixture(t)
	romeo := f.online("romeo@chat.test/orchard", 0)
	garden := f.online("romeo@chat.test/garden", -1)
	plain := f.online("romeo@chat.test/plain", -1)
	juliet := f.online("juliet@chat.test/balcony", 0)
	chamber := f.online("juliet@chat.test/chamber", 0)
	for _, s := range []*fakeSession{romeo, garden, chamber} {
		f.ask(s, "set", "", "<enable xmlns='urn:xmpp:carbons:2'/>")
	}
	wrap := func(direction, to, typ, original string) string {
		bare := stanza.MustJID(to).Bare().String()
		return "<message from='" + bare + "' to='" + to + "'" + typ + "><" + direction + " xmlns='urn:xmpp:carbons:2'>" +
			"<forwarded xmlns='urn:xmpp:forward:0'>" + strings.Replace(original, "%", " xmlns='jabber:client'", 1) + "</forwarded></" + direction + "></message>"
	}
	plainly := func(original string) string { return strings.Replace(original, "%", "", 1) }

	f.send(romeo, "<message to='juliet@chat.test/balcony' type='chat' id='1' xmlns:y='urn:y'><body>a</body><y:z/></message>")
	original := "<message from='romeo@chat.test/orchard' to='juliet@chat.test/balcony' id='1' type='chat'% xmlns:y='urn:y'><body>a</body><y:z/></message>"
	f.equal("recipient", juliet.take(), plainly(original))
	f.equal("received", chamber.take(), wrap("received", "juliet@chat.test/chamber", " type='chat'", original))
	f.equal("sent", garden.take(), wrap("sent", "romeo@chat.test/garden", " type='chat'", original))
	f.equal("sender", romeo.take())
	f.equal("no carbons", plain.take())

	// To the bare JID: both of juliet's get the original (equal priority), none a copy.
	f.send(garden, "<message to='juliet@chat.test'><body>b</body></message>")
	original = "<message from='romeo@chat.test/garden' to='juliet@chat.test'%><body>b</body></message>"
	f.equal("recipient", juliet.take(), plainly(original))
	f.equal("recipient", chamber.take(), plainly(original))
	f.equal("sent", romeo.take(), wrap("sent", "romeo@chat.test/orchard", "", original))

	// To oneself: each resource has it once.
	f.send(plain, "<message to='romeo@chat.test' type='chat'><body>c</body></message>")
	original = "<message from='romeo@chat.test/plain' to='romeo@chat.test' type='chat'%><body>c</body></message>"
	f.equal("itself", romeo.take(), plainly(original))
	f.equal("itself", garden.take(), wrap("received", "romeo@chat.test/garden", " type='chat'", original))
	f.send(garden, "<message to='romeo@chat.test' type='chat'><body>d</body></message>")
	f.equal("itself", romeo.take(), "<message from='romeo@chat.test/garden' to='romeo@chat.test' type='chat'><body>d</body></message>")
	f.equal("sender of a note to itself", append(garden.take(), plain.take()...))
}

func TestEligible(t *testing.T) {
	const (
		none      = 0
		sent      = 1
		received  = 2
		both      = sent | received
		private   = "<private xmlns='urn:xmpp:carbons:2'/>"
		mucUser   = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
		mucInvite = "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>"
	)
	full, bare := stanza.MustJID("room@muc.test/nick"), stanza.MustJID("room@muc.test")
	for _, c := range []struct {
		typ   stanza.Type
		from  stanza.JID
		inner string
		want  int
	}{
		{stanza.Chat, full, "", both},
		{stanza.Chat, full, "<body>a</body>", both},
		{stanza.Chat, full, "<body>a</body>" + private, none},
		{stanza.Chat, full, "<body>a</body><no-copy xmlns='urn:xmpp:hints'/>", none},
		{stanza.Chat, full, "<body>a</body><store xmlns='urn:xmpp:hints'/>", both},
		{stanza.Chat, full, "<body>urn:xmpp:carbons:2 &lt;private/></body>", both},
		{stanza.Chat, full, "<x xmlns='urn:x'>" + private + "</x>", both},
		{stanza.Chat, full, "<body>a</body><private xmlns='urn:x'/><x xmlns='urn:xmpp:hints'/>", both},
		{stanza.Chat, full, "<body>a</body>" + mucUser, sent},
		{stanza.Chat, bare, "<body>a</body>" + mucUser, both},
		{stanza.None, full, "", none},
		{stanza.None, full, "<body>a</body>", both},
		{stanza.None, full, "<body>a</body>" + private, none},
		{stanza.None, full, "<x xmlns='urn:x'><body>a</body></x>", none},
		{stanza.None, full, "<body xmlns='urn:x'>a</body>", none},
		{stanza.None, full, "<request xmlns='urn:xmpp:receipts'/>", both},
		{stanza.None, full, "<composing xmlns='http://jabber.org/protocol/chatstates'/>", both},
		{stanza.None, full, "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>", both},
		{stanza.None, full, "<x xmlns='jabber:x:conference' jid='room@muc.test'/>", both},
		{stanza.None, bare, mucInvite, both},
		{stanza.None, full, mucInvite, both},
		{stanza.None, bare, mucUser, none},
		{stanza.None, full, mucUser, none},
	} {
		st := &stanza.Stanza{Kind: stanza.Message, Type: c.typ, From: c.from, Inner: []byte(c.inner)}
		got := none
		if eligible(st, false) {
			got |= sent
		}
		if eligible(st, true) {
			got |= received
		}
		if got != c.want {
			t.Errorf("%s %s %s: got %b, want %b", c.typ, c.from, c.inner, got, c.want)
		}
	}
}
