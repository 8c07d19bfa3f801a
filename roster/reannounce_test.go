package roster

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatd/router"
	"chatd/stanza"
)

func TestReannounce(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	r, ty := w.login(romeo+"/orchard"), w.login("tybalt@chat.test/square")
	j, silent := w.login(juliet+"/balcony"), w.connect(juliet+"/silent")
	r.take()
	same := func(p *stanza.Stanza) *stanza.Stanza { return p }
	away := func(p *stanza.Stanza) *stanza.Stanza {
		c := *p
		c.Inner = []byte("<show>away</show>")
		return &c
	}
	for _, step := range []struct {
		sess   *client
		change func(*stanza.Stanza) *stanza.Stanza
	}{{j, same}, {silent, away}, {j, away}} {
		if err := w.s.Reannounce(t.Context(), nil, step.sess, step.change); err != nil {
			t.Fatal(err)
		}
	}
	r.expect(j.seenBy(romeo, "", "<show>away</show>"))
	j.expect(j.seenBy(juliet, "", "<show>away</show>"))
	ty.expect()
	if got := string(j.state.Presence.Load().Inner); got != "<show>away</show>" {
		t.Errorf("kept %s", got)
	}
	if silent.state.Presence.Load() != nil {
		t.Error("a resource became available")
	}
}

// XEP-0191 §3.3 and §3.4: who sees the user sees it go and come.
func TestBlocklistChanged(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	w.given("juliet", "tybalt@chat.test", toOnly) // does not see her
	w.given("tybalt", juliet, fromOnly)
	r, r2, ty := w.login(romeo+"/orchard"), w.login(romeo+"/street"), w.login("tybalt@chat.test/square")
	j, silent := w.login(juliet+"/balcony"), w.connect(juliet+"/silent")
	for _, c := range []*client{r, r2, ty} {
		c.take()
	}
	var now *router.Blocklist
	change := func(jids ...string) {
		t.Helper()
		before := now
		now = router.NewBlocklist(jids)
		j.state.Blocked.Store(now)
		silent.state.Blocked.Store(now)
		if err := w.s.BlocklistChanged(t.Context(), nil, stanza.MustJID(juliet), before, now); err != nil {
			t.Fatal(err)
		}
	}
	gone, back := j.seenBy(romeo, " type='unavailable'", ""), j.seenBy(romeo, "", "")

	change(romeo+"/street", "tybalt@chat.test") // one resource
	r.expect()
	r2.expect(gone)
	change(romeo, romeo+"/street") // the other one too
	r.expect(gone)
	r2.expect()
	change("chat.test") // another form of the same
	r.expect()
	change()
	r.expect(back)
	r2.expect(back)
	ty.expect()

	// Who has blocked the user sees nothing.
	r.state.Blocked.Store(router.NewBlocklist([]string{juliet}))
	r2.state.Blocked.Store(router.NewBlocklist([]string{juliet}))
	change(romeo)
	change()
	r.expect()
	r2.expect()
}

// TestMovedWaitsForOthers: a contact may be between two nodes at the very moment when somebody has come here; only who stays away is told to be gone.
func TestMovedWaitsForOthers(t *testing.T) {
	for _, comes := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Config{})
			w.friends("juliet", "romeo")
			j := w.login(juliet + "/balcony")
			j.state.Strayed.Store(true)
			j.take()
			var b router.Batch
			if err := w.s.Moved(t.Context(), &b, j); err != nil {
				t.Fatal(err)
			}
			b.Flush()
			time.Sleep(missedFor / 2)
			if comes {
				w.login(romeo + "/orchard")
			}
			if got := strings.Join(j.take(), ""); strings.Contains(got, "unavailable") || !j.state.Strayed.Load() {
				t.Errorf("told too early: %s", got)
			}
			time.Sleep(missedFor)
			synctest.Wait()
			if got := strings.Join(j.take(), ""); strings.Contains(got, "unavailable") == comes || j.state.Strayed.Load() {
				t.Errorf("comes %t: %s", comes, got)
			}
		})
	}
}
