package roster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"chatd/stanza"
	"chatd/store"
	"chatd/xmlstream"
)

// web makes friends: "a-b c-d" by localpart.
func (w *world) web(pairs string) {
	w.t.Helper()
	for _, pair := range strings.Fields(pairs) {
		one, two, _ := strings.Cut(pair, "-")
		w.friends(one, two)
	}
	w.s.Forget(stanza.JID{}) // it was written past the service
}

func (w *world) suggestions(user string, limit int) string {
	w.t.Helper()
	all, err := w.s.FriendsOfFriends(w.t.Context(), stanza.MustJID(user+"@chat.test"), limit)
	if err != nil {
		w.t.Fatal(err)
	}
	var words []string
	for _, x := range all {
		words = append(words, fmt.Sprintf("%s:%d", x.JID.Local(), x.Mutual))
	}
	return strings.Join(words, " ")
}

func TestFriendsOfFriends(t *testing.T) {
	w := newWorld(t, Config{})
	w.web("me-a me-b me-c a-b a-x b-x c-x a-y b-y a-z b-w c-v a-blocked b-blocks a-asked b-asks c-half")
	w.given("me", "asked@chat.test", noneOut)
	w.given("me", "asks@chat.test", noneIn, hidden)
	w.given("me", "half@chat.test", toOnly)
	for user, jid := range map[string]string{"me": "blocked@chat.test", "blocks": "me@chat.test"} {
		if err := w.store.Block(t.Context(), user, []string{jid}, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.s.Forget(stanza.JID{})
	for limit, want := range map[int]string{100: "x:3 y:2 v:1 w:1 z:1", 2: "x:3 y:2", 0: "", -1: ""} {
		if got := w.suggestions("me", limit); got != want {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
	for _, u := range []string{"a", "b", "c"} { // now from what is cached
		if _, err := w.s.Friends(t.Context(), stanza.MustJID(u+"@chat.test")); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.suggestions("me", 100); got != "x:3 y:2 v:1 w:1 z:1" {
		t.Errorf("cached: %q", got)
	}
	if got := w.suggestions("nobody", 10); got != "" {
		t.Errorf("of nobody: %q", got)
	}
}

func TestMutualAndFriendships(t *testing.T) {
	w := newWorld(t, Config{})
	w.web("a-b a-c a-d e-b e-d e-f")
	w.given("a", "f@chat.test", toOnly)
	w.s.Forget(stanza.JID{})
	a, e := stanza.MustJID("a@chat.test/x"), stanza.MustJID("e@chat.test")
	common, err := w.s.Mutual(t.Context(), a, e)
	if err != nil || fmt.Sprint(common) != "[b@chat.test d@chat.test]" {
		t.Errorf("mutual %v %v", common, err)
	}
	others := []stanza.JID{e, stanza.MustJID("d@chat.test/y"), stanza.MustJID("f@chat.test"), stanza.MustJID("nobody@chat.test")}
	for range 2 { // read, then cached
		all, err := w.s.Friendships(t.Context(), a, others)
		if err != nil || len(all) != len(others) {
			t.Fatal(all, err)
		}
		for i, f := range all {
			one, err := w.s.Friendship(t.Context(), a, others[i])
			if err != nil || f != one || f.Exists != (i == 1) || f.Other != others[i].Bare() {
				t.Errorf("%v: %+v, alone %+v %v", others[i], f, one, err)
			}
		}
	}
	if _, err := w.s.Friendships(t.Context(), a, make([]stanza.JID, MaxFriendships+1)); err == nil {
		t.Error("more than allowed are answered")
	}
}

// TestCacheIsExact: whoever changes a list and then reads it finds the change, whatever others read and change
// meanwhile.
func TestCacheIsExact(t *testing.T) {
	w := newWorld(t, Config{})
	w.s.store = dawdler{w.store}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := w.s.Friends(context.Background(), julietJID); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	w.given("juliet", romeo, both)
	w.given("juliet", "nurse@chat.test", both)
	w.s.Forget(julietJID)
	var writers sync.WaitGroup
	for _, contact := range []stanza.JID{romeoJID, nurseJID} {
		writers.Go(func() {
			for i := range 300 {
				name := fmt.Sprint(i)
				if err := w.s.SetName(context.Background(), julietJID, contact, name); err != nil {
					t.Error(err)
				}
				if err := w.s.SetNote(context.Background(), julietJID, contact, name); err != nil {
					t.Error(err)
				}
				list, err := w.s.Friends(context.Background(), julietJID)
				if f := find(list, contact); err != nil || f == nil || f.Name != name || f.Note != name {
					t.Errorf("wrote %s, read %+v %v", name, f, err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	wg.Wait()
}

func TestListCacheIsBounded(t *testing.T) {
	c := newCache(cacheShards*10, func(v []int) int { return len(v) + 1 })
	read := func(context.Context, stanza.JID) ([]int, error) { return make([]int, 3), nil }
	for i := range 5000 {
		if _, err := c.get(t.Context(), stanza.MustJID(fmt.Sprintf("user%d@chat.test", i)), read); err != nil {
			t.Fatal(err)
		}
	}
	for i := range c.shards {
		sh := &c.shards[i]
		if sh.used > 10 || sh.used != 4*len(sh.values) || len(sh.values) == 0 {
			t.Errorf("shard %d: %d used by %d", i, sh.used, len(sh.values))
		}
	}
}

// What may yet be written by a change that was given up is not cached over.
func TestCacheDoubts(t *testing.T) {
	c := newCache(1000, func([]int) int { return 1 })
	reads := 0
	read := func(context.Context, stanza.JID) ([]int, error) { reads++; return nil, nil }
	c.forget(romeoJID, true)
	for range 2 {
		if _, err := c.get(t.Context(), romeoJID, read); err != nil {
			t.Fatal(err)
		}
		if _, err := c.get(t.Context(), julietJID, read); err != nil {
			t.Fatal(err)
		}
	}
	if reads != 3 || !c.doubtful(romeoJID) || c.doubtful(julietJID) {
		t.Errorf("%d reads", reads)
	}
}

// Who is removed is no longer anybody's friend, also not by what was cached.
func TestRemoveUserForgets(t *testing.T) {
	w := newWorld(t, Config{})
	w.web("juliet-romeo romeo-nurse")
	for _, j := range []stanza.JID{julietJID, romeoJID, nurseJID} {
		if _, err := w.s.Friends(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		if ok, err := w.s.friends(t.Context(), j, romeoJID); err != nil || ok != (j != romeoJID) {
			t.Fatal(ok, err)
		}
	}
	if err := w.s.RemoveUser(t.Context(), romeoJID); err != nil {
		t.Fatal(err)
	}
	for _, j := range []stanza.JID{julietJID, nurseJID} {
		if f := w.friend(j, romeoJID); f.Mutual() || f.JID != romeoJID {
			t.Errorf("%s still has %+v", j, f)
		}
		if ok, err := w.s.friends(t.Context(), j, romeoJID); ok || err != nil {
			t.Errorf("%s is a friend still, %v", j, err)
		}
	}
	if list, err := w.s.Friends(t.Context(), romeoJID); len(list) > 0 || err != nil {
		t.Errorf("romeo has %+v %v", list, err)
	}
}

// FuzzNotesXML: whatever a client stores, what it then reads is well-formed, and storing that changes nothing.
func FuzzNotesXML(f *testing.F) {
	for _, seed := range []string{
		"<note jid='a@x' cdate='2004-09-24T15:23:21Z' mdate='x'>hi &lt; there</note>", "<note jid='a@x/r'>a</note><note jid='b'> b </note>",
		"<note jid='@'/>", "<note jid='a@x'><b>c</b>d</note>text", "<note xmlns='other' jid='a@x'>no</note>", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, notes string) {
		w, ctx := newWorld(t, Config{}), t.Context()
		element := "<storage xmlns='" + nsNotes + "'>" + notes + "</storage>"
		sc := xmlstream.NewScanner(xmlstream.Limits{})
		sc.Resume(xmlstream.ClientScope)
		if _, n, err := sc.Scan([]byte(element)); err != nil || n != len(element) {
			return // no client gets this far
		}
		if w.s.SetNotesXML(ctx, "juliet", []byte(element)) != nil {
			return
		}
		first, err := w.s.NotesXML(ctx, "juliet")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.s.SetNotesXML(ctx, "juliet", first); err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if second, err := w.s.NotesXML(ctx, "juliet"); err != nil || string(second) != string(first) {
			t.Fatalf("%s became %s, %v", first, second, err)
		}
	})
}

func TestNotes(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	ctx := t.Context()
	wantError(t, w.s.SetNote(ctx, julietJID, romeoJID, "mid <3"), "")
	wantError(t, w.s.SetNote(ctx, julietJID, stanza.MustJID("tybalt@chat.test/x"), "toxic"), "")
	if f := w.friend(julietJID, romeoJID); f.Note != "mid <3" {
		t.Errorf("%+v", f)
	}
	xml, err := w.s.NotesXML(ctx, "juliet")
	if err != nil || strings.Count(string(xml), "<note jid=") != 2 || !strings.Contains(string(xml), ">mid &lt;3</note>") || !strings.Contains(string(xml), "jid='tybalt@chat.test'") {
		t.Errorf("%s %v", xml, err)
	}
	wantError(t, w.s.SetNote(ctx, julietJID, romeoJID, ""), "")
	wantError(t, w.s.SetNote(ctx, julietJID, romeoJID, ""), "")
	if f := w.friend(julietJID, romeoJID); f.Note != "" {
		t.Errorf("%+v", f)
	}
	wantError(t, w.s.SetNote(ctx, julietJID, romeoJID, strings.Repeat("x", maxNote+1)), "policy-violation")
	var b strings.Builder
	for i := range maxNotes + 1 {
		fmt.Fprintf(&b, "<note jid='u%d@x'>n</note>", i)
	}
	element := func(notes string) []byte { return []byte("<storage xmlns='" + nsNotes + "'>" + notes + "</storage>") }
	wantError(t, w.s.SetNotesXML(ctx, "juliet", element(b.String())), "policy-violation")
	wantError(t, w.s.SetNotesXML(ctx, "juliet", element("<note jid='@'>n</note>")), "jid-malformed")
	wantError(t, w.s.SetNotesXML(ctx, "juliet", element("<note jid='romeo@chat.test'>again</note><note jid='e@x'> </note>")), "")
	if f := w.friend(julietJID, romeoJID); f.Note != "again" {
		t.Errorf("%+v", f)
	}
	notes, err := w.store.Notes(ctx, "juliet")
	if err != nil || !slices.Equal(notes, []store.Note{{JID: romeo, Text: "again"}}) {
		t.Errorf("%+v %v", notes, err)
	}
}
