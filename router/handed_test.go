package router

import (
	"slices"
	"testing"

	"chatd/stanza"
)

// TestHanded: of a message that the store has by several numbers the session is given one, and no other is dropped before the client has that one.
func TestHanded(t *testing.T) {
	var h Handed
	x, y := stanza.NewID(), stanza.NewID()
	take := func(id stanza.ID, seq int64, wantGive, wantHad bool) {
		t.Helper()
		if give, had := h.Take(id, seq); give != wantGive || had != wantHad {
			t.Errorf("%d: to be given %t, had %t", seq, give, had)
		}
	}
	take(stanza.ID{}, 1, true, false)
	take(stanza.ID{}, 2, true, false)
	take(x, 5, true, false)
	take(x, 9, false, false)
	take(x, 5, true, false) // it was not written
	take(x, 9, false, false)
	take(y, 10, true, false)
	if others := h.Had([]int64{5, 10}); !slices.Equal(others, []int64{9}) {
		t.Errorf("%v go with them", others)
	}
	take(x, 12, false, true)
	h.Again() // which the client has acknowledged
	take(x, 13, false, true)
	if others := h.Had([]int64{5, 9}); len(others) > 0 {
		t.Errorf("%v go, too", others)
	}
}

// TestHandedAgain: who resumes is given what was not acknowledged, by whatever number the store still has it.
func TestHandedAgain(t *testing.T) {
	var h Handed
	x := stanza.NewID()
	h.Take(x, 5)
	h.Take(x, 9)
	h.Again()
	if give, _ := h.Take(x, 9); !give {
		t.Error("it is lost")
	}
}

// TestHandedTaken: what a session has taken is not given to it from the store, unless its own node had to store it.
func TestHandedTaken(t *testing.T) {
	var h Handed
	x := stanza.NewID()
	h.Take(x, 0)
	if give, had := h.Take(x, 5); give || !had {
		t.Error("it comes twice")
	}
	h.Stored(x)
	if give, _ := h.Take(x, 6); !give {
		t.Error("it is lost")
	}
}

// TestHandedShared: what a session has taken, and others of its user too, is not given to it in the place of these, also where it has moved, unless its own node had
// to store it. So many are remembered.
func TestHandedShared(t *testing.T) {
	var h, moved Handed
	x, y := stanza.NewID(), stanza.NewID()
	h.Share(stanza.ID{})
	h.Share(x)
	h.Share(x)
	h.Share(y)
	moved.Restore(h.All())
	if !h.Has(x) || !moved.Has(y) || h.Has(stanza.NewID()) || h.Has(stanza.ID{}) {
		t.Error("it is not known what it has")
	}
	for _, h := range []*Handed{&h, &moved} {
		if give, had := h.Take(x, 5); give || !had {
			t.Error("it comes twice")
		}
		h.Stored(x)
		if give, _ := h.Take(x, 6); !give {
			t.Error("it is lost")
		}
		if give, had := h.Take(y, 7); give || !had {
			t.Error("another one comes twice")
		}
	}
	for range 2 * sharedMost {
		h.Share(stanza.NewID())
	}
	if len(h.shared) != sharedMost {
		t.Errorf("%d are remembered", len(h.shared))
	}
}

// TestSharedIsNotRerouted: of several resources that were given a message one cannot get rid of it. The others do not get it again.
func TestSharedIsNotRerouted(t *testing.T) {
	f := newFixture(t)
	phone, desk := f.online("juliet@chat.test/phone", 0), f.online("juliet@chat.test/desk", 0)
	f.fromRomeo(t, "<message to='juliet@chat.test' type='chat'><body>both</body></message>")
	sent := phone.take()
	if len(sent) != 1 || len(desk.take()) != 1 {
		t.Fatal("not both got it")
	}
	f.Table.Ending(phone)
	st, err := stanza.Parse([]byte(sent[0]))
	if err != nil {
		t.Fatal(err)
	}
	f.Reroute(t.Context(), st)
	if n := len(desk.take()); n > 0 || len(f.spool.held) > 0 {
		t.Errorf("%d came again, %d are stored", n, len(f.spool.held))
	}
	desk.end()
	f.Table.Unbind(desk)
	f.Reroute(t.Context(), st)
	if len(f.spool.held) != 1 {
		t.Errorf("%d are stored when nobody is left", len(f.spool.held))
	}
}

// TestReturnedAfterHandedOver: what comes back from a node that has stored it, and was handed over since, is not sent again.
func TestReturnedAfterHandedOver(t *testing.T) {
	f := newFixture(t)
	juliet := f.online("juliet@chat.test/balcony", 0)
	send := func(id stanza.ID) {
		t.Helper()
		first := stanza.Stanza{Kind: stanza.Message, Type: stanza.Chat, From: f.romeo.jid, To: juliet.jid.Bare(), Inner: []byte("<body>a</body>"), StanzaID: id}
		back, err := stanza.Parse(first.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if seq, err := f.Returned(t.Context(), back); seq != 0 || err != nil {
			t.Errorf("stored as %d, %v", seq, err)
		}
	}
	x := stanza.NewID()
	juliet.state.Handed.Take(x, 5)
	juliet.state.Handed.Had([]int64{5})
	send(x)
	if got := juliet.take(); len(got) > 0 {
		t.Errorf("it comes again: %s", got)
	}
	y := stanza.NewID()
	send(y)
	if got := juliet.take(); len(got) != 1 {
		t.Errorf("%d came, not 1", len(got))
	}
	if give, had := juliet.state.Handed.Take(y, 6); give || !had {
		t.Error("what was sent now is handed over when another node stores it")
	}
}

func TestHandedBound(t *testing.T) {
	var h Handed
	first := stanza.NewID()
	h.Take(first, 1)
	for i := range int64(handedMost) {
		h.Take(stanza.NewID(), i+2)
	}
	if len(h.all) != handedMost {
		t.Errorf("%d are remembered", len(h.all))
	}
	if give, _ := h.Take(first, 1000); !give {
		t.Error("the oldest was not forgotten")
	}
}
