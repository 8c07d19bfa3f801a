package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

const rooms = "conference." + domain

// enter lets a client into a room and waits until it is in.
func (c *raw) enter(room, nick string) {
	c.t.Helper()
	c.say("<presence to='%s@%s/%s'><x xmlns='http://jabber.org/protocol/muc'/></presence>", room, rooms, nick)
	c.await("<presence[^>]*from='" + room + "@" + rooms + "/" + nick + "'.*<status code='110'/>")
	c.await("<subject")
}

// unlock makes a new room one as the server makes them (XEP-0045 §10.1.2).
func (c *raw) unlock(room string) {
	c.t.Helper()
	c.say("<iq type='set' id='unlock' to='%s@%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>", room, rooms)
	c.await("<iq[^>]*id='unlock'")
}

// shout says something to all in a room.
func (c *raw) shout(room, text string) {
	c.t.Helper()
	c.say("<message to='%[1]s@%[2]s' type='groupchat' id='%[3]s'><body>%[3]s</body></message>", room, rooms, text)
}

// TestClusterRooms has users on three nodes in several rooms, so that some of these have their home on each.
func TestClusterRooms(t *testing.T) {
	t.Parallel()
	n := newCluster(t, 3, "alice", "bob", "carol", "dave")
	alice, bob, carol := n[0].raw(t, "alice", "game"), n[1].raw(t, "bob", "game"), n[2].raw(t, "carol", "game")
	for i := range 6 {
		room := fmt.Sprint("lobby", i)
		alice.enter(room, "Alice")
		alice.unlock(room)
		bob.enter(room, "Bob")
		alice.await("<presence[^>]*from='" + room + "@" + rooms + "/Bob'")
		carol.enter(room, "Carol")
		bob.await("<presence[^>]*from='" + room + "@" + rooms + "/Carol'")
		alice.await("<presence[^>]*from='" + room + "@" + rooms + "/Carol'")
		for _, from := range []*raw{alice, bob, carol} {
			text := fmt.Sprint("from ", from.name, " to ", i)
			from.shout(room, text)
			for _, to := range []*raw{alice, bob, carol} {
				to.await("<message[^>]*type='groupchat'[^>]*><body>" + text + "</body>")
			}
		}
	}
	for i := range 6 {
		room := fmt.Sprint("lobby", i)
		bob.say("<presence type='unavailable' to='%s@%s/Bob'/>", room, rooms)
		for _, to := range []*raw{bob, alice, carol} {
			to.await("<presence[^>]*from='" + room + "@" + rooms + "/Bob'[^>]*type='unavailable'|<presence[^>]*type='unavailable'[^>]*from='" + room + "@" + rooms + "/Bob'")
		}
	}
	carol.conn.Close()
	dave := n[1].raw(t, "dave", "game")
	for i := range 6 {
		alice.await("<presence[^>]*from='lobby[0-9]@" + rooms + "/Carol'[^>]*type='unavailable'|<presence[^>]*type='unavailable'[^>]*from='lobby[0-9]@" + rooms + "/Carol'")
		dave.say("<presence to='lobby%d@%s/Dave'><x xmlns='http://jabber.org/protocol/muc'/></presence>", i, rooms)
		dave.await(fmt.Sprint("<body>from carol to ", i, "</body>.*<delay"))
	}
}

// TestClusterRoomsSurvive kills a node with users on the other two in rooms that have their home on any of the three.
func TestClusterRoomsSurvive(t *testing.T) {
	t.Parallel()
	n := newCluster(t, 3, "alice", "bob", "carol", "dave")
	alice, bob, carol := n[0].raw(t, "alice", "game"), n[1].raw(t, "bob", "game"), n[2].raw(t, "carol", "game")
	const count = 9
	for i := range count {
		room := fmt.Sprint("lobby", i)
		alice.enter(room, "Alice")
		alice.unlock(room)
		bob.enter(room, "Bob")
		carol.enter(room, "Carol")
		alice.say("<iq type='set' id='member' to='%s@%s'><query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='admin' jid='bob@%s'/></query></iq>", room, rooms, domain)
		alice.await("<iq[^>]*id='member'")
		bob.say("<message to='%s@%s' type='groupchat'><subject>about %d</subject></message>", room, rooms, i)
		carol.await(fmt.Sprint("<subject>about ", i, "</subject>"))
		alice.shout(room, fmt.Sprint("before ", i))
		carol.await(fmt.Sprint("<body>before ", i, "</body>"))
	}
	alice.barrier()
	bob.barrier()
	if _, err := n[2].stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone := "<presence[^>]*(from='[^']*/Carol'[^>]*type='unavailable'|type='unavailable'[^>]*from='[^']*/Carol')"
	for range count {
		alice.await(gone)
		bob.await(gone)
	}
	for i := range count {
		room := fmt.Sprint("lobby", i)
		alice.shout(room, fmt.Sprint("after ", i))
		for _, c := range []*raw{alice, bob} {
			if got := c.await(fmt.Sprint("(?s)^(.*)<body>after ", i, "</body>")); strings.Contains(got[1], "unavailable") || strings.Contains(got[1], "type='error'") {
				t.Errorf("%s was told more than that Carol had gone: %s", c.name, got[1])
			}
		}
	}
	dave := n[1].raw(t, "dave", "game")
	for i := range count {
		dave.say("<presence to='lobby%d@%s/Dave'><x xmlns='http://jabber.org/protocol/muc'/></presence>", i, rooms)
		all := dave.await(fmt.Sprint("(?s)^(.*)<subject>about ", i, "</subject>"))[1]
		for _, want := range []string{
			"affiliation='owner'", "/Alice'", "affiliation='admin'", "/Bob'", fmt.Sprint("<body>before ", i, "</body>"), fmt.Sprint("<body>after ", i, "</body>"),
		} {
			if !strings.Contains(all, want) {
				t.Errorf("lobby%d has no %s any more: %s", i, want, all)
			}
		}
		if strings.Contains(all, "/Carol'") && !strings.Contains(all, "from='lobby") {
			t.Errorf("lobby%d still has Carol: %s", i, all)
		}
	}
}

// TestClusterRoomsMove stops each node in turn, in order, while users of the others talk in rooms of all: nothing that they say is lost, comes twice or in another order.
func TestClusterRoomsMove(t *testing.T) {
	t.Parallel()
	n := newCluster(t, 3, "alice", "bob")
	alice, bob := n[0].raw(t, "alice", "game"), n[1].raw(t, "bob", "game")
	const count = 6
	for i := range count {
		room := fmt.Sprint("lobby", i)
		alice.enter(room, "Alice")
		alice.unlock(room)
		bob.enter(room, "Bob")
	}
	alice.barrier()
	stopped := make(chan error, 1)
	sent := make([]int, count)
	for round := 0; ; round++ {
		if round == 20 {
			go func() { _, err := n[2].stop(syscall.SIGTERM); stopped <- err }()
		}
		for i := range count {
			alice.shout(fmt.Sprint("lobby", i), fmt.Sprintf("%d-%d", i, sent[i]))
			sent[i]++
		}
		select {
		case err := <-stopped:
			if err != nil {
				t.Fatal(err)
			}
			stopped = nil
		case <-time.After(5 * time.Millisecond):
		}
		if stopped == nil {
			break
		}
	}
	for i := range count {
		alice.shout(fmt.Sprint("lobby", i), fmt.Sprintf("%d-%d", i, sent[i]))
		sent[i]++
	}
	for _, c := range []*raw{alice, bob} {
		next := make([]int, count)
		for left := count; left > 0; {
			got := c.await("(?s)^(.*?)<body>([0-9]+)-([0-9]+)</body>")
			if strings.Contains(got[1], "type='error'") || strings.Contains(got[1], "unavailable") {
				t.Fatalf("%s was told that a room moves: %s", c.name, got[1])
			}
			var i, k int
			fmt.Sscan(got[2], &i)
			fmt.Sscan(got[3], &k)
			if k != next[i] {
				t.Fatalf("%s got message %d of lobby%d, not %d", c.name, k, i, next[i])
			}
			if next[i]++; next[i] == sent[i] {
				left--
			}
		}
	}
	t.Log(sent[0], "messages to each room")
}
