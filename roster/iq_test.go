package roster

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"chatd/stanza"
	"chatd/store"
)

func set(item string) string {
	return "<iq id='s' type='set'><query xmlns='jabber:iq:roster'>" + item + "</query></iq>"
}

const (
	juliet = "juliet@chat.test"
	romeo  = "romeo@chat.test"
)

// ok is the empty result of a roster set.
func (c *client) ok() string {
	return "<iq from='" + c.jid.Bare().String() + "' to='" + c.jid.String() + "' id='s' type='result'/>"
}

func TestSetAndGet(t *testing.T) {
	w := newWorld(t, Config{})
	balcony, chamber, quiet := w.login(juliet+"/balcony"), w.login(juliet+"/chamber"), w.connect(juliet+"/quiet")
	balcony.take()

	balcony.send(set("<item jid='Romeo@CHAT.test/orchard' name='R &amp; &apos;J&apos;' subscription='both' ask='subscribe' approved='true'>" +
		"<group>Friends</group><group>Lov&lt;rs</group></item>"))
	item := "<item jid='romeo@chat.test' name='R &amp; &apos;J&apos;' subscription='none'><group>Friends</group><group>Lov&lt;rs</group></item>"
	balcony.expect(balcony.push(item), balcony.ok())
	chamber.expect(chamber.push(item))
	quiet.expect()

	quiet.send("<iq id='g' type='get'><query xmlns='jabber:iq:roster'/></iq>")
	quiet.expect("<iq from='juliet@chat.test' to='juliet@chat.test/quiet' id='g' type='result'><query xmlns='jabber:iq:roster'>" + item + "</query></iq>")

	item = "<item jid='romeo@chat.test' subscription='none'/>" // RFC 6121 §2.4.1: exactly as provided
	balcony.send(set("<item jid='romeo@chat.test' name=''/>"))
	balcony.expect(balcony.push(item), balcony.ok())
	quiet.expect(quiet.push(item))
}

func TestEmptyRoster(t *testing.T) {
	w := newWorld(t, Config{})
	w.given("juliet", romeo, noneIn, hidden)
	c := w.connect(juliet + "/balcony")
	c.send("<iq id='g' type='get' to='juliet@chat.test'><query xmlns='jabber:iq:roster'/></iq>")
	c.expect("<iq from='juliet@chat.test' to='juliet@chat.test/balcony' id='g' type='result'><query xmlns='jabber:iq:roster'></query></iq>")
}

func TestPushIDsDiffer(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.login(juliet + "/balcony")
	w.login(juliet + "/chamber")
	c.take()
	seen := make(map[string]bool)
	for range 3 {
		c.send(set("<item jid='romeo@chat.test'/>"))
	}
	for _, st := range c.got {
		if st.Type == stanza.Set {
			seen[string(st.ID)] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("ids %v", seen)
	}
}

var versionOf = regexp.MustCompile(` ver='([0-9]+)'`)

// lastVersion is the version in the last thing that the client got.
func (c *client) lastVersion() string {
	c.w.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	m := versionOf.FindSubmatch(c.got[len(c.got)-1].Inner)
	if m == nil {
		c.w.t.Fatalf("no version in %s", c.got[len(c.got)-1].Inner)
	}
	return string(m[1])
}

// RFC 6121 §2.6.
func TestVersioning(t *testing.T) {
	w := newWorld(t, Config{})
	chamber, c := w.login(juliet+"/chamber"), w.connect(juliet+"/balcony")
	chamber.send(set("<item jid='romeo@chat.test'/>"))
	get := func(ver string) {
		c.take()
		c.send("<iq id='g' type='get'><query xmlns='jabber:iq:roster' ver='" + ver + "'/></iq>")
	}
	get("")
	first := c.lastVersion()
	full := "<iq from='juliet@chat.test' to='juliet@chat.test/balcony' id='g' type='result'><query xmlns='jabber:iq:roster'>" +
		"<item jid='romeo@chat.test' subscription='none'/></query></iq>"
	c.expect(full)

	get(first)
	c.expect("<iq from='juliet@chat.test' to='juliet@chat.test/balcony' id='g' type='result'/>")
	get("of another server")
	c.expect(full)

	chamber.send(set("<item jid='nurse@chat.test'/>"))
	pushed := c.lastVersion()
	if pushed == first {
		t.Error("a push with the old version")
	}
	get(pushed)
	c.expect("<iq from='juliet@chat.test' to='juliet@chat.test/balcony' id='g' type='result'/>")
	get(first)
	if got := strings.Join(c.take(), ""); !strings.Contains(got, "nurse@") || !strings.Contains(got, "romeo@") {
		t.Errorf("not the full roster: %s", got)
	}
}

func TestBadSets(t *testing.T) {
	long := strings.Repeat("x", 1024)
	var many strings.Builder
	for i := range maxGroups + 1 {
		fmt.Fprintf(&many, "<group>%d</group>", i)
	}
	for name, tc := range map[string]struct{ item, condition string }{
		"no item":          {"", "bad-request"},
		"two items":        {"<item jid='a@b'/><item jid='c@d'/>", "bad-request"},
		"no jid":           {"<item/>", "jid-malformed"},
		"bad jid":          {"<item jid='@@'/>", "jid-malformed"},
		"self":             {"<item jid='juliet@chat.test'/>", "not-allowed"},
		"long name":        {"<item jid='a@b' name='" + long + "'/>", "not-acceptable"},
		"empty group":      {"<item jid='a@b'><group/></item>", "not-acceptable"},
		"long group":       {"<item jid='a@b'><group>" + long + "</group></item>", "not-acceptable"},
		"many groups":      {"<item jid='a@b'>" + many.String() + "</item>", "not-acceptable"},
		"same group twice": {"<item jid='a@b'><group>x</group><group>x</group></item>", "bad-request"},
		"unknown":          {"<item jid='a@b' subscription='remove'/>", "item-not-found"},
		"only a request":   {"<item jid='tybalt@chat.test' subscription='remove'/>", "item-not-found"},
		"another space":    {"<item xmlns='other' jid='a@b'/>", "bad-request"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{})
			w.given("juliet", "tybalt@chat.test", noneIn, hidden)
			c := w.login(juliet + "/balcony")
			before, _ := w.store.Roster(t.Context(), "juliet")
			c.send(set(tc.item))
			got := c.take()
			if len(got) != 1 || !strings.Contains(got[0], "type='error'") || !strings.Contains(got[0], "<"+tc.condition+" ") {
				t.Errorf("got %v, want only %s", got, tc.condition)
			}
			after, _ := w.store.Roster(t.Context(), "juliet")
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("roster changed: %v, was %v", after, before)
			}
		})
	}
	w := newWorld(t, Config{})
	c := w.login(juliet + "/balcony")
	c.send(set("<item jid='a@b' name='" + long[:1023] + "'><group>" + long[:1023] + "</group></item>"))
	if got := c.take(); len(got) != 2 {
		t.Errorf("at the limits: %v", got)
	}
}

func TestOthersRosterIsForbidden(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	c := w.login(romeo + "/orchard")
	for _, typ := range []string{"get", "set"} {
		c.send("<iq id='x' to='juliet@chat.test' type='" + typ + "'><query xmlns='jabber:iq:roster'><item jid='romeo@chat.test' subscription='remove'/></query></iq>")
		if got := c.take(); len(got) != 1 || !strings.Contains(got[0], "<forbidden ") {
			t.Errorf("%s: %v", typ, got)
		}
	}
	if it, _ := w.item("juliet", romeo); stateOf(&it) != both {
		t.Errorf("changed: %+v", it)
	}
}

// RFC 6121 §2.5.2.
func TestRemoveEndsSubscriptions(t *testing.T) {
	for was, tc := range map[state]struct {
		theirs, left state
		get          []string // what romeo's client gets besides pushes
	}{
		none:     {none, none, nil},
		toOnly:   {fromOnly, none, []string{"unsubscribe"}},
		fromOnly: {toOnly, none, []string{"unavailable", "unsubscribed"}},
		both:     {both, none, []string{"unsubscribe", "unavailable", "unsubscribed"}},
		noneOut:  {noneIn, none, []string{"unsubscribe"}},
		noneIn:   {noneOut, none, []string{"unsubscribed"}},
	} {
		w := newWorld(t, Config{})
		w.given("juliet", romeo, was)
		w.given("romeo", juliet, tc.theirs)
		j, r := w.login(juliet+"/balcony"), w.login(romeo+"/orchard")
		j.take()
		j.send(set("<item jid='romeo@chat.test' subscription='remove'/>"))
		got := j.take()
		if got[0] != j.push("<item jid='romeo@chat.test' subscription='remove'/>") || got[len(got)-1] != j.ok() {
			t.Errorf("from %d: juliet got %v", was, got)
		}
		if _, exists := w.item("juliet", romeo); exists {
			t.Errorf("from %d: still there", was)
		}
		if it, _ := w.item("romeo", juliet); stateOf(&it) != tc.left {
			t.Errorf("from %d: romeo is left with %d", was, stateOf(&it))
		}
		var types []string
		for _, st := range r.got {
			if st.Kind == stanza.Presence {
				types = append(types, st.Type.String())
			}
		}
		if fmt.Sprint(types) != fmt.Sprint(tc.get) {
			t.Errorf("from %d: romeo got %v, want %v", was, types, tc.get)
		}
	}
}

func TestContactLimit(t *testing.T) {
	w := newWorld(t, Config{MaxContacts: 1})
	c := w.login(juliet + "/balcony")
	c.send(set("<item jid='nurse@chat.test'/>"))
	c.take()
	c.send(set("<item jid='nurse@chat.test' name='Nurse'/>")) // an update is no growth
	if got := c.take(); len(got) != 2 {
		t.Errorf("update at the limit: %v", got)
	}
	for _, x := range []string{
		set("<item jid='romeo@chat.test'/>"),
		"<presence to='romeo@chat.test' type='subscribe' id='p'/>",
		"<presence to='romeo@chat.test' type='subscribed' id='p'/>",
	} {
		c.send(x)
		if got := c.take(); len(got) != 1 || !strings.Contains(got[0], "<not-allowed ") || !strings.Contains(got[0], "contact list is full") {
			t.Errorf("%s: %v", x, got)
		}
	}
	if _, exists := w.item("romeo", juliet); exists {
		t.Error("the request reached the contact")
	}
	w.s.Reload(Config{MaxContacts: 2})
	c.send(set("<item jid='romeo@chat.test'/>"))
	c.expect(c.push("<item jid='romeo@chat.test' subscription='none'/>"), c.ok())
}

// A user whose stack of requests is full gets no more, and the sender is told.
func TestRequestLimit(t *testing.T) {
	w := newWorld(t, Config{MaxContacts: 1})
	w.given("juliet", "tybalt@chat.test", noneIn, hidden)
	c := w.login(romeo + "/orchard")
	c.send("<presence to='juliet@chat.test' type='subscribe' id='p'/>")
	got := c.take()
	if len(got) != 3 || !strings.Contains(got[2], "<resource-constraint ") || !strings.Contains(got[2], "to='romeo@chat.test/orchard'") {
		t.Errorf("got %v", got)
	}
	if it, _ := w.item("romeo", juliet); stateOf(&it) != none {
		t.Errorf("state %d", stateOf(&it))
	}
}

func TestRemoveUser(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	w.given("juliet", "nurse@chat.test", noneIn, hidden)
	w.given("nurse", juliet, noneOut)
	r := w.login(romeo + "/orchard")
	if err := w.s.RemoveUser(t.Context(), stanza.MustJID(juliet)); err != nil {
		t.Fatal(err)
	}
	list, err := w.store.Roster(t.Context(), "juliet")
	if err != nil || len(list.Items) != 0 {
		t.Errorf("left: %v, %v", list.Items, err)
	}
	for _, user := range []string{"romeo", "nurse"} {
		if it, exists := w.item(user, juliet); !exists || it.Sub != store.SubNone || it.Ask {
			t.Errorf("%s: %+v", user, it)
		}
	}
	if got := strings.Join(r.take(), ""); !strings.Contains(got, "type='unsubscribe'") || !strings.Contains(got, "type='unsubscribed'") {
		t.Errorf("romeo got %s", got)
	}
}
