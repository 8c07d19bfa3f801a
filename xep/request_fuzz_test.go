package xep

import (
	"context"
	"testing"

	"chatd/router"
	"chatd/stanza"
)

// FuzzRequests gives every extension any request: each is answered once, with
// XML, and nothing breaks.
func FuzzRequests(f *testing.F) {
	for _, payload := range []string{
		infoQuery, itemsQuery, emptyVCard, lastGet, photo("image"), private("<b xmlns='urn:b'/>"),
		blocking("block", "a@b/c", "d"), blocking("unblock"), blocking("blocklist"),
		"<enable xmlns='urn:xmpp:carbons:2'/>", "<ping xmlns='urn:xmpp:ping'/>", "<time xmlns='urn:xmpp:time'/>",
		"<query xmlns='jabber:iq:version'/>", register("<username>romeo</username><password>p</password>"), register("<remove/>"),
	} {
		for to := range byte(4) {
			f.Add(to, to%2 == 0, payload)
		}
	}
	f.Fuzz(func(t *testing.T, to byte, isSet bool, payload string) {
		st, err := stanza.Parse([]byte("<iq id='q' type='get'>" + payload + "</iq>"))
		if err != nil {
			return
		}
		x := newFixture(t)
		all(x)
		romeo := x.online("romeo@chat.test/orchard", 0)
		x.online("juliet@chat.test/balcony", 0)
		st.From, st.To = romeo.jid, stanza.MustJID([]string{"chat.test", "romeo@chat.test", "juliet@chat.test", "tybalt@chat.test"}[to%4])
		if isSet {
			st.Type = stanza.Set
		}
		x.FromClient(t.Context(), nil, romeo, st)
		answers := 0
		for _, got := range romeo.take() {
			reply, err := stanza.Parse([]byte(got))
			if err != nil {
				t.Fatalf("%s: %s: %v", payload, got, err)
			}
			if reply.Type == stanza.Result || reply.Type == stanza.TypeError {
				answers++
			}
		}
		if answers != 1 {
			t.Errorf("%s: %d answers", payload, answers)
		}
	})
}

// all registers every extension.
func all(f *fixture) {
	a := &accounts{}
	NewPing(f.Router)
	NewSession(f.Router)
	NewVersion(f.Router, "1", "")
	NewTime(f.Router)
	NewLast(f.Router, f.friends, f.db)
	NewPrivate(f.Router, f.db, nil)
	NewVCard(f.Router, f.db, NewAvatar(f.Router, f.db, reannounce))
	f.Blocks = NewBlocking(f.Router, f.db, func(context.Context, *router.Batch, stanza.JID, *router.Blocklist, *router.Blocklist) error {
		return nil
	})
	NewRegister(f.Router, a, a.unfriend)
	NewDisco(f.Router, f.friends, "urn:x", nil, nil)
}
