package chatd_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/webhook"
)

const hookSecret = "0123456789abcdef"

// A receiver is somebody else's service, which takes events when it feels like it.
type receiver struct {
	t   *testing.T
	srv *httptest.Server

	mu    sync.Mutex
	ids   map[string]map[string]int // by what happened and event id: how often it was taken
	moody bool                      // refuses, hangs up and dawdles
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, ids: make(map[string]map[string]int)}
	r.srv = httptest.NewServer(r)
	t.Cleanup(r.srv.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // chatd was killed
	}
	if err := webhook.Verify(hookSecret, req.Header.Get(webhook.SignatureHeader), time.Now(), 10*time.Second, body); err != nil {
		r.t.Errorf("%v: %s", err, body)
	}
	var e struct {
		ID, Type string
		Data     struct {
			Player  string
			Players []string
			From    string
			To      string
			Rule    string
		}
	}
	if err := json.Unmarshal(body, &e); err != nil {
		r.t.Errorf("%v: %s", err, body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moody {
		switch rand.N(6) {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 1:
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				c.Close()
			}
			return
		case 2:
			r.mu.Unlock()
			time.Sleep(rand.N(20 * time.Millisecond))
			r.mu.Lock()
		}
	}
	what := strings.TrimSpace(strings.Join([]string{e.Type, e.Data.Player, strings.Join(e.Data.Players, " "), e.Data.From, e.Data.To, e.Data.Rule}, " "))
	what = strings.Join(strings.Fields(strings.ReplaceAll(what, "@"+testDomain, "")), " ")
	if r.ids[what] == nil {
		r.ids[what] = make(map[string]int)
	}
	r.ids[what][e.ID]++
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) setMoody(moody bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moody = moody
}

// has is how many different events say that it happened.
func (r *receiver) has(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ids[what])
}

// await returns when it has been told of all of it, each by one event.
func (r *receiver) await(t *testing.T, all []string) {
	t.Helper()
	missing := slices.Clone(all)
	for deadline := time.Now().Add(2 * patience); len(missing) > 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		missing = slices.DeleteFunc(missing, func(what string) bool { return r.has(what) > 0 })
	}
	if len(missing) > 0 {
		t.Errorf("%d of %d events are missing, among them %q", len(missing), len(all), missing[0])
	}
	for _, what := range all {
		if n := r.has(what); n > 1 {
			t.Errorf("%s: %d different events", what, n)
		}
	}
}

func hooksTOML(url string, events ...string) string {
	return fmt.Sprintf(`[{name = "test", url = %q, secret = %q, events = ["%s"]}]`, url, hookSecret, strings.Join(events, `", "`))
}

// TestWebhooks: what happens over XMPP is told.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	rcv := newReceiver(t)
	srv := startServer(t, map[string]string{"webhooks": hooksTOML(rcv.srv.URL, webhook.Types()...), "rules.require_friendship": `["messages"]`})
	anna, bob := srv.login(t, "anna", "phone"), srv.login(t, "bob", "phone")
	for _, c := range []*client{anna, bob} {
		if err := c.send("<presence/>"); err != nil {
			t.Fatal(err)
		}
	}
	// A second resource that comes and goes makes nobody come or go.
	desk := srv.client(clientSpec{name: "anna", user: "anna", domain: testDomain, resource: "desk", password: "secret", mechanism: "SCRAM-SHA-256", tls: "direct"})
	if err := desk.connect(); err != nil {
		t.Fatal(err)
	}
	if err := desk.send("<presence/><presence><show>away</show></presence>"); err != nil {
		t.Fatal(err)
	}
	if err := desk.sync(); err != nil {
		t.Fatal(err)
	}
	desk.pending = nil
	if err := desk.close(); err != nil {
		t.Fatal(err)
	}
	if err := anna.send("<message type='chat' to='bob@" + testDomain + "'><body>psst</body></message>"); err != nil {
		t.Fatal(err)
	}
	befriend(t, anna, bob)
	if out, err := srv.run("user", "add", "carl@"+testDomain, "-config", srv.config(), "-password", "secret"); err != nil {
		t.Fatal(out)
	}
	if err := anna.send("<iq type='set' id='x'><query xmlns='jabber:iq:roster'><item jid='bob@" + testDomain + "' subscription='remove'/></query></iq>"); err != nil {
		t.Fatal(err)
	}
	if err := anna.sync(); err != nil {
		t.Fatal(err)
	}
	bob.pending = nil
	if err := bob.ping(); err != nil {
		t.Fatal(err)
	}
	bob.pending = nil
	if err := bob.close(); err != nil {
		t.Fatal(err)
	}
	rcv.await(t, []string{
		"account.made anna", "account.made bob", "account.made carl", "player.online anna", "player.online bob", "player.offline bob",
		"message.rejected anna/phone bob friendship", "friendship.made anna bob", "friendship.ended anna bob",
	})
	if rcv.has("player.offline anna") > 0 {
		t.Error("anna is not offline")
	}
	if err := anna.ping(); err != nil {
		t.Fatal(err)
	}
	anna.pending = nil
	if err := anna.close(); err != nil {
		t.Fatal(err)
	}
	rcv.await(t, []string{"player.offline anna"})
	if log := srv.log.String(); strings.Contains(log, "psst") || strings.Contains(log, hookSecret) {
		t.Error("a secret is in the log")
	}
}

// befriend makes friends of two users who are online, and returns when both lists say so.
func befriend(t *testing.T, one, two *client) {
	t.Helper()
	a, b := one.user+"@"+testDomain, two.user+"@"+testDomain
	for _, c := range []*client{one, two} {
		if _, err := c.exchanged("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>", func(n *node) bool { return n.attr("id") == "roster" }); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.send("<presence type='subscribe' to='" + b + "'/><presence type='subscribed' to='" + b + "'/>"); err != nil {
		t.Fatal(err)
	}
	if err := one.sync(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{two, one} {
		text := ""
		if c == two {
			text = "<presence type='subscribed' to='" + a + "'/><presence type='subscribe' to='" + a + "'/>"
		}
		if _, err := c.exchanged(text, isMutual); err != nil {
			t.Fatal(err)
		}
	}
}

// isMutual is a roster push of a friend.
func isMutual(n *node) bool {
	q := n.child("query")
	return q != nil && q.child("item") != nil && q.child("item").attr("subscription") == "both"
}

// TestKillDuringDeliveries: kill -9 while accounts and friendships are made, and while a receiver takes
// some events and refuses others. None is lost: what a client was told of, the receiver is, by one
// event, however often that comes.
func TestKillDuringDeliveries(t *testing.T) {
	t.Parallel()
	rcv := newReceiver(t)
	rcv.setMoody(true)
	srv := startServer(t, map[string]string{
		"webhooks":                  hooksTOML(rcv.srv.URL, webhook.AccountMade, webhook.FriendshipMade),
		"rules.requests_per_minute": "0",
	})
	var done []string
	for round := range 4 {
		var mu sync.Mutex
		var all, begun sync.WaitGroup
		begun.Add(3)
		for w := range 3 {
			all.Go(func() {
				started := sync.OnceFunc(begun.Done)
				defer started()
				for i := range 1000 {
					if i == 5+10*round {
						started()
					}
					user := fmt.Sprintf("u%d-%d-%d", round, w, i)
					if srv.register(user, "secret") != nil {
						return // killed
					}
					mu.Lock()
					done = append(done, "account.made "+user)
					mu.Unlock()
				}
			})
		}
		a, b := srv.login(t, fmt.Sprintf("a%d", round), "r"), srv.login(t, fmt.Sprintf("b%d", round), "r")
		for _, c := range []*client{a, b} {
			if err := c.send("<presence/>"); err != nil {
				t.Fatal(err)
			}
		}
		befriend(t, a, b)
		begun.Wait()
		if err := srv.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-srv.exited
		all.Wait()
		done = append(done, "account.made "+a.user, "account.made "+b.user, "friendship.made "+a.user+" "+b.user)
		srv.start(t)
	}
	rcv.setMoody(false)
	rcv.await(t, done)
	again := 0
	rcv.mu.Lock()
	for _, ids := range rcv.ids {
		for _, n := range ids {
			again += n - 1
		}
	}
	rcv.mu.Unlock()
	t.Logf("%d events after four kills, %d of them came again", len(done), again)
}

// A censor is somebody else's text filter: it stars out "bad", refuses "evil", and takes its time.
func newCensor(t *testing.T, slow time.Duration) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if err := webhook.Verify(hookSecret, r.Header.Get(webhook.SignatureHeader), time.Now(), 10*time.Second, body); err != nil {
			t.Errorf("%v: %s", err, body)
		}
		var q struct{ Body string }
		if err := json.Unmarshal(body, &q); err != nil {
			t.Error(err)
		}
		if slow > 0 {
			time.Sleep(rand.N(slow))
		}
		answer := map[string]string{"action": "accept"}
		switch {
		case strings.Contains(q.Body, "evil"):
			answer = map[string]string{"action": "reject", "reason": "be kind & patient"}
		case strings.Contains(q.Body, "bad"):
			answer = map[string]string{"action": "replace", "body": strings.ReplaceAll(q.Body, "bad", "<*>")}
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func filterSettings(url, onFailure string) map[string]string {
	return map[string]string{
		"message.filter.url": fmt.Sprintf("%q", url), "message.filter.secret": fmt.Sprintf("%q", hookSecret),
		"message.filter.timeout_ms": "5000", "message.filter.on_failure": fmt.Sprintf("%q", onFailure),
		"c2s.limits.stanzas_per_second": "0", "c2s.limits.bytes_per_second": "0",
	}
}

// texts is the bodies of the messages that a client has been sent by now, carbons and all; an error's is its text.
func texts(t *testing.T, c *client) (all []string) {
	t.Helper()
	if err := c.ping(); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.pending {
		for _, wrapper := range []string{"sent", "received"} {
			if w := n.child(wrapper); w != nil {
				n = w.child("forwarded").child("message")
			}
		}
		switch {
		case !n.is(nsClient, "message"):
		case n.attr("type") == "error":
			all = append(all, "error: "+n.child("error").child("text").text)
		case n.child("body") != nil:
			all = append(all, n.child("body").text)
		}
	}
	c.pending = nil
	return all
}

// TestTextFilter: what the filter makes of a message is what recipients, their other resources, the sender's other
// resources and the store get.
func TestTextFilter(t *testing.T) {
	t.Parallel()
	srv := startServer(t, filterSettings(newCensor(t, 0).URL, "closed"))
	phone, bob := srv.login(t, "anna", "phone"), srv.login(t, "bob", "phone")
	if err := srv.register("carl", "secret"); err != nil {
		t.Fatal(err)
	}
	second := func(user, resource string) *client {
		c := srv.client(clientSpec{name: user, user: user, domain: testDomain, resource: resource, password: "secret", mechanism: "SCRAM-SHA-256", tls: "starttls"})
		if err := c.connect(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.tcp.Close() })
		return c
	}
	desk, tablet := second("anna", "desk"), second("bob", "tablet")
	for c, priority := range map[*client]int{phone: 1, bob: 2, desk: 1, tablet: -1} {
		if _, err := c.exchanged(fmt.Sprintf("<presence><priority>%d</priority></presence><iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>", priority),
			func(n *node) bool { return n.attr("id") == "c" }); err != nil {
			t.Fatal(err)
		}
	}
	for _, to := range []string{"bob", "carl"} {
		for _, text := range []string{"good", "a bad &amp; word", "evil", "<![CDATA[bad]]>"} {
			if err := phone.send("<message type='chat' to='" + to + "@" + testDomain + "'><body>" + text + "</body></message>"); err != nil {
				t.Fatal(err)
			}
		}
	}
	passed := []string{"good", "a <*> & word", "<*>"}
	if got := texts(t, phone); !slices.Equal(got, []string{"error: be kind & patient", "error: be kind & patient"}) {
		t.Errorf("the sender got %q", got)
	}
	if got := texts(t, desk); !slices.Equal(got, slices.Concat(passed, passed)) {
		t.Errorf("the sender's other resource got %q", got)
	}
	for _, c := range []*client{bob, tablet} {
		if got := texts(t, c); !slices.Equal(got, passed) {
			t.Errorf("%s got %q", c.resource, got)
		}
	}
	carl := second("carl", "phone")
	if err := carl.send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, carl); !slices.Equal(got, passed) {
		t.Errorf("the store had %q", got)
	}
}

// TestTextFilterOrder: under load each sender's messages stay in order, whatever the filter takes for each.
func TestTextFilterOrder(t *testing.T) {
	t.Parallel()
	srv := startServer(t, filterSettings(newCensor(t, 3*time.Millisecond).URL, "closed"))
	bob := srv.login(t, "bob", "phone")
	if err := bob.send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	if err := bob.sync(); err != nil {
		t.Fatal(err)
	}
	const senders, each = 8, 100
	var all sync.WaitGroup
	for s := range senders {
		c := srv.login(t, fmt.Sprintf("sender%d", s), "phone")
		all.Go(func() {
			var b strings.Builder
			for i := range each {
				word := [...]string{"good", "bad", "good", "evil"}[i%4]
				fmt.Fprintf(&b, "<message type='chat' to='bob@%s'><body>%d %d %s</body></message>", testDomain, s, i, word)
			}
			if err := c.send(b.String()); err != nil {
				t.Error(err)
			}
			if err := c.sync(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var want, got [senders][]string
	for s := range senders {
		for i := range each {
			if word := [...]string{"good", "<*>", "good", ""}[i%4]; word != "" {
				want[s] = append(want[s], fmt.Sprintf("%d %d %s", s, i, word))
			}
		}
	}
	for _, text := range texts(t, bob) {
		got[text[0]-'0'] = append(got[text[0]-'0'], text)
	}
	for s := range senders {
		if !slices.Equal(got[s], want[s]) {
			t.Errorf("of sender %d came %d messages, want %d in order", s, len(got[s]), len(want[s]))
		}
	}
}

// TestTextFilterDead: when the filter is dead messages pass or are refused, as configured, and soon without a wait.
func TestTextFilterDead(t *testing.T) {
	t.Parallel()
	for onFailure, want := range map[string]string{"open": "evil", "closed": "error: messages cannot be checked at the moment"} {
		dead := newCensor(t, 0)
		dead.Close()
		settings := filterSettings(dead.URL, onFailure)
		srv := startServer(t, settings)
		c := srv.login(t, "anna", "phone")
		bob := srv.login(t, "bob", "phone")
		if err := bob.send("<presence/>"); err != nil {
			t.Fatal(err)
		}
		if err := bob.sync(); err != nil {
			t.Fatal(err)
		}
		const n = 200
		begun := time.Now()
		if err := c.send(strings.Repeat("<message type='chat' to='bob@"+testDomain+"'><body>evil</body></message>", n)); err != nil {
			t.Fatal(err)
		}
		got := texts(t, c)
		if onFailure == "open" {
			got = texts(t, bob)
		}
		if len(got) != n || slices.ContainsFunc(got, func(s string) bool { return s != want }) {
			t.Errorf("%s: %d messages, first %q", onFailure, len(got), got[:min(1, len(got))])
		}
		if took := time.Since(begun); took > patience/2 {
			t.Errorf("%s: took %v", onFailure, took)
		}
	}
}

// TestTextFilterInRooms: what the filter makes of a message is what all occupants get, the sender included, and who enters later.
func TestTextFilterInRooms(t *testing.T) {
	t.Parallel()
	rcv := newReceiver(t)
	settings := filterSettings(newCensor(t, 0).URL, "closed")
	settings["webhooks"] = hooksTOML(rcv.srv.URL, webhook.RoomMessage, webhook.MessageRejected)
	srv := startServer(t, settings)
	anna, bob := srv.login(t, "anna", "phone"), srv.login(t, "bob", "phone")
	const room = "arena@conference." + testDomain
	enter := func(c *client) {
		t.Helper()
		if _, err := c.exchanged("<presence to='"+room+"/"+c.user+"'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
			func(n *node) bool { return n.is(nsClient, "message") && n.child("subject") != nil }); err != nil {
			t.Fatal(err)
		}
	}
	enter(anna)
	if _, err := anna.exchanged("<iq type='set' id='open' to='"+room+"'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>",
		func(n *node) bool { return n.attr("id") == "open" }); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"good", "a bad word", "evil"} {
		if err := anna.send("<message type='groupchat' to='" + room + "'><body>" + text + "</body></message>"); err != nil {
			t.Fatal(err)
		}
	}
	if got := texts(t, anna); !slices.Equal(got, []string{"good", "a <*> word", "error: be kind & patient"}) {
		t.Errorf("the sender got %q", got)
	}
	if err := bob.send("<presence to='" + room + "/bob'><x xmlns='http://jabber.org/protocol/muc'/></presence>"); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, bob); !slices.Equal(got, []string{"good", "a <*> word"}) {
		t.Errorf("who enters later got %q", got)
	}
	if err := bob.send("<message type='chat' to='" + room + "/anna'><body>badly</body></message>"); err != nil {
		t.Fatal(err)
	}
	if err := bob.ping(); err != nil {
		t.Fatal(err)
	}
	bob.pending = nil
	if got := texts(t, anna); !slices.Equal(got, []string{"<*>ly"}) {
		t.Errorf("in private %q", got)
	}
	rcv.await(t, []string{"message.rejected anna/phone arena@conference." + testDomain + " text-filter"})
	for deadline := time.Now().Add(patience); rcv.has("room.message anna") < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no event of what was said in the room")
		}
	}
}
