package cluster

import (
	"math/rand/v2"
	"slices"
	"testing"

	"chatd/stanza"
)

// TestHadLog: after any calls the log answers as a plain list does.
func TestHadLog(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ids := make([]stanza.ID, 300)
	for i := range ids {
		ids[i] = stanza.NewID()
	}
	l := hadLog{all: make(map[stanza.ID]uint64)}
	var list []hadMessage
	last := func(id stanza.ID, match func(m hadMessage) bool) *hadMessage {
		for i := range slices.Backward(list) {
			if m := &list[i]; m.id == id && m.peer != nil && match(*m) {
				return m
			}
		}
		return nil
	}
	peer := new(Peer)
	for range 20_000 {
		n := rng.IntN(len(ids))
		id, user := ids[n], uint64(n%7*hadChains) // the first of them are in one chain
		full := user<<8 + rng.Uint64N(3)
		ofFull := func(m hadMessage) bool { return m.full == full }
		switch rng.IntN(8) {
		case 0, 1, 2:
			m := hadMessage{id: id, user: user, full: full, peer: peer}
			l.add(m)
			list = append(list, m)
		case 3, 4:
			l.take(id, full)
			if m := last(id, ofFull); m != nil {
				m.taken = true
			}
		case 5:
			l.forget(id)
			for i := range list {
				if m := &list[i]; m.id == id {
					m.taken, m.peer = false, nil
				}
			}
		default:
			for len(list) > 200 {
				l.drop()
				list = list[1:]
			}
		}
		taken := func(m hadMessage) bool { return m.taken }
		if want := last(id, taken) != nil; l.has(id) != want {
			t.Fatalf("has is %t", !want)
		}
		if want := last(id, func(m hadMessage) bool { return m.taken && m.full == full }) != nil; l.taken(id, full) != want {
			t.Fatalf("taken by the resource is %t", !want)
		}
		var of []stanza.ID
		for _, m := range list {
			if m.taken && m.user == user {
				of = append(of, m.id)
			}
		}
		if got := l.appendOf(nil, user); !slices.Equal(got, of) {
			t.Fatalf("of a user there are %d, not %d", len(got), len(of))
		}
		if l.len() != len(list) || len(l.all) > l.len() {
			t.Fatalf("%d of %d, %d by id", l.len(), len(list), len(l.all))
		}
	}
	if len(l.ring) > 1024 {
		t.Errorf("room for %d", len(l.ring))
	}
}
