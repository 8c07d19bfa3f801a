package api

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"chatd/auth"
	"chatd/stanza"
	"chatd/store"
)

// login tries a password as a client does, over TLS of somebody else's.
func (f *fixture) login(user, password string) error {
	f.t.Helper()
	x, err := f.cfg.Auth.Start("PLAIN", auth.Channel{Private: true})
	if err != nil {
		f.t.Fatal(err)
	}
	_, _, err = x.Step(f.t.Context(), []byte("\x00"+user+"\x00"+password))
	if err == nil && x.User() != user || err != nil && x.User() != "" {
		f.t.Errorf("logged in as %q, %v", x.User(), err)
	}
	return err
}

func (f *fixture) wantLogin(user, password, condition string) {
	f.t.Helper()
	err := f.login(user, password)
	var failure *auth.Failure
	if condition == "" && err != nil || condition != "" && (!errors.As(err, &failure) || failure.Condition != condition) {
		f.t.Errorf("login: %v, want %q", err, condition)
	}
}

func TestAccounts(t *testing.T) {
	f := newFixture(t, nil)
	var ref PlayerRef
	w := f.want(201, call{method: "POST", path: "/players", body: `{"player":"7","password":"one"}`}, &ref)
	if ref.JID != "sum7@chat.test" || *ref.ID != 7 || w.Header().Get("Location") != "/players/sum7@chat.test" {
		t.Errorf("%+v %v", ref, w.Header())
	}
	f.want(409, call{method: "POST", path: "/players", body: `{"player":"sum7@chat.test","password":"two"}`}, nil)
	f.want(422, call{method: "POST", path: "/players", body: `{"player":"8","password":"\u0000"}`}, nil)
	f.want(422, call{method: "POST", path: "/players", body: `{"player":"x@elsewhere.test","password":"p"}`}, nil)
	f.wantLogin("sum7", "one", "")

	f.want(204, call{method: "PUT", path: "/players/7/password", body: `{"password":"two"}`}, nil)
	f.wantLogin("sum7", "one", "not-authorized")
	f.wantLogin("sum7", "two", "")

	s := f.connect("sum7@chat.test/a")
	var n ended
	f.want(200, call{method: "POST", path: "/players/7/disable"}, &n)
	if n.Ended != 1 || s.reason == nil || s.reason.Condition != "not-authorized" {
		t.Errorf("%+v, session ended by %v", n, s.reason)
	}
	f.wantLogin("sum7", "two", "account-disabled")
	f.wantLogin("sum7", "wrong", "not-authorized") // who does not know the password does not learn it
	if err := f.cfg.Accounts.Admit(t.Context(), stanza.MustJID("sum7@chat.test/a")); err == nil {
		t.Error("a session that was just binding is admitted")
	}
	var a Account
	f.want(200, call{path: "/players/7"}, &a)
	if !a.Disabled || a.Sessions != 0 || time.Since(a.Created) > time.Hour {
		t.Errorf("%+v", a)
	}
	f.want(204, call{method: "POST", path: "/players/7/enable"}, nil)
	f.wantLogin("sum7", "two", "")

	f.want(204, call{method: "DELETE", path: "/players/7"}, nil)
	f.want(404, call{path: "/players/7"}, nil)
	f.want(404, call{method: "DELETE", path: "/players/7"}, nil)
	f.wantLogin("sum7", "two", "not-authorized")
}

func TestListPlayers(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 7 {
		f.players(fmt.Sprintf("p%d", i))
	}
	var got []string
	for path := "/players?limit=3"; path != ""; {
		var page accountsPage
		f.want(200, call{path: path}, &page)
		for _, p := range page.Players {
			got = append(got, p.JID)
		}
		path = ""
		if page.Next != "" {
			path = "/players?limit=3&cursor=" + page.Next
		}
	}
	if strings.Join(got, " ") != "p0@chat.test p1@chat.test p2@chat.test p3@chat.test p4@chat.test p5@chat.test p6@chat.test" {
		t.Error(got)
	}
}

func TestEraseAndExport(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	f.befriend("sum1", "sum2", time.Unix(1435661546, 0))
	friend := f.connect("sum2@chat.test/b")
	f.want(204, call{method: "PATCH", path: "/players/1/friends/2", body: `{"note":"<n>","nick":"Two"}`}, nil)
	f.want(204, call{method: "PUT", path: "/players/1/blocks/evil.example"}, nil)
	f.want(200, call{method: "POST", path: "/players/1/messages", body: `{"body":"waiting"}`}, nil)
	if err := f.db.SetVCard(t.Context(), "sum1", []byte("<vCard xmlns='vcard-temp'><FN>One</FN></vCard>")); err != nil {
		t.Fatal(err)
	}
	if err := f.db.SetLastActivity(t.Context(), "sum1", store.LastActivity{At: time.Unix(1435661546, 0), Status: "bye"}); err != nil {
		t.Fatal(err)
	}
	var x Export
	f.want(200, call{path: "/players/1/export"}, &x)
	if x.JID != "sum1@chat.test" || len(x.Contacts) != 1 || x.Contacts[0].Name != "Two" || x.Contacts[0].Subscription != "both" ||
		len(x.Notes) != 1 || x.Notes[0].Text != "<n>" || fmt.Sprint(x.Blocked) != "[evil.example]" || x.Privacy.Messages != "everyone" ||
		!strings.Contains(x.VCard, "<FN>One</FN>") || x.LastSeen.Status != "bye" || len(x.Messages) != 1 || !strings.Contains(x.Messages[0].XML, "waiting") {
		t.Errorf("%+v", x)
	}
	f.want(404, call{path: "/players/99/export"}, nil)

	f.want(204, call{method: "DELETE", path: "/players/1"}, nil)
	if got := friend.take(); !strings.Contains(got, "subscription='none'") && !strings.Contains(got, "unsubscribed") {
		t.Errorf("the friend was told %q", got)
	}
	f.players("sum1") // somebody else, by the same number
	f.want(200, call{path: "/players/1/export"}, &x)
	if len(x.Contacts) != 0 || len(x.Notes) != 0 || len(x.Blocked) != 0 || len(x.Messages) != 0 {
		t.Errorf("left: %+v", x)
	}
	var one Friendship
	f.want(200, call{path: "/players/2/friendships/1"}, &one)
	if one.Exists {
		t.Error("the friend still has the erased one")
	}
}
