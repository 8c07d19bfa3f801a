package muc

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
	"chatd/store/memory"
)

// one is the only thing that a session has got.
func (f *fixture) one(s *fakeSession, want ...string) {
	f.t.Helper()
	got := s.take()
	if len(got) != 1 {
		f.t.Errorf("%s got %q", s.jid, got)
		return
	}
	for _, w := range want {
		if !strings.Contains(got[0], w) {
			f.t.Errorf("%s got %s, without %s", s.jid, got[0], w)
		}
	}
}

func (f *fixture) nothing(s *fakeSession) {
	f.t.Helper()
	if got := s.take(); len(got) > 0 {
		f.t.Errorf("%s got %q", s.jid, got)
	}
}

const verona = "verona@conference.chat.test"

// TestNoAddressLeaks has an occupant of a semi-anonymous room who is no moderator do whatever brings answers: no real address is in any.
func TestNoAddressLeaks(t *testing.T) {
	f := newFixture(t, unlimited())
	romeo, juliet, eve := f.online("romeo@chat.test/orchard"), f.online("juliet@chat.test/balcony"), f.online("eve@chat.test/garden")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona", "muc#roomconfig_persistentroom", "1")
	f.join(juliet, "verona", "Juliet")
	f.join(eve, "verona", "Eve")
	iq := func(typ, to, payload string) { f.send(eve, "<iq type='"+typ+"' id='q' to='"+to+"'>"+payload+"</iq>") }
	for _, list := range []string{"role='moderator'", "role='participant'", "affiliation='owner'", "affiliation='member'", "affiliation='outcast'"} {
		iq("get", verona, "<query xmlns='"+nsAdmin+"'><item "+list+"/></query>")
	}
	for _, q := range []string{nsDiscoInfo, nsDiscoItems, nsOwner, nsRegister, nsVCard, nsPing, "jabber:iq:version"} {
		iq("get", verona, "<query xmlns='"+q+"'/>")
		iq("get", verona+"/Juliet", "<query xmlns='"+q+"'/>")
		for _, s := range []*fakeSession{romeo, juliet} {
			for _, got := range s.take() {
				if _, id, ok := strings.Cut(got, " id='"); ok && strings.HasPrefix(got, "<iq") {
					id, _, _ = strings.Cut(id, "'")
					if strings.Contains(got, "eve@chat.test") {
						t.Errorf("%s got %s", s.jid, got)
					}
					f.send(s, "<iq type='error' id='"+id+"' to='"+verona+"/Eve'><error type='cancel'><service-unavailable xmlns='"+stanza.NSStanzas+"'/></error></iq>")
				}
			}
		}
	}
	f.say(juliet, "verona", "hello")
	f.send(juliet, "<message type='chat' to='"+verona+"/Eve'><body>psst</body></message>")
	f.send(eve, "<message type='chat' to='"+verona+"/Juliet'><body>psst</body></message>")
	f.send(juliet, "<message type='error' to='"+verona+"/Eve'><error type='cancel'><service-unavailable xmlns='"+stanza.NSStanzas+"'/></error></message>")
	f.send(romeo, "<message type='groupchat' to='"+verona+"'><subject>s</subject></message>")
	f.send(romeo, "<iq type='set' id='k' to='"+verona+"'><query xmlns='"+nsAdmin+"'><item nick='Juliet' role='visitor'/></query></iq>")
	f.send(juliet, "<message to='"+verona+"'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"+nsRequest+"</value></field><field var='muc#role'><value>participant</value></field></x></message>")
	f.send(romeo, "<message to='"+verona+"'><x xmlns='"+nsUser+"'><invite to='eve@chat.test'/></x></message>")
	f.join(eve, "verona", "Eve")
	f.send(juliet, "<presence to='"+verona+"/Julia'/>")
	f.leave(juliet, "verona", "Julia")
	iq("get", verona+"/Julia", "<query xmlns='jabber:iq:version'/>")
	f.send(romeo, "<iq type='set' id='b' to='"+verona+"'><query xmlns='"+nsAdmin+"'><item jid='juliet@chat.test' affiliation='outcast'/></query></iq>")
	all := eve.take()
	if len(all) < 30 {
		t.Errorf("only %d answers", len(all))
	}
	for _, got := range all {
		if strings.Contains(got, "juliet@chat") || strings.Contains(got, "romeo@chat") {
			t.Errorf("leaks: %s", got)
		}
	}
}

// TestErrorsAreNoMessages: a message of type error reaches only who could have written to its sender, and not without limit.
func TestErrorsAreNoMessages(t *testing.T) {
	cfg := unlimited()
	cfg.MessagesPerSecond, cfg.MessageBurst = 0.001, 1
	f := newFixture(t, cfg)
	romeo, eve := f.online("romeo@chat.test/orchard"), f.online("eve@chat.test/garden")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona")
	f.join(eve, "verona", "Eve")
	romeo.take()
	say := func() {
		f.send(eve, "<message type='error' to='"+verona+"/Romeo'><body>buy!</body><x xmlns='"+nsUser+"'><status code='307'/></x></message>")
	}
	say()
	if got := romeo.take(); len(got) != 1 || strings.Contains(got[0], "307") {
		t.Errorf("got %q", got)
	}
	say()
	f.nothing(romeo)
	f.configure(romeo, "verona", "muc#roomconfig_allowpm", "none")
	mallory := f.online("mallory@chat.test/x")
	f.join(mallory, "verona", "Mallory")
	romeo.take()
	f.send(mallory, "<message type='error' to='"+verona+"/Romeo'><body>buy!</body></message>")
	f.nothing(romeo)
}

type nobodyElse struct{ users []string }

func (n nobodyElse) Exists(_ context.Context, user string) (bool, error) {
	for _, u := range n.users {
		if u == user {
			return true, nil
		}
	}
	return false, nil
}

// TestInvitationsAreNoBackDoor: who is not there becomes no member, a member list has its bound, and a refusal is no way to write to somebody from whom
// one is banned.
func TestInvitationsAreNoBackDoor(t *testing.T) {
	cfg := unlimited()
	cfg.Affiliates = 3
	f := newFixture(t, cfg)
	f.r.Users = nobodyElse{[]string{"romeo", "a", "b", "c"}}
	romeo := f.online("romeo@chat.test/orchard")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona", "muc#roomconfig_membersonly", "1")
	romeo.take()
	invite := func(to string) {
		f.send(romeo, "<message to='"+verona+"'><x xmlns='"+nsUser+"'><invite to='"+to+"@chat.test'/></x></message>")
	}
	invite("nobody")
	f.one(romeo, "item-not-found")
	invite("a")
	f.one(romeo, "a@chat.test")
	invite("b")
	f.one(romeo, "b@chat.test")
	invite("c")
	f.one(romeo, "resource-constraint")
	members, _, err := f.Members(t.Context(), "verona")
	if err != nil || len(members) != 3 {
		t.Errorf("%v, %v", members, err)
	}

	if err := f.SetMembers(t.Context(), "verona", []store.Affiliation{{JID: "a@chat.test", As: "outcast"}}); err != nil {
		t.Fatal(err)
	}
	f.one(romeo, "outcast")
	a, b := f.online("a@chat.test/x"), f.online("b@chat.test/x")
	decline := func(s *fakeSession, to string) {
		f.send(s, "<message to='"+verona+"'><x xmlns='"+nsUser+"'><decline to='"+to+"'><reason>buy!</reason></decline></x></message>")
	}
	decline(a, verona+"/Romeo")
	f.one(a, "forbidden")
	decline(b, verona+"/Nobody")
	decline(b, "c@chat.test")
	f.nothing(b)
	f.nothing(romeo)
	decline(b, "romeo@chat.test/orchard")
	f.one(romeo, "buy!")
	for range lettersPerMinute {
		decline(b, verona+"/Nobody")
	}
	if got := b.take(); len(got) == 0 || !strings.Contains(got[0], "policy-violation") {
		t.Errorf("got %d", len(got))
	}
}

// TestVoiceGoesToWhoAsked: not to who has taken the nick meanwhile.
func TestVoiceGoesToWhoAsked(t *testing.T) {
	f := newFixture(t, unlimited())
	romeo, juliet, eve := f.online("romeo@chat.test/orchard"), f.online("juliet@chat.test/balcony"), f.online("eve@chat.test/garden")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona", "muc#roomconfig_moderatedroom", "1")
	f.join(juliet, "verona", "Juliet")
	f.join(eve, "verona", "Eve")
	f.send(juliet, "<presence to='"+verona+"/Julia'/>")
	f.send(eve, "<presence to='"+verona+"/Juliet'/>")
	field := func(name, value string) string {
		return "<field var='" + name + "'><value>" + value + "</value></field>"
	}
	f.send(romeo, "<message to='"+verona+"'><x xmlns='jabber:x:data' type='submit'>"+field("FORM_TYPE", nsRequest)+field("muc#role", "participant")+
		field("muc#jid", "juliet@chat.test/balcony")+field("muc#roomnick", "Juliet")+field("muc#request_allow", "1")+"</x></message>")
	_, occupants, err := f.Members(t.Context(), "verona")
	if err != nil || len(occupants) != 3 {
		t.Fatalf("%v, %v", occupants, err)
	}
	for _, o := range occupants {
		if want := map[string]Role{"Romeo": Moderator, "Julia": Participant, "Juliet": Visitor}[o.Nick]; o.Role != want {
			t.Errorf("%s is %v", o.Nick, o.Role)
		}
	}
}

// TestAlike: a nick that reads as another's is taken, also a reserved one.
func TestAlike(t *testing.T) {
	f := newFixture(t, unlimited())
	romeo, eve := f.online("romeo@chat.test/orchard"), f.online("eve@chat.test/garden")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona")
	if err := f.SetMembers(t.Context(), "verona", []store.Affiliation{{JID: "juliet@chat.test", As: "member", Nick: "Juliet C"}}); err != nil {
		t.Fatal(err)
	}
	for _, nick := range []string{"Romeo", "romeo", "ROMEO", "Romeo ", " Romeo", "Ｒomeo", "juliet  c", "Juliet\u00a0C"} {
		f.join(eve, "verona", nick)
		f.one(eve, "<conflict")
	}
	f.join(eve, "verona", "Romea")
	eve.take()
	f.send(eve, "<presence to='"+verona+"/romeo'/>")
	f.one(eve, "<conflict")
	second := f.online("romeo@chat.test/field")
	f.join(second, "verona", "romeo") // one's own
	if got := second.take(); len(got) == 0 || strings.Contains(got[0], "type='error'") {
		t.Errorf("got %q", got)
	}
}

// TestTakenBackInStore: what only the store has is taken back by its author or a moderator, by nobody else.
func TestTakenBackInStore(t *testing.T) {
	cfg := unlimited()
	cfg.HistoryMessages = 1
	f := newFixtureOn(t, cfg, memory.New())
	romeo, eve, mallory := f.online("romeo@chat.test/orchard"), f.online("eve@chat.test/garden"), f.online("mallory@chat.test/x")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona", "muc#roomconfig_persistentroom", "1")
	f.join(eve, "verona", "Eve")
	f.join(mallory, "verona", "Mallory")
	for i := range 4 {
		f.say(eve, "verona", fmt.Sprint("says ", i))
	}
	kept := func(n int) (page []store.HistoryMessage) {
		t.Helper()
		for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) { // it is written behind what is said
			r := f.lock(new(router.Batch), "verona")
			idle := !r.writing
			r.mu.Unlock()
			var err error
			if page, err = f.History(t.Context(), "verona", 0, 100); err != nil {
				t.Fatal(err)
			}
			if idle && len(page) == n {
				return page
			}
		}
		t.Fatalf("%d messages", len(page))
		return nil
	}
	page := kept(4)
	retract := func(s *fakeSession, id string) {
		f.send(s, "<message type='groupchat' id='r' to='"+verona+"'><body>gone</body><retract xmlns='"+nsRetract+"' id='"+id+"'/></message>")
	}
	moderate := func(s *fakeSession, id string) {
		s.take()
		f.send(s, "<iq type='set' id='m' to='"+verona+"'><moderate xmlns='"+nsModerate+"' id='"+id+"'><retract xmlns='"+nsRetract+"'/></moderate></iq>")
	}
	retract(mallory, page[0].ID)
	retract(eve, page[1].ID)
	moderate(mallory, page[2].ID)
	f.one(mallory, "forbidden")
	moderate(romeo, page[2].ID)
	moderate(romeo, strings.Repeat("x", len(page[2].ID)))
	f.one(romeo, "item-not-found")
	page = kept(7)
	for i, stone := range []bool{false, true, true, false} {
		text := string(page[i].Stanza)
		if strings.Contains(text, "<retracted ") != stone || strings.Contains(text, "says") == stone || !strings.Contains(text, "occupant-id") || !strings.Contains(text, "/Eve'") {
			t.Errorf("%d: %s", i, text)
		}
	}
}

// TestRequestReachesAbsentAdmins: one who is not in the room gets it as a message, and may answer.
func TestRequestReachesAbsentAdmins(t *testing.T) {
	f := newFixture(t, unlimited())
	romeo, escalus, juliet := f.online("romeo@chat.test/orchard"), f.online("escalus@chat.test/palace"), f.online("juliet@chat.test/balcony")
	f.r.Table.SetPresence(escalus, true, 0)
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona", "muc#roomconfig_membersonly", "1")
	if err := f.SetMembers(t.Context(), "verona", []store.Affiliation{{JID: "escalus@chat.test", As: "admin"}}); err != nil {
		t.Fatal(err)
	}
	romeo.take()
	escalus.take()
	field := func(name, value string) string {
		return "<field var='" + name + "'><value>" + value + "</value></field>"
	}
	f.send(juliet, "<iq type='set' id='r' to='"+verona+"'><query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>"+field("FORM_TYPE", nsRegForm)+
		field("muc#register_roomnick", "Juliet")+"</x></query></iq>")
	f.one(juliet, "type='result'")
	f.one(romeo, "muc#register_allow")
	f.one(escalus, "muc#register_allow", "<body>", "juliet@chat.test")
	f.send(escalus, "<message to='"+verona+"'><x xmlns='jabber:x:data' type='submit'>"+field("FORM_TYPE", nsRegForm)+field("muc#jid", "juliet@chat.test")+
		field("muc#register_roomnick", "Juliet")+field("muc#register_allow", "1")+"</x></message>")
	members, _, err := f.Members(t.Context(), "verona")
	if err != nil || len(members) != 3 || members[1] != (store.Affiliation{JID: "juliet@chat.test", As: "member", Nick: "Juliet"}) {
		t.Errorf("%v, %v", members, err)
	}
}

// TestFarewell: a session that ends with the server is told, and so are those who stay.
func TestFarewell(t *testing.T) {
	f := newFixture(t, unlimited())
	romeo, juliet := f.online("romeo@chat.test/orchard"), f.online("juliet@chat.test/balcony")
	f.join(romeo, "verona", "Romeo")
	f.configure(romeo, "verona")
	f.join(juliet, "verona", "Juliet")
	romeo.take()
	juliet.take()
	dismiss := f.Farewell()
	dismiss(juliet)
	f.one(juliet, "<status code='332'/>", "<status code='110'/>", "type='unavailable'")
	f.one(romeo, "<status code='332'/>", "type='unavailable'")
	dismiss(juliet)
	f.nothing(romeo)
}
