package xep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"chatd/router"
	"chatd/stanza"
)

// blockingFixture notes in told what the contacts would be shown.
func blockingFixture(t *testing.T) (f *fixture, b *Blocking, told *[]string) {
	f, told = newFixture(t), new([]string)
	b = NewBlocking(f.Router, f.db, func(_ context.Context, _ *router.Batch, user stanza.JID, before, after *router.Blocklist) error {
		juliet := stanza.MustJID("juliet@chat.test/balcony")
		*told = append(*told, fmt.Sprint(user, " ", before.Matches(juliet), " ", after.Matches(juliet)))
		return nil
	})
	f.Blocks = b
	return f, b, told
}

func blocking(verb string, jids ...string) string {
	var items strings.Builder
	for _, j := range jids {
		items.WriteString("<item jid='" + j + "'/>")
	}
	return "<" + verb + " xmlns='urn:xmpp:blocking'>" + items.String() + "</" + verb + ">"
}

func TestBlocking(t *testing.T) {
	f, b, told := blockingFixture(t)
	romeo := f.online("romeo@chat.test/orchard", 0)
	garden := f.online("romeo@chat.test/garden", 0)
	quiet := f.online("romeo@chat.test/quiet", 0)
	push := func(to, id, payload string) string {
		return "<iq to='romeo@chat.test/" + to + "' id='block" + id + "' type='set'>" + payload + "</iq>"
	}

	// XEP-0191 §3.2
	f.result(f.ask(romeo, "get", "", "<blocklist xmlns='urn:xmpp:blocking'/>"), blocking("blocklist"))
	f.result(f.ask(garden, "get", "romeo@chat.test", "<blocklist xmlns='urn:xmpp:blocking'/>"), blocking("blocklist"))

	// XEP-0191 §3.3: all four forms, normalized.
	all := []string{"JULIET@chat.test", "tybalt@chat.test/street", "montague.test/x", "capulet.test"}
	f.result(f.ask(quiet, "set", "", blocking("block", all...)), "")
	all[0] = "juliet@chat.test"
	f.equal("push", romeo.take(), push("orchard", "1", blocking("block", all...)))
	f.equal("push", garden.take(), push("garden", "2", blocking("block", all...)))
	f.equal("no push", quiet.take())
	f.result(f.ask(romeo, "get", "", "<blocklist xmlns='urn:xmpp:blocking'/>"),
		blocking("blocklist", "capulet.test", "juliet@chat.test", "montague.test/x", "tybalt@chat.test/street"))
	for _, s := range []*fakeSession{romeo, garden, quiet} {
		for jid, want := range map[string]bool{
			"juliet@chat.test": true, "juliet@chat.test/x": true, "tybalt@chat.test/street": true, "tybalt@chat.test": false,
			"montague.test/x": true, "montague.test": false, "capulet.test": true, "a@capulet.test/b": true, "chat.test": false,
		} {
			if s.state.Blocked.Load().Matches(stanza.MustJID(jid)) != want {
				t.Errorf("%s: %s is not %t", s.jid, jid, want)
			}
		}
	}

	// A session that comes later.
	late := f.connect("romeo@chat.test/late")
	if err := b.LoadBlocklist(t.Context(), late); err != nil || !late.state.Blocked.Load().Matches(stanza.MustJID("capulet.test")) {
		t.Errorf("block list not loaded: %v", err)
	}

	// XEP-0191 §3.4, §3.5
	f.result(f.ask(quiet, "set", "", blocking("unblock", "juliet@chat.test", "unknown@chat.test")), "")
	f.equal("push", romeo.take(), push("orchard", "3", blocking("unblock", "juliet@chat.test", "unknown@chat.test")))
	f.result(f.ask(quiet, "set", "", "<unblock xmlns='urn:xmpp:blocking'/>"), "")
	f.equal("push", romeo.take(), push("orchard", "5", blocking("unblock")))
	f.result(f.ask(romeo, "get", "", "<blocklist xmlns='urn:xmpp:blocking'/>"), blocking("blocklist"))
	if late.state.Blocked.Load() != nil {
		t.Error("still blocked")
	}
	f.equal("presence", *told, "romeo@chat.test false true", "romeo@chat.test true false", "romeo@chat.test false false")
}

func TestBlockingRefuses(t *testing.T) {
	f, _, told := blockingFixture(t)
	romeo := f.online("romeo@chat.test/orchard", 0)
	tooMany := make([]string, maxBlocked+1)
	for i := range tooMany {
		tooMany[i] = fmt.Sprintf("u%d@chat.test", i)
	}
	f.result(f.ask(romeo, "set", "", blocking("block", tooMany[1:]...)), "")
	*told = nil
	for payload, condition := range map[string]string{
		blocking("block"): "bad-request", // XEP-0191 §3.3
		"<block xmlns='urn:xmpp:blocking'><item/></block>":                          "jid-malformed",
		blocking("block", "@chat.test"):                                             "jid-malformed",
		blocking("block", "a@chat.test", ""):                                        "jid-malformed",
		blocking("block", tooMany[0]):                                               "policy-violation",
		blocking("block", tooMany...):                                               "policy-violation",
		blocking("unblock", "a@@b"):                                                 "jid-malformed",
		"<unblock xmlns='urn:xmpp:blocking'><i/></unblock>":                         "bad-request",
		"<blocklist xmlns='urn:xmpp:blocking'/>":                                    "not-allowed",
		"<block xmlns='urn:xmpp:blocking:1'/>":                                      "service-unavailable",
		"<block xmlns='urn:xmpp:blocking'><x><item jid='a@chat.test'/></x></block>": "bad-request",
	} {
		f.refused(f.ask(romeo, "set", "", payload), condition)
	}
	f.refused(f.ask(romeo, "get", "", blocking("block", "a@chat.test")), "not-allowed")
	f.refused(f.ask(romeo, "set", "juliet@chat.test", blocking("block", "a@chat.test")), "service-unavailable")
	if l, err := f.db.Blocklist(t.Context(), "romeo"); len(l) != maxBlocked || err != nil {
		t.Errorf("%d blocked, %v", len(l), err)
	}
	f.equal("presence", *told)
}

// The router's part of XEP-0191 §3.3.
func TestBlockingIsEnforced(t *testing.T) {
	f, _, _ := blockingFixture(t)
	NewVCard(f.Router, f.db, NewAvatar(f.Router, f.db, reannounce))
	NewPing(f.Router)
	if err := f.db.SetVCard(t.Context(), "romeo", []byte(emptyVCard)); err != nil {
		t.Fatal(err)
	}
	romeo := f.online("romeo@chat.test/orchard", 0)
	other := f.online("romeo@chat.test/garden", 0)
	juliet := f.online("juliet@chat.test/balcony", 0)
	f.ask(romeo, "set", "", blocking("block", "juliet@chat.test"))

	inbound := func(what string) {
		f.send(juliet, "<message to='romeo@chat.test' type='chat'><body>b</body></message>")
		f.refused(strings.Join(juliet.take(), ""), "service-unavailable")
		f.refused(f.ask(juliet, "get", "romeo@chat.test/orchard", "<ping xmlns='urn:xmpp:ping'/>"), "service-unavailable")
		f.refused(f.ask(juliet, "get", "romeo@chat.test", emptyVCard), "service-unavailable")
		f.send(juliet, "<iq to='romeo@chat.test/orchard' type='result' id='1'/>")
		f.send(juliet, "<message to='romeo@chat.test/orchard' type='error'/>")
		f.send(juliet, "<presence to='romeo@chat.test'/>")
		f.send(juliet, "<presence to='romeo@chat.test/orchard' type='unavailable'/>")
		f.equal(what+": sender", juliet.take())
		f.equal(what+": recipient", append(romeo.take(), other.take()...))
	}
	inbound("online")

	// Outbound, and what is exempt: the own account (§5) and the own server.
	f.send(romeo, "<message to='juliet@chat.test/balcony'><body>b</body></message>")
	got := strings.Join(romeo.take(), "")
	f.refused(got, "not-acceptable")
	if !strings.Contains(got, "<blocked xmlns='urn:xmpp:blocking:errors'/>") {
		t.Error(got)
	}
	f.equal("not routed", juliet.take())
	f.ask(romeo, "set", "", blocking("block", "chat.test", "romeo@chat.test", "romeo@chat.test/garden"))
	f.result(f.ask(romeo, "get", "chat.test", "<ping xmlns='urn:xmpp:ping'/>"), "")
	f.send(romeo, "<message to='romeo@chat.test/garden'><body>b</body></message>")
	f.equal("own resource", other.take(), "<message from='romeo@chat.test/orchard' to='romeo@chat.test/garden'><body>b</body></message>")
	f.result(f.ask(romeo, "set", "", blocking("unblock", "chat.test", "romeo@chat.test", "romeo@chat.test/garden")), "")

	f.Table.Unbind(romeo)
	f.Table.Unbind(other)
	inbound("offline")
	if n, err := f.db.CountOffline(t.Context(), "romeo"); n != 0 || err != nil {
		t.Errorf("%d messages stored, %v", n, err)
	}
}

func TestBlockingStoreFails(t *testing.T) {
	f, b, _ := blockingFixture(t)
	romeo := f.connect("romeo@chat.test/orchard")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.LoadBlocklist(ctx, romeo); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What a service blocks on a user's behalf is pushed to the user's clients and holds at once.
func TestBlockForUser(t *testing.T) {
	f := newFixture(t)
	b := NewBlocking(f.Router, f.db, func(context.Context, *router.Batch, stanza.JID, *router.Blocklist, *router.Blocklist) error {
		return nil
	})
	romeo := f.online("romeo@chat.test/orchard", 0)
	f.ask(romeo, "get", "", "<blocklist xmlns='urn:xmpp:blocking'/>")
	user, tybalt := romeo.jid, stanza.MustJID("tybalt@chat.test")
	for _, step := range []struct {
		act  func() error
		push string
		list int
	}{
		{func() error { return b.Block(t.Context(), user, []stanza.JID{tybalt}) }, "<block xmlns='urn:xmpp:blocking'><item jid='tybalt@chat.test'/></block>", 1},
		{func() error { return b.Unblock(t.Context(), user, nil) }, "", 1},
		{func() error { return b.Unblock(t.Context(), user, []stanza.JID{tybalt}) }, "<unblock xmlns='urn:xmpp:blocking'><item jid='tybalt@chat.test'/></unblock>", 0},
	} {
		romeo.take()
		if err := step.act(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(romeo.take(), ""); step.push == "" && got != "" || !strings.Contains(got, step.push) {
			t.Errorf("pushed %s, want %s", got, step.push)
		}
		list, err := b.Blocked(t.Context(), user)
		if err != nil || len(list) != step.list || romeo.state.Blocked.Load().Matches(tybalt) != (step.list > 0) {
			t.Errorf("list %v %v", list, err)
		}
	}
}
