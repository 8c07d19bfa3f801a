package c2s

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mellium.im/sasl"

	"chatd/router"
	"chatd/stanza"
)

// keeping makes a server keep its sessions in the slice that it returns.
func (s *testServer) keeping() *[]*Suspended {
	all := new([]*Suspended)
	s.Keep = func(seq iter.Seq[*Suspended]) error {
		*all = slices.Collect(seq)
		return nil
	}
	return all
}

// successor stops the server and starts another one on what it leaves, as JSON would carry it; change
// may change that.
func (s *testServer) successor(t *testing.T, change func([]*Suspended)) *testServer {
	t.Helper()
	kept := s.keeping()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.router.Table.Len(); n != 0 {
		t.Errorf("%d sessions are left behind", n)
	}
	if change != nil {
		change(*kept)
	}
	text, err := json.Marshal(*kept)
	if err != nil {
		t.Fatal(err)
	}
	var all []*Suspended
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	next := startServerOn(t, s.store, s.spool, nil)
	next.Import(t.Context(), all)
	return next
}

// until reads until something comes that holds all of the parts.
func (c *testClient) until(parts ...string) {
	c.tb.Helper()
	missing := func(got string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(got, p) })
	}
	for missing(c.next()) {
	}
}

// befriend lets a see b's presence and b see a's.
func befriend(a, b *testClient) {
	a.tb.Helper()
	for _, pair := range [][2]*testClient{{a, b}, {b, a}} {
		asks, answers := pair[0], pair[1]
		asks.send("<presence type='subscribe' to='" + answers.jid.Bare().String() + "'/>")
		asks.ping("asked")
		answers.send("<presence type='subscribed' to='" + asks.jid.Bare().String() + "'/>")
		answers.ping("answered")
	}
}

// TestRestart: a session goes on in another process. What it had not acknowledged comes again, then
// what it was sent before and after, once and in order; its state is as it was.
func TestRestart(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", true)
	b.available()
	id := b.enable()
	b.send("<presence to='romeo@chat.test/orchard'><priority>9</priority></presence>")
	a.expect("<presence ", "from='juliet@chat.test/balcony'")
	b.send("<message to='romeo@chat.test/orchard' id='x'/>")
	a.expect("id='x'")
	s.router.Table.SetFlags(s.session(t, b), router.Carbons, 0)
	for i := range 3 {
		a.send(numbered(i, "juliet@chat.test/balcony", "hi"))
		b.expect(fmt.Sprintf("id='m%06d'", i))
	}
	a.send("<message type='headline' to='juliet@chat.test/balcony' id='news'/>") // which no store takes
	b.expect("id='news'")
	b.send("<a xmlns='urn:xmpp:sm:3' h='1'/><inactive xmlns='urn:xmpp:csi:0'/><r xmlns='urn:xmpp:sm:3'/>")
	b.expect("<a ", "h='2'")

	next := s.successor(t, nil)
	b.expect("<r ")
	b.expect("<a xmlns='urn:xmpp:sm:3' h='2'/>")
	b.closed("system-shutdown")
	row, ok := next.router.Table.Row(b.jid)
	if !ok || !row.Available || row.Flags != router.Carbons|router.Resumed || !row.Detached {
		t.Errorf("row %+v", row)
	}
	state := row.Session.State()
	if p := state.Presence.Load(); p == nil || p.From != b.jid {
		t.Errorf("presence %+v", p)
	}
	if _, ok := state.Directed[a.jid]; !ok || len(state.Directed) != 1 {
		t.Errorf("directed %v", state.Directed)
	}
	if row.Session.(*Session).out.inactive == nil {
		t.Error("the client counts as active")
	}
	a = next.loginExisting(t, "romeo", "orchard", false)
	a.send(numbered(3, "juliet@chat.test/balcony", "hi") + numbered(4, "juliet@chat.test", "hi") +
		"<message type='headline' to='juliet@chat.test/balcony' id='more'/>")
	a.ping("sent")

	b = next.resuming(t, "juliet", id, 1)
	b.expect("<resumed ", "previd='"+id+"'", "h='2'")
	for _, id := range []string{"news", "more", "m000001", "m000002", "m000003", "m000004"} {
		b.expect("<message ", "id='"+id+"'")
	}
	b.expect("<r ")
	b.send("<a xmlns='urn:xmpp:sm:3' h='7'/>")
	b.ping("mine")
	if held := next.spool.take(); len(held) != 0 {
		t.Errorf("held %q", held)
	}
}

// TestRestartTwice: what has been kept once is kept again, also without a connection between.
func TestRestartTwice(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	b.available()
	id := b.enable()
	a.send(numbered(0, "juliet@chat.test/balcony", "hi") + "<message type='headline' to='juliet@chat.test/balcony' id='news'/>")
	b.expect("id='m000000'")
	b.expect("id='news'")
	var first, second []*Suspended
	s = s.successor(t, func(all []*Suspended) { first = all })
	s = s.successor(t, func(all []*Suspended) { second = all })
	for _, all := range [][]*Suspended{first, second} {
		for _, x := range all {
			x.Until = x.Until.Round(0)
		}
	}
	if len(first) != 1 || len(second) != 1 || !first[0].Until.Equal(second[0].Until) {
		t.Fatalf("first %v, then %v", first, second)
	}
	second[0].Until = first[0].Until
	if !reflect.DeepEqual(first, second) {
		t.Errorf("first %+v, then %+v", *first[0], *second[0])
	}
	b = s.resuming(t, "juliet", id, 0)
	b.expect("<resumed ")
	b.expect("id='news'")
	b.expect("id='m000000'")
}

// TestRestartTellsEndings: who ends at the shutdown is told of to those whose sessions go on, and
// these to nobody.
func TestRestartTellsEndings(t *testing.T) {
	s := startServer(t, nil)
	a, b, c := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false), s.login(t, "nurse", "house", false)
	befriend(a, b)
	befriend(a, c)
	a.available()
	b.send("<presence/>")
	b.until("<presence ", "from='romeo@chat.test/orchard'")
	a.expect("<presence ", "from='juliet@chat.test/balcony'")
	c.send("<presence/>")
	c.until("<presence ", "from='romeo@chat.test/orchard'")
	a.expect("<presence ", "from='nurse@chat.test/house'")
	id := a.enable()
	other := b.enable()
	next := s.successor(t, nil)
	b.closed("system-shutdown")
	c = next.loginExisting(t, "nurse", "house", false)
	c.send("<presence/>")
	c.until("<presence ", "from='romeo@chat.test/orchard'")
	a = next.resuming(t, "romeo", id, 0)
	a.expect("<resumed ")
	a.expect("<presence ", "from='nurse@chat.test/house'", "type='unavailable'")
	a.expect("<presence ", "from='nurse@chat.test/house'")
	b = next.resuming(t, "juliet", other, 0)
	b.expect("<resumed ")
	b.ping("nothing came before")
}

// TestRestartTooLate: a session whose time is up, whose token has expired or whose account is gone ends: its contacts
// hear of it, also those that wait for resumption, and what it had not acknowledged finds another way.
func TestRestartTooLate(t *testing.T) {
	past := time.Now().Add(-time.Minute)
	for name, late := range map[string]func(t *testing.T, s *testServer, x *Suspended){
		"time":     func(_ *testing.T, _ *testServer, x *Suspended) { x.Until = past },
		"token":    func(_ *testing.T, _ *testServer, x *Suspended) { x.Expires = past },
		"wait":     func(_ *testing.T, _ *testServer, x *Suspended) { x.Wait = 0 },
		"no block": func(_ *testing.T, _ *testServer, x *Suspended) {},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, nil)
			a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
			befriend(a, b)
			a.available()
			b.send("<presence/>")
			b.until("<presence ", "from='romeo@chat.test/orchard'")
			a.expect("<presence ", "from='juliet@chat.test/balcony'")
			other := a.enable()
			id := b.enable()
			a.send("<iq type='get' to='juliet@chat.test/balcony' id='q'><query xmlns='some:thing'/></iq>")
			b.expect("id='q'")
			kept := s.keeping()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, x := range *kept {
				if x.ID == id {
					late(t, s, x)
				}
			}
			slices.SortFunc(*kept, func(x, y *Suspended) int { return strings.Compare(x.JID, y.JID) }) // juliet first
			next := startServerOn(t, s.store, s.spool, nil)
			next.OnBind = func(_ context.Context, s router.Session) error {
				if name == "no block" && s.JID() == b.jid {
					return errors.New("the store is away")
				}
				return nil
			}
			if n := next.Import(t.Context(), *kept); n != 1 {
				t.Errorf("%d sessions can be resumed", n)
			}
			if old := next.resumableBy(id); old != nil {
				ended(t, old, testTimeout)
			}
			next.resuming(t, "juliet", id, 0).expect("<failed ", "<item-not-found ")
			a = next.resuming(t, "romeo", other, 0)
			a.expect("<resumed ")
			a.expect("<iq ", "type='error'", "id='q'", "<service-unavailable ")
			a.expect("<presence ", "from='juliet@chat.test/balcony'", "type='unavailable'")
		})
	}
}

// TestRestartWithoutAccount: nobody gets a session of an account that was removed meanwhile, nor its messages.
func TestRestartWithoutAccount(t *testing.T) {
	s := startServer(t, nil)
	b := s.login(t, "juliet", "balcony", false)
	b.available()
	id := b.enable()
	next := s.successor(t, func([]*Suspended) {
		if err := s.store.DeleteAccount(t.Context(), "juliet"); err != nil {
			t.Fatal(err)
		}
	})
	if old := next.resumableBy(id); old != nil {
		ended(t, old, testTimeout)
	}
	if n := next.router.Table.Len(); n != 0 {
		t.Errorf("%d sessions in the table", n)
	}
}

// TestRestartToken: the session still ends with its token.
func TestRestartToken(t *testing.T) {
	s := startServer(t, nil)
	b := s.login(t, "juliet", "balcony", false)
	id := b.enable()
	next := s.successor(t, func(all []*Suspended) { all[0].Expires = time.Now().Add(200 * time.Millisecond) })
	old := next.resumableBy(id)
	if old == nil || !old.State().Temporary {
		t.Fatal("not restored as a session that ends with its token")
	}
	ended(t, old, testTimeout)
}

// TestNotKept: if the sessions cannot be kept they end, and their messages are stored.
func TestNotKept(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	b.available()
	b.enable()
	a.send(numbered(0, "juliet@chat.test/balcony", "hi"))
	b.expect("id='m000000'")
	s.Keep = func(all iter.Seq[*Suspended]) error {
		for range all {
			return errors.New("no space")
		}
		return nil
	}
	sessions := []*Session{s.session(t, a), s.session(t, b)}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, session := range sessions {
		ended(t, session, testTimeout)
	}
	if got := s.heldIDs(); !maps.Equal(got, map[string]bool{"m000000": true}) {
		t.Errorf("held %v", got)
	}
}

// TestKeptBound: a session that is too large to keep ends as others do.
func TestKeptBound(t *testing.T) {
	s := startServer(t, func(c *Config) { c.UnackedBytes, c.MaxStanzaBytes = 4*KeptBytes, 2*KeptBytes })
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	b.enable()
	a.send("<message type='headline' to='juliet@chat.test/balcony' id='huge'><body>" + strings.Repeat("h", KeptBytes) + "</body></message>")
	a.ping("sent")
	kept := s.keeping()
	go drainIDs(b.conn)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(*kept) != 0 {
		t.Errorf("kept %d sessions", len(*kept))
	}
}

// TestImportRefuses: what no server has written makes no session, and harms none.
func TestImportRefuses(t *testing.T) {
	s := startServer(t, nil)
	good := Suspended{ID: "x", JID: "juliet@chat.test/balcony", Until: time.Now().Add(time.Minute), Wait: time.Minute}
	s.login(t, "juliet", "taken", false)
	for name, change := range map[string]func(x *Suspended){
		"no id":              func(x *Suspended) { x.ID = "" },
		"another domain":     func(x *Suspended) { x.JID = "juliet@elsewhere.test/balcony" },
		"no resource":        func(x *Suspended) { x.JID = "juliet@chat.test" },
		"no user":            func(x *Suspended) { x.JID = "chat.test/balcony" },
		"taken":              func(x *Suspended) { x.JID = "juliet@chat.test/taken" },
		"half a stanza":      func(x *Suspended) { x.Unacked = []Unacked{{Stanza: "<message>"}} },
		"two stanzas":        func(x *Suspended) { x.Unacked = []Unacked{{Stanza: "<message/><message/>"}} },
		"end of stream":      func(x *Suspended) { x.Unacked = []Unacked{{Stanza: "</stream:stream>"}} },
		"nothing":            func(x *Suspended) { x.Unacked = []Unacked{{}} },
		"stored and not":     func(x *Suspended) { x.Unacked = []Unacked{{Stored: 3, Stanza: "<message/>"}} },
		"presence of others": func(x *Suspended) { x.Presence = "<presence from='romeo@chat.test/orchard'/>" },
		"no presence":        func(x *Suspended) { x.Presence = "<message from='juliet@chat.test/balcony'/>" },
		"directed":           func(x *Suspended) { x.Directed = []string{"@"} },
	} {
		x := good
		change(&x)
		if n := s.Import(t.Context(), []*Suspended{&x}); n != 0 || s.router.Table.Len() != 1 {
			t.Errorf("%s: %d, %d sessions", name, n, s.router.Table.Len())
		}
	}
	if n := s.Import(t.Context(), []*Suspended{&good, &good}); n != 1 {
		t.Errorf("%d of a session that came twice", n)
	}
	row, ok := s.router.Table.Row(stanza.MustJID(good.JID))
	if !ok {
		t.Fatal("not restored")
	}
	replacement := s.login(t, "juliet", "balcony", false)
	ended(t, row.Session, testTimeout)
	replacement.ping("alive")
}

// TestRestoreNowhere: of a session that cannot go on here, where it has come back to, nothing is lost: its resource is taken, or the server
// has stopped meanwhile.
func TestRestoreNowhere(t *testing.T) {
	s := startServer(t, nil)
	x := func(n int) *Suspended {
		return &Suspended{ID: fmt.Sprint("x", n), JID: "juliet@chat.test/balcony", Until: time.Now().Add(time.Minute), Wait: time.Minute, Storing: true,
			Available: true, Unacked: []Unacked{{Stanza: fmt.Sprintf("<message from='romeo@chat.test/orchard' to='juliet@chat.test' type='chat' id='m%06d'><body>hi</body></message>", n)}}}
	}
	b := s.login(t, "juliet", "balcony", false)
	b.available()
	s.Restore(t.Context(), x(1))
	b.expect("id='m000001'")
	b.send("</stream:stream>")
	s.keeping()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Restore(t.Context(), x(2))
	if got := s.heldIDs(); !maps.Equal(got, map[string]bool{"m000002": true}) || s.router.Table.Len() > 0 {
		t.Errorf("held %v, %d sessions", got, s.router.Table.Len())
	}
}

// TestResumeWhileClosing: a client that comes back in the very moment in which the server stops does
// not cost the session, whoever is faster.
func TestResumeWhileClosing(t *testing.T) {
	for i := range 6 {
		s := startServer(t, nil)
		b := s.login(t, "juliet", "balcony", false)
		id := b.enable()
		b.breakOff()
		s.detached(t, b.jid)
		c := dial(t, s.addr, nil)
		c.open()
		c.authenticate(sasl.ScramSha256, "juliet", testPassword)
		c.open()
		go func() {
			time.Sleep(time.Duration(i) * 40 * time.Microsecond)
			_, _ = fmt.Fprintf(c.conn, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='0'/>", id)
		}()
		next := s.successor(t, nil)
		next.resuming(t, "juliet", id, 0).expect("<resumed ")
	}
}
