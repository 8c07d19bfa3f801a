package chatd_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

// steadySettings are for a server whose store fails in the test.
func steadySettings(api string) map[string]string {
	return map[string]string{
		"store.patience_seconds": "1", "auth.cached_logins": "100", "message.offline_max": "100000", "c2s.limits.stanzas_per_second": "0", "api.listen": fmt.Sprintf("[%q]", api),
		"api.tokens": `[{name = "test", hash = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0", scopes = ["metrics", "friends:write"]}]`, // s3cret
	}
}

// ask is the status and the body of a request to the private API.
func ask(t *testing.T, api, method, path string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+api+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer s3cret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// metric is a metric's value, all of its labels together.
func metric(t *testing.T, api, name string) (sum float64, by map[string]float64) {
	t.Helper()
	_, body := ask(t, api, "GET", "/metrics")
	by = make(map[string]float64)
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok && (rest[0] == ' ' || rest[0] == '{') {
			labels, value, _ := strings.Cut(rest, " ")
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(line, err)
			}
			sum += n
			by[labels] += n
		}
	}
	return sum, by
}

// settle waits until cond holds.
func settle(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

const rosterGet = "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>"

// TestLoginIsOneRoundTrip: from the first byte to a session that has its roster and is available, a login asks the store once, and for
// the messages that wait, if there are any.
func TestLoginIsOneRoundTrip(t *testing.T) {
	api := freeAddress(t, "127.0.0.1")
	srv := startServer(t, steadySettings(api))
	bob := srv.login(t, "bob", "r")
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"} {
		for _, waiting := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/waiting=%v", mechanism, waiting), func(t *testing.T) {
				user := strings.ToLower(strings.ReplaceAll(t.Name()[len("TestLoginIsOneRoundTrip/"):], "/", "-"))
				user = strings.ReplaceAll(user, "=", "-")
				if err := srv.register(user, "secret"); err != nil {
					t.Fatal(err)
				}
				want := map[string]float64{`{result="ok",verb="Player"}`: 1}
				if waiting {
					if err := errors.Join(bob.send("<message to='"+user+"@"+testDomain+"'><body>hi</body></message>"), bob.sync()); err != nil {
						t.Fatal(err)
					}
					want[`{result="ok",verb="OfflinePage"}`] = 2 // one page, and that there is no other
					want[`{result="ok",verb="RemoveOffline"}`] = 1
				}
				_, before := metric(t, api, "chatd_store_verbs_total")
				c := srv.client(clientSpec{user: user, domain: testDomain, resource: "r", password: "secret", mechanism: mechanism, tls: "direct"})
				if err := c.connect(); err != nil {
					t.Fatal(err)
				}
				defer c.tcp.Close()
				if _, err := c.request(rosterGet); err != nil {
					t.Fatal(err)
				}
				if err := c.send("<presence/>"); err != nil {
					t.Fatal(err)
				}
				if got := texts(t, c); len(got) != map[bool]int{false: 0, true: 1}[waiting] {
					t.Fatalf("handed over: %q", got)
				}
				_, after := metric(t, api, "chatd_store_verbs_total")
				for verb, n := range before {
					if after[verb] -= n; after[verb] == 0 {
						delete(after, verb)
					}
				}
				if !maps.Equal(after, want) {
					t.Errorf("the store was asked %v, want %v", after, want)
				}
			})
		}
	}
}

// TestOutageOfWrites: another process holds SQLite's write lock. It can still be read.
func TestOutageOfWrites(t *testing.T) {
	api := freeAddress(t, "127.0.0.1")
	srv := startServer(t, steadySettings(api))
	db, err := sql.Open("sqlite", "file:"+filepath.Join(srv.dir, "data", "chatd.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	do := func(text string) func() {
		return func() {
			if _, err := conn.ExecContext(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
	}
	outage(t, srv, api, do("PRAGMA busy_timeout=10000; BEGIN IMMEDIATE"), do("ROLLBACK"), true)
}

// outage is the story of one. While it lasts the store can be read, or not even that.
func outage(t *testing.T, srv *server, api string, cut, mend func(), readable bool) {
	o := &outageTest{T: t, srv: srv, readable: readable}
	alice, bob := srv.login(t, "alice", "r"), srv.login(t, "bob", "r")
	befriend(t, alice, bob)
	if reply, err := bob.request("<iq type='set' id='privacy'><privacy xmlns='urn:x-chatd:privacy' messages='friends'/></iq>"); err != nil || reply.attr("type") != "result" {
		t.Fatal(reply, err)
	}
	leaver := srv.login(t, "leaver", "r")
	for _, c := range []*client{alice, bob, leaver} {
		o.do(c.send("<presence/>"), c.sync())
	}
	known := srv.login(t, "known", "r") // comes again during the outage
	befriend(t, known, alice)
	o.do(known.send("<presence/>"))
	o.leave(known)
	o.do(srv.register("stranger", "secret"), srv.register("absent", "secret"))
	o.send(alice, "known", "waits")
	o.do(alice.sync())

	w := o.writeTo("absent-too")
	cut()
	if e := o.refused(alice, "absent", "lost"); e != "wait resource-constraint" {
		t.Error("a message to somebody absent:", e)
	}
	settle(t, "ready without a store", func() bool {
		resp, body := ask(t, api, "GET", "/readyz")
		return resp.StatusCode == 503 && strings.Contains(body, "not ready: store")
	})
	if resp, _ := ask(t, api, "GET", "/healthz"); resp.StatusCode != 200 {
		t.Error("healthz:", resp.Status)
	}
	settle(t, "the store is up", func() bool { up, _ := metric(t, api, "chatd_store_up"); return up <= 1 })
	if resp, body := ask(t, api, "DELETE", "/players/alice@chat.test/friends/bob@chat.test"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" ||
		!strings.Contains(resp.Header.Get("Content-Type"), "problem+json") {
		t.Error("REST:", resp.Status, resp.Header, body)
	}

	// Those who are online chat, at once.
	begun := time.Now()
	for i := range 200 {
		o.send(alice, "bob", fmt.Sprint("a", i))
		o.send(bob, "alice", fmt.Sprint("b", i))
	}
	o.do(alice.sync(), bob.sync())
	o.expect(bob, "a", 200)
	o.expect(alice, "b", 200)
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("400 messages between two who are online took %v", took)
	}
	o.do(alice.send("<presence><show>away</show></presence>"))
	if _, err := bob.exchanged("", func(n *node) bool { return n.is(nsClient, "presence") && n.child("show") != nil }); err != nil {
		t.Error("presence:", err)
	}
	for name, iq := range map[string]string{
		"roster set": "<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='x@chat.test'/></query></iq>",
		"block":      "<iq type='set' id='2'><block xmlns='urn:xmpp:blocking'><item jid='x@chat.test'/></block></iq>",
		"vCard":      "<iq type='set' id='3'><vCard xmlns='vcard-temp'><FN>A</FN></vCard></iq>",
		"password":   "<iq type='set' id='4'><query xmlns='jabber:iq:register'><username>alice</username><password>other</password></query></iq>",
	} {
		reply, err := alice.request(iq)
		if err != nil || condition(reply) != "wait resource-constraint" {
			t.Errorf("%s: %v %v", name, reply, err)
		}
	}

	// Logins.
	known = o.login("known")
	if n := len(o.roster(known)); n != 1 {
		t.Errorf("known has %d contacts", n)
	}
	o.do(known.send("<presence/>"))
	early := texts(t, known)
	if readable != (len(early) > 0) {
		t.Errorf("handed over during the outage: %q", early)
	}
	o.send(alice, "known", "live")
	o.do(alice.sync())
	early = append(early, texts(t, known)...)
	stranger := srv.client(clientSpec{user: "stranger", domain: testDomain, password: "secret", mechanism: "SCRAM-SHA-256", tls: "direct"})
	var failure saslFailure
	if err := stranger.connect(); !readable && (!errors.As(err, &failure) || failure.condition != "temporary-auth-failure") {
		t.Error("stranger:", err)
	}
	stranger.tcp.Close()
	if err := srv.register("late", "secret"); err == nil || !strings.Contains(err.Error(), "resource-constraint") {
		t.Error("registration:", err)
	}
	wrong := srv.client(clientSpec{user: "known", domain: testDomain, password: "wrong", mechanism: "SCRAM-SHA-256", tls: "direct"})
	if err := wrong.connect(); !errors.As(err, &failure) || failure.condition != "not-authorized" {
		t.Error("wrong password:", err)
	}
	wrong.tcp.Close()
	o.do(leaver.send("<presence type='unavailable'><status>bye</status></presence>"))
	o.leave(leaver)

	mend()
	settle(t, "not ready again", func() bool { resp, _ := ask(t, api, "GET", "/readyz"); return resp.StatusCode == 200 })

	// All catches up.
	w.check()
	settle(t, "nothing handed over", func() bool {
		early = append(early, texts(t, known)...)
		return len(early) >= 2
	})
	slices.Sort(early)
	if want := []string{"live", "waits"}; !slices.Equal(early, want) {
		t.Errorf("known got %q, want %q", early, want)
	}
	settle(t, "writes are still owed", func() bool { n, _ := metric(t, api, "chatd_store_owed"); return n == 0 })
	o.send(alice, "absent", "kept")
	if got := texts(t, alice); len(got) != 0 {
		t.Errorf("afterwards: %q", got)
	}
	absent := o.login("absent")
	o.do(absent.send("<presence/>"))
	if got := texts(t, absent); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("absent got %q", got)
	}
	o.leave(known)
	known = o.login("known")
	o.do(known.send("<presence/>"))
	if got := texts(t, known); len(got) != 0 {
		t.Errorf("handed over again: %q", got)
	}
	leaver = o.login("leaver")
	o.do(leaver.send("<presence/>"), leaver.sync())
	log := srv.log.String()
	if n := strings.Count(log, "store out of reach"); n < 1 || n > 2 { // of reads, of writes
		t.Errorf("the log says %d times that it began", n)
	}
	if n := strings.Count(log, "level=ERROR"); n > 2 {
		t.Errorf("%d errors in the log", n)
	}
	if !readable {
		if n, _ := metric(t, api, "chatd_cached_logins_used_total"); n < 1 {
			t.Error("nobody was served from memory")
		}
	}
}

type outageTest struct {
	*testing.T
	srv      *server
	readable bool
}

func (o *outageTest) do(errs ...error) {
	o.Helper()
	if err := errors.Join(errs...); err != nil {
		o.Fatal(err)
	}
}

func (o *outageTest) login(user string) *client {
	o.Helper()
	c := o.srv.client(clientSpec{name: user, user: user, domain: testDomain, resource: "r", password: "secret", mechanism: "SCRAM-SHA-256", tls: "direct"})
	o.do(c.connect())
	o.Cleanup(func() { c.tcp.Close() })
	return c
}

// leave ends a client's stream, whatever there still is to read.
func (o *outageTest) leave(c *client) {
	o.Helper()
	o.do(c.ping())
	c.pending = nil
	o.do(c.close())
}

func (o *outageTest) roster(c *client) []*node {
	o.Helper()
	reply, err := c.request(rosterGet)
	o.do(err)
	query := reply.child("query")
	if query == nil {
		o.Fatal(reply)
	}
	return query.kids
}

func (o *outageTest) send(c *client, to, body string) {
	o.Helper()
	o.do(c.send("<message type='chat' to='" + to + "@" + testDomain + "'><body>" + body + "</body></message>"))
}

// refused is with what error a message comes back.
func (o *outageTest) refused(c *client, to, body string) string {
	o.Helper()
	reply, err := c.exchanged("<message type='chat' to='"+to+"@"+testDomain+"'><body>"+body+"</body></message>",
		func(n *node) bool { return n.is(nsClient, "message") && n.attr("type") == "error" })
	o.do(err)
	return condition(reply)
}

// An outageWriter sends messages to somebody who is not there, from before the outage until after it.
type outageWriter struct {
	o        *outageTest
	to       string
	more     chan struct{} // closed at the end
	done     chan struct{}
	accepted []string
	count    atomic.Int64 // of these
	refusals int
}

func (o *outageTest) writeTo(to string) *outageWriter {
	o.Helper()
	o.do(o.srv.register(to, "secret"))
	w := &outageWriter{o: o, to: to, more: make(chan struct{}), done: make(chan struct{})}
	c := o.srv.login(o.T, "writer", "r")
	begun := make(chan struct{})
	go w.run(c, sync.OnceFunc(func() { close(begun) }))
	<-begun
	return w
}

func (w *outageWriter) run(c *client, begun func()) {
	defer close(w.done)
	defer begun()
	for i := 0; ; i++ {
		select {
		case <-w.more:
			return
		case <-time.After(2 * time.Millisecond):
		}
		err := c.send(fmt.Sprintf("<message type='chat' to='%s@%s'><body>%d</body></message>", w.to, testDomain, i))
		if err = errors.Join(err, c.ping()); err != nil {
			w.o.Error("writer:", err)
			return
		}
		refused := slices.ContainsFunc(c.pending, func(n *node) bool { return n.attr("type") == "error" })
		c.pending = nil
		if refused {
			w.refusals++
		} else {
			w.accepted = append(w.accepted, strconv.Itoa(i))
			w.count.Add(1)
		}
		if i == 20 {
			begun()
		}
	}
}

// check ends the writing after an outage.
func (w *outageWriter) check() {
	w.o.Helper()
	before := w.count.Load()
	settle(w.o.T, "nothing is accepted after the outage", func() bool { return w.count.Load() >= before+10 })
	w.end()
	if len(w.accepted) < 30 || w.refusals == 0 {
		w.o.Errorf("%d accepted, %d refused: no outage in the middle", len(w.accepted), w.refusals)
	}
}

// end ends the writing: what was accepted is there, once and in order; of what was refused some may be there, once.
func (w *outageWriter) end() {
	w.o.Helper()
	close(w.more)
	<-w.done
	c := w.o.login(w.to)
	w.o.do(c.send("<presence/>"))
	got := texts(w.o.T, c)
	seen, last := make(map[string]bool), -1
	for _, text := range got {
		n, err := strconv.Atoi(text)
		if err != nil || seen[text] || n <= last {
			w.o.Fatalf("%q after %d, seen before: %v", text, last, seen[text])
		}
		seen[text], last = true, n
	}
	for _, text := range w.accepted {
		if !seen[text] {
			w.o.Errorf("message %s was accepted and is lost", text)
		}
	}
	w.o.Logf("%d accepted, %d refused, %d of these kept", len(w.accepted), w.refusals, len(got)-len(w.accepted))
}

// condition is a stanza error's type and condition.
func condition(n *node) string {
	e := n.child("error")
	if e == nil || len(e.kids) == 0 {
		return "none"
	}
	return e.attr("type") + " " + e.kids[0].name.Local
}

// expect is for the messages that have come: all, once, in order.
func (o *outageTest) expect(c *client, prefix string, n int) {
	o.Helper()
	got := texts(o.T, c)
	for i := range n {
		if i >= len(got) || got[i] != fmt.Sprint(prefix, i) {
			o.Fatalf("message %d of %d: %q", i, len(got), got)
		}
	}
	if len(got) != n {
		o.Fatalf("%d messages, want %d", len(got), n)
	}
}
