package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatd/api"
	"chatd/api/apiclient"
	"chatd/webhook"
)

const roomHookSecret = "0123456789abcdef"

// A scribe is a service that is told what happens in rooms. It keeps one line for each event, in the order in which they come.
type scribe struct {
	t   *testing.T
	url string

	mu    sync.Mutex
	lines []string
}

func newScribe(t *testing.T) *scribe {
	s := &scribe{t: t}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *scribe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = webhook.Verify(roomHookSecret, r.Header.Get(webhook.SignatureHeader), time.Now(), time.Minute, body)
	}
	var e struct {
		Type string
		Data struct{ Room, By, Player, Nick, Why, Reason, Affiliation, Body string }
	}
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil {
		s.t.Errorf("%v: %s", err, body)
	}
	d := e.Data
	line := strings.Join(strings.Fields(strings.Join([]string{e.Type, d.By, d.Player, d.Nick, d.Affiliation, d.Why, d.Reason, d.Body}, " ")), " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, strings.ReplaceAll(line, "@chat.test", ""))
}

func (s *scribe) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// TestChampionSelect: a service makes a room for the ten minutes before a game, five players talk in it, and it is over.
func TestChampionSelect(t *testing.T) {
	t.Parallel()
	var users []string
	for i := range 5 {
		users = append(users, fmt.Sprintf("sum%d", i+1))
	}
	s := newServerWithAPI(t, []string{api.ScopeRooms}, append(users, "sum9")...)
	scribe := newScribe(t)
	s.addConfig(fmt.Sprintf("\n[[webhooks]]\nname = \"scribe\"\nurl = %q\nsecret = %q\nbodies = true\nevents = [\"room.created\", \"room.destroyed\", \"room.joined\", \"room.left\", \"room.message\"]\n",
		scribe.url, roomHookSecret))
	s.must("", s.cmd.Process.Signal(syscall.SIGHUP))
	if _, err := s.log.await("msg=reloaded"); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	var players []*player
	for _, user := range append(users, "sum9") {
		players = append(players, s.player(ctx, t, user))
	}
	service := s.service()

	members := make([]apiclient.NewMember, 5)
	for i := range members {
		nick := fmt.Sprintf("Nick%d", i+1)
		members[i] = apiclient.NewMember{Player: fmt.Sprint(i + 1), Nick: &nick}
	}
	yes, name := true, "champion-select"
	made, err := service.CreateRoomWithResponse(ctx, nil, apiclient.NewRoom{Name: &name, MembersOnly: &yes, LockedNicks: &yes, Members: &members})
	if err != nil || made.JSON201 == nil {
		t.Fatalf("%v %s", err, made.Body)
	}
	at := made.JSON201.Jid
	for i, p := range players[:5] {
		p.await(ctx, "<invite", at)
		p.send(ctx, fmt.Sprintf(`<presence to="%s/whatever%d"><x xmlns="http://jabber.org/protocol/muc"/></presence>`, at, i))
		p.await(ctx, "<presence", fmt.Sprintf("Nick%d", i+1), `code="110"`)
	}
	stranger := players[5]
	stranger.send(ctx, fmt.Sprintf(`<presence to="%s/spy"><x xmlns="http://jabber.org/protocol/muc"/></presence>`, at))
	stranger.await(ctx, "registration-required")

	for i, p := range players[:5] {
		text := fmt.Sprintf("I play %d", i+1)
		p.send(ctx, fmt.Sprintf(`<message type="groupchat" to="%s" id="m%d"><body>%s</body></message>`, at, i, text))
		for _, other := range players[:5] {
			other.await(ctx, "groupchat", text)
		}
	}
	said, err := service.SendRoomMessageWithResponse(ctx, name, nil, apiclient.SendRoomMessageRequest{Body: "10 seconds left"})
	if err != nil || said.JSON200 == nil {
		t.Fatalf("%v %s", err, said.Body)
	}
	for _, p := range players[:5] {
		p.await(ctx, "10 seconds left", said.JSON200.Id)
	}
	in, err := service.ListOccupantsWithResponse(ctx, name, nil)
	if err != nil || in.JSON200 == nil || len(in.JSON200.Occupants) != 5 || in.JSON200.Occupants[4].Jid != "sum5@chat.test" {
		t.Fatalf("%v %s", err, in.Body)
	}
	kicked, err := service.KickOccupantWithResponse(ctx, name, "Nick5", nil)
	if err != nil || kicked.StatusCode() != 204 {
		t.Fatalf("%v %s", err, kicked.Body)
	}
	players[4].await(ctx, `type="unavailable"`, `code="307"`)
	players[3].send(ctx, fmt.Sprintf(`<presence type="unavailable" to="%s/Nick4"/>`, at))

	history, err := service.ListRoomMessagesWithResponse(ctx, name, nil)
	if err != nil || history.JSON200 == nil || len(history.JSON200.Messages) != 6 {
		t.Fatalf("%v %s", err, history.Body)
	}
	for i, m := range history.JSON200.Messages[:5] {
		if m.Nick != fmt.Sprintf("Nick%d", i+1) || m.Body != fmt.Sprintf("I play %d", i+1) {
			t.Errorf("%+v", m)
		}
	}
	reason := "the game begins"
	gone, err := service.DestroyRoomWithResponse(ctx, name, &apiclient.DestroyRoomParams{Reason: &reason})
	if err != nil || gone.StatusCode() != 204 {
		t.Fatalf("%v %s", err, gone.Body)
	}
	players[0].await(ctx, "<destroy", reason)

	want := []string{"room.created"}
	for i := range 5 {
		want = append(want, fmt.Sprintf("room.joined sum%[1]d Nick%[1]d member", i+1))
	}
	for i := range 5 {
		want = append(want, fmt.Sprintf("room.message sum%[1]d Nick%[1]d I play %[1]d", i+1))
	}
	want = append(want, "room.message 10 seconds left", "room.left sum5 Nick5 kicked", "room.left sum4 Nick4 left", "room.destroyed destroyed the game begins")
	for len(scribe.told()) < len(want) && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if got := scribe.told(); !slices.Equal(got, want) {
		t.Errorf("the service was told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
