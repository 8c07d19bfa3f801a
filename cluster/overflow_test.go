package cluster

import (
	"log/slog"
	"testing"
)

// TestRoomOverflow has rooms be told what frame there was no room for.
func TestRoomOverflow(t *testing.T) {
	var got []any
	r := &Rooms{s: &Service{log: slog.New(slog.DiscardHandler)}}
	r.Overflowed = func(node string, kind byte, room string, payload []byte) {
		got = append(got, node, kind, room, string(payload))
	}
	r.overflowed("b", append(appendText(appendText(nil, "lobby"), "b"), "rest"...), firstRoomKind+3)
	r.overflowed("b", []byte{200}, firstRoomKind) // malformed
	if len(got) != 4 || got[0] != "b" || got[1] != byte(3) || got[2] != "lobby" || got[3] != "rest" {
		t.Errorf("rooms were told %v", got)
	}
}
