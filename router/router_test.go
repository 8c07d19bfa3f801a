package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"chatd/stanza"
)

// TestMessages is RFC 6121 §8.5.4, cell by cell. Where the table leaves a
// choice, the choice here is the one that loses nothing.
func TestMessages(t *testing.T) {
	const (
		deliver = "delivered"
		hold    = "held"
		errs    = "service-unavailable"
		drop    = "dropped"
	)
	situations := map[string]func(f *fixture) []*fakeSession{
		"available":  func(f *fixture) []*fakeSession { return []*fakeSession{f.online("juliet@chat.test/balcony", 1)} },
		"negative":   func(f *fixture) []*fakeSession { return []*fakeSession{f.online("juliet@chat.test/balcony", -1)} },
		"no session": func(*fixture) []*fakeSession { return nil },
		"no match": func(f *fixture) []*fakeSession {
			f.online("juliet@chat.test/other", noPresence)
			return nil
		},
	}
	tests := []struct {
		typ, to, situation, want string
	}{
		{"normal", "bare", "available", deliver},
		{"chat", "bare", "available", deliver},
		{"groupchat", "bare", "available", errs},
		{"headline", "bare", "available", deliver},
		{"error", "bare", "available", drop},
		{"normal", "bare", "negative", hold},
		{"chat", "bare", "negative", hold},
		{"groupchat", "bare", "negative", errs},
		{"headline", "bare", "negative", drop},
		{"error", "bare", "negative", drop},
		{"normal", "bare", "no session", hold},
		{"chat", "bare", "no session", hold},
		{"groupchat", "bare", "no session", errs},
		{"headline", "bare", "no session", drop},
		{"error", "bare", "no session", drop},
		{"normal", "full", "available", deliver},
		{"chat", "full", "available", deliver},
		{"groupchat", "full", "available", deliver},
		{"headline", "full", "available", deliver},
		{"error", "full", "available", deliver},
		{"chat", "full", "negative", deliver},
		{"normal", "full", "no match", errs},
		{"chat", "full", "no match", hold},
		{"groupchat", "full", "no match", errs},
		{"headline", "full", "no match", errs},
		{"error", "full", "no match", drop},
		{"chat", "full", "no session", hold},
	}
	for _, tt := range tests {
		t.Run(tt.typ+" to "+tt.to+" "+tt.situation, func(t *testing.T) {
			f := newFixture(t)
			sessions := situations[tt.situation](f)
			to := "juliet@chat.test"
			if tt.to == "full" {
				to += "/balcony"
			}
			f.fromRomeo(t, fmt.Sprintf("<message to='%s' type='%s' id='m1'><body>hi</body></message>", to, tt.typ))
			got := drop
			if len(f.spool.held) > 0 {
				got = hold
			}
			if replies := f.romeo.take(); len(replies) > 0 {
				if !strings.Contains(replies[0], "type='error'") || !strings.Contains(replies[0], "id='m1'") {
					t.Errorf("reply %s", replies[0])
				}
				got = "service-unavailable"
				if !strings.Contains(replies[0], "<service-unavailable ") {
					got = replies[0]
				}
			}
			for _, s := range sessions {
				if len(s.take()) == 1 {
					got = deliver
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestMostAvailable: messages to the bare JID go to the highest priority, to
// all that share it, and past a session that is just ending.
func TestMostAvailable(t *testing.T) {
	f := newFixture(t)
	low := f.online("juliet@chat.test/low", 1)
	high := f.online("juliet@chat.test/high", 5)
	tied := f.online("juliet@chat.test/tied", 5)
	none := f.online("juliet@chat.test/none", noPresence)
	f.fromRomeo(t, "<message to='juliet@chat.test'><body>1</body></message>")
	if len(high.take()) != 1 || len(tied.take()) != 1 || len(low.take()) != 0 || len(none.take()) != 0 {
		t.Error("not exactly the highest priority got the message")
	}
	high.end()
	tied.end()
	f.fromRomeo(t, "<message to='juliet@chat.test'><body>2</body></message>")
	if len(low.take()) != 1 {
		t.Error("the next best did not get what the best could not take")
	}
	low.end()
	f.fromRomeo(t, "<message to='juliet@chat.test'><body>3</body></message>")
	if len(f.spool.held) != 1 {
		t.Error("what nobody took was not held")
	}
}

// TestEndingFirst: what a session could not send is routed anew before anything
// that was sent to its user later.
func TestEndingFirst(t *testing.T) {
	for _, to := range []string{"juliet@chat.test", "juliet@chat.test/balcony"} {
		f := newFixture(t)
		juliet := f.online("juliet@chat.test/balcony", 0)
		f.Table.Ending(juliet)
		go func() {
			st, _ := stanza.Parse([]byte("<message from='romeo@chat.test/orchard' to='" + to + "' type='chat' id='first'/>"))
			f.Reroute(context.Background(), st)
			f.Table.Unbind(juliet)
			juliet.end()
		}()
		f.fromRomeo(t, "<message to='"+to+"' type='chat' id='second'/>")
		if len(f.spool.held) != 2 || string(f.spool.held[0].ID) != "first" {
			t.Errorf("held %v", f.spool.held)
		}
	}
}

// TestHoldRace: the recipient comes online between the look at the table and
// the store.
func TestHoldRace(t *testing.T) {
	f := newFixture(t)
	var juliet *fakeSession
	f.spool.err = func() error {
		juliet = f.online("juliet@chat.test/balcony", 0)
		return ErrReachable
	}
	f.fromRomeo(t, "<message to='juliet@chat.test'><body>hi</body></message>")
	if len(juliet.take()) != 1 {
		t.Error("message lost between table and store")
	}
}

// TestHoldFails: what cannot be stored is answered, and the answer says whether
// trying again helps.
func TestHoldFails(t *testing.T) {
	for want, err := range map[string]error{
		"<service-unavailable ": stanza.ErrServiceUnavailable,
		"<resource-constraint ": errors.New("disk full"),
	} {
		f := newFixture(t)
		f.spool.err = func() error { return err }
		f.fromRomeo(t, "<message to='juliet@chat.test' id='m'><body>hi</body></message>")
		if got := f.romeo.take(); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("got %q, want %s", got, want)
		}
	}
}

func TestIQ(t *testing.T) {
	const unavailable = "<service-unavailable "
	tests := map[string]struct{ send, want string }{
		"unknown payload to the host":      {"<iq type='get' id='1' to='chat.test'><x xmlns='urn:no'/></iq>", unavailable},
		"unknown payload to own account":   {"<iq type='set' id='1'><x xmlns='urn:no'/></iq>", unavailable},
		"unknown payload to other account": {"<iq type='get' id='1' to='juliet@chat.test'><x xmlns='urn:no'/></iq>", unavailable},
		"missing account":                  {"<iq type='get' id='1' to='nobody@chat.test'><q xmlns='urn:test'/></iq>", unavailable},
		"missing resource":                 {"<iq type='get' id='1' to='juliet@chat.test/x'><q xmlns='urn:test'/></iq>", unavailable},
		"other domain":                     {"<iq type='get' id='1' to='other.test'><q xmlns='urn:test'/></iq>", "<remote-server-not-found "},
		"host":                             {"<iq type='get' id='1' to='chat.test'><q xmlns='urn:test'/></iq>", "type='result'><own>false"},
		"no to":                            {"<iq type='get' id='1'><q xmlns='urn:test'/></iq>", "type='result'><own>true"},
		"own bare":                         {"<iq type='get' id='1' to='romeo@chat.test'><q xmlns='urn:test'/></iq>", "type='result'><own>true"},
		"other account":                    {"<iq type='get' id='1' to='juliet@chat.test'><q xmlns='urn:test'/></iq>", "type='result'><own>false"},
		"handler fails":                    {"<iq type='get' id='1'><fail xmlns='urn:test'/></iq>", "<internal-server-error "},
		"handler refuses":                  {"<iq type='get' id='1'><refuse xmlns='urn:test'/></iq>", "<not-allowed "},
		"result to the host":               {"<iq type='result' id='1' to='chat.test'/>", ""},
		"error to the host":                {"<iq type='error' id='1' to='chat.test'><error type='cancel'/></iq>", ""},
		"result without to":                {"<iq type='result' id='1'/>", ""},
		"result to a missing resource":     {"<iq type='result' id='1' to='juliet@chat.test/x'/>", ""},
		"error to a missing resource":      {"<iq type='error' id='1' to='juliet@chat.test/x'/>", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.Handle(ToHost|ToOwn|ToAccount, "urn:test", "q", func(_ context.Context, req *Request) ([]byte, error) {
				return fmt.Appendf(nil, "<own>%t</own>", req.Own), nil
			})
			f.Handle(ToOwn, "urn:test", "fail", func(context.Context, *Request) ([]byte, error) { return nil, errors.New("secret detail") })
			f.Handle(ToOwn, "urn:test", "refuse", func(context.Context, *Request) ([]byte, error) { return nil, stanza.ErrNotAllowed })
			f.fromRomeo(t, tt.send)
			got := f.romeo.take()
			if tt.want == "" {
				if len(got) != 0 {
					t.Errorf("answered an answer: %q", got)
				}
				return
			}
			if len(got) != 1 || !strings.Contains(got[0], tt.want) || !strings.Contains(got[0], "id='1'") {
				t.Errorf("got %q, want one reply with %s", got, tt.want)
			}
			if strings.Contains(strings.Join(got, ""), "secret") {
				t.Error("the reply tells the detail of a fault")
			}
		})
	}
}

func TestPresence(t *testing.T) {
	tests := map[string]struct{ send, want string }{
		"broadcast":             {"<presence/>", "broadcast <presence from='romeo@chat.test/orchard'/>"},
		"directed":              {"<presence to='juliet@chat.test/x'/>", "directed <presence from='romeo@chat.test/orchard' to='juliet@chat.test/x'/>"},
		"subscribe":             {"<presence to='juliet@chat.test' type='subscribe'/>", "outbound <presence from='romeo@chat.test/orchard' to='juliet@chat.test' type='subscribe'/>"},
		"subscribe to full JID": {"<presence to='juliet@chat.test/x' type='subscribe'/>", "outbound <presence from='romeo@chat.test/orchard' to='juliet@chat.test/x' type='subscribe'/>"},
		"probe":                 {"<presence to='juliet@chat.test' type='probe'/>", "probe <presence from='romeo@chat.test/orchard' to='juliet@chat.test' type='probe'/>"},
		"probe of a full JID":   {"<presence to='juliet@chat.test/x' type='probe'/>", "probe <presence from='romeo@chat.test/orchard' to='juliet@chat.test/x' type='probe'/>"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.fromRomeo(t, tt.send)
			if !slices.Contains(f.presence.calls, tt.want) {
				t.Errorf("got %q, want %q", f.presence.calls, tt.want)
			}
		})
	}
	t.Run("to bare goes to all available", func(t *testing.T) {
		f := newFixture(t)
		a, b := f.online("juliet@chat.test/a", -5), f.online("juliet@chat.test/b", noPresence)
		f.fromRomeo(t, "<presence to='juliet@chat.test'/>")
		if len(a.take()) != 1 || len(b.take()) != 0 {
			t.Error("directed presence to a bare JID concerns the available resources, all of them")
		}
	})
}

// TestBlocking: XEP-0191 in both directions, for users who are online.
func TestBlocking(t *testing.T) {
	t.Run("sender's own list", func(t *testing.T) {
		f := newFixture(t)
		juliet := f.online("juliet@chat.test/balcony", 0)
		f.romeo.state.Blocked.Store(NewBlocklist([]string{"juliet@chat.test"}))
		f.fromRomeo(t, "<message to='juliet@chat.test/balcony' id='1'><body>hi</body></message>")
		got := f.romeo.take()
		if len(got) != 1 || !strings.Contains(got[0], "<not-acceptable ") || !strings.Contains(got[0], "urn:xmpp:blocking:errors") {
			t.Errorf("got %q", got)
		}
		if len(juliet.take()) != 0 {
			t.Error("delivered to a blocked contact")
		}
	})
	for _, list := range []string{"romeo@chat.test", "romeo@chat.test/orchard", "chat.test"} {
		t.Run("recipient blocks "+list, func(t *testing.T) {
			f := newFixture(t)
			juliet := f.online("juliet@chat.test/balcony", 0)
			juliet.state.Blocked.Store(NewBlocklist([]string{list}))
			f.fromRomeo(t, "<message to='juliet@chat.test' id='1'><body>hi</body></message>")
			f.fromRomeo(t, "<iq type='get' to='juliet@chat.test/balcony' id='2'><q xmlns='urn:test'/></iq>")
			f.fromRomeo(t, "<presence to='juliet@chat.test/balcony'/>")
			if len(juliet.take()) != 0 || len(f.spool.held) != 0 {
				t.Error("reached who blocks the sender")
			}
			got := f.romeo.take()
			if len(got) != 2 || !strings.Contains(got[0], "<service-unavailable ") || !strings.Contains(got[1], "<service-unavailable ") {
				t.Errorf("sender got %q", got)
			}
		})
	}
}

// TestCopies: who is asked to be copied, and who is not since it got the message itself.
func TestCopies(t *testing.T) {
	f := newFixture(t)
	phone := f.online("romeo@chat.test/phone", 0)
	f.Table.SetFlags(phone, Carbons, 0)
	f.Table.SetFlags(f.romeo, Carbons, 0)
	tablet := f.online("juliet@chat.test/tablet", -1)
	f.online("juliet@chat.test/balcony", 0)
	f.Table.SetFlags(tablet, Carbons, 0)
	for _, to := range []string{"juliet@chat.test", "juliet@chat.test/balcony"} {
		*f.copies = fakeCopies{}
		f.fromRomeo(t, "<message type='chat' to='"+to+"'><body>hi</body></message>")
		if !slices.Equal(f.copies.sent, []string{"phone"}) || !slices.Equal(f.copies.received, []string{"tablet"}) {
			t.Errorf("to %s: sent to %q, received by %q", to, f.copies.sent, f.copies.received)
		}
	}
	*f.copies = fakeCopies{}
	f.fromRomeo(t, "<message type='groupchat' to='juliet@chat.test/balcony'><body>hi</body></message>")
	if len(f.copies.sent)+len(f.copies.received) != 0 {
		t.Error("a groupchat message was copied")
	}
}

// TestBehindWhatWaits: a message to a resource that has just come and has not been handed what waits, which it is when it says that it is
// available (XEP-0160 §3), waits behind that; if nothing does, it is delivered (RFC 6121 §8.5.3.1).
func TestBehindWhatWaits(t *testing.T) {
	f := newFixture(t)
	juliet := f.online("juliet@chat.test/balcony", noPresence)
	say := func(kind string) (delivered, held int) {
		t.Helper()
		f.spool.held = nil
		f.fromRomeo(t, "<message to='juliet@chat.test/balcony' type='"+kind+"'><body>hi</body></message>")
		return len(juliet.take()), len(f.spool.held)
	}
	expect := func(what, kind string, delivered, held int) {
		t.Helper()
		if d, h := say(kind); d != delivered || h != held {
			t.Errorf("%s: %d delivered, %d held", what, d, h)
		}
	}
	expect("nothing waits", "chat", 1, 0)
	f.spool.waiting = true
	juliet.state.Begun = time.Now().Add(-time.Hour) // by the clock of its node, which may be wrong
	expect("something waits", "chat", 0, 1)
	expect("it is not kept", "headline", 1, 0)
	desk := f.online("juliet@chat.test/desk", 0)
	expect("another one is there", "chat", 1, 0)
	f.Table.Unbind(desk)
	f.Table.Arrived(juliet)
	expect("it does not say anything", "chat", 1, 0)
	f.Table.SetPresence(juliet, true, Pending)
	expect("it is being handed what waits", "chat", 0, 1)
	f.Table.SetPresence(juliet, true, -1)
	expect("it does not want what waits", "chat", 1, 0)
	f.Table.SetPresence(juliet, true, 0)
	expect("it was handed what waits", "chat", 1, 0)
}
