package muc

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestBehind has a node have no room for what a room elsewhere tells its sessions. When it has, they are told all in order, once, and what they have said has an answer; who has entered
// meanwhile is in the room and sees it.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, other, ann, ben := annAndBen(t)
		cat := other.client("cat@chat.test/1")
		ann.shout("r0", "zero")
		c.quiet()
		crowd := func(crowded bool) {
			c.mu.Lock()
			defer c.mu.Unlock()
			other.crowded = crowded
		}
		ben.hears("")
		crowd(true)
		ann.shout("r0", "one")
		synctest.Wait()
		ben.shout("r0", "two")
		ann.says("<presence to='r0@%s/Anna'/>", fakeHost)
		cat.enter("r0", "Cat")
		synctest.Wait()
		crowd(false)
		ann.shout("r0", "three")
		synctest.Wait()
		if got := ben.hears("<body>"); len(got) > 0 {
			t.Errorf("ben heard what was said behind what is missing: %q", got)
		}
		time.Sleep(2 * backlog)
		ben.shout("r0", "four")
		c.quiet()
		said := func(all []string) []string {
			return texts(slices.DeleteFunc(slices.Clone(all), func(m string) bool { return !strings.Contains(m, "<body>") }))
		}
		got := ben.hears("")
		if want := []string{"one", "two", "three", "four"}; !slices.Equal(said(got), want) {
			t.Errorf("ben heard %v, not %v", said(got), want)
		}
		if all := strings.Join(got, ""); !strings.Contains(all, "/Anna'") || !strings.Contains(all, "/Cat'") {
			t.Errorf("ben was shown %q", got)
		}
		if all := cat.hears(""); !strings.Contains(strings.Join(all, ""), "code='110'") || !slices.Contains(said(all), "four") {
			t.Errorf("cat, who has entered, was told %q", all)
		}
		if moves := other.moves(); len(moves) > 0 {
			t.Errorf("what was said has no answer in %v", moves)
		}
	})
}

// TestBehindAgain has a node be behind twice in a second: it asks once a second for all that, and says so if it cannot.
func TestBehindAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, home, other, ann, ben := annAndBen(t)
		var said strings.Builder
		other.log = slog.New(slog.NewTextHandler(&said, nil))
		asked := func() int {
			c.mu.Lock()
			defer c.mu.Unlock()
			return other.sent[frameRejoin]
		}
		before := asked()
		other.crowds(true)
		ann.shout("r0", "one")
		synctest.Wait()
		other.crowds(false)
		time.Sleep(backlog + backlog/2) // it has its answer
		other.crowds(true)
		ann.shout("r0", "two")
		time.Sleep(4*backlog - backlog/4)
		synctest.Wait()
		if n := asked() - before; n != 4 {
			t.Errorf("it has asked %d times", n)
		}
		if said.Len() > 0 {
			t.Errorf("it says %s", &said)
		}
		c.mu.Lock()
		home.view.nodes = []string{home.name} // what is sent to it is not taken
		c.mu.Unlock()
		time.Sleep(backlog)
		synctest.Wait()
		c.mu.Lock()
		home.view.nodes = other.view.nodes
		c.mu.Unlock()
		if !strings.Contains(said.String(), "room=r0") {
			t.Errorf("it could not ask, and says %q", &said)
		}
		other.crowds(false)
		time.Sleep(2 * backlog)
		if got := texts(ben.hears("<body>")); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("ben heard %q", got)
		}
	})
}
