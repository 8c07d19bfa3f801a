package roster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatd/stanza"
	"chatd/store"
)

var (
	julietJID = stanza.MustJID(juliet)
	romeoJID  = stanza.MustJID(romeo)
	nurseJID  = stanza.MustJID("nurse@chat.test")
)

// want fails the test unless err is a stanza error of that condition, or nil for "".
func wantError(t *testing.T, err error, condition string) {
	t.Helper()
	var e *stanza.Error
	if condition == "" && err != nil || condition != "" && (!errors.As(err, &e) || e.Condition != condition) {
		t.Errorf("got %v, want %q", err, condition)
	}
}

// friend is one entry of a list.
func (w *world) friend(user, contact stanza.JID) Friend {
	w.t.Helper()
	list, err := w.s.Friends(w.t.Context(), user)
	if err != nil {
		w.t.Fatal(err)
	}
	f := find(list, contact)
	if f == nil {
		return Friend{}
	}
	return *f
}

// A friendship by the API brings the pushes and the presence that it brings by clients.
func TestRequestAndAcceptAreSeen(t *testing.T) {
	w := newWorld(t, Config{})
	j, r := w.login(juliet+"/1"), w.login(romeo+"/1")
	wantError(t, w.s.Request(t.Context(), julietJID, romeoJID, "gg <wp>"), "")
	j.expect(j.push("<item jid='romeo@chat.test' subscription='none' ask='subscribe'/>"),
		j.push("<item jid='romeo@chat.test' subscription='none' ask='subscribe' approved='true'/>"))
	got := r.take()
	if len(got) != 1 || !strings.Contains(got[0], "type='subscribe'><status>gg &lt;wp&gt;</status></presence>") {
		t.Errorf("romeo got %q", got)
	}
	wantError(t, w.s.Accept(t.Context(), romeoJID, julietJID), "")
	presences := 0
	for _, x := range append(j.take(), r.take()...) {
		if strings.Contains(x, "subscription='both'") || x == "<presence from='romeo@chat.test/1' to='juliet@chat.test'/>" ||
			x == "<presence from='juliet@chat.test/1' to='romeo@chat.test'/>" {
			presences++
		}
	}
	if presences != 4 {
		t.Errorf("%d of two pushes and two presences", presences)
	}
	wantError(t, w.s.Remove(t.Context(), julietJID, romeoJID), "")
	if got := strings.Join(j.take(), ""); !strings.Contains(got, "subscription='remove'") || !strings.Contains(got, "from='romeo@chat.test/1' to='juliet@chat.test' type='unavailable'") {
		t.Errorf("juliet got %s", got)
	}
	if got := strings.Join(r.take(), ""); !strings.Contains(got, "subscription='none'") || !strings.Contains(got, "from='juliet@chat.test/1' to='romeo@chat.test' type='unavailable'") {
		t.Errorf("romeo got %s", got)
	}
}

// created_at and ask_message as they go from the request to the friendship, on both sides.
func TestFriendDates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		check := func(user, contact stanza.JID, want Friend) {
			t.Helper()
			got := w.friend(user, contact)
			if got.Ask != want.Ask || got.AskMessage != want.AskMessage || !got.Created.Equal(want.Created) || got.Subscription != want.Subscription {
				t.Errorf("%s has of %s %+v, want %+v", user, contact, got, want)
			}
		}
		begun := time.Now().UTC().Truncate(time.Second)
		wantError(t, w.s.Request(t.Context(), julietJID, romeoJID, "duo?"), "")
		check(julietJID, romeoJID, Friend{Ask: AskOut, AskMessage: "duo?", Created: begun})
		check(romeoJID, julietJID, Friend{Ask: AskIn, AskMessage: "duo?", Created: begun})
		time.Sleep(time.Hour)
		wantError(t, w.s.Request(t.Context(), julietJID, romeoJID, "again?"), "")
		check(romeoJID, julietJID, Friend{Ask: AskIn, AskMessage: "duo?", Created: begun})
		wantError(t, w.s.Accept(t.Context(), romeoJID, julietJID), "")
		since := begun.Add(time.Hour)
		check(julietJID, romeoJID, Friend{Created: since, Subscription: store.SubBoth})
		check(romeoJID, julietJID, Friend{Created: since, Subscription: store.SubBoth})
		time.Sleep(time.Hour)
		wantError(t, w.s.SetName(t.Context(), julietJID, romeoJID, "R"), "")
		check(julietJID, romeoJID, Friend{Created: since, Subscription: store.SubBoth})
		if f, err := w.s.Friendship(t.Context(), romeoJID, julietJID); err != nil || !f.Exists || !f.Since.Equal(since) {
			t.Errorf("friendship %+v %v", f, err)
		}
	})
}

// The text of a request that a client makes is its status.
func TestMessageOfClient(t *testing.T) {
	w := newWorld(t, Config{})
	j := w.login(juliet + "/1")
	j.send("<presence to='romeo@chat.test' type='subscribe'><x xmlns='u'><status>no</status></x><status>a &amp; b</status><status xml:lang='de'>c</status></presence>")
	if f := w.friend(romeoJID, julietJID); f.AskMessage != "a & b" || !f.Hidden {
		t.Errorf("romeo has %+v", f)
	}
	wantError(t, w.s.Decline(t.Context(), romeoJID, julietJID), "")
	if f := w.friend(julietJID, romeoJID); f.Ask != AskNone || f.AskMessage != "" {
		t.Errorf("juliet has %+v", f)
	}
	wantError(t, w.s.Decline(t.Context(), romeoJID, julietJID), "item-not-found")
	wantError(t, w.s.Accept(t.Context(), romeoJID, julietJID), "item-not-found")
}

// Whoever wants to know hears of requests that a rule refuses.
func TestRefusalIsTold(t *testing.T) {
	w := newWorld(t, Config{})
	var heard []string
	w.r.OnReject = func(st *stanza.Stanza, rule, side string) {
		heard = append(heard, fmt.Sprint(st.From.Local(), " ", st.To.Local(), " ", rule, " ", side))
	}
	ctx := t.Context()
	wantError(t, w.s.SetPrivacy(ctx, nurseJID, store.Privacy{Requests: store.Nobody}), "")
	wantError(t, w.s.Request(ctx, romeoJID, nurseJID, ""), "")
	if want := []string{"romeo nurse privacy receiver"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}

// A request to who has asked already is an acceptance.
func TestRequestsCross(t *testing.T) {
	w := newWorld(t, Config{})
	wantError(t, w.s.Request(t.Context(), julietJID, romeoJID, ""), "")
	wantError(t, w.s.Request(t.Context(), romeoJID, julietJID, ""), "")
	if f := w.friend(julietJID, romeoJID); !f.Mutual() {
		t.Errorf("juliet has %+v", f)
	}
	wantError(t, w.s.Request(t.Context(), romeoJID, julietJID, ""), "")
}

func TestVerbsRefuse(t *testing.T) {
	w := newWorld(t, Config{})
	ctx, nobody := t.Context(), stanza.MustJID("nobody@chat.test")
	for name, err := range map[string]error{
		"request of nobody": w.s.Request(ctx, nobody, romeoJID, ""), "request to nobody": w.s.Request(ctx, romeoJID, nobody, ""),
		"request elsewhere": w.s.Request(ctx, romeoJID, stanza.MustJID("a@other.test"), ""),
		"accept":            w.s.Accept(ctx, nobody, romeoJID), "remove": w.s.Remove(ctx, nobody, romeoJID),
		"name": w.s.SetName(ctx, nobody, romeoJID, "x"), "note": w.s.SetNote(ctx, nobody, romeoJID, "x"),
		"privacy": w.s.SetPrivacy(ctx, nobody, store.Privacy{}),
	} {
		if !errors.Is(err, ErrNoUser) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantError(t, w.s.Request(ctx, romeoJID, romeoJID, ""), "not-allowed")
	wantError(t, w.s.Request(ctx, romeoJID, julietJID, strings.Repeat("x", 501)), "policy-violation")
	w.friends("romeo", "nurse")
	for _, bad := range []string{"\xff", "a\x00b", "\x1b[2J", "\uffff"} { // what would end a client's stream
		wantError(t, w.s.Request(ctx, romeoJID, julietJID, bad), "not-acceptable")
		wantError(t, w.s.SetName(ctx, romeoJID, nurseJID, bad), "not-acceptable")
		wantError(t, w.s.SetGroups(ctx, romeoJID, nurseJID, []string{bad}), "not-acceptable")
		wantError(t, w.s.SetNote(ctx, romeoJID, nurseJID, bad), "not-acceptable")
	}
	wantError(t, w.s.Remove(ctx, romeoJID, julietJID), "item-not-found")
	wantError(t, w.s.SetName(ctx, romeoJID, julietJID, "x"), "item-not-found")
	if err := w.store.Block(ctx, "romeo", []string{juliet}, 0); err != nil {
		t.Fatal(err)
	}
	wantError(t, w.s.Request(ctx, romeoJID, julietJID, ""), "not-acceptable")
}

// Both sides of a request are charged for it.
func TestLimitOfBothSides(t *testing.T) {
	w := newWorld(t, Config{MaxContacts: 1})
	ctx, tybalt := t.Context(), stanza.MustJID("tybalt@chat.test")
	wantError(t, w.s.Request(ctx, julietJID, romeoJID, ""), "")
	wantError(t, w.s.Request(ctx, julietJID, nurseJID, ""), "not-allowed")        // juliet's list is full
	wantError(t, w.s.Request(ctx, nurseJID, romeoJID, ""), "resource-constraint") // as many wait for romeo as may
	if f := w.friend(nurseJID, romeoJID); f.Ask != AskNone {
		t.Errorf("the nurse still asks: %+v", f)
	}
	wantError(t, w.s.Accept(ctx, romeoJID, julietJID), "")
	wantError(t, w.s.Request(ctx, tybalt, romeoJID, ""), "")
	wantError(t, w.s.Accept(ctx, romeoJID, tybalt), "not-allowed") // romeo's list is full
	if f := w.friend(tybalt, romeoJID); f.Ask != AskOut {
		t.Errorf("tybalt has %+v", f)
	}
}

func TestNameAndGroups(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	j := w.login(juliet + "/1")
	wantError(t, w.s.SetName(t.Context(), julietJID, romeoJID, "R & J"), "")
	j.expect(j.push("<item jid='romeo@chat.test' name='R &amp; J' subscription='both'/>"))
	wantError(t, w.s.SetGroups(t.Context(), julietJID, romeoJID, []string{"Work", "Home"}), "")
	j.expect(j.push("<item jid='romeo@chat.test' name='R &amp; J' subscription='both'><group>Work</group><group>Home</group></item>"))
	if f := w.friend(julietJID, romeoJID); f.Name != "R & J" || fmt.Sprint(f.Groups) != "[Work Home]" {
		t.Errorf("%+v", f)
	}
	wantError(t, w.s.SetGroups(t.Context(), julietJID, romeoJID, []string{"a", "a"}), "bad-request")
	wantError(t, w.s.SetName(t.Context(), julietJID, romeoJID, strings.Repeat("x", 1024)), "not-acceptable")
}
