package xep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

func (f *fixture) waiting(user string) []string {
	f.t.Helper()
	page, err := f.db.OfflinePage(f.t.Context(), user, 0, 1<<20)
	if err != nil {
		f.t.Fatal(err)
	}
	var all []string
	for _, m := range page {
		all = append(all, string(m.Stanza))
	}
	return all
}

func TestHold(t *testing.T) {
	const (
		hints   = " xmlns='urn:xmpp:hints'/>"
		state   = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
		stored  = "stored"
		dropped = "dropped"
		refused = "refused"
	)
	for _, c := range []struct{ typ, inner, want string }{
		{"", "<body>a</body>", stored},
		{"normal", "<body>a</body>", stored},
		{"chat", "<body>a</body>", stored},
		{"chat", "<encrypted xmlns='urn:xmpp:omemo:2'/>", stored},
		{"chat", "<received xmlns='urn:xmpp:receipts' id='1'/>", stored},
		{"groupchat", "<body>a</body>", refused},
		{"headline", "<body>a</body>", dropped},
		{"error", "<body>a</body>", dropped},
		{"chat", state, dropped},
		{"", state, dropped},
		{"chat", state + "<thread>t</thread><no-store" + hints, dropped},
		{"chat", state + "<body>a</body>", stored},
		{"chat", "<body>a</body><no-store" + hints, refused},
		{"chat", "<body>a</body><no-permanent-store" + hints, stored}, // XEP-0334 §3.3
		{"chat", "<body>a</body><no-copy" + hints, stored},
		{"chat", state + "<store" + hints, stored},
		{"chat", "<no-store" + hints + "<store" + hints, stored},
		{"chat", "<x xmlns='urn:x'><no-store" + hints + "</x>", stored},
		{"chat", "<body>&lt;no-store" + hints[:len(hints)-2] + "/&gt;</body>", stored},
	} {
		f := newFixture(t)
		romeo := f.online("romeo@chat.test/orchard", 0)
		f.connect("juliet@chat.test/silent")
		f.online("juliet@chat.test/bot", -1)
		f.send(romeo, "<message to='juliet@chat.test' type='"+c.typ+"' id='1'>"+c.inner+"</message>")
		got := dropped
		if all := f.waiting("juliet"); len(all) > 0 {
			got = stored
			typ := " type='" + c.typ + "'"
			if c.typ != "chat" {
				typ = ""
			}
			f.equal(c.inner, all, "<message from='romeo@chat.test/orchard' to='juliet@chat.test' id='1'"+typ+">"+c.inner+"</message>")
		}
		if reply := romeo.take(); len(reply) > 0 {
			f.refused(reply[0], "service-unavailable")
			got = refused
		}
		if got != c.want {
			t.Errorf("%s %s: %s, want %s", c.typ, c.inner, got, c.want)
		}
	}
}

func TestHoldFullJID(t *testing.T) {
	f := newFixture(t)
	romeo := f.online("romeo@chat.test/orchard", 0)
	f.send(romeo, "<message to='juliet@chat.test/gone' type='chat'><body>a</body></message>")
	f.equal("chat", f.waiting("juliet"), "<message from='romeo@chat.test/orchard' to='juliet@chat.test/gone' type='chat'><body>a</body></message>")
}

func TestHoldRefuses(t *testing.T) {
	f := newFixture(t)
	f.Blocks = NewBlocking(f.Router, f.db, nil)
	f.Spool = NewOffline(f.Router, f.db, 2)
	romeo := f.online("romeo@chat.test/orchard", 0)
	ask := func(to string) []string {
		f.send(romeo, "<message to='"+to+"' type='chat'><body>a</body></message>")
		return romeo.take()
	}
	f.refused(strings.Join(ask("nobody@chat.test"), ""), "service-unavailable")
	f.equal("first", ask("juliet@chat.test"))
	f.equal("second", ask("juliet@chat.test"))
	f.refused(strings.Join(ask("juliet@chat.test"), ""), "service-unavailable") // XEP-0160 §2: full
	if err := f.db.Block(t.Context(), "tybalt", []string{"romeo@chat.test"}, 0); err != nil {
		t.Fatal(err)
	}
	f.refused(strings.Join(ask("tybalt@chat.test"), ""), "service-unavailable") // XEP-0191 §3.3
	f.equal("blocked", f.waiting("tybalt"))
}

func TestHoldStripsForgedDelay(t *testing.T) {
	f := newFixture(t)
	romeo := f.online("romeo@chat.test/orchard", 0)
	delay := func(from string) string {
		return "<delay xmlns='urn:xmpp:delay' from='" + from + "' stamp='x'>y</delay>"
	}
	f.send(romeo, "<message to='juliet@chat.test'><a/>"+delay("chat.test")+"b"+delay("romeo@chat.test")+delay("chat.test")+"<c/></message>")
	f.equal("stored", f.waiting("juliet"), "<message from='romeo@chat.test/orchard' to='juliet@chat.test'><a/>b"+delay("romeo@chat.test")+"<c/></message>")
}

// TestHoldKeepsID: a message is kept under the id that its recipient knows it by, also after it waited for an acknowledgement.
func TestHoldKeepsID(t *testing.T) {
	f := newFixture(t)
	const claimed = "<stanza-id xmlns='urn:xmpp:sid:0' by='romeo@chat.test' id='no'/>"
	send := func(identify bool) *stanza.Stanza {
		t.Helper()
		st, err := stanza.Parse([]byte("<message from='romeo@chat.test/x' to='juliet@chat.test' type='chat'><body>a</body>" + claimed + "</message>"))
		if err != nil {
			t.Fatal(err)
		}
		if identify {
			st.Identify()
		}
		if _, err := f.Spool.Hold(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	first := send(true)
	again, err := stanza.Parse([]byte(f.waiting("juliet")[0]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Spool.Hold(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	send(false)
	page, err := f.db.OfflinePage(t.Context(), "juliet", 0, 10)
	if err != nil || len(page) != 3 {
		t.Fatal(page, err)
	}
	for i, want := range []string{string(first.StanzaID[:]), string(first.StanzaID[:]), ""} {
		if page[i].ID != want {
			t.Errorf("message %d has the id %q, want %q", i, page[i].ID, want)
		}
	}
}

func TestHoldReachable(t *testing.T) {
	f := newFixture(t)
	o := NewOffline(f.Router, f.db, 0)
	f.online("juliet@chat.test/balcony", 0)
	st := &stanza.Stanza{Kind: stanza.Message, Type: stanza.Chat, From: stanza.MustJID("romeo@chat.test/o"), To: stanza.MustJID("juliet@chat.test")}
	if _, err := o.Hold(t.Context(), st); err != router.ErrReachable {
		t.Errorf("got %v", err)
	}
}

// A session that is ending is in the table and refuses: the message is stored.
func TestHoldForEndingSession(t *testing.T) {
	f := newFixture(t)
	romeo := f.online("romeo@chat.test/orchard", 0)
	juliet := f.online("juliet@chat.test/balcony", 0)
	juliet.Close(stanza.StreamUndefinedCondition)
	var wg sync.WaitGroup
	wg.Go(func() { f.send(romeo, "<message to='juliet@chat.test'><body>a</body></message>") })
	f.Table.Unbind(juliet)
	close(juliet.done)
	wg.Wait()
	if n := len(f.waiting("juliet")); n != 1 {
		t.Errorf("%d stored", n)
	}
}

// failing is a store whose verbs fail on demand.
type failing struct {
	store.Offline
	page, remove error
}

func (s *failing) OfflinePage(ctx context.Context, user string, after int64, limit int) ([]store.OfflineMessage, error) {
	if s.page != nil {
		return nil, s.page
	}
	return s.Offline.OfflinePage(ctx, user, after, limit)
}

func (s *failing) RemoveOffline(ctx context.Context, user string, seqs []int64) error {
	if s.remove != nil {
		return s.remove
	}
	return s.Offline.RemoveOffline(ctx, user, seqs)
}

func TestHoldStoreFails(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	st := &stanza.Stanza{Kind: stanza.Message, Type: stanza.Chat, From: stanza.MustJID("romeo@chat.test/o"), To: stanza.MustJID("juliet@chat.test")}
	var refusal *stanza.Error
	if _, err := f.Spool.Hold(ctx, st); err == nil || errors.As(err, &refusal) {
		t.Errorf("got %v", err)
	}
}

func body(i int) string { return fmt.Sprintf("<body>%d</body>", i) }
