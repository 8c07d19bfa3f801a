package router

import (
	"testing"
	"time"

	"chatd/stanza"
)

// TestHoldDoesNotSpin: a session of the sender's own account that takes nothing and is not
// yet marked as ending is waited for; the store is not asked again and again.
func TestHoldDoesNotSpin(t *testing.T) {
	f := newFixture(t)
	other := f.online("romeo@chat.test/phone", 5)
	other.refuse = true
	f.Table.SetPresence(f.romeo, true, -1)
	n := 0
	f.spool.err = func() error {
		n++
		for _, r := range f.Table.Rows(stanza.MustJID("romeo@chat.test")) {
			if r.Reachable() {
				return ErrReachable
			}
		}
		return nil
	}
	go func() {
		time.Sleep(20 * time.Millisecond) // time to spin in
		f.Table.Unbind(other)
		other.end()
	}()
	begun := time.Now()
	f.fromRomeo(t, "<message to='romeo@chat.test' type='chat'><body>note to self</body></message>")
	if n > 100 {
		t.Errorf("%d reads of the store in %v", n, time.Since(begun))
	}
}
