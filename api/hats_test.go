package api

import (
	"fmt"
	"strings"
	"testing"
)

// TestHats are made, worn, shown to who is in the room, and taken away.
func TestHats(t *testing.T) {
	f := newFixture(t, nil)
	f.players("sum1")
	f.want(404, call{path: "/rooms/lobby/hats"}, nil)
	f.want(404, call{method: "PUT", path: "/rooms/lobby/hats", body: `{"hats":[]}`}, nil)
	f.want(201, call{method: "POST", path: "/rooms", body: `{"name":"lobby","show_absent":true,"pubsub":"xmpp:pubsub.chat.test?;node=lobby"}`}, nil)
	f.want(422, call{method: "PATCH", path: "/rooms/lobby", body: `{"pubsub":"http://chat.test"}`}, nil)
	boss := f.connect("sum1@chat.test/game")
	f.enters(boss, "lobby", "boss")
	boss.take()
	f.want(204, call{method: "PUT", path: "/rooms/lobby/hats", body: `{"hats":[{"uri":"urn:captain","title":"Captain","hue":"120","players":["1","a@chat.test"]},
		{"uri":"urn:fool","title":"Fool"}]}`}, nil)
	if got := boss.take(); !strings.Contains(got, "<hat title='Captain' uri='urn:captain' hue='120'/></hats>") {
		t.Errorf("was shown %s", got)
	}
	var all hatList
	f.want(200, call{path: "/rooms/lobby/hats"}, &all)
	if len(all.Hats) != 2 || all.Hats[0].Hue != "120" || len(all.Hats[0].Players) != 2 || all.Hats[0].Players[1].JID != "sum1@chat.test" ||
		fmt.Sprint(*all.Hats[0].Players[1].ID) != "1" || len(all.Hats[1].Players) != 0 {
		t.Errorf("%+v", all)
	}
	for _, wrong := range []string{
		`{"hats":[{"uri":"urn:a","title":"A"},{"uri":"urn:a","title":"B"}]}`, `{"hats":[{"uri":"urn:a","title":"A","hue":"red"}]}`,
		`{"hats":[{"uri":"urn:a","title":"A","players":["chat.test"]}]}`, `{"hats":[{"uri":"urn:a","title":"\u0001"}]}`, `{"hats":[{"uri":"","title":"A"}]}`,
	} {
		f.want(422, call{method: "PUT", path: "/rooms/lobby/hats", body: wrong}, nil)
	}
	f.want(204, call{method: "PUT", path: "/rooms/lobby/hats", body: `{"hats":[]}`}, nil)
	if got := boss.take(); strings.Contains(got, "<hats") || !strings.Contains(got, "code='110'") {
		t.Errorf("was shown %s", got)
	}
	f.want(200, call{path: "/rooms/lobby/hats"}, &all)
	if len(all.Hats) != 0 {
		t.Errorf("%+v", all)
	}
}
