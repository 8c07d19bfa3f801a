package webhook

import (
	"encoding/json"
	"strings"
	"testing"

	"chatd/stanza"
)

func TestRoomEvents(t *testing.T) {
	s := idle(Types()...)
	room, user := stanza.MustJID("lobby@conference.chat.test"), stanza.MustJID("anna@chat.test")
	st := &stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, ID: []byte("m1"), Inner: []byte("<body>secret words</body>")}
	for _, tt := range []struct {
		tell       func()
		typ, after string
	}{
		{func() { s.RoomCreated(room, user) }, RoomCreated, `{"room":"lobby@conference.chat.test","by":"anna@chat.test"}`},
		{func() { s.RoomCreated(room, stanza.JID{}) }, RoomCreated, `{"room":"lobby@conference.chat.test"}`},
		{func() { s.RoomDestroyed(room, "empty", "") }, RoomDestroyed, `{"room":"lobby@conference.chat.test","why":"empty"}`},
		{func() { s.RoomDestroyed(room, "destroyed", "over") }, RoomDestroyed, `{"room":"lobby@conference.chat.test","why":"destroyed","reason":"over"}`},
		{func() { s.RoomJoined(room, user, "Anna", "moderator", "owner") }, RoomJoined,
			`{"room":"lobby@conference.chat.test","player":"anna@chat.test","nick":"Anna","role":"moderator","affiliation":"owner"}`},
		{func() { s.RoomLeft(room, user, "Anna", "kicked") }, RoomLeft, `{"room":"lobby@conference.chat.test","player":"anna@chat.test","nick":"Anna","why":"kicked"}`},
		{func() { s.RoomMessage(room, user, "Anna", "id1", st) }, RoomMessage,
			`{"room":"lobby@conference.chat.test","player":"anna@chat.test","nick":"Anna","id":"id1","message_id":"m1"}`},
	} {
		tt.tell()
		got := s.buffer.take()
		if len(got) != 1 || got[0].Event.Type != tt.typ || got[0].Event.Key != "lobby@conference.chat.test" || got[0].Max != maxVolatile ||
			!strings.HasSuffix(string(got[0].Event.Body), `"data":`+tt.after+"}") {
			t.Errorf("%s: %+v", tt.typ, got)
		}
	}
	none := idle(AccountMade)
	none.RoomCreated(room, user)
	none.RoomMessage(room, user, "Anna", "id1", st)
	if got := none.buffer.take(); len(got) != 0 {
		t.Errorf("nobody wants it: %+v", got)
	}
}

// TestRoomBodies: who is configured for it is told what was said, up to a bound, and the others are not.
func TestRoomBodies(t *testing.T) {
	s := idle()
	without, with := hook, hook
	without.Events, with.Events = []string{RoomMessage}, []string{RoomMessage}
	with.Name, with.Bodies = "moderation", true
	s.Reload([]Hook{without, with})
	long := strings.Repeat("é", maxRoomText)
	for _, tt := range []struct {
		inner, body string
		truncated   bool
	}{
		{"<body>a &lt;b&gt;</body>", "a <b>", false},
		{"<x xmlns='y'><body>no</body></x><body xml:lang='de'>ja</body><body>yes</body>", "ja", false},
		{"<body>x" + long + "</body>", "x" + long[:maxRoomText-2], true},
		{"<body/>", "", false},
	} {
		s.RoomMessage(stanza.MustJID("lobby@conference.chat.test"), stanza.MustJID("anna@chat.test"), "Anna", "id1",
			&stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, Inner: []byte(tt.inner)})
		got := s.buffer.take()
		if len(got) != 2 || got[0].Queue != without.Name || strings.Contains(string(got[0].Event.Body), "body") || got[1].Queue != "moderation" {
			t.Fatalf("%+v", got)
		}
		var e struct {
			Data struct {
				Body      *string
				Truncated bool
			}
		}
		if err := json.Unmarshal(got[1].Event.Body, &e); err != nil {
			t.Fatal(err)
		}
		if e.Data.Body == nil || *e.Data.Body != tt.body || e.Data.Truncated != tt.truncated {
			t.Errorf("%.40s: %.200s", tt.inner, got[1].Event.Body)
		}
	}
}
