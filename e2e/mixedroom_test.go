package e2e

import (
	"path/filepath"
	"sync"
	"testing"
)

// TestRoomOfThreeClients has Alice in a room with profanity, Bob with Converse.js in Chromium and Carol with slixmpp. The scripts wait for
// one another by what is said in the room.
func TestRoomOfThreeClients(t *testing.T) {
	need(t, "profanity", installed("profanity", "--version"))
	need(t, "tmux", installed("tmux", "-V"))
	need(t, "slixmpp", installed(python, "-c", "import slixmpp"))
	needBrowser(t)
	t.Parallel()
	s := newServer(t, "alice", "bob", "carol")
	var scripts sync.WaitGroup
	defer scripts.Wait() // what they have to say tells about a failure
	begin := func(program, path string) {
		scripts.Go(func() {
			if err := s.script(program, filepath.FromSlash(path)); err != nil {
				t.Error(err)
			}
		})
	}
	begin("node", "node/mixedroom.js")
	alice := s.profanity("alice")
	alice.joins("feast", "Alice")
	alice.sees("Room locked, requires configuration.")
	alice.types("/room accept")
	alice.sees("Room unlocked.")
	s.must(s.log.awaitWithin(scriptTime, 0, "msg=login", "user=bob")) // a browser's start takes its time
	begin(python, "python/mixedroom.py")
	alice.sees("-> Carol has joined the room, role: participant, affiliation: none")
	alice.types("Welcome, Carol")
	alice.sees("-> Bob has joined the room", "Bob: Bob is here & <hungry>", "Carol: There is cake & tea")
	alice.types(`/subject set "Cake at five"`)
	alice.sees("*Alice has set the room subject: Cake at five", "** Bob is now known as Robert")
	alice.types("Now we are three")
	alice.sees("Alice: Now we are three", "Robert: Three it is")
	alice.types("/kick Robert too late")
	alice.sees("<- Robert has been kicked from the room by Alice, reason: too late", "Carol: More cake for us")
	alice.types("Bye, Carol")
	alice.sees("<- Carol has left the room")
}
