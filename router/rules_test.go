package router

import (
	"context"
	"errors"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"chatd/stanza"
)

// fakeRules refuse what they are told to.
type fakeRules struct {
	sender, receiver, offline string
	err                       error
	asked                     []string
}

func (f *fakeRules) Sender(context.Context, *Batch, *stanza.Stanza) (string, error) {
	f.asked = append(f.asked, "sender")
	return f.sender, f.err
}

func (f *fakeRules) Receiver(context.Context, *Batch, *stanza.Stanza, uint32) (string, error) {
	f.asked = append(f.asked, "receiver")
	return f.receiver, f.err
}

func (f *fakeRules) Offline(context.Context, *stanza.Stanza) (string, error) {
	f.asked = append(f.asked, "offline")
	return f.offline, f.err
}

// rejected is how often a rule has refused.
func (f *fixture) rejected(t *testing.T, rule, side string) float64 {
	t.Helper()
	var m dto.Metric
	if err := f.Metrics.rejected.WithLabelValues(rule, side).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// Which stanzas the rules are asked about, by what friendship is required for and whether the recipient has an audience.
func TestRulesAsked(t *testing.T) {
	const juliet = "juliet@chat.test/balcony"
	for _, tt := range []struct {
		name     string
		require  Requirement
		audience uint32
		stanza   string
		want     string
	}{
		{"message, nothing configured", 0, 0, "<message to='" + juliet + "'><body/></message>", ""},
		{"message, audience", 0, 2, "<message to='" + juliet + "'><body/></message>", "receiver"},
		{"message to the bare JID, audience", 0, 2, "<message to='juliet@chat.test'><body/></message>", "receiver"},
		{"message required", ForMessages, 0, "<message to='" + juliet + "'><body/></message>", "sender receiver"},
		{"error, message required", ForMessages, 2, "<message to='" + juliet + "' type='error'/>", ""},
		{"own resource, message required", ForMessages, 2, "<message to='romeo@chat.test/orchard'><body/></message>", ""},
		{"server, message required", ForMessages, 2, "<message to='chat.test'><body/></message>", ""},
		{"message, invitations required", ForInvitations, 0, "<message to='" + juliet + "'><body/></message>", "receiver"},
		{"invitation", ForInvitations, 0, "<message to='" + juliet + "'><x xmlns='jabber:x:conference' jid='a@b'/></message>", "sender receiver"},
		{"presence", 0, 2, "<presence to='" + juliet + "'/>", ""},
		{"presence required", ForPresence, 0, "<presence to='" + juliet + "'/>", "sender receiver"},
		{"unavailable, presence required", ForPresence, 0, "<presence to='" + juliet + "' type='unavailable'/>", "receiver"},
		{"subscription, all required", ForPresence | ForMessages, 0, "<presence to='juliet@chat.test' type='subscribe'/>", ""},
		{"request to a full JID", 0, 0, "<iq id='1' type='get' to='" + juliet + "'><q xmlns='x'/></iq>", "receiver"},
		{"request to nobody", 0, 0, "<iq id='1' type='get' to='nobody@chat.test/x'><q xmlns='x'/></iq>", ""},
		{"result", 0, 0, "<iq id='1' type='result' to='" + juliet + "'/>", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			rules := &fakeRules{}
			f.Rules = rules
			f.Require(tt.require)
			f.online(juliet, 0).state.Audience.Store(tt.audience)
			f.fromRomeo(t, tt.stanza)
			if got := strings.Join(rules.asked, " "); got != tt.want {
				t.Errorf("asked %q, want %q", got, tt.want)
			}
		})
	}
}

// What a refusal looks like: the sender's own rule is told, the receiver's looks like nobody being there.
func TestRulesRefuse(t *testing.T) {
	const juliet = "juliet@chat.test/balcony"
	for _, tt := range []struct {
		name, stanza string
		rules        fakeRules
		side, rule   string
		answer       string
	}{
		{"message at the sender", "<message to='" + juliet + "'/>", fakeRules{sender: RuleFriendship}, AtSender, RuleFriendship, "forbidden"},
		{"message at the receiver", "<message to='" + juliet + "'/>", fakeRules{receiver: RulePrivacy}, AtReceiver, RulePrivacy, "service-unavailable"},
		{"presence at the sender", "<presence to='" + juliet + "'/>", fakeRules{sender: RuleFriendship}, AtSender, RuleFriendship, "forbidden"},
		{"presence at the receiver", "<presence to='" + juliet + "'/>", fakeRules{receiver: RuleFriendship}, AtReceiver, RuleFriendship, ""},
		{"request at the receiver", "<iq id='1' type='get' to='" + juliet + "'><q xmlns='x'/></iq>", fakeRules{receiver: RuleStranger}, AtReceiver, RuleStranger, "service-unavailable"},
		{"store fails", "<message to='" + juliet + "'/>", fakeRules{err: errors.New("down")}, AtReceiver, RulePrivacy, "internal-server-error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.Rules = &tt.rules
			f.Require(ForMessages | ForPresence)
			peer := f.online(juliet, 0)
			f.fromRomeo(t, tt.stanza)
			if got := peer.take(); len(got) > 0 {
				t.Errorf("delivered %q", got)
			}
			answers := f.romeo.take()
			if tt.answer == "" && len(answers) > 0 || tt.answer != "" && (len(answers) != 1 || !strings.Contains(answers[0], "<"+tt.answer+" ")) {
				t.Errorf("answered %q, want %s", answers, tt.answer)
			}
			want := 1.0
			if tt.rules.err != nil {
				want = 0
			}
			if n := f.rejected(t, tt.rule, tt.side); n != want {
				t.Errorf("counted %v times", n)
			}
		})
	}
}

func TestBlockListIsCounted(t *testing.T) {
	f := newFixture(t)
	f.online("juliet@chat.test/balcony", 0).state.Blocked.Store(NewBlocklist([]string{"romeo@chat.test"}))
	f.romeo.state.Blocked.Store(NewBlocklist([]string{"tybalt@chat.test"}))
	f.fromRomeo(t, "<message to='juliet@chat.test'><body>hi</body></message>")
	f.fromRomeo(t, "<message to='tybalt@chat.test'><body>hi</body></message>")
	for _, side := range []string{AtSender, AtReceiver} {
		if n := f.rejected(t, RuleBlockList, side); n != 1 {
			t.Errorf("%s: counted %v times", side, n)
		}
	}
}

// BenchmarkNoRules is what the rules add to each message when nothing is configured.
func BenchmarkNoRules(b *testing.B) {
	f := newFixture(b)
	f.Rules = &fakeRules{}
	peer := f.online("juliet@chat.test/balcony", 0)
	st := &stanza.Stanza{Kind: stanza.Message, Type: stanza.Chat, From: f.romeo.jid, To: peer.jid}
	rows, ctx := f.Table.Rows(peer.jid), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if f.refusedAtSender(ctx, nil, st) || f.refusedAtReceiver(ctx, nil, rows, st) {
			b.Fatal("refused")
		}
	}
}
