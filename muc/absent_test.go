package muc

import (
	"fmt"
	"testing"

	"chatd/stanza"
)

// spokenHere is a message of a room's to all, encoded as it is for that.
func spokenHere(id stanza.ID) *stanza.Stanza {
	return &stanza.Stanza{Kind: stanza.Message, Type: stanza.Groupchat, From: stanza.MustJID("r@" + fakeHost + "/ann"), To: stanza.MustJID("bob@chat.test/1"),
		Wire: fmt.Appendf(nil, "<message from='r@%s/ann' type='groupchat'><body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' by='r@%[1]s' id='%[2]s'/></message>", fakeHost, id)}
}

// waitsFull is a session for which all waits that may, and the last of that.
func waitsFull() (a *absent, last *stanza.Stanza) {
	a = new(absent)
	for range maxWaiting {
		last = spokenHere(stanza.NewID())
		a.Send(nil, last)
	}
	return a, last
}

// TestWaitingIsEncodedOnce has a session that is looked for be told again what waits for it: that waits once, and what waits already is not encoded again, nor when
// the room's state is taken.
func TestWaitingIsEncodedOnce(t *testing.T) {
	a, last := waitsFull()
	if n := testing.AllocsPerRun(100, func() {
		if !a.Send(nil, last) {
			t.Error("a message that waits already is refused")
		}
	}); n > 8 {
		t.Errorf("to compare one message with %d takes %v allocations", len(a.waiting), n)
	}
	if n := testing.AllocsPerRun(100, func() { a.waits() }); n > 2 {
		t.Errorf("what waits for another process takes %v allocations", n)
	}
	if a.Send(nil, spokenHere(stanza.NewID())) || len(a.waiting) != maxWaiting {
		t.Errorf("%d wait", len(a.waiting))
	}
	b := new(absent)
	if b.await(a.waits()); len(b.waiting) != maxWaiting || !b.Send(nil, last) {
		t.Errorf("%d of %d are taken over", len(b.waiting), maxWaiting)
	}
}

// BenchmarkAbsent has a message be told to a session that is looked for, for which all waits that may.
func BenchmarkAbsent(b *testing.B) {
	a, last := waitsFull()
	b.ReportAllocs()
	for b.Loop() {
		a.Send(nil, last)
	}
}
