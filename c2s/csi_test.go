package c2s

import (
	"fmt"
	"strings"
	"testing"
)

// TestClientState: what an inactive client need not hear waits and collapses, and
// comes before what it must hear.
func TestClientState(t *testing.T) {
	s := startServer(t, nil)
	a, b := s.login(t, "romeo", "orchard", false), s.login(t, "juliet", "balcony", false)
	b.send("<inactive xmlns='urn:xmpp:csi:0'/>")
	b.ping("inactive")
	for i := range 3 {
		a.send(fmt.Sprintf("<presence to='juliet@chat.test/balcony'><status>%d</status></presence>", i))
		a.send("<message to='juliet@chat.test/balcony' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
	}
	a.send("<message to='juliet@chat.test/balcony' type='chat'><paused xmlns='http://jabber.org/protocol/chatstates'/></message>")
	a.ping("sent")
	a.send("<message to='juliet@chat.test/balcony' type='chat' id='m'><body>hi</body></message>")
	b.expect("<presence ", "<status>2</status>")
	b.expect("<message ", "<paused ")
	b.expect("id='m'")
	a.send("<presence to='juliet@chat.test/balcony'><status>later</status></presence>")
	a.ping("sent")
	b.send("<active xmlns='urn:xmpp:csi:0'/>")
	b.expect("<status>later</status>")
	a.send("<presence to='juliet@chat.test/balcony' type='unavailable'/>")
	b.expect("type='unavailable'")
	if features := dial(t, s.addr, nil).open(); !strings.Contains(features, "<max-bytes>10000</max-bytes>") {
		t.Errorf("features %s", features)
	}
}
