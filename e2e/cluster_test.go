package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatd/store/storetest/mariadb"
)

// database is the one MariaDB of all clusters, in which each has a database of its own. TestMain ends it.
var database struct {
	start  sync.Once
	server *mariadb.Server // nil: not started
	err    error
}

// newDatabase makes an empty database and returns its DSN.
func newDatabase(t *testing.T) string {
	t.Helper()
	need(t, "MariaDB", installed("env", "PATH="+os.Getenv("PATH")+":/usr/sbin", "mariadbd", "--version"))
	database.start.Do(func() {
		database.server, database.err = mariadb.Run(filepath.Join(buildDir, "mariadb"))
	})
	if database.err != nil {
		t.Fatal(database.err)
	}
	return database.server.Database(t)
}

// A nodes is several chatd with one database.
type nodes []*server

// newCluster starts a cluster of so many nodes, "n1" and so on, with these accounts.
func newCluster(t *testing.T, count int, users ...string) nodes {
	t.Helper()
	all := startCluster(t, make([]string, count), users...)
	all.linked()
	return all
}

// linked waits until each node knows all sessions of each other.
func (n nodes) linked() {
	for _, s := range n {
		for i := range n {
			if n[i] != s {
				s.must(s.log.await("rows of a peer are complete", fmt.Sprintf("peer=n%d", i+1)))
			}
		}
	}
}

// startCluster starts a node for each program, "": the one under test.
func startCluster(t *testing.T, programs []string, users ...string) nodes {
	t.Helper()
	return startClusterWith(t, "", programs, users...)
}

// startClusterWith is startCluster with more sections of the configuration.
func startClusterWith(t *testing.T, sections string, programs []string, users ...string) nodes {
	t.Helper()
	if testing.Short() {
		t.Skip("whole processes are not for -short")
	}
	dsn := newDatabase(t)
	var gossip, link []string
	for range programs {
		gossip, link = append(gossip, freeAddress(t)), append(link, freeAddress(t))
	}
	var all nodes
	for i, program := range programs {
		s := &server{t: t, program: program, dir: t.TempDir(), domain: domain, host: "127.0.0.1", web: `"on"`, apiScopes: []string{"admin", "metrics"}, dsn: dsn}
		s.sections = sections + fmt.Sprintf("\n[store]\ndriver = \"mysql\"\ndsn = %q\n\n[cluster]\nnode = \"n%d\"\ngossip = %q\nlink = %q\njoin = [\"%s\"]\nsecret = \"%s\"\n",
			dsn, i+1, gossip[i], link[i], strings.Join(gossip, `", "`), strings.Repeat("secret", 4))
		if i == 0 {
			all = append(all, s.begin(users))
		} else {
			all = append(all, s.begin(nil))
		}
	}
	return all
}

// The ports are below those that the system takes for outgoing connections, so that nobody else gets one in between.
var nextPort atomic.Int32

func freeAddress(t *testing.T) string {
	t.Helper()
	const first, count = 10_000, 22_000
	nextPort.CompareAndSwap(0, int32(os.Getpid()*97%count)+1)
	for range count {
		addr := fmt.Sprintf("127.0.0.1:%d", first+int(nextPort.Add(1))%count)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// page is what the public HTTP has under a path.
func (s *server) page(path string) string {
	s.t.Helper()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get("https://" + s.http + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s, %v", path, resp.Status, err)
	}
	return string(body)
}

func TestClusterRoutes(t *testing.T) {
	t.Parallel()
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
	t.Run("one user on two nodes", func(t *testing.T) {
		tablet := n[2].raw(t, "alice", "tablet")
		bob.await("<presence[^>]*from='" + tablet.full + "'")
		tablet.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><iq type='get' id='l'><blocklist xmlns='urn:xmpp:blocking'/></iq>" +
			"<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
		tablet.await("id='c'")

		// RFC 6121 §2.1.6
		alice.say("<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='carol@%s' name='Caz'/></query></iq>", domain)
		tablet.await("<iq[^>]*type='set'[^>]*><query[^>]*><item[^>]*name='Caz'")

		// XEP-0280 §7, §8
		bob.say("<message to='%s' type='chat'><body>for the game</body></message>", alice.full)
		alice.await("<body>for the game</body>")
		tablet.await("<received[^>]*>.*<body>for the game</body>")
		alice.say("<message to='%s' type='chat'><body>from the game</body></message>", bob.full)
		bob.await("<body>from the game</body>")
		tablet.await("<sent[^>]*>.*<body>from the game</body>")

		// XEP-0191 §3.3: whoever blocks does so on all nodes.
		alice.say("<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='bob@%s'/></block></iq>", domain)
		alice.await("id='b'")
		tablet.await("<block[^>]*><item jid='bob@")
		for range 2 {
			bob.await("<presence[^>]*type='unavailable'")
		}
		bob.say("<message to='%s' type='chat' id='no'><body>let me in</body></message>", tablet.full)
		bob.await("<message[^>]*type='error'[^>]*>.*<service-unavailable")
		if said := tablet.barrier(); strings.Contains(said, "let me in") {
			t.Errorf("a message of a blocked user came: %s", said)
		}
		alice.say("<iq type='set' id='u'><unblock xmlns='urn:xmpp:blocking'><item jid='bob@%s'/></unblock></iq>", domain)
		alice.await("id='u'")
		tablet.await("<unblock[^>]*><item jid='bob@")
		bob.await("<presence[^>]*from='alice@")
		bob.await("<presence[^>]*from='alice@")
		bob.say("<message to='%s' type='chat'><body>again</body></message>", tablet.full)
		tablet.await("<body>again</body>")
		tablet.say("</stream:stream>")
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

// TestClusterResumes has a client go on with its session on another node (XEP-0198 §5).
func TestClusterResumes(t *testing.T) {
	t.Parallel()
	n := newCluster(t, 2, "alice", "bob")
	alice, bob := n[0].raw(t, "alice", "game"), n[1].raw(t, "bob", "game")
	bob.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	id := bob.await("<enabled[^>]* id='([^']*)'")[1]
	if !strings.HasPrefix(id, "n2.") {
		t.Fatalf("the session's id %q does not say where it is", id)
	}
	alice.say("<message to='%s' type='chat'><body>one</body></message>", bob.full)
	bob.await("<body>one</body>")
	bob.conn.Close() // without an acknowledgement
	alice.say("<message to='%s' type='chat'><body>two</body></message>", bob.full)
	alice.barrier()

	again := n[0].dialRaw(t, "bob")
	again.say("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='0'/>", id)
	again.await("<resumed[^>]* previd='" + id + "'")
	again.await("<body>one</body>")
	again.await("<body>two</body>")
	alice.say("<message to='%s' type='chat'><body>three</body></message>", bob.full)
	again.await("<body>three</body>")
	if said := alice.barrier(); strings.Contains(said, "unavailable") {
		t.Errorf("alice was told that bob had gone: %s", said)
	}
}

// TestClusterNodeDies kills a node: the others notice, tell their players, and keep what is for those who were on it.
func TestClusterNodeDies(t *testing.T) {
	t.Parallel()
	n := newCluster(t, 3, "alice", "bob")
	alice, bob := n[0].raw(t, "alice", "game"), n[1].raw(t, "bob", "game")
	alice.say("<presence to='bob@%s' type='subscribe'/>", domain)
	bob.await("type='subscribe'")
	bob.say("<presence to='alice@%s' type='subscribed'/>", domain)
	alice.await("<presence[^>]*from='" + bob.full + "'")

	out, err := n[0].command("cluster", "status", "-api", n[0].api)
	if err != nil || !strings.Contains(out, "n2") || !strings.Contains(out, "whole") {
		t.Errorf("cluster status: %v\n%s", err, out)
	}

	asker := n[2].raw(t, "alice", "asker")
	if _, err := n[1].stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	asker.say("<iq type='get' id='q' to='%s'><query xmlns='jabber:iq:version'/></iq>", bob.full) // before anybody knows
	asker.await("<iq[^>]*type='error'[^>]*>.*<(service|recipient)-unavailable")
	alice.await("<presence[^>]*(from='" + bob.full + "'[^>]*type='unavailable'|type='unavailable'[^>]*from='" + bob.full + "')")
	alice.say("<message to='bob@%s' type='chat'><body>for later</body></message>", domain)
	if said := alice.barrier(); strings.Contains(said, "<message") {
		t.Errorf("a message for bob came back: %s", said)
	}
	n[2].raw(t, "bob", "game").await("<body>for later</body>")
	alice.await("<presence[^>]*from='" + bob.full + "'")

	n[0].must(n[0].log.await("cluster: member", "name=n2", "alive=false"))
	if list := n[0].page("/.well-known/chatd-nodes.json"); !strings.Contains(list, `"n1"`) || !strings.Contains(list, `"n3"`) || strings.Contains(list, `"n2"`) {
		t.Errorf("clients are told of %s", list)
	}
	if out, err := n[0].command("cluster", "forget", "n2", "-api", n[0].api); err != nil {
		t.Errorf("cluster forget: %v\n%s", err, out)
	}
	if out, err := n[0].command("cluster", "status", "-api", n[0].api); err != nil || strings.Contains(out, "n2") || !strings.Contains(out, "whole") {
		t.Errorf("cluster status without n2: %v\n%s", err, out)
	}

	n[1].start()
	n[0].must(n[0].log.await("rows of a peer are complete", "peer=n2"))
	n[1].raw(t, "bob", "phone")
	alice.await("<presence[^>]*from='bob@" + domain + "/phone'")
}
