package api

import (
	"strings"
	"testing"

	"chatd/stanza"
)

func TestPresence(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	s := f.connect("sum1@chat.test/phone")
	f.connect("sum1@chat.test/hidden")
	f.router.Table.SetPresence(mustRow(f, "sum1@chat.test/hidden"), false, 0)
	f.router.Table.SetPresence(s, true, 5)
	s.state.Presence.Store(&stanza.Stanza{Kind: stanza.Presence, From: s.jid,
		Inner: []byte("<x xmlns='other'><show>dnd</show></x><show>away</show><status>a &lt;b&gt; &amp; c</status><priority>5</priority>")})
	var p Presence
	f.want(200, call{path: "/players/1/presence"}, &p)
	if !p.Online || len(p.Resources) != 1 {
		t.Fatalf("%+v", p)
	}
	if r := p.Resources[0]; r.Resource != "phone" || r.Node != "node-a" || r.Since.Unix() != 1435661568 || r.Priority != 5 || r.Show != "away" || r.Status != "a <b> & c" {
		t.Errorf("%+v", r)
	}
	var list presenceList
	f.want(200, call{method: "POST", path: "/presence", body: `{"players":["2","sum1@chat.test","999"]}`}, &list)
	if len(list.Players) != 3 || list.Players[0].Online || !list.Players[1].Online || list.Players[2].Online {
		t.Errorf("%+v", list)
	}
	f.want(200, call{method: "POST", path: "/presence", body: `{"players":["2","1"],"online_only":true}`}, &list)
	if len(list.Players) != 1 || *list.Players[0].ID != 1 {
		t.Errorf("%+v", list)
	}
	f.want(422, call{method: "POST", path: "/presence", body: `{"players":["1"` + strings.Repeat(`,"1"`, 1000) + `]}`}, nil)
	f.want(404, call{path: "/players/9/presence"}, nil)
}

func mustRow(f *fixture, jid string) *fakeSession {
	f.t.Helper()
	row, ok := f.router.Table.Row(stanza.MustJID(jid))
	if !ok {
		f.t.Fatalf("%s is not there", jid)
	}
	return row.Session.(*fakeSession)
}

func TestSessions(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1")
	a, b, c := f.connect("sum1@chat.test/a b/ü"), f.connect("sum1@chat.test/b"), f.connect("sum1@chat.test/c")
	var list sessionList
	f.want(200, call{path: "/players/1/sessions"}, &list)
	if len(list.Sessions) != 3 || list.Sessions[0].Resource != "a b/ü" || !list.Sessions[0].Available || list.Sessions[0].Node != "node-a" {
		t.Errorf("%+v", list)
	}
	f.want(204, call{method: "DELETE", path: "/players/1/sessions/a%20b%2F%C3%BC"}, nil)
	f.want(404, call{method: "DELETE", path: "/players/1/sessions/a%20b%2F%C3%BC"}, nil)
	f.want(404, call{method: "DELETE", path: "/players/1/sessions/%00"}, nil)
	if a.reason != errEnded || b.reason != nil || c.reason != nil {
		t.Errorf("ended by %v, %v, %v", a.reason, b.reason, c.reason)
	}
	var n ended
	f.want(200, call{method: "DELETE", path: "/players/1/sessions"}, &n)
	if n.Ended != 2 || b.reason != errEnded || c.reason != errEnded {
		t.Errorf("%d ended", n.Ended)
	}
	f.want(200, call{path: "/players/1/sessions"}, &list)
	if len(list.Sessions) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestMessages(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	s := f.connect("sum1@chat.test/a")
	var r Receipt
	send := func(to, body string, status int) {
		t.Helper()
		r = Receipt{}
		f.want(status, call{method: "POST", path: "/players/" + to + "/messages", body: body}, &r)
	}
	send("1", `{"type":"chat","subject":"<s>","body":"a & b\n😀"}`, 200)
	got := s.take()
	if r.Fate != "delivered" || !strings.Contains(got, "<subject>&lt;s&gt;</subject><body>a &amp; b\n😀</body>") || !strings.Contains(got, "type='chat'") ||
		!strings.Contains(got, "from='chat.test'") || !strings.Contains(got, "id='"+r.ID+"'") {
		t.Errorf("%+v: %s", r, got)
	}
	send("1", `{"body":"x"}`, 200)
	if got := s.take(); strings.Contains(got, "type=") {
		t.Errorf("a normal message: %s", got)
	}
	send("2", `{"type":"headline","body":"x"}`, 200)
	if r.Fate != "dropped" {
		t.Errorf("headline to nobody: %+v", r)
	}
	for range 3 {
		send("2", `{"type":"chat","body":"x"}`, 200)
		if r.Fate != "stored" {
			t.Errorf("offline: %+v", r)
		}
	}
	if w := f.do(call{method: "POST", path: "/players/2/messages", body: `{"body":"one too many"}`}); w.Code < 400 || w.Code >= 500 {
		t.Errorf("over the limit: %d %s", w.Code, w.Body)
	}
	// Neither privacy settings nor a block list keep the service out.
	f.want(204, call{method: "PUT", path: "/players/1/privacy", body: `{"messages":"nobody","requests":"nobody"}`}, nil)
	f.want(204, call{method: "PUT", path: "/players/1/blocks/chat.test"}, nil)
	send("1", `{"type":"headline","body":"x"}`, 200)
	if r.Fate != "delivered" {
		t.Errorf("to a player who wants nothing: %+v", r)
	}
	for _, bad := range []string{`{"body":"\u0000"}`, `{"body":"\u001b"}`, `{"body":"\uffff"}`, `{"subject":"\u0001","body":"x"}`, `{"body":""}`, `{}`, `{"body":"x","type":"groupchat"}`, `{"body":"x","from":"alice"}`} {
		send("1", bad, 422)
	}
}
