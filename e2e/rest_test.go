package e2e

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"net/http"
	"strings"
	"testing"
	"time"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/ping"

	"chatd/api"
	"chatd/api/apiclient"
)

// The three services that rely on the friends graph, each with a client generated from the document, and real XMPP
// clients of the players on the other side.

// service is a client of the private API with the test's token.
func (s *server) service() *apiclient.ClientWithResponses {
	s.t.Helper()
	c, err := apiclient.NewClientWithResponses("http://"+s.api, apiclient.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+apiToken)
		return nil
	}))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// A player is an XMPP client that remembers what it was sent.
type player struct {
	*xmpp.Session
	t     *testing.T
	inbox chan string
}

func (s *server) player(ctx context.Context, t *testing.T, user string) *player {
	t.Helper()
	session, err := s.dialMellium(ctx, melliumLogin{user: user, password: password, version: tls.VersionTLS13, mechanism: sasl.ScramSha256Plus})
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	p := &player{Session: session, t: t, inbox: make(chan string, 100)}
	served := make(chan error, 1)
	go func() { served <- session.Serve(p) }()
	t.Cleanup(func() {
		session.Close() //nolint:errcheck // the server may have ended it
		<-served
		session.Conn().Close()
	})
	p.send(ctx, `<iq type="get" id="roster"><query xmlns="jabber:iq:roster"/></iq>`)
	p.await(ctx, "jabber:iq:roster")
	p.send(ctx, `<presence/>`)
	return p
}

// HandleXMPP takes what is no answer to what the library itself has asked.
func (p *player) HandleXMPP(r xmlstream.TokenReadEncoder, start *xml.StartElement) error {
	var b strings.Builder
	e := xml.NewEncoder(&b)
	if _, err := xmlstream.Copy(e, xmlstream.MultiReader(xmlstream.Token(*start), r)); err != nil {
		return err
	}
	if err := e.Flush(); err != nil {
		return err
	}
	p.inbox <- b.String()
	return nil
}

// send writes stanzas and returns when the server has dealt with them.
func (p *player) send(ctx context.Context, stanzas ...string) {
	p.t.Helper()
	for _, text := range stanzas {
		if err := p.Send(ctx, xml.NewDecoder(strings.NewReader(text))); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := ping.Send(ctx, p.Session, p.LocalAddr().Domain()); err != nil {
		p.t.Fatalf("ping: %v", err)
	}
}

// await waits for a stanza that has all of the words in it, and passes over others.
func (p *player) await(ctx context.Context, words ...string) {
	p.t.Helper()
	var passed []string
	for {
		select {
		case got := <-p.inbox:
			if containsAll(got, words) {
				return
			}
			passed = append(passed, got)
		case <-ctx.Done():
			p.t.Fatalf("%s got no %q, but\n%s", p.LocalAddr(), words, strings.Join(passed, "\n"))
		}
	}
}

// befriend makes friends the way clients do: one asks, the other grants and asks back.
func befriend(ctx context.Context, one, two *player) {
	one.t.Helper()
	to := func(p *player, typ string) string {
		return `<presence to="` + p.LocalAddr().Bare().String() + `" type="` + typ + `"/>`
	}
	one.send(ctx, to(two, "subscribe"))
	two.await(ctx, `type="subscribe"`, one.LocalAddr().Bare().String())
	two.send(ctx, to(one, "subscribed"), to(one, "subscribe"))
	one.await(ctx, `type="subscribe"`, two.LocalAddr().Bare().String())
	one.send(ctx, to(two, "subscribed"))
	two.await(ctx, `subscription="both"`)
}

// TestGift: the store lets a player give a gift to who has been a friend for long enough.
func TestGift(t *testing.T) {
	t.Parallel()
	s := newServerWithAPI(t, []string{api.ScopeFriendsRead}, "sum1", "sum2", "sum3")
	ctx := testContext(t)
	giver, friend := s.player(ctx, t, "sum1"), s.player(ctx, t, "sum2")
	store := s.service()
	check := func(other string) *apiclient.Friendship {
		t.Helper()
		got, err := store.GetFriendshipWithResponse(ctx, "1", other, nil)
		if err != nil || got.JSON200 == nil {
			t.Fatalf("%v %s", err, got.Body)
		}
		return got.JSON200
	}
	mayGive := func(f *apiclient.Friendship, after time.Duration) bool {
		return f.Exists && time.Duration(*f.AgeSeconds)*time.Second >= after
	}
	if f := check("2"); f.Exists || f.Since != nil {
		t.Errorf("before they met: %+v", f)
	}
	begun := time.Now().Truncate(time.Second)
	befriend(ctx, giver, friend)
	f := check("2")
	if !f.Exists || f.Since.Before(begun) || f.Since.After(time.Now()) || mayGive(f, 24*time.Hour) {
		t.Fatalf("%+v, begun %v", f, begun)
	}
	since := *f.Since
	for !mayGive(check("2"), time.Second) { // ends with ctx
		if ctx.Err() != nil {
			t.Fatal("the friendship does not grow older")
		}
	}
	batch, err := store.CheckFriendshipsWithResponse(ctx, "1", apiclient.CheckFriendshipsRequest{Others: []string{"3", "2", "sum1@chat.test"}})
	if err != nil || batch.JSON200 == nil || len(batch.JSON200.Friendships) != 3 || batch.JSON200.Friendships[0].Exists || !batch.JSON200.Friendships[1].Exists {
		t.Errorf("%v %s", err, batch.Body)
	}
	if back, err := store.GetFriendshipWithResponse(ctx, "2", "1", nil); err != nil || !back.JSON200.Since.Equal(since) {
		t.Errorf("the other way round: %v %s", err, back.Body)
	}

	// It is as old after a crash.
	if _, err := s.stop(9); err != nil {
		t.Fatal(err)
	}
	s.start()
	store = s.service()
	if f := check("2"); !f.Since.Equal(since) {
		t.Errorf("after a crash since %v, before %v", f.Since, since)
	}
	// And the token is for nothing else.
	refused, err := store.ErasePlayerWithResponse(ctx, "1", nil)
	if err != nil || refused.StatusCode() != 403 {
		t.Errorf("%v %s", err, refused.Body)
	}
}

// TestTeamBuilder: friends of friends are suggested, and one becomes a friend on the spot.
func TestTeamBuilder(t *testing.T) {
	t.Parallel()
	s := newServerWithAPI(t, []string{api.ScopeFriendsRead, api.ScopeFriendsWrite, api.ScopePresence, api.ScopeMessages}, "sum1", "sum2", "sum3", "sum4", "sum5")
	ctx := testContext(t)
	p := make(map[string]*player)
	for _, user := range []string{"sum1", "sum2", "sum3", "sum4", "sum5"} {
		p[user] = s.player(ctx, t, user)
	}
	for _, pair := range [][2]string{{"sum1", "sum2"}, {"sum1", "sum3"}, {"sum2", "sum4"}, {"sum3", "sum4"}, {"sum2", "sum5"}} {
		befriend(ctx, p[pair[0]], p[pair[1]])
	}
	teams := s.service()
	suggested, err := teams.ListFriendsOfFriendsWithResponse(ctx, "1", nil)
	if err != nil || suggested.JSON200 == nil {
		t.Fatalf("%v %s", err, suggested.Body)
	}
	if got := suggested.JSON200.Suggestions; len(got) != 2 || *got[0].Id != 4 || got[0].Mutual != 2 || *got[1].Id != 5 || got[1].Mutual != 1 {
		t.Fatalf("suggested %s", suggested.Body)
	}
	online, err := teams.ListPresenceWithResponse(ctx, apiclient.ListPresenceRequest{Players: []string{"4", "5", "6"}})
	if err != nil || online.JSON200 == nil || !online.JSON200.Players[0].Online || online.JSON200.Players[2].Online {
		t.Fatalf("%v %s", err, online.Body)
	}

	message := "join <us> & win"
	asked, err := teams.RequestFriendshipWithResponse(ctx, "1", "4", nil, apiclient.Request{Message: &message})
	if err != nil || asked.StatusCode() != 204 {
		t.Fatalf("%v %s", err, asked.Body)
	}
	p["sum4"].await(ctx, `type="subscribe"`, "sum1@chat.test", "join &lt;us&gt; &amp; win")
	p["sum1"].await(ctx, `ask="subscribe"`, "sum4@chat.test")
	p["sum4"].send(ctx, `<presence to="sum1@chat.test" type="subscribed"/>`, `<presence to="sum1@chat.test" type="subscribe"/>`)
	p["sum1"].await(ctx, `subscription="both"`, "sum4@chat.test")
	mutual, err := teams.ListMutualFriendsWithResponse(ctx, "1", "2", nil)
	if err != nil || mutual.JSON200 == nil || len(mutual.JSON200.Players) != 1 || *mutual.JSON200.Players[0].Id != 4 {
		t.Errorf("%v %s", err, mutual.Body)
	}
	kind := apiclient.MessageType("chat")
	sent, err := teams.SendMessageWithResponse(ctx, "4", nil, apiclient.Message{Type: &kind, Body: "the team is complete"})
	if err != nil || sent.JSON200 == nil || sent.JSON200.Fate != "delivered" {
		t.Fatalf("%v %s", err, sent.Body)
	}
	p["sum4"].await(ctx, "the team is complete", `from="chat.test"`)
}

// TestLeague: the friends list is the same from both sides, whoever changes it.
func TestLeague(t *testing.T) {
	t.Parallel()
	s := newServerWithAPI(t, []string{api.ScopeFriendsRead, api.ScopeFriendsWrite, api.ScopeSessions, api.ScopeAccounts}, "sum13131", "sum112233", "alice")
	ctx := testContext(t)
	me, friend, nameless := s.player(ctx, t, "sum13131"), s.player(ctx, t, "sum112233"), s.player(ctx, t, "alice")
	befriend(ctx, me, friend)
	befriend(ctx, me, nameless)
	me.send(ctx, `<iq type="set" id="edit"><query xmlns="jabber:iq:roster"><item jid="sum112233@chat.test" name="Ann &amp; Co"><group>Work</group></item></query></iq>`,
		`<iq type="set" id="note"><query xmlns="jabber:iq:private"><storage xmlns="storage:rosternotes"><note jid="sum112233@chat.test">owes me one</note></storage></query></iq>`)
	league := s.service()
	list := func() []apiclient.Summoner {
		t.Helper()
		got, err := league.GetSummonerFriendsWithResponse(ctx, 13131, nil)
		if err != nil || got.JSON200 == nil {
			t.Fatalf("%v %s", err, got.Body)
		}
		return *got.JSON200
	}
	got := list()
	if len(got) != 1 || got[0].SummonerId != 112233 || got[0].Nick != "Ann & Co" || got[0].Group != "Work" || got[0].Note != "owes me one" ||
		got[0].Ask != "none" || got[0].AskMessage != "" || got[0].Subscription != "both" {
		t.Fatalf("%+v", got)
	}
	if at, err := time.Parse("2006-01-02 15:04:05", got[0].CreatedAt); err != nil || time.Since(at) > time.Minute {
		t.Errorf("created_at %q, %v", got[0].CreatedAt, err)
	}

	groups, nick := []string{"Gold III"}, "Ann"
	edited, err := league.EditFriendWithResponse(ctx, "13131", "112233", nil, apiclient.EditFriendRequest{Groups: &groups, Nick: &nick})
	if err != nil || edited.StatusCode() != 204 {
		t.Fatalf("%v %s", err, edited.Body)
	}
	me.await(ctx, "jabber:iq:roster", "Gold III")
	if got := list(); got[0].Group != "Gold III" || got[0].Nick != "Ann" || got[0].Note != "owes me one" {
		t.Errorf("%+v", got)
	}

	// A season ends: the account is disabled, its sessions end, and it cannot log in.
	ended, err := league.DisablePlayerWithResponse(ctx, "112233", nil)
	if err != nil || ended.JSON200 == nil || ended.JSON200.SessionsEnded != 1 {
		t.Fatalf("%v %s", err, ended.Body)
	}
	me.await(ctx, `type="unavailable"`, "sum112233@chat.test")
	login := melliumLogin{user: "sum112233", password: password, version: tls.VersionTLS13, mechanism: sasl.ScramSha256Plus}
	if session, err := s.dialMellium(ctx, login); err == nil || !strings.Contains(err.Error(), "account-disabled") {
		if err == nil {
			session.Close()
		}
		t.Errorf("login: %v", err)
	}
	erased, err := league.ErasePlayerWithResponse(ctx, "112233", nil)
	if err != nil || erased.StatusCode() != 204 {
		t.Fatalf("%v %s", err, erased.Body)
	}
	me.await(ctx, `subscription="none"`, "sum112233@chat.test")
}
