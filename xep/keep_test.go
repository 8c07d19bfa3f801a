package xep

import (
	"slices"
	"strings"
	"testing"

	"chatd/stanza"
)

func parse(t *testing.T, text string) *stanza.Stanza {
	t.Helper()
	st, err := stanza.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestKeep: a copy of what a session has is not handed over while it is one, and is dropped like a message that was.
func TestKeep(t *testing.T) {
	f := newFixture(t)
	o := f.Spool.(*Offline)
	keep := func(text string) int64 {
		t.Helper()
		seq, err := o.Keep(t.Context(), parse(t, "<message from='romeo@chat.test/orchard' to='juliet@chat.test/balcony' type='chat'>"+text+"</message>"))
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

// TestRelease: what was kept for a session that ends is handed to another one that is there, once; what was kept for one that goes on
// waits for it with all else.
func TestRelease(t *testing.T) {
	f := newFixture(t)
	o := f.Spool.(*Offline)
	keep := func(text string) int64 {
		t.Helper()
		seq, err := o.Keep(t.Context(), parse(t, "<message from='romeo@chat.test/orchard' to='juliet@chat.test' type='chat'><body>"+text+"</body></message>"))
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	phone, desk := f.connect("juliet@chat.test/phone"), f.connect("juliet@chat.test/desk")
	f.Table.SetPresence(desk, true, 1)
	kept := []int64{keep("one"), keep("two")}
	o.Release(t.Context(), phone.JID(), append(kept, 99), false)
	o.HandOver(t.Context(), phone, func() { f.Table.SetPresence(phone, true, 1) })
	if got := phone.take(); len(got) != 2 || len(desk.take()) != 0 {
		t.Errorf("resumed, it is handed %q", got)
	}
	for _, managed := range []bool{false, true} {
		desk.keeps = managed
		kept = []int64{keep("three"), keep("four")}
		f.Table.Unbind(phone)
		o.Release(t.Context(), phone.JID(), kept, true)
		if got := desk.take(); len(got) != 2 || !strings.Contains(got[0], "three") || !strings.Contains(got[1], "four") {
			t.Errorf("managed=%v: handed over %q", managed, got)
		}
		o.Look(t.Context(), desk.JID())
		if got := desk.take(); len(got) != 0 {
			t.Errorf("managed=%v: handed over twice: %q", managed, got)
		}
		page, err := o.messages.OfflinePage(t.Context(), "juliet", 0, 10)
		if err != nil || len(page) > 0 != managed {
			t.Errorf("managed=%v: %d wait, %v", managed, len(page), err)
		}
	}
	if err := o.Forget(t.Context(), "juliet", kept); err != nil {
		t.Fatal(err)
	}
	f.Table.Unbind(desk)
	o.Release(t.Context(), phone.JID(), []int64{keep("five")}, true)
	o.HandOver(t.Context(), phone, func() {})
	if got := phone.take(); len(got) != 1 || !strings.Contains(got[0], "five") {
		t.Errorf("nobody was there, and the next one is handed %q", got)
	}
}
