package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"chatd/store"
)

// keepItem writes an item whatever was there, and returns the version.
func keepItem(t *testing.T, s store.Store, user string, item store.RosterItem) int64 {
	t.Helper()
	version, err := s.UpdateItem(t.Context(), user, item.JID, 0, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
		*i = item
		return store.Keep, nil
	})
	must(t, err)
	return version
}

func roster(t *testing.T, s store.Store, user string) store.Roster {
	t.Helper()
	r, err := s.Roster(t.Context(), user)
	must(t, err)
	return r
}

// always is an update that returns the verdict and changes nothing.
func always(v store.Verdict) func(*store.RosterItem, bool) (store.Verdict, error) {
	return func(*store.RosterItem, bool) (store.Verdict, error) { return v, nil }
}

func testRosterEmpty(t *testing.T, s store.Store) {
	r := roster(t, s, "nobody")
	if r.Version != 0 || len(r.Items) != 0 {
		t.Fatalf("roster of an unknown user: %+v", r)
	}
}

func testRosterItem(t *testing.T, s store.Store) {
	items := []store.RosterItem{
		{JID: "a@chat.test", Created: createdKept},
		{JID: "b@chat.test", Name: "Bé & <b>", Groups: []string{"Work", "", "Friends, 3:old", "Work"}, Sub: store.SubBoth, Created: createdKept},
		{JID: "c@chat.test", Sub: store.SubTo, Ask: true, Message: "hi <&>", Created: createdKept},
		{JID: "d@chat.test", Sub: store.SubFrom, Approved: true},
		{JID: "e@chat.test", PendingIn: true, Hidden: true, Request: []byte("<status>hi\x00</status>"), Created: createdKept},
	}
	for _, item := range items {
		kept := item
		if !kept.Created.IsZero() {
			kept.Created = created
		}
		keepItem(t, s, "anna", kept)
	}
	keepItem(t, s, "bob", store.RosterItem{JID: "a@chat.test", Name: "of bob"})
	if got := roster(t, s, "anna").Items; !reflect.DeepEqual(got, items) {
		t.Fatalf("got  %+v\nwant %+v", got, items)
	}
	for _, want := range items {
		_, err := s.UpdateItem(t.Context(), "anna", want.JID, 0, func(i *store.RosterItem, exists bool) (store.Verdict, error) {
			if !exists || !reflect.DeepEqual(*i, want) {
				t.Errorf("UpdateItem shows %v %+v, want %+v", exists, *i, want)
			}
			return store.Leave, nil
		})
		must(t, err)
	}
}

func testRosterOrder(t *testing.T, s store.Store) {
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("user%d@chat.test", i*7919%30))
	}
	want = append(want, "B@x", "b@x", "é@x", "日@x")
	for _, jid := range want {
		keepItem(t, s, "anna", store.RosterItem{JID: jid})
	}
	slices.Sort(want)
	var got []string
	for _, item := range roster(t, s, "anna").Items {
		got = append(got, item.JID)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func testRosterVersion(t *testing.T, s store.Store) {
	const bob = "bob@chat.test"
	last := int64(0)
	step := func(what string, grows bool, item store.RosterItem, verdict store.Verdict) {
		t.Helper()
		version, err := s.UpdateItem(t.Context(), "anna", bob, 0, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
			if verdict == store.Keep {
				*i = item
			}
			return verdict, nil
		})
		must(t, err)
		if grows != (version > last) || version < last {
			t.Fatalf("%s: version %d after %d", what, version, last)
		}
		equal(t, "version read back", roster(t, s, "anna").Version, version)
		last = version
	}
	step("a hidden item", false, store.RosterItem{Hidden: true}, store.Keep)
	step("a hidden item changes", false, store.RosterItem{Hidden: true, PendingIn: true}, store.Keep)
	step("it becomes visible", true, store.RosterItem{}, store.Keep)
	step("it changes", true, store.RosterItem{Name: "Bob"}, store.Keep)
	step("it is left", false, store.RosterItem{}, store.Leave)
	step("it becomes hidden", true, store.RosterItem{Hidden: true}, store.Keep)
	step("hidden, it goes", false, store.RosterItem{}, store.Remove)
	step("it comes again", true, store.RosterItem{}, store.Keep)
	step("visible, it goes", true, store.RosterItem{}, store.Remove)
	step("nothing goes", false, store.RosterItem{}, store.Remove)
}

func testRosterVersionAcrossAccounts(t *testing.T, s store.Store) {
	ctx, item := t.Context(), store.RosterItem{JID: "bob@chat.test"}
	last := int64(0)
	for range 5 {
		must(t, s.CreateAccount(ctx, account("anna")))
		if v := roster(t, s, "anna").Version; last > 0 && v <= last {
			t.Fatalf("new account's version %d repeats: %d was given", v, last)
		}
		for range 3 {
			v := keepItem(t, s, "anna", item)
			if v <= last {
				t.Fatalf("version %d after %d", v, last)
			}
			last = v
		}
		must(t, s.DeleteAccount(ctx, "anna"))
	}
}

func testVerdicts(t *testing.T, s store.Store) {
	ctx := t.Context()
	const bob = "bob@chat.test"
	fresh := func(i *store.RosterItem, exists bool) {
		t.Helper()
		if exists || !reflect.DeepEqual(*i, store.RosterItem{JID: bob}) {
			t.Fatalf("a missing item is shown as %v %+v", exists, *i)
		}
	}
	for _, verdict := range []store.Verdict{store.Leave, store.Remove} {
		_, err := s.UpdateItem(ctx, "anna", bob, 0, func(i *store.RosterItem, exists bool) (store.Verdict, error) {
			fresh(i, exists)
			i.Name = "not kept"
			return verdict, nil
		})
		must(t, err)
		equal(t, "items", len(roster(t, s, "anna").Items), 0)
	}
	_, err := s.UpdateItem(ctx, "anna", bob, 0, func(i *store.RosterItem, exists bool) (store.Verdict, error) {
		fresh(i, exists)
		i.JID, i.Name = "mallory@chat.test", "Bob" // the key cannot be changed
		return store.Keep, nil
	})
	must(t, err)
	_, err = s.UpdateItem(ctx, "anna", bob, 0, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
		i.Name = "left"
		return store.Leave, nil
	})
	must(t, err)
	items := roster(t, s, "anna").Items
	if len(items) != 1 || items[0].JID != bob || items[0].Name != "Bob" {
		t.Fatalf("items %+v", items)
	}
	_, err = s.UpdateItem(ctx, "anna", bob, 0, always(store.Remove))
	must(t, err)
	equal(t, "items after Remove", len(roster(t, s, "anna").Items), 0)
	if _, err = s.UpdateItem(ctx, "anna", bob, 0, always(99)); err == nil {
		t.Fatal("an unknown verdict is no error")
	}
}

func testUpdateError(t *testing.T, s store.Store) {
	before := keepItem(t, s, "anna", store.RosterItem{JID: "bob@chat.test", Name: "Bob", Groups: []string{"Work"}})
	mine := errors.New("mine")
	for _, verdict := range []store.Verdict{store.Leave, store.Keep, store.Remove} {
		_, err := s.UpdateItem(t.Context(), "anna", "bob@chat.test", 0, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
			i.Name = "changed"
			i.Groups[0] = "changed"
			return verdict, mine
		})
		if err != mine {
			t.Fatalf("error comes back as %v", err)
		}
	}
	r := roster(t, s, "anna")
	if r.Version != before || r.Items[0].Name != "Bob" || r.Items[0].Groups[0] != "Work" {
		t.Fatalf("changed in spite of the error: %+v", r)
	}
}

func testUpdateUsesStore(t *testing.T, s store.Store) {
	_, err := s.UpdateItem(t.Context(), "anna", "bob@chat.test", 0, func(*store.RosterItem, bool) (store.Verdict, error) {
		keepItem(t, s, "bob", store.RosterItem{JID: "anna@chat.test"})
		return store.Keep, nil
	})
	must(t, err)
	equal(t, "items of anna", len(roster(t, s, "anna").Items), 1)
	equal(t, "items of bob", len(roster(t, s, "bob").Items), 1)
}

// testUpdateConflict makes another write come between every first reading
// and its writing.
func testUpdateConflict(t *testing.T, s store.Store) {
	const bob = "bob@chat.test"
	for _, between := range []struct {
		name  string
		first *store.RosterItem // nil: no item at first
		other func()
		want  store.RosterItem
	}{
		{"changed", &store.RosterItem{JID: bob}, func() { keepItem(t, s, "anna", store.RosterItem{JID: bob, Ask: true}) },
			store.RosterItem{JID: bob, Name: "Bob", Ask: true}},
		{"removed", &store.RosterItem{JID: bob, Ask: true}, func() {
			_, err := s.UpdateItem(t.Context(), "anna", bob, 0, always(store.Remove))
			must(t, err)
		}, store.RosterItem{JID: bob, Name: "Bob"}},
		{"made", nil, func() { keepItem(t, s, "anna", store.RosterItem{JID: bob, Approved: true}) },
			store.RosterItem{JID: bob, Name: "Bob", Approved: true}},
	} {
		t.Run(between.name, func(t *testing.T) {
			_, err := s.UpdateItem(t.Context(), "anna", bob, 0, always(store.Remove))
			must(t, err)
			if between.first != nil {
				keepItem(t, s, "anna", *between.first)
			}
			runs := 0
			_, err = s.UpdateItem(t.Context(), "anna", bob, 0, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
				if runs++; runs == 1 {
					between.other()
				}
				i.Name = "Bob"
				return store.Keep, nil
			})
			must(t, err)
			items := roster(t, s, "anna").Items
			if len(items) != 1 || !items[0].Equal(between.want) {
				t.Fatalf("after %d runs got %+v\nwant %+v", runs, items, between.want)
			}
		})
	}
}

func testRosterLimits(t *testing.T, s store.Store) {
	const max = 3
	update := func(jid string, hidden bool) error {
		_, err := s.UpdateItem(t.Context(), "anna", jid, max, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
			i.Hidden = hidden
			return store.Keep, nil
		})
		return err
	}
	full := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrFull) {
			t.Fatalf("%s: %v, want ErrFull", what, err)
		}
	}
	for i := range max {
		must(t, update(fmt.Sprintf("visible%d@x", i), false))
		must(t, update(fmt.Sprintf("hidden%d@x", i), true))
	}
	before := roster(t, s, "anna")
	full("one more visible", update("new@x", false))
	full("one more hidden", update("new@x", true))
	full("hidden becomes visible", update("hidden0@x", false))
	full("visible becomes hidden", update("visible0@x", true))
	if after := roster(t, s, "anna"); !reflect.DeepEqual(after, before) {
		t.Fatalf("a refused write left something: %+v", after)
	}
	must(t, update("visible0@x", false)) // one that is there may change
	must(t, update("hidden0@x", true))
	keepItem(t, s, "anna", store.RosterItem{JID: "over@x"}) // no limit
	must(t, update("visible0@x", false))                    // also when the limit was lowered since
	_, err := s.UpdateItem(t.Context(), "anna", "over@x", max, always(store.Remove))
	must(t, err)
	_, err = s.UpdateItem(t.Context(), "anna", "visible1@x", max, always(store.Remove))
	must(t, err)
	must(t, update("hidden0@x", false))
	must(t, update("new@x", true))
}

func testUpdateRace(t *testing.T, s store.Store) {
	const writers, each = 8, 10
	var versions [writers * each]int64
	inParallel(writers, func(w int) {
		for n := range each {
			v, err := s.UpdateItem(t.Context(), "anna", "bob@chat.test", 0, func(i *store.RosterItem, exists bool) (store.Verdict, error) {
				i.Name += "x"
				return store.Keep, nil
			})
			if err != nil {
				t.Error(err)
			}
			versions[w*each+n] = v
		}
	})
	equal(t, "updates kept", len(roster(t, s, "anna").Items[0].Name), writers*each)
	slices.Sort(versions[:])
	if len(slices.Compact(versions[:])) != writers*each {
		t.Fatal("two changes have one version")
	}
}

func testRosterLimitRace(t *testing.T, s store.Store) {
	const max = 10
	var kept atomic.Int32
	inParallel(30, func(i int) {
		_, err := s.UpdateItem(t.Context(), "anna", fmt.Sprintf("u%d@x", i), max, func(i *store.RosterItem, _ bool) (store.Verdict, error) {
			i.Created = time.Now()
			return store.Keep, nil
		})
		if err == nil {
			kept.Add(1)
		} else if !errors.Is(err, store.ErrFull) {
			t.Error(err)
		}
	})
	equal(t, "items let in", kept.Load(), max)
	equal(t, "items there", len(roster(t, s, "anna").Items), max)
}

func testMutual(t *testing.T, s store.Store) {
	got, err := s.Mutual(t.Context(), "anna")
	must(t, err)
	equal(t, "of a user without any", len(got), 0)
	for i, sub := range []store.Subscription{store.SubBoth, store.SubTo, store.SubFrom, store.SubNone, store.SubBoth, store.SubBoth} {
		keepItem(t, s, "anna", store.RosterItem{JID: fmt.Sprintf("%c@x", 'f'-i), Sub: sub})
	}
	keepItem(t, s, "bob", store.RosterItem{JID: "z@x", Sub: store.SubBoth})
	got, err = s.Mutual(t.Context(), "anna")
	must(t, err)
	if !slices.Equal(got, []string{"a@x", "b@x", "f@x"}) {
		t.Fatalf("mutual %q", got)
	}
}
