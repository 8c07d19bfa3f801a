package xep

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

const lastGet = "<query xmlns='jabber:iq:last'/>"

func seconds(n string) string { return "<query xmlns='jabber:iq:last' seconds='" + n + "'/>" }

func TestLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		l := NewLast(f.Router, f.friends, f.db)
		f.Presence = l.Observe(f.Presence)
		romeo := f.online("romeo@chat.test/orchard", 0)
		tybalt := f.online("tybalt@chat.test/street", 0)

		time.Sleep(90*time.Second + 500*time.Millisecond)
		f.result(f.ask(romeo, "get", "chat.test", lastGet), seconds("90"))
		f.result(f.ask(romeo, "get", "", lastGet), seconds("0"))
		f.refused(f.ask(romeo, "get", "juliet@chat.test", lastGet), "service-unavailable") // never seen
		f.refused(f.ask(tybalt, "get", "juliet@chat.test", lastGet), "forbidden")
		f.refused(f.ask(romeo, "get", "nobody@chat.test", lastGet), "service-unavailable")
		f.refused(f.ask(romeo, "set", "", lastGet), "not-allowed")

		juliet := f.online("juliet@chat.test/balcony", 0)
		chamber := f.online("juliet@chat.test/chamber", 0)
		f.result(f.ask(romeo, "get", "juliet@chat.test", lastGet), seconds("0"))

		// One of two resources leaves: nothing is noted.
		f.send(chamber, "<presence type='unavailable'><status>not yet</status></presence>")
		f.leave(chamber)
		if _, err := f.db.LastActivity(t.Context(), "juliet"); err != store.ErrNotFound {
			t.Errorf("noted too early: %v", err)
		}

		// The last one says goodbye, and the end of its session changes no more.
		f.send(juliet, "<presence type='unavailable'><show>xa</show><status>Heading &lt;Home&gt;</status><status xml:lang='it'>A casa</status></presence>")
		juliet.state.Presence.Store(nil)
		time.Sleep(3 * time.Second)
		f.leave(juliet)
		time.Sleep(900 * time.Second)
		f.result(f.ask(romeo, "get", "juliet@chat.test", lastGet),
			"<query xmlns='jabber:iq:last' seconds='903'>Heading &lt;Home&gt;</query>")
		f.refused(f.ask(tybalt, "get", "juliet@chat.test", lastGet), "forbidden")

		// A connection that breaks leaves no words.
		juliet = f.online("juliet@chat.test/balcony", 0)
		f.leave(juliet)
		f.result(f.ask(romeo, "get", "juliet@chat.test", lastGet), seconds("0"))
	})
}

// leave is what the end of a session does.
func (f *fixture) leave(s *fakeSession) {
	f.Table.Unbind(s)
	f.Ended(f.t.Context(), s)
}

func TestLastOfRemovedAccount(t *testing.T) {
	f := newFixture(t)
	f.Presence = NewLast(f.Router, f.friends, f.db).Observe(f.Presence)
	romeo := f.online("romeo@chat.test/orchard", 0)
	if err := f.db.DeleteAccount(t.Context(), "romeo"); err != nil {
		t.Fatal(err)
	}
	f.leave(romeo)
	if _, err := f.db.LastActivity(t.Context(), "romeo"); err != store.ErrNotFound {
		t.Errorf("a removed account left its last activity: %v", err)
	}
}

func TestStatusIsBounded(t *testing.T) {
	f := newFixture(t)
	f.Presence = NewLast(f.Router, f.friends, f.db).Observe(f.Presence)
	romeo := f.online("romeo@chat.test/orchard", 0)
	f.send(romeo, "<presence type='unavailable'><status>"+strings.Repeat("é", maxStatus)+"x</status></presence>")
	a, err := f.db.LastActivity(t.Context(), "romeo")
	if err != nil || a.Status != strings.Repeat("é", maxStatus/2) {
		t.Errorf("got %d bytes, %v", len(a.Status), err)
	}
}

func TestStatusOf(t *testing.T) {
	for inner, want := range map[string]string{
		"":                                "",
		"<status/>":                       "",
		"<status>a</status>":              "a",
		"<status xmlns='x'>a</status>":    "",
		"<x><status>a</status></x>":       "",
		"<status>a<b>c</b>d</status>":     "ad",
		"text<status>&#65;&amp;</status>": "A&",
		"<status>":                        "",
	} {
		if got := statusOf(&stanza.Stanza{Kind: stanza.Presence, Inner: []byte(inner)}); got != want {
			t.Errorf("%s: got %q, want %q", inner, got, want)
		}
	}
	var _ router.Presence = observer{}
}
