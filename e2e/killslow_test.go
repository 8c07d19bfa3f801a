package e2e

import (
	"database/sql"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"chatd/store/storetest/mariadb"
)

// TestClusterKillsNodeOfSlowClient kills the node of a client that does not read. All that was acknowledged to the sender, on another node,
// arrives: from the network, from the copies that the dead node had made, or from the sender's node.
func TestClusterKillsNodeOfSlowClient(t *testing.T) {
	t.Parallel()
	n := startClusterWith(t, "\n[c2s.limits]\nstanzas_per_second = 0\nbytes_per_second = 0\n[message]\noffline_max = 100000\n", make([]string, 2), "alice", "bob")
	n.linked()
	db := mariadb.Open(t, n[0].dsn)
	for _, slow := range []int{2, 20} { // acknowledgements, since there are copies of what bob does not read
		t.Run(fmt.Sprint(slow), func(t *testing.T) {
			bob, alice := n[1].raw(t, "bob", "game"), n[0].raw(t, "alice", "game")
			alice.say("<enable xmlns='urn:xmpp:sm:3'/>")
			alice.await("<enabled")
			acked := alice.sayToSlow(db, bob.full, slow)
			from := n[0].log.len()
			if _, err := n[1].stop(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			live, _ := io.ReadAll(bob.conn) // which ends in the middle of something
			n[0].must(n[0].log.awaitAfter(from, "peer is down"))
			again := n[0].dialRaw(t, "bob")
			again.bind("game")
			again.say("<presence/>")
			waited := again.barrier()

			got := make(map[string]bool)
			for _, m := range regexp.MustCompile("<body>([0-9]+)</body>").FindAllStringSubmatch(string(bob.buf)+string(live)+waited, -1) {
				got[m[1]] = true
			}
			for i := range acked {
				if !got[strconv.Itoa(i)] {
					t.Fatalf("message %d of %d that were acknowledged is lost", i, acked)
				}
			}
			if !strings.Contains(waited, "<body>") {
				t.Error("nothing was in the store: bob was not slow")
			}
			n[1].start()
			n[0].must(n[0].log.awaitAfter(from, "rows of a peer are complete"))
		})
	}
}

// sayToSlow sends until the store has copies of what the recipient does not take, and so many acknowledgements have come since. It returns how
// many messages are acknowledged.
func (c *raw) sayToSlow(db *sql.DB, to string, slow int) (acked int) {
	c.t.Helper()
	padding := strings.Repeat("y", 10000)
	for sent := 0; slow > 0; {
		for range 5 {
			c.say("<message type='chat' to='%s'><body>%d</body><x xmlns='urn:test'>%s</x></message>", to, sent, padding)
			sent++
		}
		c.say("<r xmlns='urn:xmpp:sm:3'/>")
		var err error
		if acked, err = strconv.Atoi(c.await("<a [^>]*h='([0-9]+)'")[1]); err != nil {
			c.t.Fatal(err)
		}
		var copied bool
		if err := db.QueryRow("SELECT EXISTS (SELECT * FROM offline_message)").Scan(&copied); err != nil {
			c.t.Fatal(err)
		}
		if copied { // for as long as the recipient does not take it
			slow--
		}
		if sent > 5000 {
			c.t.Fatal("the recipient is not slow")
		}
	}
	return acked
}
