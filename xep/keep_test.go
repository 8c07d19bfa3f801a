package xep

import (
	"slices"
	"testing"

	"chatd/stanza"
)

// TestKeep: a copy of what a session has is not handed over while it is one, and is dropped like a message that was.
func TestKeep(t *testing.T) {
	f := newFixture(t)
	o := f.Spool.(*Offline)
	keep := func(text string) int64 {
		t.Helper()
		st, err := stanza.Parse([]byte("<message from='romeo@chat.test/orchard' to='juliet@chat.test/balcony' type='chat'>" + text + "</message>"))
		if err != nil {
			t.Fatal(err)
		}
		seq, err := o.Keep(t.Context(), st)
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	if seq := keep("<body>psst</body><no-store xmlns='urn:xmpp:hints'/>"); seq != 0 {
		t.Error("a copy was made against the sender's wish")
	}
	var copies []int64
	for range 2*offlinePage + 1 {
		copies = append(copies, keep("<body>slowly</body>"))
	}
	s := f.connect("juliet@chat.test/balcony")
	hand := func() []string {
		t.Helper()
		reachable := 0
		o.HandOver(t.Context(), s, func() { reachable++ })
		if reachable != 1 {
			t.Fatalf("reachable %d times", reachable)
		}
		return s.take()
	}
	if got := hand(); len(got) != 0 {
		t.Errorf("handed over: %q", got)
	}
	if err := o.Forget(t.Context(), "juliet", copies[1:]); err != nil {
		t.Fatal(err)
	}
	if got := hand(); len(got) != 0 {
		t.Errorf("handed over: %q", got)
	}
	another := NewOffline(f.Router, o.messages, 0) // after a restart
	page, err := another.next(t.Context(), "juliet", 0, func() {})
	if err != nil || len(page) != 1 || !slices.Contains(copies[:1], page[0].Seq) {
		t.Errorf("after a restart %v wait, %v", page, err)
	}
	if len(o.kept["juliet"]) != 1 {
		t.Errorf("%d copies are known", len(o.kept["juliet"]))
	}
}
