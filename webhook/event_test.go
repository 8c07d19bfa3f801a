package webhook

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
)

func idle(events ...string) *Service {
	s := New(stanza.MustJID("chat.test"), "node", memory.New(), slog.New(slog.DiscardHandler))
	h := hook
	h.Events = events
	s.Reload([]Hook{h})
	return s
}

func TestItemChanged(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	item := func(jid string, sub store.Subscription) *store.RosterItem {
		return &store.RosterItem{JID: jid, Sub: sub, Created: since}
	}
	for _, tt := range []struct {
		name          string
		user          string
		before, after *store.RosterItem
		want          string // type
	}{
		{"made", "anna", item("bob@chat.test", store.SubTo), item("bob@chat.test", store.SubBoth), FriendshipMade},
		{"made, the other's item", "bob", item("anna@chat.test", store.SubFrom), item("anna@chat.test", store.SubBoth), ""},
		{"ended", "anna", item("bob@chat.test", store.SubBoth), item("bob@chat.test", store.SubFrom), FriendshipEnded},
		{"ended, the other's item", "bob", item("anna@chat.test", store.SubBoth), item("anna@chat.test", store.SubNone), ""},
		{"ended by removal", "anna", item("bob@chat.test", store.SubBoth), &store.RosterItem{JID: "bob@chat.test"}, FriendshipEnded},
		{"asked", "anna", item("bob@chat.test", store.SubNone), item("bob@chat.test", store.SubFrom), ""},
		{"renamed", "anna", item("bob@chat.test", store.SubBoth), item("bob@chat.test", store.SubBoth), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := idle(Types()...).ItemChanged(tt.user, tt.before, tt.after)
			if tt.want == "" {
				if len(got) != 0 {
					t.Fatalf("%+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Queue != "shop" || got[0].Event.Type != tt.want || got[0].Max != MaxQueue {
				t.Fatalf("%+v", got)
			}
			var body struct {
				ID, Type string
				Data     struct {
					Players []string
					Since   time.Time
				}
			}
			if err := json.Unmarshal(got[0].Event.Body, &body); err != nil {
				t.Fatal(err)
			}
			if body.ID != got[0].Event.ID || len(body.Data.Players) != 2 || body.Data.Players[0] != "anna@chat.test" || body.Data.Players[1] != "bob@chat.test" || !body.Data.Since.Equal(since) {
				t.Errorf("%s", got[0].Event.Body)
			}
		})
	}
	if got := idle(AccountMade).ItemChanged("anna", item("bob@chat.test", 0), item("bob@chat.test", store.SubBoth)); len(got) != 0 {
		t.Errorf("nobody wants it: %+v", got)
	}
}

func TestMessageRejected(t *testing.T) {
	s := idle(MessageRejected)
	st := &stanza.Stanza{Kind: stanza.Message, From: stanza.MustJID("a@chat.test/x"), To: stanza.MustJID("b@chat.test"), ID: []byte("1&amp;2"), Inner: []byte("<body>secret words</body>")}
	s.Rejected(st, "privacy", "receiver")
	got := s.buffer.take()
	want := `"data":{"from":"a@chat.test/x","to":"b@chat.test","rule":"privacy","side":"receiver","message_id":"1\u00262"}}`
	if len(got) != 1 || string(got[0].Event.Body[len(got[0].Event.Body)-len(want):]) != want {
		t.Fatalf("%s", got[0].Event.Body)
	}
	idleOne := idle(AccountMade)
	idleOne.Rejected(st, "privacy", "receiver")
	idleOne.Presence(st.From, true)
	if got := idleOne.buffer.take(); len(got) != 0 {
		t.Errorf("nobody wants %+v", got)
	}
}

// TestUnwantedCostsNothing: without webhooks, presence and rejections allocate nothing.
func TestUnwantedCostsNothing(t *testing.T) {
	s := New(stanza.MustJID("chat.test"), "node", memory.New(), slog.New(slog.DiscardHandler))
	st := &stanza.Stanza{Kind: stanza.Message, From: stanza.MustJID("a@chat.test/x"), To: stanza.MustJID("b@chat.test")}
	if n := testing.AllocsPerRun(100, func() { s.Presence(st.From, true); s.Rejected(st, "privacy", "receiver") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSign(t *testing.T) {
	at := time.Unix(1_790_000_000, 0)
	body := []byte(`{"id":"1"}`)
	// printf '1790000000.{"id":"1"}' | openssl dgst -sha256 -hmac 0123456789abcdef
	header := Sign("0123456789abcdef", at, body)
	for _, tt := range []struct {
		name, secret, header string
		now                  time.Time
		body                 string
		ok                   bool
	}{
		{"right", "0123456789abcdef", header, at, string(body), true},
		{"a little later", "0123456789abcdef", header, at.Add(time.Minute), string(body), true},
		{"clock behind", "0123456789abcdef", header, at.Add(-time.Minute), string(body), true},
		{"replayed", "0123456789abcdef", header, at.Add(time.Hour), string(body), false},
		{"other secret", "0123456789abcdeF", header, at, string(body), false},
		{"other body", "0123456789abcdef", header, at, `{"id":"2"}`, false},
		{"other time", "0123456789abcdef", "t=1790000001" + header[12:], at, string(body), false},
		{"none", "0123456789abcdef", "", at, string(body), false},
		{"no signature", "0123456789abcdef", "t=1790000000", at, string(body), false},
		{"no hex", "0123456789abcdef", "t=1790000000,v1=zz", at, string(body), false},
		{"cut short", "0123456789abcdef", header[:len(header)-2], at, string(body), false},
	} {
		if err := Verify(tt.secret, tt.header, tt.now, 5*time.Minute, []byte(tt.body)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if header != signedByOpenSSL {
		t.Errorf("signed %s", header)
	}
}

// signedByOpenSSL is what that command makes of it.
const signedByOpenSSL = "t=1790000000,v1=e6aafe1ce79fa1e85335244abeefc1499342b12ffd2bff4dab78ddff1403b80a"
