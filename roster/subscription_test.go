package roster

import (
	"chatd/router"
	"strings"
	"testing"

	"chatd/stanza"
)

// The whole way from strangers to friends and back (RFC 6121 §3.1-3.3).
func TestBefriendAndPart(t *testing.T) {
	w := newWorld(t, Config{})
	j, r := w.login(juliet+"/balcony"), w.login(romeo+"/orchard")
	mute := w.connect(juliet + "/mute") // neither available nor interested

	r.send("<presence to='juliet@chat.test' type='subscribe' id='a'><status>Let me see you</status></presence>")
	r.expect(r.push("<item jid='juliet@chat.test' subscription='none' ask='subscribe'/>"))
	request := "<presence from='romeo@chat.test' to='juliet@chat.test' id='a' type='subscribe'><status>Let me see you</status></presence>"
	j.expect(request)

	r.send("<presence to='juliet@chat.test' type='subscribe' id='a2'/>")
	r.expect()
	j.expect()

	j.send("<presence to='romeo@chat.test' type='subscribed' id='b'/>")
	j.expect(j.push("<item jid='romeo@chat.test' subscription='from'/>"))
	r.expect("<presence from='juliet@chat.test' to='romeo@chat.test' id='b' type='subscribed'/>",
		r.push("<item jid='juliet@chat.test' subscription='to'/>"),
		"<presence from='juliet@chat.test/balcony' to='romeo@chat.test'/>")

	j.send("<presence to='romeo@chat.test' type='subscribe' id='c'/>")
	j.expect(j.push("<item jid='romeo@chat.test' subscription='from' ask='subscribe'/>"))
	r.expect("<presence from='juliet@chat.test' to='romeo@chat.test' id='c' type='subscribe'/>",
		r.push("<item jid='juliet@chat.test' subscription='to'/>")) // the version grew
	r.send("<presence to='juliet@chat.test' type='subscribed' id='d'/>")
	r.expect(r.push("<item jid='juliet@chat.test' subscription='both'/>"))
	j.expect("<presence from='romeo@chat.test' to='juliet@chat.test' id='d' type='subscribed'/>",
		j.push("<item jid='romeo@chat.test' subscription='both'/>"),
		"<presence from='romeo@chat.test/orchard' to='juliet@chat.test'/>")

	r.send("<presence to='juliet@chat.test' type='unsubscribe' id='e'/>") // §3.3
	r.expect(r.push("<item jid='juliet@chat.test' subscription='from'/>"),
		"<presence from='juliet@chat.test/balcony' to='romeo@chat.test' type='unavailable'/>")
	j.expect("<presence from='romeo@chat.test' to='juliet@chat.test' id='e' type='unsubscribe'/>",
		j.push("<item jid='romeo@chat.test' subscription='to'/>"))

	r.send("<presence to='juliet@chat.test' type='unsubscribed' id='f'/>") // §3.2
	r.expect(r.push("<item jid='juliet@chat.test' subscription='none'/>"))
	j.expect("<presence from='romeo@chat.test/orchard' to='juliet@chat.test' type='unavailable'/>",
		"<presence from='romeo@chat.test' to='juliet@chat.test' id='f' type='unsubscribed'/>",
		j.push("<item jid='romeo@chat.test' subscription='none'/>"))
	mute.expect()

	r.send("<presence/>") // no longer anybody's business
	j.expect()
}

// RFC 6121 §3.1.3: a request waits, and is told at every login until it is answered.
func TestRequestWaits(t *testing.T) {
	w := newWorld(t, Config{})
	r := w.login(romeo + "/orchard")
	r.send("<presence to='juliet@chat.test/any' type='subscribe' id='a' xml:lang='en'><nick xmlns='n'>Romeo</nick></presence>")
	r.send("<presence to='juliet@chat.test' type='subscribe' id='b'/>")
	r.take()
	request := "<presence from='romeo@chat.test' to='juliet@chat.test' id='a' type='subscribe' xml:lang='en'><nick xmlns='n'>Romeo</nick></presence>"
	for range 2 {
		j := w.connect(juliet + "/balcony")
		j.expect()
		j.send("<presence/>")
		j.expect("<presence from='juliet@chat.test/balcony' to='juliet@chat.test'/>", request)
		j.send("<presence><show>away</show></presence>") // no initial presence
		j.expect("<presence from='juliet@chat.test/balcony' to='juliet@chat.test'><show>away</show></presence>")
		j.send("<presence type='unavailable'/>")
		j.take()
		j.send("<presence/>") // a new presence session
		j.expect("<presence from='juliet@chat.test/balcony' to='juliet@chat.test'/>", request)
		j.end()
	}
	j := w.login(juliet + "/balcony")
	j.send("<presence to='romeo@chat.test' type='unsubscribed'/>")
	r.expect("<presence from='juliet@chat.test' to='romeo@chat.test' type='unsubscribed'/>",
		r.push("<item jid='juliet@chat.test' subscription='none'/>"))
	j.expect()
	j.end()
	j = w.connect(juliet + "/balcony")
	j.send("<presence/>")
	j.expect("<presence from='juliet@chat.test/balcony' to='juliet@chat.test'/>")
	if it, exists := w.item("juliet", romeo); exists {
		t.Errorf("left: %+v", it)
	}
}

// A request goes to available resources, what follows to interested ones
// (RFC 6121 §3.1, implementation note); its end to both.
func TestWhoIsTold(t *testing.T) {
	w := newWorld(t, Config{})
	r := w.login(romeo + "/orchard")
	available, interested := w.connect(juliet+"/available"), w.connect(juliet+"/interested")
	available.send("<presence/>")
	interested.send("<iq id='r' type='get'><query xmlns='jabber:iq:roster'/></iq>")
	available.take()
	interested.take()

	r.send("<presence to='juliet@chat.test' type='subscribe'/>")
	available.expect("<presence from='romeo@chat.test' to='juliet@chat.test' type='subscribe'/>")
	interested.expect()
	r.send("<presence to='juliet@chat.test' type='unsubscribe'/>")
	gone := "<presence from='romeo@chat.test' to='juliet@chat.test' type='unsubscribe'/>"
	available.expect(gone)
	interested.expect(gone)

	interested.send("<presence to='romeo@chat.test' type='subscribe'/>")
	interested.take()
	r.send("<presence to='juliet@chat.test' type='subscribed'/>")
	interested.expect("<presence from='romeo@chat.test' to='juliet@chat.test' type='subscribed'/>",
		interested.push("<item jid='romeo@chat.test' subscription='to'/>"))
	available.expect("<presence from='romeo@chat.test/orchard' to='juliet@chat.test'/>")
}

func TestSubscriptionsThatGoNowhere(t *testing.T) {
	w := newWorld(t, Config{})
	r := w.login(romeo + "/orchard")

	for _, typ := range []string{"subscribe", "subscribed", "unsubscribe", "unsubscribed"} {
		r.send("<presence to='romeo@chat.test' type='" + typ + "'/>") // oneself
		r.expect()
		r.send("<presence type='" + typ + "'/>")
		if got := r.take(); len(got) != 1 || !strings.Contains(got[0], "<bad-request ") {
			t.Errorf("%s to nobody: %v", typ, got)
		}
		r.send("<presence to='a@elsewhere.test' type='" + typ + "' id='x'/>")
		if got := r.take(); len(got) != 1 || !strings.Contains(got[0], "<remote-server-not-found ") {
			t.Errorf("%s to another server: %v", typ, got)
		}
	}
	if list, _ := w.store.Roster(t.Context(), "romeo"); len(list.Items) != 0 {
		t.Errorf("items: %v", list.Items)
	}

	r.send("<presence to='nobody@chat.test' type='subscribe'/>") // §8.5.1: silently ignored
	r.expect(r.push("<item jid='nobody@chat.test' subscription='none' ask='subscribe'/>"))
	if list, _ := w.store.Roster(t.Context(), "nobody"); len(list.Items) != 0 {
		t.Errorf("a request for nobody is kept: %v", list.Items)
	}

	r.send("<presence to='juliet@chat.test' type='subscribe'><x xmlns='y'>" + strings.Repeat("z", maxRequest) + "</x></presence>")
	if got := r.take(); len(got) != 1 || !strings.Contains(got[0], "<policy-violation ") {
		t.Errorf("a large request: %d stanzas", len(got))
	}
}

// A request is kept with the prefixes that its children need.
func TestRequestWithPrefixWaits(t *testing.T) {
	w := newWorld(t, Config{})
	r := w.login(romeo + "/orchard")
	r.send("<presence xmlns:p='q' to='juliet@chat.test' type='subscribe'><p:x/></presence>")
	j := w.connect(juliet + "/balcony")
	j.send("<presence/>")
	j.expect("<presence from='juliet@chat.test/balcony' to='juliet@chat.test'/>",
		"<presence from='romeo@chat.test' to='juliet@chat.test' type='subscribe' xmlns:p='q'><p:x/></presence>")
}

// XEP-0191 §3.3: who is blocked gets no answer, the user no stanza; what the
// other does on the own side still shows in both rosters.
func TestBlockedSender(t *testing.T) {
	for _, online := range []bool{false, true} {
		w := newWorld(t, Config{})
		if err := w.store.Block(t.Context(), "juliet", []string{romeo, "nurse@chat.test"}, 0); err != nil {
			t.Fatal(err)
		}
		w.friends("juliet", "nurse")
		var j *client
		if online {
			j = w.login(juliet + "/balcony")
		}
		r, n := w.login(romeo+"/orchard"), w.login("nurse@chat.test/kitchen")
		r.send("<presence to='juliet@chat.test' type='subscribe'/>")
		r.expect(r.push("<item jid='juliet@chat.test' subscription='none' ask='subscribe'/>"))
		if it, exists := w.item("juliet", romeo); exists {
			t.Errorf("online %v: kept %+v", online, it)
		}
		n.send("<presence to='juliet@chat.test' type='unsubscribe'/>")
		n.expect(n.push("<item jid='juliet@chat.test' subscription='from'/>"))
		n.send("<presence to='juliet@chat.test' type='unsubscribed'/>")
		n.expect(n.push("<item jid='juliet@chat.test' subscription='none'/>"))
		if it, _ := w.item("juliet", "nurse@chat.test"); stateOf(&it) != none {
			t.Errorf("online %v: state %d", online, stateOf(&it))
		}
		if online {
			j.expect(j.push("<item jid='nurse@chat.test' subscription='to'/>"), j.push("<item jid='nurse@chat.test' subscription='none'/>"))
		}
	}
}

// RFC 6121 §3.4.
// A session that is just binding has no list yet.
func TestBlockedWhileBinding(t *testing.T) {
	w := newWorld(t, Config{})
	if err := w.store.Block(t.Context(), "juliet", []string{"romeo@chat.test"}, 0); err != nil {
		t.Fatal(err)
	}
	w.connect("juliet@chat.test/balcony").state.Blocked.Store(nil)
	w.login("romeo@chat.test/orchard").send("<presence type='subscribe' to='juliet@chat.test'/>")
	if list, err := w.store.Roster(t.Context(), "juliet"); err != nil || len(list.Items) != 0 {
		t.Errorf("kept %v, %v", list.Items, err)
	}
}

// A full JID on a list is not shown presence that goes to all of its user's resources.
func TestBlockedResource(t *testing.T) {
	w := newWorld(t, Config{})
	juliet, orchard, verona := w.login("juliet@chat.test/balcony"), w.login("romeo@chat.test/orchard"), w.login("romeo@chat.test/verona")
	orchard.send("<presence type='subscribe' to='juliet@chat.test'/>")
	juliet.send("<presence type='subscribed' to='romeo@chat.test'/>")
	orchard.take()
	verona.take()
	juliet.state.Blocked.Store(router.NewBlocklist([]string{"romeo@chat.test/orchard"}))
	juliet.send("<presence><show>away</show></presence>")
	if got := orchard.take(); len(got) != 0 {
		t.Errorf("the blocked resource got %s", got)
	}
	if got := verona.take(); len(got) != 1 {
		t.Errorf("the other resource got %s", got)
	}
}

func TestPresenceIsBounded(t *testing.T) {
	w := newWorld(t, Config{})
	juliet := w.login("juliet@chat.test/balcony")
	juliet.send("<presence><status>" + strings.Repeat("s", maxPresence) + "</status></presence>")
	if got := juliet.take(); len(got) != 1 || !strings.Contains(got[0], "<policy-violation ") {
		t.Errorf("got %.200s", got)
	}
	juliet.send("<iq id='s' type='set'><query xmlns='jabber:iq:roster'><item jid='romeo@chat.test'>" +
		"<group>" + strings.Repeat("g", 1000) + "</group><group>" + strings.Repeat("h", 1000) + "</group><group>" +
		strings.Repeat("i", 1001) + "</group></item></query></iq>")
	if got := juliet.take(); len(got) != 1 || !strings.Contains(got[0], "<not-acceptable ") {
		t.Errorf("got %.200s", got)
	}
}

func TestPreApprovalAndItsEnd(t *testing.T) {
	w := newWorld(t, Config{})
	j, r := w.login(juliet+"/balcony"), w.login(romeo+"/orchard")
	j.send("<presence to='romeo@chat.test' type='subscribed'/>")
	j.expect(j.push("<item jid='romeo@chat.test' subscription='none' approved='true'/>"))
	j.send("<presence to='romeo@chat.test' type='unsubscribed'/>")
	j.expect(j.push("<item jid='romeo@chat.test' subscription='none'/>"))
	r.expect()
	r.send("<presence to='juliet@chat.test' type='subscribe'/>")
	j.expect("<presence from='romeo@chat.test' to='juliet@chat.test' type='subscribe'/>",
		j.push("<item jid='romeo@chat.test' subscription='none'/>"))
}

func TestOwnerSeesAndViewersSee(t *testing.T) {
	w := newWorld(t, Config{})
	w.given("juliet", romeo, fromOnly)
	w.given("juliet", "nurse@chat.test", toOnly)
	for viewer, want := range map[string]bool{
		juliet + "/x": true, romeo: true, romeo + "/y": true, "nurse@chat.test": false, "tybalt@chat.test": false,
	} {
		got, err := w.s.SeesPresence(t.Context(), stanza.MustJID(juliet+"/z"), stanza.MustJID(viewer))
		if got != want || err != nil {
			t.Errorf("%s: %v, %v", viewer, got, err)
		}
	}
	if got, _ := w.s.SeesPresence(t.Context(), stanza.MustJID("juliet@elsewhere.test"), stanza.MustJID(romeo)); got {
		t.Error("another domain's juliet is taken for ours")
	}
}
