package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"chatd/roster"
	"chatd/stanza"
	"chatd/store"
)

// asJSON is what encoding/json makes of a value, as every other answer is written.
func asJSON(t interface{ Fatal(...any) }, v any) string {
	var b bytes.Buffer
	if err := marshal(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func drawFriend(t *rapid.T) roster.Friend {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]{0,20}`), rapid.SampledFrom([]string{"", `"`, `\`, "\x00\x1f\x7f", "<a&b>", "\u2028\u2029", "\xff\xfe", "é😀"}))
	f := roster.Friend{
		JID:          stanza.MustJID(rapid.SampledFrom([]string{"sum1", "sum0", "sum01", "sum", "sum112233", "alice", "sum1x", "xsum1", "sum999999999999999999"}).Draw(t, "local") + "@chat.test"),
		Subscription: store.Subscription(rapid.IntRange(0, 3).Draw(t, "subscription")),
		Ask:          roster.Ask(rapid.IntRange(0, 3).Draw(t, "ask")),
		AskMessage:   text.Draw(t, "message"), Name: text.Draw(t, "name"), Note: text.Draw(t, "note"),
		Groups: rapid.SliceOfN(text, 0, 3).Draw(t, "groups"),
	}
	if rapid.Bool().Draw(t, "dated") {
		f.Created = time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "created"), 0).UTC()
	}
	return f
}

// TestFriendsAsEncodingJSON holds the encoder to encoding/json, byte by byte.
func TestFriendsAsEncodingJSON(t *testing.T) {
	s := &Server{numbers: newPlayerNumbers("sum%d")}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(drawFriend), 0, 5).Draw(t, "list")
		summoners, page := []Summoner{}, friendsPage{Friends: []Friend{}, Next: rapid.SampledFrom([]string{"", "abc"}).Draw(t, "next")}
		for i := range list {
			f := s.friend(&list[i])
			page.Friends = append(page.Friends, f)
			if f.ID == nil {
				continue
			}
			one := Summoner{Ask: f.Ask, AskMessage: f.AskMessage, CreatedAt: f.CreatedAt, Nick: f.Nick, Note: f.Note, Subscription: f.Subscription, SummonerID: *f.ID}
			if len(f.Groups) > 0 {
				one.Group = f.Groups[0]
			}
			summoners = append(summoners, one)
		}
		if got, want := string(s.appendSummoners(nil, list)), asJSON(t, summoners); got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
		if got, want := string(s.appendFriendsPage(nil, list, page.Next)), asJSON(t, page); got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestFriendshipAsEncodingJSON(t *testing.T) {
	s := &Server{numbers: newPlayerNumbers("sum%d")}
	now := time.Unix(1500000000, 5)
	for _, f := range []roster.Friendship{
		{Other: stanza.MustJID("sum1@chat.test")},
		{Other: stanza.MustJID("alice@chat.test"), Exists: true},
		{Other: stanza.MustJID("sum1@chat.test"), Exists: true, Since: time.Unix(1435661568, 0)},
		{Other: stanza.MustJID("sum1@chat.test"), Exists: true, Since: now.Add(time.Hour)}, // a clock went back
	} {
		if got, want := string(s.appendFriendship(nil, f, now)), asJSON(t, s.friendship(f, now)); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// TestContract: names, order and formats of systems.md, literally.
func TestContract(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum13131", "sum112233")
	f.put("sum13131", store.RosterItem{JID: "sum112233@chat.test", Sub: store.SubBoth, Name: "Ann", Groups: []string{"Work", "Other"},
		Created: time.Date(2015, 6, 30, 10, 52, 26, 0, time.UTC)})
	f.put("sum13131", store.RosterItem{JID: "alice@chat.test", Sub: store.SubBoth}) // has no number
	f.put("sum13131", store.RosterItem{JID: "sum5@chat.test", PendingIn: true, Hidden: true, Message: "it's <me>", Created: time.Unix(1435661546, 0)})
	f.want(204, call{method: "PATCH", path: "/players/13131/friends/112233", body: `{"note":"owes me one"}`}, nil)
	const want = `[{"ask":"none","ask_message":"","created_at":"2015-06-30 10:52:26","group":"Work","nick":"Ann","note":"owes me one","subscription":"both","summoner_id":112233},` +
		`{"ask":"in","ask_message":"it's <me>","created_at":"2015-06-30 10:52:26","group":"","nick":"","note":"","subscription":"none","summoner_id":5}]` + "\n"
	w := f.want(200, call{path: "/friends/summoner/13131", token: "read"}, nil)
	if got := w.Body.String(); got != want || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%s\n%s\nwant\n%s", w.Header(), got, want)
	}
	var all []Summoner
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || len(all) != 2 {
		t.Error(err)
	}
	f.want(200, call{path: "/friends/summoner/13131?subscription=both"}, &all)
	if len(all) != 1 || all[0].SummonerID != 112233 {
		t.Errorf("filtered: %+v", all)
	}
	if !strings.Contains(f.want(200, call{path: "/players/sum13131%40chat.test/friends"}, nil).Body.String(), `"jid":"alice@chat.test"`) {
		t.Error("who has no number is not in /players")
	}
}
