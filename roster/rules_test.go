package roster

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// rules is a world in which they are in force.
func newRules(t *testing.T, cfg Config) *world {
	w := newWorld(t, cfg)
	w.r.Rules, w.r.Copies = w.s, noCopies{}
	return w
}

func TestAudiences(t *testing.T) {
	w := newRules(t, Config{})
	w.web("juliet-romeo romeo-nurse")
	ctx := t.Context()
	for _, tt := range []struct {
		audience store.Audience
		want     map[string]bool
	}{
		{store.Everyone, map[string]bool{"romeo": true, "nurse": true, "tybalt": true}},
		{store.FriendsOfFriends, map[string]bool{"romeo": true, "nurse": true, "tybalt": false}},
		{store.Friends, map[string]bool{"romeo": true, "nurse": false, "tybalt": false}},
		{store.Nobody, map[string]bool{"romeo": false, "nurse": false, "tybalt": false}},
	} {
		if err := w.s.SetPrivacy(ctx, julietJID, store.Privacy{Messages: tt.audience}); err != nil {
			t.Fatal(err)
		}
		for name, want := range tt.want {
			st := &stanza.Stanza{Kind: stanza.Message, From: stanza.MustJID(name + "@chat.test/1"), To: julietJID}
			online, err := w.s.Receiver(ctx, nil, st, uint32(tt.audience))
			if err != nil {
				t.Fatal(err)
			}
			offline, err := w.s.Offline(ctx, st)
			if err != nil || online != offline || (online == "") != want || !want && online != router.RulePrivacy {
				t.Errorf("%s, %s: %q online, %q offline, %v", tt.audience, name, online, offline, err)
			}
		}
	}
}

// Settings hold at once for sessions that are connected, and for those that come later.
func TestPrivacyOfSessions(t *testing.T) {
	w := newRules(t, Config{})
	j, r := w.login(juliet+"/1"), w.login(romeo+"/1")
	if err := w.s.SetPrivacy(t.Context(), julietJID, store.Privacy{Messages: store.Friends}); err != nil {
		t.Fatal(err)
	}
	later := w.connect(juliet + "/2")
	if err := w.s.LoadPrivacy(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if a, b := j.state.Audience.Load(), later.state.Audience.Load(); a != uint32(store.Friends) || b != a {
		t.Errorf("audiences %d and %d", a, b)
	}
	r.send("<message to='juliet@chat.test/1' type='headline'><body>hi</body></message>")
	if got := r.take(); len(got) != 1 || !strings.Contains(got[0], "<service-unavailable ") {
		t.Errorf("romeo got %q", got)
	}
	wantError(t, w.s.Request(t.Context(), romeoJID, julietJID, ""), "")
	wantError(t, w.s.Accept(t.Context(), julietJID, romeoJID), "")
	j.take()
	r.send("<message to='juliet@chat.test/1' type='headline'><body>hi</body></message>")
	if got := j.take(); len(got) != 1 {
		t.Errorf("juliet got %q", got)
	}
	wantError(t, w.s.SetPrivacy(t.Context(), julietJID, store.Privacy{Requests: store.Friends}), "not-acceptable")
	wantError(t, w.s.SetPrivacy(t.Context(), julietJID, store.Privacy{Messages: 9}), "not-acceptable")
}

func TestFriendshipRule(t *testing.T) {
	w := newRules(t, Config{Require: router.ForMessages})
	w.web("juliet-romeo")
	w.given("juliet", "nurse@chat.test", toOnly)
	ctx := t.Context()
	for name, want := range map[string]string{"romeo": "", "nurse": router.RuleFriendship, "tybalt": router.RuleFriendship} {
		other := stanza.MustJID(name + "@chat.test/1")
		sent, err := w.s.Sender(ctx, nil, &stanza.Stanza{Kind: stanza.Message, From: julietJID, To: other})
		if err != nil || sent != want {
			t.Errorf("to %s: %q %v", name, sent, err)
		}
		got, err := w.s.Receiver(ctx, nil, &stanza.Stanza{Kind: stanza.Message, From: other, To: julietJID}, 0)
		if err != nil || got != want {
			t.Errorf("from %s: %q %v", name, got, err)
		}
	}
	w.s.Reload(Config{})
	if rule, err := w.s.Sender(ctx, nil, &stanza.Stanza{Kind: stanza.Message, From: julietJID, To: nurseJID}); rule != "" || err != nil {
		t.Errorf("not required any more: %q %v", rule, err)
	}
}

// RFC 6121 §8.5.3.1: a subscription or directed presence opens the door, and its end closes it.
func TestStranger(t *testing.T) {
	w := newRules(t, Config{})
	w.given("juliet", romeo, fromOnly)
	w.given("romeo", juliet, toOnly)
	j, r, n := w.login(juliet+"/1"), w.login(romeo+"/1"), w.login("nurse@chat.test/1")
	reaches := func(from, to *client, want bool) {
		t.Helper()
		from.take()
		to.take()
		from.send("<iq id='q' type='get' to='" + to.jid.String() + "'><query xmlns='jabber:iq:version'/></iq>")
		got, answer := to.take(), strings.Join(from.take(), "")
		if (len(got) == 1) != want || want == strings.Contains(answer, "<service-unavailable ") {
			t.Errorf("%s to %s: delivered %q, answered %q", from.jid, to.jid, got, answer)
		}
	}
	reaches(r, j, true)  // sees juliet
	reaches(j, r, false) // does not see romeo
	reaches(n, j, false)
	j.send("<presence to='nurse@chat.test'/>")
	reaches(n, j, true)
	j.send("<presence to='nurse@chat.test' type='unavailable'/>")
	reaches(n, j, false)
}

func TestRequestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newRules(t, Config{RequestsPerMinute: 2})
		ctx, tybalt := t.Context(), stanza.MustJID("tybalt@chat.test")
		wantError(t, w.s.Request(ctx, julietJID, romeoJID, ""), "")
		j := w.login(juliet + "/1")
		j.send("<presence to='nobody@chat.test' type='subscribe'/>") // counts, lest it tells who exists
		wantError(t, w.s.Request(ctx, julietJID, nurseJID, ""), "resource-constraint")
		if f := w.friend(julietJID, nurseJID); f.Ask != AskNone {
			t.Errorf("still asks: %+v", f)
		}
		wantError(t, w.s.Request(ctx, tybalt, julietJID, ""), "") // another user
		wantError(t, w.s.Accept(ctx, julietJID, tybalt), "")      // an answer is no request
		time.Sleep(30 * time.Second)
		wantError(t, w.s.Request(ctx, julietJID, nurseJID, ""), "")
	})
}

// Who refuses by settings, who blocks and who does not exist look alike to who asks.
func TestRefusedRequestsLookAlike(t *testing.T) {
	w := newRules(t, Config{})
	ctx := t.Context()
	if err := w.s.SetPrivacy(ctx, julietJID, store.Privacy{Requests: store.Nobody}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Block(ctx, "nurse", []string{romeo}, 0); err != nil {
		t.Fatal(err)
	}
	r := w.login(romeo + "/1")
	for _, to := range []string{juliet, "nurse@chat.test", "nobody@chat.test"} {
		r.send("<presence to='" + to + "' type='subscribe'/>")
		r.expect(r.push("<item jid='" + to + "' subscription='none' ask='subscribe'/>"))
		if to != "nobody@chat.test" {
			if f := w.friend(stanza.MustJID(to), romeoJID); f.Ask != AskNone {
				t.Errorf("%s has %+v", to, f)
			}
		}
	}
}
