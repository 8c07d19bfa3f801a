package cluster

import (
	"fmt"
	"slices"
	"testing"

	"chatd/router"
	"chatd/stanza"
)

// TestRoomsFall has rooms say something to a node in each moment of its end: they are told of all of it when they are told of the end, and until then the
// node is one of Nodes.
func TestRoomsFall(t *testing.T) {
	cfg := Config{Node: "a", Secret: testSecret, Log: quiet("a")}
	s := New(router.New(stanza.MustJID("chat.test"), cfg.Log), cfg)
	s.About = func() []byte { return nil }
	var told []string
	s.Rooms.Down = func(node string, left bool, unacked []RoomFrame) {
		told = append(told, fmt.Sprint(node, " ", left))
		for _, f := range unacked {
			told = append(told, fmt.Sprint(f.Kind, f.Room, string(f.Payload)))
		}
	}
	n := bareNode(t, s)
	s.started.Store(n)
	p := newPeer(n, &hello{name: "c", incarnation: 1}, 1, 1, 1)
	n.rise(p)
	s.Rooms.rises(p)
	say := func(text string) {
		t.Helper()
		if !s.Rooms.Send("c", 1, "lobby", []byte(text)) {
			t.Errorf("%q is not taken", text)
		}
		if len(told) > 0 || !slices.Equal(s.Rooms.Nodes(), []string{"c"}) {
			t.Errorf("%q: rooms were told %q, nodes are %q", text, told, s.Rooms.Nodes())
		}
	}
	say("on its way")
	unacked, _ := p.close()
	say("closed")
	n.fall(p)
	say("not on the list")
	s.Rooms.leaves(p, true, unacked)
	say("known to be gone")
	s.Rooms.hidden(p)
	say("others do not know")
	s.Rooms.settled()
	if want := []string{"c true", "1lobbyon its way", "1lobbyclosed", "1lobbynot on the list", "1lobbyknown to be gone", "1lobbyothers do not know"}; !slices.Equal(told, want) {
		t.Errorf("rooms were told %q", told)
	}
	if len(s.Rooms.Nodes()) > 0 || s.Rooms.Send("c", 1, "lobby") {
		t.Error("it is still there")
	}
}
