package cluster

import (
	"hash/maphash"
	"log/slog"
	"testing"
)

// TestOwnFramesAreTaken has a node have room for what it tells itself about its rooms when there is none for what comes from others.
func TestOwnFramesAreTaken(t *testing.T) {
	a := arrivals{seed: maphash.MakeSeed()} // nobody deals with anything
	for i := range a.workers {
		a.workers[i].come.L = &a.workers[i].mu
	}
	theirs := job{kind: firstRoomKind, peer: &Peer{}}
	for a.put([]byte("lobby"), theirs, make([]byte, 1<<20)) {
	}
	if a.put([]byte("lobby"), theirs, make([]byte, 1<<20)) {
		t.Error("a frame of another node is taken")
	}
	if !a.put([]byte("lobby"), job{kind: firstRoomKind}, make([]byte, 1<<20)) {
		t.Error("a frame of this node is refused")
	}
}

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
