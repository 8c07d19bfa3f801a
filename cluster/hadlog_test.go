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
		id, user := ids[n], uint64((n%7+1)*hadChains) // the first of them are in one chain
		full := user<<8 + rng.Uint64N(3) + 1
		ofFull := func(m hadMessage) bool { return m.full == full }
		switch rng.IntN(8) {
		case 0, 1, 2:
			m := hadMessage{id: id, user: user, full: full, peer: peer}
			l.add(m)
			list = append(list, m)
		case 3, 4:
			by, match := full, ofFull
			if instead := rng.IntN(4) == 0; instead {
				by, match = user, func(hadMessage) bool { return true }
			}
			l.take(id, by, by == user)
			if m := last(id, match); m != nil {
				m.by = by
			}
		case 5:
			l.forget(id)
			for i := range list {
				if m := &list[i]; m.id == id {
					m.by, m.peer = 0, nil
				}
			}
		default:
			for len(list) > 200 {
				l.drop()
				list = list[1:]
			}
		}
		taken := func(m hadMessage) bool { return m.by != 0 }
		if want := last(id, taken) != nil; l.has(id) != want {
			t.Fatalf("has is %t", !want)
		}
		needless := func(m hadMessage) bool { return m.by != 0 && (m.by == full || m.by == user) }
		if want := last(id, needless) != nil; l.needless(&hadMessage{id: id, user: user, full: full}) != want {
			t.Fatalf("needless for the resource is %t", !want)
		}
		var of []stanza.ID
		for _, m := range list {
			if m.by == full && m.user == user {
				of = append(of, m.id)
			}
		}
		if got := l.appendOf(nil, user, full); !slices.Equal(got, of) {
			t.Fatalf("of a resource there are %d, not %d", len(got), len(of))
		}
		if l.len() != len(list) || len(l.all) > l.len() {
			t.Fatalf("%d of %d, %d by id", l.len(), len(list), len(l.all))
		}
	}
	if len(l.ring) > 1024 {
		t.Errorf("room for %d", len(l.ring))
	}
}
