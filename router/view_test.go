package router

import (
	"fmt"
	"sync"
	"testing"

	"chatd/stanza"
)

// A batch remembers the rows of whom it was last for, and may never answer
// with rows that something has changed which had ended before.
func TestBatchSeesEveryChange(t *testing.T) {
	tbl := NewTable()
	s := &fakeSession{jid: stanza.MustJID("romeo@chat.test/phone"), done: make(chan struct{})}
	next := &fakeSession{jid: s.jid, done: make(chan struct{})}
	b := &Batch{}
	st := &stanza.Stanza{Kind: stanza.Message, From: s.jid, To: s.jid}
	tests := []struct {
		name   string
		change func()
		want   func(rows []Row) bool
	}{
		{"nobody", func() {}, func(rows []Row) bool { return len(rows) == 0 }},
		{"Bind", func() { tbl.Bind(s, false) }, func(rows []Row) bool { return len(rows) == 1 && !rows[0].Available }},
		{"SetPresence", func() { tbl.SetPresence(s, true, 3) }, func(rows []Row) bool { return rows[0].Available && rows[0].Priority == 3 }},
		{"SetFlags", func() { tbl.SetFlags(s, Carbons, 0) }, func(rows []Row) bool { return rows[0].Flags == Carbons }},
		{"Detach", func() { tbl.Detach(s, s.done) }, func(rows []Row) bool { return rows[0].Detached && rows[0].Wait != nil }},
		{"Settled", func() { tbl.Settled(s) }, func(rows []Row) bool { return rows[0].Wait == nil }},
		{"Resume", func() { tbl.Resume(s, next) }, func(rows []Row) bool { return rows[0].Session == next }},
		{"Attach", func() { tbl.Attach(next) }, func(rows []Row) bool { return !rows[0].Detached }},
		{"Ending", func() { tbl.Ending(next) }, func(rows []Row) bool { return rows[0].Wait != nil && !rows[0].Available }},
		{"Unbind", func() { tbl.Unbind(next) }, func(rows []Row) bool { return len(rows) == 0 }},
	}
	for _, tt := range tests {
		tt.change()
		for range 2 { // looked up, and remembered
			if rows := b.recipients(tbl, st); !tt.want(rows) {
				t.Errorf("%s: recipients %+v", tt.name, rows)
			}
			if rows := b.senders(tbl, st); !tt.want(rows) {
				t.Errorf("%s: senders %+v", tt.name, rows)
			}
		}
	}
}

// The same while others change the table at the same time.
func TestBatchSeesConcurrentChanges(t *testing.T) {
	tbl := NewTable()
	s := &fakeSession{jid: stanza.MustJID("romeo@chat.test/phone")}
	tbl.Bind(s, false)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 2 {
		other := &fakeSession{jid: stanza.MustJID(fmt.Sprintf("user%d@chat.test/phone", i))}
		tbl.Bind(other, false)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					tbl.SetPresence(other, true, 0)
				}
			}
		})
	}
	set := make(chan int8)
	go func() {
		for k := range 2000 {
			tbl.SetPresence(s, true, int8(k%100))
			set <- int8(k % 100)
		}
		close(set)
	}()
	b := &Batch{}
	st := &stanza.Stanza{To: s.jid.Bare()}
	last := int8(-1)
	for k := range set {
		got := b.recipients(tbl, st)[0].Priority
		if next := (k + 1) % 100; got != k && got != next {
			t.Fatalf("priority %d after %d was set and before %d can be", got, k, next+1)
		}
		last = k
	}
	close(stop)
	wg.Wait()
	if last != 99 {
		t.Errorf("last priority %d", last)
	}
}
