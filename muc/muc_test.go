package muc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
)

// TestRace has many sessions enter, speak, change their nicks, and leave, be kicked or vanish, while rooms are configured and
// destroyed. What must hold is checked at the end (ConsistencyCheck), and that nobody is left in any room.
func TestRace(t *testing.T) {
	f := newFixture(t, unlimited())
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for k := range 60 {
				s := f.online(fmt.Sprintf("player%d@chat.test/%d", i%8, i*1000+k))
				room := fmt.Sprint("room", k%3)
				f.join(s, room, fmt.Sprint("p", i%8))
				f.configure(s, room, "muc#roomconfig_persistentroom", fmt.Sprint(k%2))
				f.say(s, room, fmt.Sprint(i, " ", k))
				f.send(s, "<presence to='"+room+"@conference.chat.test/q"+fmt.Sprint(i)+"'/>")
				f.send(s, "<iq type='set' id='k' to='"+room+"@conference.chat.test'><query xmlns='"+nsAdmin+"'><item nick='p1' role='none'/></query></iq>")
				f.send(s, "<iq type='set' id='m' to='"+room+"@conference.chat.test'><query xmlns='"+nsAdmin+"'><item jid='player"+fmt.Sprint(k%8)+"@chat.test' affiliation='"+
					[]string{"admin", "member", "none"}[k%3]+"'/></query></iq>")
				if k%10 == 9 {
					f.send(s, "<iq type='set' id='d' to='"+room+"@conference.chat.test'><query xmlns='"+nsOwner+"'><destroy/></query></iq>")
				}
				if k%5 == 4 {
					f.offline(s) // without a word: whoever speaks next finds it gone
					f.Handle(context.Background(), nil, nil, &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: s.jid, To: stanza.MustJID(room + "@conference.chat.test/x")})
					continue
				}
				f.leave(s, room, "whatever")
				f.offline(s)
			}
		})
	}
	group.Wait()
	for room := range 3 {
		_, occupants, err := f.Members(t.Context(), fmt.Sprint("room", room))
		if err == nil && len(occupants) > 0 {
			t.Errorf("room%d still has %v", room, occupants)
		}
	}
}

// TestOrder has several speak at once: everybody gets everything, in the same order.
func TestOrder(t *testing.T) {
	f := newFixture(t, unlimited())
	const speakers, messages = 8, 100
	var all []*fakeSession
	for i := range speakers {
		s := f.online(fmt.Sprintf("player%d@chat.test/game", i))
		f.join(s, "verona", fmt.Sprint("p", i))
		if i == 0 {
			f.configure(s, "verona")
		}
		all = append(all, s)
	}
	var group sync.WaitGroup
	for i, s := range all {
		group.Go(func() {
			for k := range messages {
				f.say(s, "verona", fmt.Sprint(i, " ", k))
			}
		})
	}
	group.Wait()
	first := bodies(all[0].take())
	if len(first) != speakers*messages {
		t.Errorf("%d messages", len(first))
	}
	for _, s := range all[1:] {
		if got := bodies(s.take()); !slices.Equal(got, first) {
			t.Errorf("%s got them in another order, or not all", s.jid)
		}
	}
}

// TestGhost has a session vanish without a word: the next message finds that it is nowhere, and it leaves the room.
func TestGhost(t *testing.T) {
	f := newFixture(t, unlimited())
	romeo, juliet := f.online("romeo@chat.test/orchard"), f.online("juliet@chat.test/balcony")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona")
	f.join(juliet, "verona", "Juliet")
	f.offline(juliet)
	romeo.take()
	f.say(romeo, "verona", "hello?")
	got := romeo.take()
	if len(got) != 2 || !strings.Contains(got[1], "type='unavailable'") || !strings.Contains(got[1], "<status code='333'/>") {
		t.Errorf("got %q", got)
	}
}

// TestSuccessor has another session of the same address take over, as in resumption: it is in the room in the other's place.
func TestSuccessor(t *testing.T) {
	f := newFixture(t, unlimited())
	romeo := f.online("romeo@chat.test/orchard")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona")
	next := &fakeSession{jid: romeo.jid}
	f.r.Table.Resume(romeo, next)
	romeo.ended = true
	f.say(next, "verona", "it is me")
	if got := bodies(next.take()); !slices.Equal(got, []string{"it is me"}) {
		t.Errorf("got %q", got)
	}
}

// TestCrowd has more occupants than are looked through one by one, and fewer again.
func TestCrowd(t *testing.T) {
	f := newFixture(t, unlimited())
	var all []*fakeSession
	for i := range 3 * few {
		s := f.online(fmt.Sprintf("player%d@chat.test/game", i))
		f.join(s, "verona", fmt.Sprint("p", i))
		if i == 0 {
			f.configure(s, "verona")
		}
		all = append(all, s)
	}
	f.send(all[1], "<presence to='verona@conference.chat.test/other'/>")
	for i, s := range all[2:] {
		f.leave(s, "verona", fmt.Sprint("p", i+2))
	}
	if err := f.ConsistencyCheck(); err != nil {
		t.Error(err)
	}
	_, occupants, err := f.Members(t.Context(), "verona")
	if err != nil || len(occupants) != 2 || occupants[1].Nick != "other" {
		t.Errorf("%v, %v", occupants, err)
	}
}

// failingStore cannot be reached while down is set.
type failingStore struct {
	store.Store
	down bool
}

func (s *failingStore) UpdateRoom(ctx context.Context, name string, update func(*store.Room) error) error {
	if s.down {
		return store.ErrUnavailable
	}
	return s.Store.UpdateRoom(ctx, name, update)
}

func (s *failingStore) SetAffiliations(ctx context.Context, room string, l []store.Affiliation) error {
	if s.down {
		return store.ErrUnavailable
	}
	return s.Store.SetAffiliations(ctx, room, l)
}

func (s *failingStore) Room(ctx context.Context, name string) (store.Room, error) {
	if s.down {
		return store.Room{}, store.ErrUnavailable
	}
	return s.Store.Room(ctx, name)
}

// TestStoreOutOfReach: what cannot be stored is not in force, and is answered so that it is tried again; talking goes on.
func TestStoreOutOfReach(t *testing.T) {
	db := &failingStore{Store: memory.New()}
	f := newFixtureOn(t, unlimited(), db)
	romeo := f.online("romeo@chat.test/orchard")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona", "muc#roomconfig_persistentroom", "1")
	db.down = true
	romeo.take()
	refused := func(what string) {
		t.Helper()
		got := romeo.take()
		if len(got) != 1 || !strings.Contains(got[0], "<resource-constraint") || !strings.Contains(got[0], "type='wait'") {
			t.Errorf("%s: got %q", what, got)
		}
	}
	f.configure(romeo, "verona", "muc#roomconfig_moderatedroom", "1")
	refused("configuration")
	f.send(romeo, "<iq type='set' id='m' to='verona@conference.chat.test'><query xmlns='"+nsAdmin+"'><item jid='juliet@chat.test' affiliation='member'/></query></iq>")
	refused("affiliation")
	f.send(romeo, "<message type='groupchat' to='verona@conference.chat.test'><subject>s</subject></message>")
	refused("subject")
	f.join(romeo, "mantua", "Romeo")
	refused("a room that may be in the store")
	f.say(romeo, "verona", "still here")
	if got := bodies(romeo.take()); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	if cfg, err := f.Configuration(t.Context(), "verona"); err != nil || cfg.Moderated {
		t.Errorf("moderated %t, %v", cfg.Moderated, err)
	}
	members, _, err := f.Members(t.Context(), "verona")
	if err != nil || len(members) != 1 {
		t.Errorf("%v, %v", members, err)
	}
}

// TestManage is what services do.
func TestManage(t *testing.T) {
	f := newFixture(t, unlimited())
	ctx := t.Context()
	cfg := f.Default()
	cfg.Title, cfg.Persistent, cfg.MembersOnly = "A Dark Cave", true, true
	owner := []store.Affiliation{{JID: "crone1@chat.test", As: "owner"}}
	if err := f.Create(ctx, "coven", cfg, owner); err != nil {
		t.Fatal(err)
	}
	if err := f.Create(ctx, "coven", cfg, owner); !errors.Is(err, stanza.ErrConflict) {
		t.Errorf("created twice: %v", err)
	}
	if err := f.Create(ctx, "Coven", cfg, owner); !errors.Is(err, stanza.ErrJIDMalformed) {
		t.Errorf("a name that is not normalized: %v", err)
	}
	hag := f.online("hag66@chat.test/pda")
	f.join(hag, "coven", "thirdwitch")
	if got := hag.take(); len(got) != 1 || !strings.Contains(got[0], "registration-required") {
		t.Errorf("got %q", got)
	}
	if err := f.SetMembers(ctx, "coven", []store.Affiliation{{JID: "hag66@chat.test", As: "member"}}); err != nil {
		t.Fatal(err)
	}
	f.join(hag, "coven", "thirdwitch")
	hag.take()
	id, err := f.Send(ctx, "coven", "the game <begins>")
	if err != nil || len(id) != len(stanza.ID{}) {
		t.Errorf("%q, %v", id, err)
	}
	if got := hag.take(); len(got) != 1 || !strings.Contains(got[0], "<body>the game &lt;begins&gt;</body>") || !strings.Contains(got[0], id) {
		t.Errorf("got %q", got)
	}
	list, more, err := f.List(ctx, Part{Max: 10})
	if err != nil || more || len(list) != 1 || list[0] != (Listed{Name: "coven", Title: "A Dark Cave", Public: true, Persistent: true, Occupants: 1}) {
		t.Errorf("%v, %t, %v", list, more, err)
	}
	f.leave(hag, "coven", "thirdwitch")
	for { // it is written behind what is said
		page, err := f.History(ctx, "coven", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 1 && page[0].ID == id {
			break
		}
	}
	if err := f.Configure(ctx, "coven", func(c *Settings) { c.MembersOnly = false }); err != nil {
		t.Fatal(err)
	}
	if err := f.Destroy(ctx, "coven", "", "over"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Configuration(ctx, "coven"); !errors.Is(err, stanza.ErrItemNotFound) {
		t.Errorf("destroyed: %v", err)
	}
}

// TestExpected: a temporary room that a service has made waits ten minutes for somebody to enter it.
func TestExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, unlimited())
		for _, name := range []string{"empty", "entered"} {
			if err := f.Create(t.Context(), name, f.Default(), nil); err != nil {
				t.Fatal(err)
			}
		}
		romeo := f.online("romeo@chat.test/orchard")
		f.join(romeo, "entered", "Romeo")
		time.Sleep(expectation - time.Second)
		if _, err := f.Configuration(t.Context(), "empty"); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, err := f.Configuration(t.Context(), "empty"); !errors.Is(err, stanza.ErrItemNotFound) {
			t.Errorf("nobody came: %v", err)
		}
		if _, err := f.Configuration(t.Context(), "entered"); err != nil {
			t.Error(err)
		}
		f.leave(romeo, "entered", "Romeo")
	})
}

// TestState: a room that is exported and imported is the same, without those who have no session there.
func TestState(t *testing.T) {
	f := newFixture(t, unlimited())
	romeo, juliet, tybalt := f.online("romeo@chat.test/orchard"), f.online("juliet@chat.test/balcony"), f.online("tybalt@chat.test/street")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona", "muc#roomconfig_moderatedroom", "1", "muc#roomconfig_whois", "anyone")
	f.join(juliet, "verona", "Juliet")
	f.join(tybalt, "verona", "Tybalt")
	f.send(romeo, "<iq type='set' id='m' to='verona@conference.chat.test'><query xmlns='"+nsAdmin+"'><item nick='Juliet' role='participant'/></query></iq>")
	f.say(juliet, "verona", "hello")
	states := slices.Collect(f.Export())
	if len(states) != 1 {
		t.Fatalf("%d rooms", len(states))
	}

	g := newFixture(t, unlimited())
	romeo, juliet = g.online("romeo@chat.test/orchard"), g.online("juliet@chat.test/balcony")
	if err := g.Import(states[0]); err != nil {
		t.Fatal(err)
	}
	if got := romeo.take(); len(got) != 1 || !strings.Contains(got[0], "from='verona@conference.chat.test/Tybalt'") || !strings.Contains(got[0], "type='unavailable'") {
		t.Errorf("got %q", got)
	}
	_, occupants, err := g.Members(t.Context(), "verona")
	want := []Occupant{{"Romeo", romeo.jid.Bare(), Moderator, Owner, 1}, {"Juliet", juliet.jid.Bare(), Participant, None, 1}}
	if err != nil || !slices.Equal(occupants, want) {
		t.Errorf("%v, %v", occupants, err)
	}
	page, err := g.History(t.Context(), "verona", 0, 10)
	if err != nil || len(page) != 1 || !strings.Contains(string(page[0].Stanza), "<body>hello</body>") {
		t.Errorf("%v, %v", page, err)
	}
	if err := g.Import(&State{Name: "Verona"}); err == nil {
		t.Error("imported a room that cannot be")
	}
}

// TestHistoryBounds: in number and in bytes.
func TestHistoryBounds(t *testing.T) {
	var p past
	cfg := Config{HistoryMessages: 5, HistoryBytes: 100}
	for i := range 10 {
		p.add(utterance{at: int64(i), wire: make([]byte, 10)}, &cfg)
	}
	if len(p.messages) != 5 || p.bytes != 50 || p.messages[0].at != 5 {
		t.Errorf("%d messages, %d bytes", len(p.messages), p.bytes)
	}
	p.add(utterance{wire: make([]byte, 80)}, &cfg)
	if len(p.messages) != 3 || p.bytes != 100 {
		t.Errorf("%d messages, %d bytes", len(p.messages), p.bytes)
	}
}

// TestRation: what is not used comes back, for each user by itself.
func TestRation(t *testing.T) {
	var r ration
	now := time.Now()
	romeo := stanza.MustJID("romeo@chat.test/a")
	for i, want := range []bool{true, true, false} {
		if got := r.take(romeo, now, 2); got != want {
			t.Errorf("%d: %t", i, got)
		}
	}
	if !r.take(stanza.MustJID("juliet@chat.test/a"), now, 2) || !r.take(romeo, now.Add(31*time.Second), 2) {
		t.Error("refused")
	}
	for i := range rationed + 10 {
		r.take(stanza.MustJID(fmt.Sprintf("p%d@chat.test", i)), now, 2)
	}
	if len(r.users) > rationed {
		t.Errorf("%d users are remembered", len(r.users))
	}
}

// TestForgeries: what only the room may say is not passed on (XEP-0425 §5).
func TestForgeries(t *testing.T) {
	room := stanza.MustJID("verona@conference.chat.test")
	for in, want := range map[string]string{
		"<body>x</body>": "<body>x</body>",
		"<retract xmlns='urn:xmpp:message-retract:1' id='1'><moderated xmlns='urn:xmpp:message-moderate:1'/></retract>": "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>",
		"<retract xmlns='urn:xmpp:message-retract:1' id='1'/>":                                                          "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>",
		"a<stanza-id xmlns='urn:xmpp:sid:0' by='VERONA@conference.chat.test' id='1'/>b":                                 "ab",
		"<moderated xmlns='urn:xmpp:message-moderate:1'/>":                                                              "",
		"<occupant-id xmlns='urn:xmpp:occupant-id:0'/><x xmlns='http://jabber.org/protocol/muc#user'/><body/>":          "<body/>",
	} {
		got, _, err := withoutForgeries(room, &stanza.Stanza{Kind: stanza.Message, Inner: []byte(in)})
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}

// FuzzRequests gives a room anything, from an owner who is in it: nothing breaks, and a request gets one answer.
func FuzzRequests(f *testing.F) {
	for _, payload := range []string{
		"<query xmlns='" + nsAdmin + "'><item nick='Juliet' role='none'/></query>",
		"<query xmlns='" + nsAdmin + "'><item jid='a@b' affiliation='outcast'><reason>r</reason></item></query>",
		"<query xmlns='" + nsOwner + "'><x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_roomname'><value>v</value></field></x></query>",
		"<query xmlns='" + nsOwner + "'><destroy jid='a@b'><password>p</password></destroy></query>",
		"<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + nsRegForm + "</value></field><field var='muc#register_roomnick'><value>n</value></field></x></query>",
		"<moderate xmlns='urn:xmpp:message-moderate:1' id='1'><retract xmlns='urn:xmpp:message-retract:1'/></moderate>",
		"<vCard xmlns='vcard-temp'><PHOTO><BINVAL>aGk=</BINVAL></PHOTO></vCard>",
		"<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>",
		"<x xmlns='" + nsUser + "'><invite to='a@chat.test'/><decline to='b'/></x>",
		"<x xmlns='" + NS + "'><history since='1970-01-01T00:00:00Z' maxchars='1'/><password>p</password></x>",
		"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + nsRequest + "</value></field><field var='muc#role'><value>participant</value></field></x>",
	} {
		for kind := range byte(6) {
			f.Add(kind, payload)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, payload string) {
		head := [...]string{"<iq id='q' type='set'>%s</iq>", "<iq id='q' type='get'>%s</iq>", "<message>%s</message>", "<message type='groupchat'>%s</message>",
			"<presence>%s</presence>", "<presence type='unavailable'>%s</presence>"}[kind%6]
		st, err := stanza.Parse([]byte(fmt.Sprintf(head, payload)))
		if err != nil {
			return
		}
		x := newFixture(t, unlimited())
		romeo, juliet := x.online("romeo@chat.test/orchard"), x.online("juliet@chat.test/balcony")
		x.join(romeo, "verona", "Romeo")
		x.configure(romeo, "verona")
		x.join(juliet, "verona", "Juliet")
		romeo.take()
		juliet.take()
		st.From, st.To = romeo.jid, stanza.MustJID("verona@conference.chat.test")
		if st.Kind == stanza.Presence {
			st.To = stanza.MustJID("verona@conference.chat.test/Romeo")
		}
		var b router.Batch
		x.Handle(t.Context(), &b, romeo, st)
		answers := 0
		for _, got := range append(romeo.take(), juliet.take()...) {
			reply, err := stanza.Parse([]byte(got))
			if err != nil {
				t.Fatalf("%s: %s: %v", payload, got, err)
			}
			if reply.Kind == stanza.IQ && (reply.Type == stanza.Result || reply.Type == stanza.TypeError) {
				answers++
			}
		}
		if st.Kind == stanza.IQ && (st.Type == stanza.Get || st.Type == stanza.Set) && answers != 1 {
			t.Errorf("%s: %d answers", payload, answers)
		}
	})
}

// TestTombstone: an id that has the other quotes in it does not break out of its attribute.
func TestTombstone(t *testing.T) {
	f := newFixture(t, unlimited())
	romeo := f.online("romeo@chat.test/orchard")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona")
	f.say(romeo, "verona", "oops")
	page, err := f.History(t.Context(), "verona", 0, 1)
	if err != nil || len(page) != 1 {
		t.Fatalf("%v, %v", page, err)
	}
	f.send(romeo, "<message type='groupchat' id=\"o'x\" to='verona@conference.chat.test'><retract xmlns='"+nsRetract+"' id='"+page[0].ID+"'/></message>")
	romeo.take()
	f.join(romeo, "verona", "Romeo")
	for _, got := range romeo.take() {
		if _, err := stanza.Parse([]byte(got)); err != nil || strings.Contains(got, "oops") {
			t.Errorf("%s: %v", got, err)
		}
	}
}
