package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chatd/store"
)

func TestPaging(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1")
	for i := range 25 {
		f.put("sum1", store.RosterItem{JID: fmt.Sprintf("sum%d@chat.test", 100+i), Sub: store.Subscription(i % 2 * 3)})
	}
	for _, filter := range []string{"", "&subscription=both"} {
		var whole, pages []Summoner
		f.want(200, call{path: "/friends/summoner/1?limit=1000" + filter}, &whole)
		next := "/friends/summoner/1?limit=10" + filter
		for turn := 0; next != ""; turn++ {
			var page []Summoner
			link := f.want(200, call{path: next}, &page).Header().Get("Link")
			pages = append(pages, page...)
			next, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
			if len(page) > 10 || turn > 3 || link != "" && !strings.HasSuffix(link, `; rel="next"`) {
				t.Fatalf("page of %d, %q", len(page), link)
			}
		}
		if fmt.Sprint(pages) != fmt.Sprint(whole) || len(whole) != map[string]int{"": 25, "&subscription=both": 12}[filter] {
			t.Errorf("%q: %d in pages, %d at once", filter, len(pages), len(whole))
		}
	}
	var page friendsPage
	f.want(200, call{path: "/players/1/friends?limit=24"}, &page)
	if len(page.Friends) != 24 || page.Next == "" {
		t.Fatalf("%d, next %q", len(page.Friends), page.Next)
	}
	// What goes meanwhile moves nothing.
	f.want(204, call{method: "DELETE", path: "/players/1/friends/123"}, nil)
	f.want(200, call{path: "/players/1/friends?limit=24&cursor=" + page.Next}, &page)
	if len(page.Friends) != 1 || page.Friends[0].JID != "sum124@chat.test" {
		t.Errorf("then %+v", page.Friends)
	}
	for _, bad := range []string{"cursor=%00", "cursor=!!", "limit=", "subscription=", "limit=0", "limit=-1", "limit=x", "limit=100001", "subscription=all", "subscribtion=both"} {
		if w := f.do(call{path: "/friends/summoner/1?" + bad}); w.Code != 400 && w.Code != 422 {
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
}

func TestFriendships(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2", "alice")
	since := time.Now().Add(-90 * time.Second).UTC().Truncate(time.Second)
	f.befriend("sum1", "sum2", since)
	f.befriend("sum1", "alice", since)
	var one Friendship
	f.want(200, call{path: "/players/1/friendships/2"}, &one)
	if !one.Exists || !one.Since.Equal(since) || *one.AgeSeconds < 90 || *one.AgeSeconds > 200 || *one.ID != 2 {
		t.Errorf("%+v", one)
	}
	one = Friendship{}
	f.want(200, call{path: "/players/2/friendships/alice%40chat.test"}, &one)
	if one.Exists || one.Since != nil || one.AgeSeconds != nil || one.ID != nil {
		t.Errorf("of strangers: %+v", one)
	}
	f.want(200, call{path: "/players/1/friendships/999"}, &one) // no player is nobody's friend
	f.want(404, call{path: "/players/999/friendships/1"}, nil)
	f.want(422, call{path: "/players/1/friendships/a%40elsewhere.test"}, nil)

	var many friendshipList
	f.want(200, call{method: "POST", path: "/players/1/friendships", token: "read", body: `{"others":["alice@chat.test","999","2"]}`}, &many)
	if len(many.Friendships) != 3 || !many.Friendships[0].Exists || many.Friendships[1].Exists || !many.Friendships[2].Exists {
		t.Errorf("%+v", many)
	}
	thousand := `"2"` + strings.Repeat(`,"2"`, 999)
	f.want(200, call{method: "POST", path: "/players/1/friendships", body: `{"others":[` + thousand + `]}`}, &many)
	if len(many.Friendships) != 1000 {
		t.Error(len(many.Friendships))
	}
	f.want(422, call{method: "POST", path: "/players/1/friendships", body: `{"others":["2",` + thousand + `]}`}, nil)
	f.want(422, call{method: "POST", path: "/players/1/friendships", body: `{"others":[]}`}, nil)
	f.want(422, call{method: "POST", path: "/players/1/friendships", body: `{"others":["2","@"]}`}, nil)
	f.want(404, call{method: "POST", path: "/players/999/friendships", body: `{"others":["2"]}`}, nil)
}

func TestFriendsOfFriends(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2", "sum3", "sum4", "sum5", "sum6")
	now := time.Now()
	for _, pair := range [][2]string{{"sum1", "sum2"}, {"sum1", "sum3"}, {"sum2", "sum4"}, {"sum3", "sum4"}, {"sum2", "sum5"}, {"sum3", "sum6"}, {"sum2", "sum3"}} {
		f.befriend(pair[0], pair[1], now)
	}
	f.want(204, call{method: "PUT", path: "/players/1/blocks/6"}, nil)
	var got suggestionList
	f.want(200, call{path: "/players/1/friends-of-friends"}, &got)
	if len(got.Suggestions) != 2 || *got.Suggestions[0].ID != 4 || got.Suggestions[0].Mutual != 2 || *got.Suggestions[1].ID != 5 || got.Suggestions[1].Mutual != 1 {
		t.Errorf("%+v", got)
	}
	f.want(200, call{path: "/players/1/friends-of-friends?limit=1"}, &got)
	if len(got.Suggestions) != 1 {
		t.Errorf("limited: %+v", got)
	}
	var mutual playerList
	f.want(200, call{path: "/players/1/mutual-friends/4"}, &mutual)
	if len(mutual.Players) != 2 || *mutual.Players[0].ID != 2 || *mutual.Players[1].ID != 3 {
		t.Errorf("%+v", mutual)
	}
	f.want(404, call{path: "/players/1/mutual-friends/77"}, nil)
	if w := f.want(200, call{path: "/players/6/friends-of-friends"}, nil); strings.Contains(w.Body.String(), `"id":1,`) {
		t.Errorf("who blocks is suggested: %s", w.Body)
	}
}

// TestFriendshipOnBehalf: what a service does, clients are told as if a client had.
func TestFriendshipOnBehalf(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	one, two := f.connect("sum1@chat.test/a"), f.connect("sum2@chat.test/b")
	f.want(204, call{method: "POST", path: "/players/1/friends/2/request", body: `{"message":"play <with> me?"}`, token: "write"}, nil)
	if got := two.take(); !strings.Contains(got, "type='subscribe'") || !strings.Contains(got, "play &lt;with&gt; me?") {
		t.Errorf("two got %s", got)
	}
	if got := one.take(); !strings.Contains(got, "ask='subscribe'") {
		t.Errorf("one got %s", got)
	}
	var entry Friend
	f.want(200, call{path: "/players/2/friends/1"}, &entry)
	if entry.Ask != "in" || entry.AskMessage != "play <with> me?" {
		t.Errorf("%+v", entry)
	}
	f.want(204, call{method: "POST", path: "/players/2/friends/1/accept"}, nil)
	for _, s := range []*fakeSession{one, two} {
		if got := s.take(); !strings.Contains(got, "subscription='both'") {
			t.Errorf("%s got %s", s.jid, got)
		}
	}
	f.want(404, call{method: "POST", path: "/players/2/friends/1/accept"}, nil)
	f.want(404, call{method: "POST", path: "/players/2/friends/1/decline"}, nil)

	f.want(204, call{method: "PATCH", path: "/players/1/friends/2", body: `{"nick":"Two","groups":["A","B"],"note":"n"}`}, nil)
	f.want(204, call{method: "PATCH", path: "/players/1/friends/2", body: `{"groups":[]}`}, nil)
	f.want(200, call{path: "/players/1/friends/2"}, &entry)
	if entry.Nick != "Two" || len(entry.Groups) != 0 || entry.Note != "n" || entry.Subscription != "both" {
		t.Errorf("edited: %+v", entry)
	}
	f.want(404, call{method: "PATCH", path: "/players/1/friends/9", body: `{"nick":"x"}`}, nil)
	f.want(422, call{method: "PATCH", path: "/players/1/friends/2", body: `{"groups":["A","A",""]}`}, nil)
	f.want(422, call{method: "PATCH", path: "/players/1/friends/2", body: `{"note":"` + strings.Repeat("é", 1000) + `"}`}, nil)

	one.take()
	f.want(204, call{method: "DELETE", path: "/players/2/friends/1"}, nil)
	if got := one.take(); !strings.Contains(got, "subscription='none'") {
		t.Errorf("after the end: %s", got)
	}
	f.want(404, call{method: "DELETE", path: "/players/2/friends/1"}, nil)
	f.want(404, call{method: "POST", path: "/players/1/friends/9/request"}, nil)
	f.want(409, call{method: "POST", path: "/players/1/friends/1/request"}, nil)
	f.want(204, call{method: "PUT", path: "/players/1/blocks/2"}, nil)
	f.want(409, call{method: "POST", path: "/players/1/friends/2/request"}, nil)
}

func TestBlocksAndPrivacy(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1", "sum2")
	one := f.connect("sum1@chat.test/a")
	f.want(204, call{method: "PUT", path: "/players/1/blocks/2"}, nil)
	if got := one.take(); !strings.Contains(got, "<block xmlns='urn:xmpp:blocking'><item jid='sum2@chat.test'/>") {
		t.Errorf("pushed %s", got)
	}
	f.want(204, call{method: "PUT", path: "/players/1/blocks/evil.example"}, nil)
	f.want(204, call{method: "PUT", path: "/players/1/blocks/x%40evil.example%2Fa%2Fb"}, nil)
	f.want(422, call{method: "PUT", path: "/players/1/blocks/%40%40"}, nil)
	var list blockList
	f.want(200, call{path: "/players/1/blocks"}, &list)
	if fmt.Sprint(list.Blocked) != "[evil.example sum2@chat.test x@evil.example/a/b]" {
		t.Error(list)
	}
	f.want(204, call{method: "DELETE", path: "/players/1/blocks/x%40evil.example%2Fa%2Fb"}, nil)
	f.want(204, call{method: "DELETE", path: "/players/1/blocks/never"}, nil)
	f.want(200, call{path: "/players/1/blocks"}, &list)
	if len(list.Blocked) != 2 {
		t.Error(list)
	}

	var p Privacy
	f.want(200, call{path: "/players/1/privacy"}, &p)
	if p != (Privacy{"everyone", "everyone"}) {
		t.Error(p)
	}
	for _, m := range []string{"everyone", "friends-of-friends", "friends", "nobody"} {
		f.want(204, call{method: "PUT", path: "/players/1/privacy", body: `{"messages":"` + m + `","requests":"nobody"}`}, nil)
		f.want(200, call{path: "/players/1/privacy"}, &p)
		if p != (Privacy{m, "nobody"}) {
			t.Error(p)
		}
	}
	f.want(422, call{method: "PUT", path: "/players/1/privacy", body: `{"messages":"friends","requests":"friends"}`}, nil)
	f.want(422, call{method: "PUT", path: "/players/1/privacy", body: `{"messages":"friends"}`}, nil)
}
