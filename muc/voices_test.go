package muc

import (
	"fmt"
	"testing"

	"chatd/stanza"
)

// TestVoicesAreBounded: so many are remembered, those as they were last, and nobody in a room that is not moderated any more.
func TestVoicesAreBounded(t *testing.T) {
	f := newFixture(t, unlimited())
	owner := f.online("owner@chat.test/1")
	f.join(owner, "verona", "Owner")
	f.configure(owner, "verona", "muc#roomconfig_moderatedroom", "1")
	r := f.find("verona")
	leaves := func(i int, as Affiliation, has Role) {
		o := &occupant{affiliation: as}
		o.sit([]seat{{jid: stanza.MustJID(fmt.Sprintf("u%d@chat.test/1", i))}})
		r.mu.Lock()
		defer r.mu.Unlock()
		r.keepVoice(o, has)
	}
	returns := func(i int, as Affiliation) Role {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.returning(stanza.MustJID(fmt.Sprintf("u%d@chat.test/2", i)), as)
	}
	for i := range maxVoices + 1 {
		leaves(i, None, Participant)
	}
	if first, last := returns(0, None), returns(maxVoices, None); first != Participant || last != Visitor || len(r.voices) != maxVoices {
		t.Errorf("%s, %s, %d", first, last, len(r.voices))
	}
	leaves(0, Member, Visitor)
	leaves(1, None, Visitor)
	leaves(2, None, Moderator)
	leaves(3, Admin, Visitor)
	for i, want := range []Role{Visitor, Visitor, Participant, Participant} {
		if got := returns(i, None); got != want {
			t.Errorf("user %d comes back as %s", i, got)
		}
	}
	if got := returns(0, Owner); got != Moderator {
		t.Errorf("an owner comes back as %s", got)
	}
	f.configure(owner, "verona", "muc#roomconfig_moderatedroom", "0")
	if len(r.voices) > 0 {
		t.Errorf("%d are remembered", len(r.voices))
	}
}
