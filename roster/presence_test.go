package roster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// from is a presence as its viewers get it.
func (c *client) seenBy(viewer, attrs, inner string) string {
	x := "<presence from='" + c.jid.String() + "' to='" + viewer + "'" + attrs
	if inner == "" {
		return x + "/>"
	}
	return x + ">" + inner + "</presence>"
}

// RFC 6121 §4.2, §4.4, §4.5.
func TestBroadcast(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	w.given("juliet", "nurse@chat.test", fromOnly) // sees juliet
	w.given("nurse", juliet, toOnly)
	w.given("juliet", "tybalt@chat.test", toOnly) // is seen by her
	w.given("tybalt", juliet, fromOnly)
	r, r2, silent := w.login(romeo+"/orchard"), w.login(romeo+"/street"), w.connect(romeo+"/silent")
	n, ty := w.login("nurse@chat.test/kitchen"), w.login("tybalt@chat.test/square")
	ty.send("<presence id='t'><show>dnd</show></presence>")
	others := []*client{r, r2, silent, n, ty}
	for _, c := range others {
		c.take()
	}

	j := w.connect(juliet + "/balcony")
	j.send("<presence id='p1' xml:lang='en'><status>hi</status></presence>")
	for _, c := range []*client{r, r2} {
		c.expect("<presence from='juliet@chat.test/balcony' to='romeo@chat.test' id='p1' xml:lang='en'><status>hi</status></presence>")
	}
	n.expect("<presence from='juliet@chat.test/balcony' to='nurse@chat.test' id='p1' xml:lang='en'><status>hi</status></presence>")
	j.expect("<presence from='juliet@chat.test/balcony' to='juliet@chat.test' id='p1' xml:lang='en'><status>hi</status></presence>",
		r.seenBy(juliet, "", ""), r2.seenBy(juliet, "", ""),
		ty.seenBy(juliet, " id='t'", "<show>dnd</show>"))
	silent.expect()
	ty.expect()

	chamber := w.connect(juliet + "/chamber") // a second resource of hers
	chamber.send("<presence/>")
	chamber.expect(chamber.seenBy(juliet, "", ""),
		"<presence from='juliet@chat.test/balcony' to='juliet@chat.test' id='p1' xml:lang='en'><status>hi</status></presence>",
		r.seenBy(juliet, "", ""), r2.seenBy(juliet, "", ""), ty.seenBy(juliet, " id='t'", "<show>dnd</show>"))
	j.expect(chamber.seenBy(juliet, "", ""))
	r.expect(chamber.seenBy(romeo, "", ""))

	j.send("<presence><show>away</show></presence>")
	r.take()
	n.expect(chamber.seenBy("nurse@chat.test", "", ""), j.seenBy("nurse@chat.test", "", "<show>away</show>"))
	j.expect(j.seenBy(juliet, "", "<show>away</show>")) // no probes this time
	chamber.expect(j.seenBy(juliet, "", "<show>away</show>"))

	j.send("<presence type='unavailable'><status>bye</status></presence>")
	gone := func(to string) string { return j.seenBy(to, " type='unavailable'", "<status>bye</status>") }
	r.expect(gone(romeo))
	n.expect(gone("nurse@chat.test"))
	chamber.expect(gone(juliet))
	j.expect(gone(juliet))
	if row, _ := w.r.Table.Row(j.jid); row.Available {
		t.Error("still available in the table")
	}
	j.send("<presence type='unavailable'/>") // never said twice
	r.expect()
	r.send("<presence><show>xa</show></presence>") // nothing for who is not available
	j.expect()
	r.take()

	chamber.take()
	chamber.end() // without a word
	r.expect(chamber.seenBy(romeo, " type='unavailable'", ""))
	chamber.expect()
	j.end()
	r.expect()
	ty.expect()
	silent.expect()
}

func TestOnlyConnectedIsNobodysBusiness(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	r := w.login(romeo + "/orchard")
	j := w.connect(juliet + "/balcony")
	j.send("<presence type='unavailable'/>")
	j.send("<presence type='probe'/>")
	j.expect()
	j.end()
	r.expect()
}

func TestBlockedHideFromEachOther(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	w.friends("juliet", "tybalt")
	if err := w.store.Block(t.Context(), "juliet", []string{romeo}, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Block(t.Context(), "tybalt", []string{juliet}, 0); err != nil {
		t.Fatal(err)
	}
	r, ty := w.login(romeo+"/orchard"), w.login("tybalt@chat.test/square")
	j := w.connect(juliet + "/balcony")
	j.send("<presence/>")
	j.expect(j.seenBy(juliet, "", ""))
	r.send("<presence/>")
	ty.send("<presence/>")
	r.take()
	ty.take()
	j.expect()
	j.end()
	r.expect()
	ty.expect()
}

func TestPriority(t *testing.T) {
	for inner, want := range map[string]any{
		"":                                  int8(0),
		"<priority>5</priority>":            int8(5),
		"<priority> -128\n</priority>":      int8(-128),
		"<priority>127</priority>":          int8(127),
		"<priority>+1</priority>":           int8(1),
		"<priority>&#49;</priority>":        int8(1),
		"<status>priority</status>":         int8(0),
		"<x><priority>9</priority></x>":     int8(0),
		"<priority xmlns='x'>9</priority>":  int8(0),
		"<priority>128</priority>":          errPriority,
		"<priority>-129</priority>":         errPriority,
		"<priority>high</priority>":         errPriority,
		"<priority/>":                       errPriority,
		"<priority>1<x/></priority>":        errPriority,
		"<priority>1</priority><priority/>": errPriorities,
		"<show>away</show><p:priority xmlns:p='jabber:client'>3</p:priority>": int8(3),
	} {
		got, err := parsePriority([]byte(inner))
		if fail, ok := want.(*stanza.Error); ok && err != error(fail) || !ok && (err != nil || got != want) {
			t.Errorf("%s: %d, %v", inner, got, err)
		}
	}
}

func TestPriorityInTheTable(t *testing.T) {
	w := newWorld(t, Config{})
	j := w.connect(juliet + "/balcony")
	check := func(available bool, priority int8) {
		t.Helper()
		if row, _ := w.r.Table.Row(j.jid); row.Available != available || row.Priority != priority {
			t.Errorf("row %v %d, want %v %d", row.Available, row.Priority, available, priority)
		}
	}
	j.send("<presence id='bad'><priority>1000</priority></presence>")
	got := j.take()
	if len(got) != 1 || !strings.HasPrefix(got[0], "<presence to='juliet@chat.test/balcony' id='bad' type='error'>") || !strings.Contains(got[0], "<bad-request ") {
		t.Errorf("got %v", got)
	}
	check(false, 0)
	j.send("<presence><priority>-3</priority></presence>")
	check(true, -3)
	j.send("<presence><priority>7</priority></presence>")
	check(true, 7)
	j.send("<presence type='unavailable'/>")
	check(false, 0)
}

// A resource is handed what waits for it exactly when it becomes reachable, and
// is not reachable before.
func TestHandOver(t *testing.T) {
	w := newWorld(t, Config{})
	j := w.connect(juliet + "/balcony")
	calls := 0
	w.s.HandOver = func(_ context.Context, s router.Session, reachable func()) {
		calls++
		if row, _ := w.r.Table.Row(s.JID()); !row.Available || row.Reachable() {
			t.Errorf("before: %v %d", row.Available, row.Priority)
		}
		reachable()
		if row, _ := w.r.Table.Row(s.JID()); !row.Reachable() {
			t.Error("after: not reachable")
		}
	}
	for i, step := range []struct {
		x     string
		calls int
	}{
		{"<presence><priority>-1</priority></presence>", 0},
		{"<presence><priority>1</priority></presence>", 1},
		{"<presence><show>away</show></presence>", 1},
		{"<presence><priority>-1</priority></presence>", 1},
		{"<presence/>", 2},
		{"<presence type='unavailable'/>", 2},
		{"<presence/>", 3},
	} {
		if j.send(step.x); calls != step.calls {
			t.Errorf("step %d: %d calls, want %d", i, calls, step.calls)
		}
	}
}

func TestAmend(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	r := w.login(romeo + "/orchard")
	w.s.Amend = func(_ context.Context, _ router.Session, st *stanza.Stanza) *stanza.Stanza {
		c := *st
		c.Inner = []byte("<x xmlns='vcard-temp:x:update'/>")
		return &c
	}
	j := w.connect(juliet + "/balcony")
	j.send("<presence/>")
	r.expect(j.seenBy(romeo, "", "<x xmlns='vcard-temp:x:update'/>"))
	j.send("<presence type='unavailable'/>")
	r.expect(j.seenBy(romeo, " type='unavailable'", ""))
}

// A session that took over the full JID has been announced: the end of the old
// one is no news.
func TestReplacedSession(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	r := w.login(romeo + "/orchard")
	old := w.login(juliet + "/balcony")
	r.take()
	next := w.connect(juliet + "/balcony")
	old.send("<presence><show>away</show></presence>") // too late
	r.expect()
	next.send("<presence/>")
	r.expect(next.seenBy(romeo, "", ""))
	old.end()
	r.expect()
	next.end()
	r.expect(next.seenBy(romeo, " type='unavailable'", ""))

	old = w.login(juliet + "/balcony")
	r.take()
	next = w.connect(juliet + "/balcony")
	old.end()
	r.expect(old.seenBy(romeo, " type='unavailable'", ""))
	next.send("<presence/>")
	r.expect(next.seenBy(romeo, "", ""))
}

// The promises of the package comment.
func TestSentUnderLock(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	j, j2, r := w.connect(juliet+"/balcony"), w.connect(juliet+"/chamber"), w.connect(romeo+"/orchard")
	all := []*client{j, j2, r}
	for _, c := range all {
		c.strict = true
	}
	for _, c := range all {
		c.send("<iq id='r' type='get'><query xmlns='jabber:iq:roster'/></iq>")
		c.send("<presence/>")
		c.send(set("<item jid='nurse@chat.test'/>"))
	}
	j.send("<presence><show>away</show></presence>")
	r.send("<presence to='juliet@chat.test' type='unsubscribe'/>")
	r.send("<presence to='juliet@chat.test' type='subscribe'/>")
	j.send("<presence to='romeo@chat.test' type='subscribed'/>")
	j.send("<presence to='romeo@chat.test' type='unsubscribed'/>")
	r.send("<presence type='unavailable'/>")
	j.end()
	for _, c := range all {
		if got := c.take(); len(got) < 5 {
			t.Errorf("%s got only %v", c.jid, got)
		}
	}
}

// RFC 6121 §4.6.
func TestDirected(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	r, n, ty := w.login(romeo+"/orchard"), w.login("nurse@chat.test/kitchen"), w.login("tybalt@chat.test/square")
	j := w.login(juliet + "/balcony")
	hall := w.connect(romeo + "/hall") // not available: a broadcast does not reach it
	r.take()
	for _, to := range []string{romeo, romeo + "/orchard", romeo + "/hall", "nurse@chat.test/kitchen", "tybalt@chat.test"} {
		j.send("<presence to='" + to + "'/>")
	}
	r.expect(j.seenBy(romeo, "", ""), j.seenBy(romeo+"/orchard", "", ""))
	hall.expect(j.seenBy(romeo+"/hall", "", ""))
	n.expect(j.seenBy("nurse@chat.test/kitchen", "", ""))
	ty.expect(j.seenBy("tybalt@chat.test", "", ""))

	j.send("<presence><show>away</show></presence>") // not for them
	r.expect(j.seenBy(romeo, "", "<show>away</show>"))
	n.expect()
	j.send("<presence to='tybalt@chat.test' type='unavailable'/>")
	ty.expect(j.seenBy("tybalt@chat.test", " type='unavailable'", ""))

	j.end()
	r.expect(j.seenBy(romeo, " type='unavailable'", "")) // once
	hall.expect(j.seenBy(romeo+"/hall", " type='unavailable'", ""))
	n.expect(j.seenBy("nurse@chat.test/kitchen", " type='unavailable'", ""))
	ty.expect()

	j = w.connect(juliet + "/balcony") // without initial presence, §4.6.3 case 3
	j.send("<presence to='nurse@chat.test'/>")
	n.take()
	j.send("<presence type='unavailable'><status>x</status></presence>")
	n.expect(j.seenBy("nurse@chat.test", " type='unavailable'", "<status>x</status>"))
	j.end()
	n.expect()
	r.expect()
}

func TestDirectedIsBounded(t *testing.T) {
	w := newWorld(t, Config{})
	n := w.login("nurse@chat.test/kitchen")
	j := w.login(juliet + "/balcony")
	for i := range maxDirected + 1 {
		j.send(fmt.Sprintf("<presence to='nurse@chat.test/%d'/>", i))
		w.connect(fmt.Sprintf("nurse@chat.test/%d", i))
	}
	if len(j.state.Directed) != maxDirected {
		t.Errorf("%d targets", len(j.state.Directed))
	}
	told := 0
	for _, row := range w.r.Table.Rows(n.jid) {
		for _, x := range row.Session.(*client).take() {
			if strings.Contains(x, "type='unavailable'") {
				told++
			}
		}
	}
	if told != 1 {
		t.Errorf("%d were told, want the one that was evicted", told)
	}
}

// RFC 6121 §4.3.2, §4.6.6.
func TestProbe(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	w.given("juliet", "tybalt@chat.test", noneOut)
	w.given("tybalt", juliet, noneIn)
	j, j2 := w.login(juliet+"/balcony"), w.login(juliet+"/chamber")
	w.connect(juliet + "/silent")
	r, n := w.login(romeo+"/orchard"), w.login("nurse@chat.test/kitchen")
	j.send("<presence id='j1'><show>away</show></presence>")
	r.take()
	j.take()
	probe := func(c *client, to string) {
		st := &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Probe, From: c.jid, To: stanza.MustJID(to), ID: []byte("p")}
		w.s.Probe(t.Context(), nil, st)
	}
	r.send("<presence to='juliet@chat.test' type='probe' id='p'/>")
	r.expect(j.seenBy(romeo+"/orchard", " id='j1'", "<show>away</show>"), j2.seenBy(romeo+"/orchard", "", ""))
	probe(r, juliet+"/balcony")
	r.expect(j.seenBy(romeo+"/orchard", "", ""))
	probe(r, juliet+"/silent")
	r.expect("<presence from='juliet@chat.test/silent' to='romeo@chat.test/orchard' id='p' type='unavailable'/>")
	probe(j2, juliet)
	j2.take()

	probe(n, juliet) // a stranger
	n.expect()
	j.send("<presence to='nurse@chat.test'/>")
	n.take()
	probe(n, juliet)
	n.expect()
	probe(n, juliet+"/balcony")
	n.expect("<presence from='juliet@chat.test/balcony' to='nurse@chat.test/kitchen'/>")
	probe(n, juliet+"/chamber")
	n.expect()

	probe(j, "tybalt@chat.test") // the request is not denied by asking
	if it, _ := w.item("juliet", "tybalt@chat.test"); stateOf(&it) != noneOut {
		t.Errorf("state %d", stateOf(&it))
	}
	j.end()
	j2.end()
	probe(r, juliet)
	r.take()
	probe(r, juliet)
	r.expect("<presence from='juliet@chat.test' to='romeo@chat.test/orchard' id='p' type='unavailable'/>")
	if err := w.store.Block(t.Context(), "nurse", []string{romeo}, 0); err != nil {
		t.Fatal(err)
	}
	w.given("nurse", romeo, both)
	n.end()
	probe(r, "nurse@chat.test") // blocked, XEP-0191 §3.3
	r.expect()
}

// A user who believes to be subscribed and is not is told so, by a probe or at
// login (RFC 6121 §4.3.2): that is how a roster heals when a write was lost.
func TestLostSubscriptionHeals(t *testing.T) {
	w := newWorld(t, Config{})
	w.given("romeo", juliet, both)
	w.given("romeo", "nobody@chat.test", toOnly)
	j := w.login(juliet + "/balcony")
	r := w.connect(romeo + "/orchard")
	r.send("<iq id='r' type='get'><query xmlns='jabber:iq:roster'/></iq>")
	r.take()
	r.send("<presence/>")
	r.expect(r.seenBy(romeo, "", ""),
		"<presence from='juliet@chat.test' to='romeo@chat.test' type='unsubscribed'/>",
		r.push("<item jid='juliet@chat.test' subscription='from'/>"))
	r.send("<presence to='nobody@chat.test' type='probe' id='p'/>")
	r.expect("<presence from='nobody@chat.test' to='romeo@chat.test' id='p' type='unsubscribed'/>",
		r.push("<item jid='nobody@chat.test' subscription='none'/>"))
	j.expect(r.seenBy(juliet, "", ""))
}

// counting counts what is read of the store.
type counting struct {
	Store
	rosters int
}

func (c *counting) Roster(ctx context.Context, user string) (store.Roster, error) {
	c.rosters++
	return c.Store.Roster(ctx, user)
}

func TestUpdatesDoNotReadTheStore(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	c := &counting{Store: w.store}
	w.s.store = c
	j := w.connect(juliet + "/balcony")
	j.send("<presence/>")
	if c.rosters != 1 {
		t.Errorf("%d reads at login", c.rosters)
	}
	for range 10 {
		j.send("<presence><show>away</show></presence>")
	}
	j.send("<presence type='unavailable'/>")
	if c.rosters != 1 {
		t.Errorf("%d reads", c.rosters)
	}
	j.end()
	a := w.s.accounts.of(j.jid.Bare())
	if len(a.viewers) != 0 || a.cached != 0 {
		t.Errorf("cached after the end: %v", a.viewers)
	}
}

func TestCacheIsBounded(t *testing.T) {
	const room = cachedContacts / stripes
	var st stripe
	list := make([]stanza.JID, 99)
	for i := range 10 * room / 100 {
		st.keepLocked(stanza.MustJID(fmt.Sprintf("u%d@chat.test", i)), list)
	}
	if st.cached > room || st.cached != 100*len(st.viewers) {
		t.Errorf("%d contacts of %d users", st.cached, len(st.viewers))
	}
	st.keepLocked(stanza.MustJID(juliet), make([]stanza.JID, room))
	if _, ok := st.viewers[juliet]; ok {
		t.Error("a list larger than the bound is kept")
	}
	for user := range st.viewers {
		st.dropLocked(stanza.MustJID(user))
	}
	if st.cached != 0 {
		t.Errorf("%d left", st.cached)
	}
}
