package e2e

import (
	"fmt"
	"testing"
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
