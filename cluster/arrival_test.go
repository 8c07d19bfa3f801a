package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"chatd/stanza"
)

// TestBehindReturned: a message that arrives waits for what has come back for its user, until that is done or the store has taken too long over it.
func TestBehindReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaving, leave := context.WithCancel(t.Context())
		a := &arrival{s: &Service{leaving: leaving}}
		full := stanza.MustJID("juliet@chat.test/balcony")
		users := map[string]bool{full.Bare().String(): true}
		message, presence := &stanza.Stanza{Kind: stanza.Message}, &stanza.Stanza{Kind: stanza.Presence}
		waits := func(st *stanza.Stanza, how string, end func(), want time.Duration) {
			t.Helper()
			wait := a.behind(st, full)
			if wait == nil {
				if want != 0 {
					t.Errorf("%s: it does not wait", how)
				}
				return
			}
			began := time.Now()
			time.AfterFunc(time.Second, end)
			wait()
			if took := time.Since(began); took != want {
				t.Errorf("%s: it waits for %v, not %v", how, took, want)
			}
		}
		waits(message, "nothing came back", func() {}, 0)
		a.s.back.begin(users)
		waits(presence, "presence", func() {}, 0)
		waits(message, "stored", func() { a.s.back.end(users) }, time.Second)
		a.s.back.begin(users)
		time.Sleep(2 * time.Second)
		waits(message, "the store hangs", func() {}, behindPatience-2*time.Second)
		waits(message, "the store hangs for long", func() {}, 0)
		a.s.back.end(users)
		a.s.back.begin(users)
		waits(message, "the node leaves", leave, time.Second)
		waits(message, "the node has left", func() {}, 0)
	})
}
