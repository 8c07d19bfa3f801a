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
	s.had.took(taken, full)
	is("taken", taken, true)
	if _, again := s.had.add(taken, full, other, now); !again {
		t.Error("it is taken again")
	}
	phone := stanza.MustJID("juliet@chat.test/phone")
	if had, again := s.had.add(taken, phone, other, now); !had || again {
		t.Errorf("another resource: had %t, again %t", had, again)
	}
	s.had.took(taken, user) // who had it instead
	if _, again := s.had.add(taken, phone, other, now); !again {
		t.Error("the resource that has had it in the place of another one gets it again")
	}

	s.had.add(stored, full, p, now)
	s.Stored(stored)
	s.had.took(stored, full) // its session was faster
	is("stored", stored, false)
	s.Stored(stanza.ID{})

	s.had.add(at, full, p, now)
	s.had.took(at, full)
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
