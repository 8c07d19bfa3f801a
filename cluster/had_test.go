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
		if s.Had(id) != want || slices.Contains(s.HadBy(full), id) != want {
			t.Errorf("%s: had %t, by its user %v", what, s.Had(id), s.HadBy(full))
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
	is("under way to another resource", taken, true)
	s.had.took(taken, phone)
	for _, full := range []stanza.JID{full, phone} {
		if _, again := s.had.add(taken, full, p, now); !again {
			t.Errorf("%s takes it again", full)
		}
	}
	instead := stanza.NewID()
	s.had.add(instead, phone, p, now)
	s.had.took(instead, user)
	if !s.Had(instead) || slices.Contains(s.HadBy(phone), instead) {
		t.Errorf("taken by another resource: had %t, and the one that it was for takes along %v", s.Had(instead), s.HadBy(phone))
	}
	if _, again := s.had.add(instead, full, other, now); !again {
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

// TestHadBounds: what is over the bounds of number and time is forgotten, the oldest first.
func TestHadBounds(t *testing.T) {
	s, p, full, now := new(Service), new(Peer), stanza.MustJID("juliet@chat.test/balcony"), time.Now()
	var ids []stanza.ID
	take := func(n int) {
		for range n {
			id := stanza.NewID()
			s.had.add(id, full, p, now)
			s.had.took(id, full)
			ids = append(ids, id)
		}
	}
	has := func(what string, want []stanza.ID) {
		t.Helper()
		if got := s.HadBy(full); !slices.Equal(got, want) {
			t.Errorf("%s: %d, not %d", what, len(got), len(want))
		}
	}
	take(hadRecent + 10)
	has("at once", ids[10:])
	now = now.Add(hadFor + 1)
	take(1)
	has("later", ids[len(ids)-1:])
	s.had.down(p)
	s.had.down(p) // before anything else came
	if n := s.had.doubted.len(); n != 1 {
		t.Errorf("%d are doubted for one", n)
	}
	for range hadMost / hadRecent {
		take(hadRecent)
		s.had.down(p)
	}
	now = now.Add(hadFor + 1)
	take(1)
	has("of a node that is down", ids[len(ids)-1-hadMost:])
}
