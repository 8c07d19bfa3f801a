package cluster

import (
	"slices"
	"testing"
	"time"

	"chatd/stanza"
)

// TestHad: a message counts as had when a session has taken it, from then until this node stores it or gives it away.
func TestHad(t *testing.T) {
	s, p, other := new(Service), new(Peer), new(Peer)
	full, user, now := stanza.MustJID("juliet@chat.test/balcony"), stanza.MustJID("juliet@chat.test"), time.Now()
	is := func(what string, id stanza.ID, want bool) {
		t.Helper()
		if s.Had(id) != want || slices.Contains(s.HadBy(user), id) != want {
			t.Errorf("%s: had %t, by its user %v", what, s.Had(id), s.HadBy(user))
		}
	}
	taken, stored, at := stanza.NewID(), stanza.NewID(), stanza.NewID()
	s.had.add(taken, full, p, now)
	is("under way", taken, false)
	s.had.took(taken)
	is("taken", taken, true)
	if !s.had.add(taken, full, other, now) {
		t.Error("it is taken again")
	}
	if s.had.add(taken, stanza.MustJID("juliet@chat.test/phone"), other, now) {
		t.Error("another resource does not get it")
	}
	s.had.took(taken)

	s.had.add(stored, full, p, now)
	s.Stored(stored)
	s.had.took(stored) // its session was faster
	is("stored", stored, false)
	s.Stored(stanza.ID{})

	s.had.add(at, full, p, now)
	s.had.took(at)
	s.had.down(p)
	for range 3 {
		s.had.add(stanza.NewID(), full, other, now.Add(2*hadFor))
	}
	is("of a node that is down", at, true)
	s.Stored(at)
	is("given away", at, false)
	if n := len(s.HadBy(stanza.MustJID("romeo@chat.test"))); n > 0 {
		t.Errorf("%d of somebody else", n)
	}
}
