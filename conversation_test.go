package chatd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestConversations plays every file of testdata against a chatd of its own.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no conversations: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			s, err := loadScript(path)
			if err != nil {
				t.Fatal(err)
			}
			before := s.String()
			play(t, s)
			if *update && !t.Failed() && s.String() != before {
				if err := os.WriteFile(path, []byte(s.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A conversation is a script being played.
type conversation struct {
	t       *testing.T
	srv     *server
	script  *script
	clients map[string]*client
	order   []*client
	known   captures
}

func play(t *testing.T, s *script) {
	c := &conversation{t: t, srv: startServer(t, s.server), script: s, clients: make(map[string]*client), known: make(captures)}
	c.introduce()
	defer func() {
		for _, cl := range c.order {
			if cl.tcp != nil {
				cl.tcp.Close()
			}
			if t.Failed() {
				t.Logf("%s's stream:\n%s", cl.name, cl.log.String())
			}
		}
	}()
	for i := range s.items {
		if st := s.items[i].step; st != nil {
			if err := c.play(&s.items[i]); err != nil {
				t.Fatalf("line %d: %s: %v", st.line, st, err)
			}
		}
	}
	for _, cl := range c.order {
		if err := c.nothingMore(cl); err != nil {
			t.Fatalf("at the end: %v", err)
		}
	}
}

// introduce makes the clients and their accounts.
func (c *conversation) introduce() {
	made := make(map[string]bool)
	for _, spec := range c.script.clients {
		cl := c.srv.client(spec)
		c.clients[spec.name] = cl
		c.order = append(c.order, cl)
		if !spec.account || made[spec.user] {
			continue
		}
		made[spec.user] = true
		if err := c.account(spec); err != nil {
			c.t.Fatalf("account of %s: %v", spec.name, err)
		}
	}
}

func (c *conversation) account(spec clientSpec) error {
	if c.script.server["c2s.registration"] != "false" {
		return c.srv.register(spec.user, spec.password)
	}
	out, err := c.srv.run("user", "add", "-config", c.srv.config(), "-password", spec.password, spec.user+"@"+spec.domain)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (c *conversation) play(it *item) error {
	st := it.step
	if st.verb == "restarts" {
		c.srv.restart(c.t)
		return nil
	}
	actor := c.clients[st.actor]
	if err := c.settle(actor); err != nil {
		return err
	}
	switch st.verb {
	case "connects":
		return c.connect(actor)
	case "opens a stream":
		return actor.open()
	case "authenticates":
		return actor.authenticate()
	case "logs in by SASL2:":
		return actor.loginSASL2(actor.mechanism, c.known.fill(st.block))
	case "logs in by token:":
		return actor.loginSASL2(st.arg, c.known.fill(st.block))
	case "binds":
		return actor.bind()
	case "is refused:":
		return c.refused(actor, st.arg)
	case "is offered:":
		return c.offered(actor, st.block)
	case "comes online":
		return c.online(actor, st.arg)
	case "asks for the roster":
		return c.ask(actor, "get", "<query xmlns='jabber:iq:roster'/>")
	case "enables carbons":
		return c.ask(actor, "set", "<enable xmlns='urn:xmpp:carbons:2'/>")
	case "sends:":
		return actor.send(c.known.fill(st.block))
	case "receives:", "receives in any order:":
		return c.receives(actor, it)
	case "receives nothing":
		return c.receivesNothing(actor, it)
	case "disconnects":
		if err := c.nothingMore(actor); err != nil {
			return err
		}
		return actor.close()
	case "breaks":
		return actor.reset()
	case "is disconnected":
		return actor.closed()
	case "is subscribed to":
		return c.befriend(actor, c.clients[st.arg], false)
	case "are friends":
		return c.befriend(actor, c.clients[st.arg], true)
	}
	return fmt.Errorf("nobody knows how to play this")
}

// settle lets the server deal with what everybody else has sent, so that the
// steps of a conversation happen in the order in which they stand.
func (c *conversation) settle(actor *client) error {
	for _, cl := range c.order {
		if cl != actor {
			cl.sync() // a stream that is about to end has nothing to settle
		}
	}
	return nil
}

func (c *conversation) connect(cl *client) error {
	if err := cl.connect(); err != nil {
		return err
	}
	want := cl.user + "@" + cl.domain + "/" + cl.resource
	if cl.full != want && (cl.resource != "" || !strings.HasPrefix(cl.full, want)) {
		return fmt.Errorf("bound as %q", cl.full)
	}
	return nil
}

func (c *conversation) refused(cl *client, condition string) error {
	err := cl.exchange()
	var failure saslFailure
	if !errors.As(err, &failure) || failure.condition != condition {
		return fmt.Errorf("instead of that: %v", err)
	}
	return nil
}

func (c *conversation) offered(cl *client, block string) error {
	want, err := parseElements(block)
	if err != nil {
		return err
	}
	return c.known.matchSome(&node{name: cl.features.name, kids: want}, cl.features)
}

// online sends presence and takes its echo (RFC 6121 §4.2.2).
func (c *conversation) online(cl *client, priority string) error {
	text := "<presence/>"
	if priority != "" {
		text = "<presence><priority>" + priority + "</priority></presence>"
	}
	if err := cl.send(text); err != nil {
		return err
	}
	echo, err := cl.next()
	if err != nil {
		return err
	}
	if !echo.is(nsClient, "presence") || echo.attr("from") != cl.full || echo.attr("type") != "" {
		return fmt.Errorf("instead of its own presence it received %s", echo)
	}
	return nil
}

// ask sends a request whose answer is of no interest, if it is no error.
func (c *conversation) ask(cl *client, typ, payload string) error {
	reply, err := cl.request("<iq type='" + typ + "' id='ask'>" + payload + "</iq>")
	if err != nil {
		return err
	}
	if reply.attr("type") != "result" {
		return fmt.Errorf("the answer was %s", reply)
	}
	return nil
}

// receives compares what comes with the block. With -update whatever has come
// by now is written into the file.
func (c *conversation) receives(cl *client, it *item) error {
	want, err := parseElements(it.step.block)
	if err != nil {
		return err
	}
	if *update {
		return c.rewrite(cl, it, want)
	}
	var got []*node
	for _, w := range want {
		n, err := cl.next()
		if err != nil {
			return fmt.Errorf("%w, instead of %s", err, w)
		}
		got = append(got, n)
		if it.step.verb == "receives:" {
			if err := c.known.match(w, n); err != nil {
				return fmt.Errorf("%w\nexpected %s\nreceived %s", err, w, n)
			}
		}
	}
	if it.step.verb == "receives:" || c.known.matchSet(want, got) {
		return nil
	}
	return fmt.Errorf("expected %s\nreceived %s", show(want), show(got))
}

func (c *conversation) receivesNothing(cl *client, it *item) error {
	if *update {
		return c.rewrite(cl, it, nil)
	}
	return c.nothingMore(cl)
}

// nothingMore checks that a client has been sent nothing that the file does
// not tell of.
func (c *conversation) nothingMore(cl *client) error {
	if err := c.settle(cl); err != nil {
		return err
	}
	if cl.full != "" && cl.ended == nil {
		if err := cl.ping(); err != nil {
			return fmt.Errorf("%s: %w", cl.name, err)
		}
	}
	if len(cl.pending) > 0 {
		return fmt.Errorf("%s received also %s", cl.name, show(cl.pending))
	}
	return nil
}

// rewrite makes a step say what has come, if it does not say so already.
func (c *conversation) rewrite(cl *client, it *item, want []*node) error {
	if n := len(want); c.gather(cl, n) && c.asWritten(it, want, cl.pending[:n]) && (n > 0 || len(cl.pending) == 0) {
		cl.pending = cl.pending[n:]
		return nil
	}
	got := cl.pending
	cl.pending = nil
	if len(got) == 0 {
		it.lines = []string{it.step.actor + " receives nothing"}
		return nil
	}
	if it.step.verb != "receives in any order:" {
		it.step.verb = "receives:"
	}
	it.lines = []string{it.step.actor + " " + it.step.verb}
	for i, g := range got {
		var old *node
		if i < len(want) {
			old = want[i]
		}
		it.lines = append(it.lines, indent(c.known.merge(old, g).String())...)
	}
	return nil
}

// gather reads all that has come, and until n elements have or nothing comes
// for a while. It reports whether there are n.
func (c *conversation) gather(cl *client, n int) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Second); cl.ended == nil && time.Now().Before(deadline); <-tick.C {
		if cl.full == "" || cl.ping() != nil {
			// No barrier before binding and none in a stream that ends: wait for each.
			for cl.ended == nil && (cl.full != "" || len(cl.pending) < n) {
				if el, err := cl.read(); err == nil {
					cl.pending = append(cl.pending, el)
				}
			}
		}
		if len(cl.pending) >= n {
			break
		}
	}
	return len(cl.pending) >= n
}

// asWritten reports whether what came is what the file says.
func (c *conversation) asWritten(it *item, want, got []*node) bool {
	if len(want) != len(got) {
		return false
	}
	if it.step.verb == "receives in any order:" {
		return c.known.matchSet(want, got)
	}
	return !slices.ContainsFunc(want, func(w *node) bool {
		err := c.known.match(w, got[0])
		got = got[1:]
		return err != nil
	})
}

// befriend subscribes a to b's presence, and b to a's if they are to be
// friends (RFC 6121 §3.1), before anybody connects.
func (c *conversation) befriend(a, b *client, mutual bool) error {
	var sessions []*client
	for _, cl := range []*client{a, b} {
		spec := cl.clientSpec
		spec.resource = "setup"
		s := c.srv.client(spec)
		if err := s.connect(); err != nil {
			return err
		}
		sessions = append(sessions, s)
	}
	x, y := sessions[0], sessions[1]
	steps := []struct {
		from *client
		text string
	}{
		{x, "<presence/>"}, {y, "<presence/>"},
		{x, "<presence type='subscribe' to='" + y.user + "@" + y.domain + "'/>"},
		{y, "<presence type='subscribed' to='" + x.user + "@" + x.domain + "'/>"},
		{y, "<presence type='subscribe' to='" + x.user + "@" + x.domain + "'/>"},
		{x, "<presence type='subscribed' to='" + y.user + "@" + y.domain + "'/>"},
		{x, "<presence type='unavailable'/>"}, {y, "<presence type='unavailable'/>"},
	}
	if !mutual {
		steps = slices.Delete(steps, 4, 6)
	}
	for _, s := range steps {
		if err := s.from.send(s.text); err != nil {
			return err
		}
		if err := s.from.sync(); err != nil {
			return err
		}
	}
	for _, s := range sessions {
		if err := s.ping(); err != nil {
			return err
		}
		s.pending = nil
		if err := s.close(); err != nil {
			return err
		}
	}
	return nil
}

func show(nodes []*node) string {
	var b strings.Builder
	for _, n := range nodes {
		b.WriteString(n.String() + "\n")
	}
	return strings.TrimSpace(b.String())
}
