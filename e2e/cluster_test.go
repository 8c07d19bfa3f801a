package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"chatd/store/storetest/mariadb"
)

// A nodes is several chatd with one MariaDB.
type nodes []*server

// newCluster starts a cluster of so many nodes, "n1" and so on, with these accounts.
func newCluster(t *testing.T, count int, users ...string) nodes {
	t.Helper()
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	db := mariadb.Start(t)
	dsn := db.Database(t)
	var gossip, link []string
	for range count {
		gossip, link = append(gossip, freeAddress(t)), append(link, freeAddress(t))
	}
	var all nodes
	for i := range count {
		s := &server{t: t, dir: t.TempDir(), domain: domain, host: "127.0.0.1", web: `"on"`, apiScopes: []string{"admin"}}
		s.sections = fmt.Sprintf("\n[store]\ndriver = \"mysql\"\ndsn = %q\n\n[cluster]\nnode = \"n%d\"\ngossip = %q\nlink = %q\njoin = [\"%s\"]\nsecret = \"%s\"\n",
			dsn, i+1, gossip[i], link[i], strings.Join(gossip, `", "`), strings.Repeat("secret", 4))
		if i == 0 {
			all = append(all, s.begin(users))
		} else {
			all = append(all, s.begin(nil))
		}
	}
	for _, s := range all {
		for i := range all {
			if all[i] != s {
				s.must(s.log.await("rows of a peer are complete", fmt.Sprintf("peer=n%d", i+1)))
			}
		}
	}
	return all
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestClusterRoutes(t *testing.T) {
	n := newCluster(t, 3, "alice", "bob", "carol")
	alice, bob := n[0].raw(t, "alice", "game"), n[1].raw(t, "bob", "game")
	t.Run("to a bare and to a full address", func(t *testing.T) {
		alice.say("<message to='bob@%s' type='chat' id='m1'><body>hello</body></message>", domain)
		bob.await("<message[^>]* from='alice@[^>]*><body>hello</body>")
		bob.say("<message to='%s' type='chat' id='m2'><body>hello yourself</body></message>", alice.full)
		alice.await("<body>hello yourself</body>")
	})
	t.Run("friends", func(t *testing.T) {
		alice.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
		bob.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
		alice.await("id='r'")
		bob.await("id='r'")
		alice.say("<presence to='bob@%s' type='subscribe'/>", domain)
		bob.await("type='subscribe'")
		bob.say("<presence to='alice@%[1]s' type='subscribed'/><presence to='alice@%[1]s' type='subscribe'/>", domain)
		alice.await("<presence[^>]*from='" + bob.full + "'")
		alice.await("type='subscribe'")
		alice.say("<presence to='bob@%s' type='subscribed'/>", domain)
		bob.await("<presence[^>]*from='" + alice.full + "'")
		bob.say("<presence><show>away</show></presence>")
		alice.await("<presence[^>]*from='" + bob.full + "'[^>]*><show>away</show>")
		again := n[2].raw(t, "alice", "phone")
		again.await("<presence[^>]*from='" + bob.full + "'[^>]*><show>away</show>")
		alice.await("<presence[^>]*from='" + again.full + "'")
		bob.await("<presence[^>]*from='" + again.full + "'")
		again.say("</stream:stream>")
		bob.await("<presence[^>]*from='" + again.full + "'[^>]*type='unavailable'|type='unavailable'[^>]*from='" + again.full + "'")
	})
	t.Run("one resource", func(t *testing.T) {
		carol := n[0].raw(t, "carol", "game")
		other := n[2].raw(t, "carol", "game")
		carol.await("<conflict")
		alice.say("<message to='carol@%s/game' type='chat'><body>which</body></message>", domain)
		other.await("<body>which</body>")
		other.say("<iq type='get' id='v' to='%s'><query xmlns='jabber:iq:version'/></iq>", bob.full)
		other.await("id='v'")
	})
}
