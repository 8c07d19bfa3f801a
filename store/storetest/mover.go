package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"chatd/store"
)

func record(t *testing.T, s store.Store, user string) store.Record {
	t.Helper()
	r, err := s.Record(t.Context(), user)
	must(t, err)
	return r
}

func names(t *testing.T, s store.Store, after string, limit int) []string {
	t.Helper()
	names, err := s.Names(t.Context(), after, limit)
	must(t, err)
	return names
}

// fullRecord has something in every field, with no more precision than is kept.
func fullRecord(user string) store.Record {
	a := account(user)
	a.Created, a.Tokens, a.Disabled = createdKept, tokens(user), true
	for i := range a.Tokens {
		a.Tokens[i].Issued, a.Tokens[i].Expires = a.Tokens[i].Issued.UTC().Truncate(time.Second), a.Tokens[i].Expires.UTC().Truncate(time.Second)
	}
	return store.Record{
		User:    user,
		Account: &a,
		Roster: store.Roster{Version: 1 << 60, Items: []store.RosterItem{
			{JID: "a@x", Name: "Ä <&>", Groups: []string{"g", ""}, Sub: store.SubBoth, Approved: true, Created: createdKept},
			{JID: "b@x", Hidden: true, PendingIn: true, Request: []byte("<presence/>\x00"), Message: "hi", Created: createdKept},
			{JID: "c@x", Sub: store.SubFrom, Ask: true},
		}},
		Blocked:      []string{"spam.test", "troll@x"},
		Notes:        []store.Note{{JID: "a@x", Text: "duo\n", Created: createdKept}, {JID: "z@x", Modified: createdKept}},
		Privacy:      store.Privacy{Messages: store.Friends, Requests: store.Nobody},
		Private:      []store.PrivateElement{{Space: "ns", Local: "a", XML: []byte("<a xmlns='ns'/>")}, {Space: "ns:b", Local: "a", XML: []byte{0}}},
		VCard:        []byte("<vCard/>"),
		LastActivity: &store.LastActivity{At: createdKept, Status: "bye"},
		LastSeq:      7,
	}
}

// expectRecord takes missing and empty lists for the same.
func expectRecord(t *testing.T, s store.Store, want store.Record) {
	t.Helper()
	got := record(t, s, want.User)
	for _, r := range []*store.Record{&got, &want} {
		r.Roster.Items = append([]store.RosterItem{}, r.Roster.Items...)
		for i := range r.Roster.Items {
			item := &r.Roster.Items[i]
			item.Groups, item.Request = append([]string{}, item.Groups...), append([]byte{}, item.Request...)
		}
		r.Blocked, r.VCard = append([]string{}, r.Blocked...), append([]byte{}, r.VCard...)
		r.Notes, r.Private = append([]store.Note{}, r.Notes...), append([]store.PrivateElement{}, r.Private...)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func testNames(t *testing.T, s store.Store) {
	ctx := t.Context()
	if got := names(t, s, "", 10); len(got) != 0 {
		t.Fatalf("names in an empty store: %q", got)
	}
	// One for each domain that may be all that there is of a name.
	must(t, s.CreateAccount(ctx, account("account")))
	keepItem(t, s, "roster", store.RosterItem{JID: "a@x"})
	keepItem(t, s, "hidden", store.RosterItem{JID: "a@x", Hidden: true})
	must(t, s.Block(ctx, "blocked", []string{"a@x", "b@x"}, 0))
	setNotes(t, s, "notes", store.Note{JID: "a@x"})
	must(t, s.SetPrivacy(ctx, "privacy", store.Privacy{Requests: store.Nobody}))
	for i := range 3 {
		appendText(t, s, "offline", fmt.Sprint(i), 0)
		must(t, s.SetPrivateXML(ctx, "private", "ns", fmt.Sprint(i), []byte("<a/>"), 0))
	}
	must(t, s.SetVCard(ctx, "vcard", []byte("<vCard/>")))
	must(t, s.SetLastActivity(ctx, "last", store.LastActivity{At: created}))
	// What keeps numbers from repeating outlives an account.
	must(t, s.CreateAccount(ctx, account("gone")))
	fill(t, s, "gone")
	must(t, s.DeleteAccount(ctx, "gone"))
	want := []string{"account", "roster", "hidden", "blocked", "notes", "privacy", "offline", "private", "vcard", "last", "gone"}
	for _, text := range oddTexts() {
		must(t, s.SetVCard(ctx, text, []byte("<vCard/>")))
		want = append(want, text)
	}
	slices.Sort(want)
	var got []string
	for after := ""; ; after = got[len(got)-1] {
		page := names(t, s, after, 4)
		if len(page) == 0 {
			break
		}
		if len(page) > 4 {
			t.Fatalf("page of %d", len(page))
		}
		got = append(got, page...)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
	for _, limit := range []int{0, -1} {
		equal(t, fmt.Sprintf("names for limit %d", limit), len(names(t, s, "", limit)), 0)
	}
}

func testRecord(t *testing.T, s store.Store) {
	ctx := t.Context()
	expectRecord(t, s, store.Record{User: "nobody"})
	empty := record(t, s, "nobody")
	equal(t, "empty", empty.Empty(), true)
	must(t, s.CreateAccount(ctx, account("anna")))
	fill(t, s, "anna")
	a, err := s.Account(ctx, "anna")
	must(t, err)
	last, err := s.LastActivity(ctx, "anna")
	must(t, err)
	r := record(t, s, "anna")
	equal(t, "empty", r.Empty(), false)
	want := store.Record{
		User: "anna", Account: &a, Roster: roster(t, s, "anna"), Blocked: []string{"troll@chat.test"},
		Notes: []store.Note{{JID: "friend@chat.test", Text: "duo"}}, Privacy: store.Privacy{Messages: store.Nobody},
		Private: []store.PrivateElement{{Space: "ns", Local: "notes", XML: []byte("<notes/>")}},
		VCard:   []byte("<vCard/>"), LastActivity: &last, LastSeq: page(t, s, "anna", 0, 1)[0].Seq,
	}
	expectRecord(t, s, want)
}

func testPutRecord(t *testing.T, s store.Store) {
	ctx := t.Context()
	must(t, s.CreateAccount(ctx, account("anna")))
	must(t, s.CreateAccount(ctx, account("ann")))
	fill(t, s, "anna")
	fill(t, s, "ann")
	untouched := record(t, s, "ann")
	for range 2 { // in the place of others, and of the same
		must(t, s.PutRecord(ctx, fullRecord("anna")))
		expectRecord(t, s, fullRecord("anna"))
		expectWaiting(t, s, "anna")
	}
	expectRecord(t, s, untouched)
	expectWaiting(t, s, "ann", "<message/>")

	// It lives on: numbers grow from where they were.
	equal(t, "version grows", keepItem(t, s, "anna", store.RosterItem{JID: "new@x"}) > 1<<60, true)
	seq, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{Stanza: []byte("next")}, 1)
	must(t, err)
	if last := record(t, s, "anna").LastSeq; seq <= 7 || last != seq {
		t.Fatalf("next seq %d behind 7, the last is %d", seq, last)
	}
	must(t, s.SetDisabled(ctx, "anna", false))

	for _, partial := range []store.Record{
		{User: "anna", VCard: []byte("<vCard/>")},
		{User: "anna", LastSeq: 12, Roster: store.Roster{Version: 3}},
		{User: "anna", Roster: store.Roster{Items: []store.RosterItem{{JID: "a@x", Hidden: true}}}},
	} {
		must(t, s.PutRecord(ctx, partial))
		expectRecord(t, s, partial)
		expectWaiting(t, s, "anna")
	}
	must(t, s.PutRecord(ctx, store.Record{User: "anna"}))
	if got := names(t, s, "", 10); !slices.Equal(got, []string{"ann"}) {
		t.Fatalf("names after an empty record: %q", got)
	}
}

func testPutRecordSilently(t *testing.T, s store.Store) {
	s.Announce(&announcer{})
	must(t, s.PutRecord(t.Context(), fullRecord("anna")))
	expectEvents(t, s, "q")
}

func testPutOffline(t *testing.T, s store.Store) {
	ctx := t.Context()
	number := func(seqs ...int64) (messages []store.OfflineMessage) {
		for _, seq := range seqs {
			messages = append(messages, store.OfflineMessage{Seq: seq, Stored: created, Stanza: fmt.Append(nil, seq), ID: fmt.Sprint("id ", seq)})
		}
		return messages
	}
	must(t, s.PutRecord(ctx, store.Record{User: "anna", LastSeq: 100}))
	must(t, s.PutOffline(ctx, "anna", nil))
	expectWaiting(t, s, "anna")
	must(t, s.PutOffline(ctx, "anna", number(90, 3, 5)))
	must(t, s.PutOffline(ctx, "anna", number(3, 4, 90))) // some of them again
	all := expectWaiting(t, s, "anna", "3", "4", "5", "90")
	for i, want := range []int64{3, 4, 5, 90} {
		equal(t, "seq", all[i].Seq, want)
		equal(t, "stored", all[i].Stored, created.UTC().Truncate(time.Millisecond))
	}
	for _, m := range all {
		equal(t, "id", m.ID, fmt.Sprint("id ", m.Seq))
	}
	seq, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{ID: "id 90", Again: true}, 0)
	must(t, err)
	equal(t, "seq of what is there", seq, 90)
	must(t, s.PutOffline(ctx, "anna", []store.OfflineMessage{{Seq: 4, ID: "four", Stanza: []byte("other")}}))
	if seq, err := s.AppendOffline(ctx, "anna", store.OfflineMessage{ID: "four", Again: true}, 0); err != nil || seq != 4 {
		t.Fatalf("the message that moved with its id has number %d, %v", seq, err)
	}
	must(t, s.RemoveOffline(ctx, "anna", []int64{3}))
	appendText(t, s, "anna", "new", 4)
	all = expectWaiting(t, s, "anna", "other", "5", "90", "new")
	if next := all[3].Seq; next <= 100 || next != record(t, s, "anna").LastSeq {
		t.Fatalf("next seq %d behind 100, the last is %d", next, record(t, s, "anna").LastSeq)
	}
}

func testPutEvents(t *testing.T, s store.Store) {
	ctx := t.Context()
	expectQueues := func(want ...store.Queue) {
		t.Helper()
		got, err := s.Queues(ctx)
		must(t, err)
		if !slices.Equal(got, want) {
			t.Fatalf("queues %v, want %v", got, want)
		}
	}
	expectQueues()
	event := func(seq int64) store.Event {
		return store.Event{Seq: seq, ID: fmt.Sprint(seq), Type: "type", Key: "key", Queued: created.UTC().Truncate(time.Millisecond), Fault: "fault", Body: []byte("body")}
	}
	q := store.Queue{Name: "q", LastSeq: 9}
	must(t, s.PutEvents(ctx, q, nil))
	must(t, s.PutEvents(ctx, store.Queue{Name: "Q", LastSeq: 3}, nil))
	must(t, s.PutEvents(ctx, store.Queue{Name: "Q"}, nil))
	expectQueues(store.Queue{Name: "Q"}, q)
	for range 2 {
		must(t, s.PutEvents(ctx, q, []store.Event{event(7), event(2)}))
	}
	must(t, s.PutEvents(ctx, q, []store.Event{event(3)}))
	all := expectEvents(t, s, "q", "2", "3", "7")
	if !reflect.DeepEqual(all[2], event(7)) {
		t.Fatalf("got %+v, want %+v", all[2], event(7))
	}
	must(t, s.RemoveEvents(ctx, "q", []int64{3}))
	post(t, s, posting("q", "new", 3))
	all = expectEvents(t, s, "q", "2", "7", "new")
	if all[2].Seq < 10 {
		t.Fatalf("next seq %d behind 9", all[2].Seq)
	}
	expectQueues(store.Queue{Name: "Q"}, store.Queue{Name: "q", LastSeq: all[2].Seq})
	held, err := s.LeaseQueue(ctx, "q", "me", created, created.Add(time.Hour))
	must(t, err)
	equal(t, "held", held, true)
}
