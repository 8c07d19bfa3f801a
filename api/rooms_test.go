package api

import (
	"fmt"
	"strings"
	"testing"

	"chatd/router"
	"chatd/stanza"
)

// says has a session send something.
func (f *fixture) says(s *fakeSession, xml string) {
	f.t.Helper()
	st, err := stanza.Parse([]byte(xml))
	if err != nil {
		f.t.Fatal(err)
	}
	st.From = s.jid
	var b router.Batch
	f.router.FromClient(f.t.Context(), &b, s, st)
	b.Flush()
}

func (f *fixture) enters(s *fakeSession, room, nick string) {
	f.t.Helper()
	f.says(s, "<presence to='"+room+"@conference.chat.test/"+nick+"'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
}

func TestRoomsAreMadeAndConfigured(t *testing.T) {
	f := newFixture(t, nil)
	var room Room
	w := f.want(201, call{method: "POST", path: "/rooms", body: `{"name":"Lobby","title":"The <lobby>","persistent":true,"members_only":true,
		"presence_of":["moderator","participant"],"private_messages":"moderators","max_occupants":10,
		"members":[{"player":"1","affiliation":"owner","nick":"boss"},{"player":"a@chat.test"}]}`}, &room)
	if room.Name != "lobby" || room.JID != "lobby@conference.chat.test" || w.Header().Get("Location") != "/rooms/lobby" {
		t.Errorf("%+v at %s", room, w.Header().Get("Location"))
	}
	var again Room
	f.want(200, call{path: "/rooms/LOBBY"}, &again)
	if fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", room) || !room.MembersOnly || room.Title != "The <lobby>" || room.PrivateMessages != "moderators" ||
		fmt.Sprint(room.PresenceOf) != "[moderator participant]" || len(room.MembersFor) != 3 || room.MaxOccupants != 10 || !room.Public {
		t.Errorf("%+v, then %+v", room, again)
	}
	f.want(409, call{method: "POST", path: "/rooms", body: `{"name":"lobby"}`}, nil)
	f.want(204, call{method: "PATCH", path: "/rooms/lobby", body: `{"title":"","public":false,"presence_of":[]}`}, nil)
	f.want(200, call{path: "/rooms/lobby"}, &again)
	if again.Title != "" || again.Public || len(again.PresenceOf) != 0 || !again.MembersOnly {
		t.Errorf("%+v", again)
	}
	if kept, err := f.db.Room(t.Context(), "lobby"); err != nil || !strings.Contains(string(kept.Config), "members_only") {
		t.Errorf("kept: %s, %v", kept.Config, err)
	}
	if again.Subject != "" || again.Occupants != 0 || again.Created.IsZero() || !again.Created.Equal(room.Created) {
		t.Errorf("%+v", again)
	}
	f.players("sum1")
	boss := f.connect("sum1@chat.test/game")
	f.enters(boss, "lobby", "boss")
	f.says(boss, "<message type='groupchat' to='lobby@conference.chat.test'><subject>&lt;plans&gt;</subject></message>")
	f.want(200, call{path: "/rooms/lobby"}, &again)
	if again.Subject != "<plans>" || again.Occupants != 1 {
		t.Errorf("%+v", again)
	}
	tag := f.want(200, call{path: "/rooms/lobby"}, nil).Header().Get("ETag")
	f.want(412, call{method: "PATCH", path: "/rooms/lobby", body: `{"title":"x"}`, header: map[string]string{"If-Match": `"other"`}}, nil)
	f.want(204, call{method: "PATCH", path: "/rooms/lobby", body: `{"title":"x"}`, header: map[string]string{"If-Match": tag}}, nil)

	f.want(204, call{method: "DELETE", path: "/rooms/lobby?reason=over&venue=other"}, nil)
	f.want(404, call{path: "/rooms/lobby"}, nil)
	f.want(404, call{method: "DELETE", path: "/rooms/lobby"}, nil)
	f.want(404, call{method: "PATCH", path: "/rooms/lobby", body: `{"title":"x"}`}, nil)

	for i, made := range []string{`{}`, `{}`} { // a name is made up
		var r Room
		f.want(201, call{method: "POST", path: "/rooms", body: made, header: map[string]string{"Idempotency-Key": "same"}}, &r)
		if i > 0 && r.Name != room.Name || len(r.Name) < 16 {
			t.Errorf("%q, then %q", room.Name, r.Name)
		}
		room = r
	}
}

func TestRoomsRefuse(t *testing.T) {
	f := newFixture(t, nil)
	f.want(201, call{method: "POST", path: "/rooms", body: `{"name":"r"}`}, nil)
	f.want(403, call{path: "/rooms", token: "read"}, nil)
	for _, bad := range []string{
		`{"name":"a b"}`, `{"name":"a@b"}`, `{"name":"a/b"}`, `{"title":"\u0000"}`, `{"title":"` + strings.Repeat("x", 257) + `"}`, `{"private_messages":"x"}`,
		`{"presence_of":["none"]}`, `{"max_occupants":-1}`, `{"titel":"x"}`, `{"members":[{"player":"@"}]}`, `{"members":[{"player":"1","affiliation":"king"}]}`,
		`{"title":"` + strings.Repeat("é", 200) + `"}`, `{"members":[{"player":"1","nick":"` + strings.Repeat("x", 1100) + `"}]}`,
	} {
		if w := f.do(call{method: "POST", path: "/rooms", body: bad}); w.Code != 422 {
			t.Errorf("%.60s: %d %s", bad, w.Code, w.Body)
		}
	}
	f.want(409, call{method: "POST", path: "/rooms", body: `{"members":[{"player":"1","nick":"x"},{"player":"2","nick":"x"}]}`}, nil)
	f.want(422, call{method: "DELETE", path: "/rooms/r?venue=a%20b"}, nil)
	f.want(422, call{method: "DELETE", path: "/rooms/r?reason=%01"}, nil)
	f.want(422, call{method: "PUT", path: "/rooms/r/members/@", body: `{}`}, nil)
	f.want(422, call{method: "POST", path: "/rooms/r/messages", body: `{"body":"\u0001"}`}, nil)
	f.want(400, call{path: "/rooms/r/messages?cursor=eA"}, nil)
	for _, path := range []string{"/rooms/none", "/rooms/none/members", "/rooms/none/occupants", "/rooms/none/messages", "/rooms/a%2Fb", "/rooms/%40"} {
		f.want(404, call{path: path}, nil)
	}
	f.want(404, call{method: "POST", path: "/rooms/none/messages", body: `{"body":"x"}`}, nil)
	f.want(404, call{method: "PUT", path: "/rooms/none/members/1", body: `{}`}, nil)
	f.want(404, call{method: "DELETE", path: "/rooms/none/occupants/x"}, nil)
	f.want(404, call{method: "DELETE", path: "/rooms/r/occupants/nobody"}, nil)
}

func TestMembersOfARoom(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	one, two := f.connect("sum1@chat.test/a"), f.connect("sum2@chat.test/b")
	f.want(201, call{method: "POST", path: "/rooms", body: `{"name":"r","members_only":true,"password":"pw","members":[{"player":"1"}]}`}, nil)
	if got := one.take(); !strings.Contains(got, "<invite from='r@conference.chat.test'>") || !strings.Contains(got, "<password>pw</password>") {
		t.Errorf("one was sent %s", got)
	}
	f.want(204, call{method: "PATCH", path: "/rooms/r", body: `{"password":""}`}, nil)
	f.enters(two, "r", "Two")
	if got := two.take(); !strings.Contains(got, "registration-required") {
		t.Errorf("a stranger got %s", got)
	}
	f.want(204, call{method: "POST", path: "/rooms/r/members", body: `{"members":[{"player":"2","affiliation":"admin","nick":"Two"},{"player":"3","affiliation":"outcast","reason":"spam"}]}`}, nil)
	if got := two.take(); !strings.Contains(got, "<invite ") {
		t.Errorf("two was sent %s", got)
	}
	f.enters(one, "r", "One")
	f.enters(two, "r", "Two")
	var in occupantsPage
	f.want(200, call{path: "/rooms/r/occupants"}, &in)
	if len(in.Occupants) != 2 || in.Occupants[1].Role != "moderator" || *in.Occupants[0].ID != 1 || in.Occupants[0].Affiliation != "member" || in.Occupants[0].Sessions != 1 {
		t.Errorf("%+v", in)
	}
	f.want(200, call{path: "/rooms/r/occupants?limit=1"}, &in)
	next := in.Next
	in = occupantsPage{}
	f.want(200, call{path: "/rooms/r/occupants?limit=1&cursor=" + next}, &in)
	if len(in.Occupants) != 1 || in.Occupants[0].Nick != "Two" || in.Next != "" {
		t.Errorf("%+v", in)
	}
	f.want(204, call{method: "PUT", path: "/rooms/r/members/2", body: `{"affiliation":"member"}`}, nil) // the nick stays
	var members membersPage
	f.want(200, call{path: "/rooms/r/members?limit=2"}, &members)
	if len(members.Members) != 2 || members.Members[1].Nick != "Two" || members.Members[1].Affiliation != "member" || members.Next == "" {
		t.Errorf("%+v", members)
	}
	next, members = members.Next, membersPage{}
	f.want(200, call{path: "/rooms/r/members?cursor=" + next}, &members)
	if len(members.Members) != 1 || members.Members[0].Reason != "spam" || members.Next != "" {
		t.Errorf("%+v", members)
	}
	f.want(200, call{path: "/rooms/r/members?affiliation=owner"}, &members)
	if len(members.Members) != 0 {
		t.Errorf("%+v", members)
	}

	one.take()
	f.want(204, call{method: "DELETE", path: "/rooms/r/members/1"}, nil)
	if got := one.take(); !strings.Contains(got, "type='unavailable'") || !strings.Contains(got, "code='321'") {
		t.Errorf("no member any more: %s", got)
	}
	f.want(204, call{method: "DELETE", path: "/rooms/r/occupants/Two?reason=enough%20%26%20more"}, nil)
	if got := two.take(); !strings.Contains(got, "code='307'") || !strings.Contains(got, "<reason>enough &amp; more</reason>") {
		t.Errorf("kicked: %s", got)
	}
	f.want(404, call{path: "/rooms/r"}, nil) // temporary, and empty
}

func TestTalkInRooms(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1")
	one := f.connect("sum1@chat.test/a")
	for _, persistent := range []bool{false, true} {
		name := fmt.Sprintf("talk%t", persistent)
		f.want(201, call{method: "POST", path: "/rooms", body: fmt.Sprintf(`{"name":%q,"persistent":%t}`, name, persistent)}, nil)
		f.enters(one, name, "One")
		one.take()
		f.says(one, "<message type='groupchat' to='"+name+"@conference.chat.test' id='m'><body>a &amp; b</body></message>")
		var sent spoken
		f.want(200, call{method: "POST", path: "/rooms/" + name + "/messages", body: `{"body":"<c>"}`}, &sent)
		if got := one.take(); !strings.Contains(got, "<body>&lt;c&gt;</body>") || !strings.Contains(got, "id='"+sent.ID+"'") {
			t.Errorf("got %s", got)
		}
		for i := range 3 {
			f.want(200, call{method: "POST", path: "/rooms/" + name + "/messages", body: fmt.Sprintf(`{"body":"%d"}`, i)}, nil)
		}
		for written := (roomMessagesPage{}); len(written.Messages) < 5; { // the store has a persistent room's a moment later
			f.want(200, call{path: "/rooms/" + name + "/messages"}, &written)
		}
		var all []RoomMessage
		for next, first := "", true; first || next != ""; first = false {
			var page roomMessagesPage
			path := "/rooms/" + name + "/messages?limit=2"
			if next != "" {
				path += "&cursor=" + next
			}
			f.want(200, call{path: path}, &page)
			all, next = append(page.Messages, all...), page.Next
			if len(page.Messages) > 2 || len(all) > 5 {
				t.Fatalf("%+v", all)
			}
		}
		if len(all) != 5 || all[0].Nick != "One" || all[0].Body != "a & b" || all[1].ID != sent.ID || all[1].Nick != "" || all[1].Body != "<c>" || all[4].Body != "2" ||
			!strings.Contains(all[0].XML, "<body>a &amp; b</body>") || all[0].Time.IsZero() {
			t.Errorf("persistent %t: %+v", persistent, all)
		}
	}
}

func TestListOfRooms(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 25 {
		f.want(201, call{method: "POST", path: "/rooms", body: fmt.Sprintf(`{"name":"r%02d","public":%t,"persistent":%t}`, i, i%2 == 0, i%3 == 0)}, nil)
	}
	var names []string
	for next, turn := "/rooms?limit=10", 0; next != ""; turn++ {
		var page roomsPage
		f.want(200, call{path: next}, &page)
		for _, r := range page.Rooms {
			names = append(names, r.Name)
		}
		if next = ""; page.Next != "" {
			next = "/rooms?limit=10&cursor=" + page.Next
		}
		if turn > 5 {
			t.Fatal("no end")
		}
	}
	if len(names) != 25 || names[0] != "r00" || names[24] != "r24" {
		t.Errorf("%v", names)
	}
}
