package storecopy

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/memory"
	"chatd/store/riak"
	"chatd/store/riak/riaktest"
	"chatd/store/sqlstore"
)

func openMemory(t *testing.T) store.Store { return memory.New() }

func openSQLite(t *testing.T) store.Store {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "chatd.db"), Durability: "normal"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func openRiak(t *testing.T) store.Store {
	t.Helper()
	double := riaktest.Start(t, riaktest.Config{Types: map[string]string{"chatd": `{"props":{"n_val":3,"allow_mult":true}}`}})
	s, err := riak.Open(t.Context(), riak.Config{Nodes: double.Addrs()})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var noon = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

// fill puts something of every domain into a store.
func fill(t *testing.T, s store.Store, users int) {
	t.Helper()
	ctx := t.Context()
	for i := range users {
		user := fmt.Sprintf("user%03d", i)
		r := store.Record{User: user, LastSeq: int64(i % 7)}
		if i%5 != 0 {
			r.Account = &store.Account{User: user, Created: noon, Disabled: i%9 == 1, Credentials: []store.Credential{
				{Mechanism: "SCRAM-SHA-256", Salt: []byte{0, byte(i)}, Iterations: 4096, StoredKey: []byte("stored"), ServerKey: []byte("server")}}}
			r.Account.Tokens = []store.LoginToken{{Client: "phone", Mechanism: "HT-SHA-256-NONE", Nonce: []byte(user), Issued: noon, Expires: noon.Add(time.Hour)}}
			r.Roster = store.Roster{Version: int64(i + 1), Items: []store.RosterItem{
				{JID: "a@x", Name: "Ä", Groups: []string{"g", ""}, Sub: store.SubBoth, Created: noon},
				{JID: "b@x", Hidden: true, PendingIn: true, Request: []byte("<presence/>"), Message: "hi"}}}
			r.VCard = []byte("<vCard/>")
		}
		r.Blocked = []string{"spam.test", "troll@x"}[:i%3]
		r.Privacy.Messages = store.Audience(i % 4)
		if i%2 == 0 {
			r.Notes = []store.Note{{JID: "a@x", Text: "duo", Created: noon}}
			r.Private = []store.PrivateElement{{Space: "ns", Local: "a", XML: []byte("<a xmlns='ns'/>")}}
			r.LastActivity = &store.LastActivity{At: noon, Status: "bye"}
		}
		must(t, s.PutRecord(ctx, r))
		for n := range r.LastSeq {
			if n != 2 { // one was handed over
				must(t, s.PutOffline(ctx, user, []store.OfflineMessage{{Seq: n + 1, Stored: noon, Stanza: fmt.Appendf(nil, "<message>%d</message>", n)}}))
			}
		}
	}
	for i := range 3 {
		room := fmt.Sprint("room", i)
		must(t, s.CreateRoom(ctx, store.Room{Name: room, Config: []byte("{}"), Subject: []byte("<message/>")[:10*i/2], Created: noon},
			[]store.Affiliation{{JID: "a@x", As: "owner", Nick: "A"}, {JID: "b@x", As: "outcast", Reason: "spam"}}))
		for n := range i * 130 {
			_, err := s.AppendHistory(ctx, room, store.HistoryMessage{ID: fmt.Sprint("id", n), Stored: noon, Stanza: fmt.Appendf(nil, "<message>%d</message>", n)}, 200)
			must(t, err)
		}
		_, err := s.Post(ctx, []store.Posting{{Queue: "a", Event: store.Event{ID: fmt.Sprint(i), Type: "t", Key: "k", Queued: noon, Body: []byte("{}")}}, {Queue: "b"}})
		must(t, err)
	}
	must(t, s.RemoveEvents(ctx, "a", []int64{2}))
}

func sums(t *testing.T, s store.Store) *Sums {
	t.Helper()
	sums, err := Summed(t.Context(), s, new(Done))
	must(t, err)
	return sums
}

func expectSame(t *testing.T, a, b store.Store) {
	t.Helper()
	for d, want := range sums(t, a).All() {
		if got := sums(t, b).All()[d]; got != want {
			t.Fatalf("%s: %d %s, want %d %s", want.Domain, got.Count, got.Checksum(), want.Count, want.Checksum())
		}
	}
}

func TestCopy(t *testing.T) {
	for _, test := range []struct {
		name     string
		from, to func(*testing.T) store.Store
	}{
		{"memory to SQLite", openMemory, openSQLite},
		{"SQLite to memory", openSQLite, openMemory},
		{"SQLite to SQLite", openSQLite, openSQLite},
		{"SQLite to Riak", openSQLite, openRiak},
		{"Riak to SQLite", openRiak, openSQLite},
	} {
		t.Run(test.name, func(t *testing.T) {
			from, to := test.from(t), test.to(t)
			fill(t, from, 50)
			for _, s := range sums(t, from).All() {
				if s.Count == 0 {
					t.Errorf("the test has no %s", s.Domain)
				}
			}
			c := Copy{From: from, To: to}
			must(t, c.Run(t.Context()))
			expectSame(t, from, to)
			n, err := c.Count(t.Context())
			must(t, err)
			if got := c.Done.Names.Load(); got != n {
				t.Errorf("%d of %d names done", got, n)
			}
		})
	}
}

// TestSumsDiffer: a change in anything changes the sum of its domain, and of no other.
func TestSumsDiffer(t *testing.T) {
	ctx := t.Context()
	for d, change := range map[domain]func(store.Store) error{
		accounts: func(s store.Store) error { return s.SetDisabled(ctx, "user001", false) },
		blocked:  func(s store.Store) error { return s.Unblock(ctx, "user001", nil) },
		notes: func(s store.Store) error {
			return s.UpdateNotes(ctx, "user002", func([]store.Note) ([]store.Note, error) { return nil, nil })
		},
		privacies:      func(s store.Store) error { return s.SetPrivacy(ctx, "user001", store.Privacy{Requests: store.Nobody}) },
		privateXML:     func(s store.Store) error { return s.SetPrivateXML(ctx, "user002", "ns", "a", []byte("<a/>"), 0) },
		vCards:         func(s store.Store) error { return s.SetVCard(ctx, "user002", nil) },
		lastActivities: func(s store.Store) error { return s.SetLastActivity(ctx, "user002", store.LastActivity{At: noon}) },
		messages:       func(s store.Store) error { return s.RemoveOffline(ctx, "user002", []int64{1}) },
		events:         func(s store.Store) error { return s.RemoveEvents(ctx, "a", []int64{1}) },
		rooms: func(s store.Store) error {
			return s.UpdateRoom(ctx, "room1", func(r *store.Room) error { r.Config = nil; return nil })
		},
		affiliations: func(s store.Store) error {
			return s.SetAffiliations(ctx, "room1", []store.Affiliation{{JID: "b@x", As: "none"}})
		},
		history: func(s store.Store) error { return s.ReplaceHistory(ctx, "room1", "id5", []byte("<message/>")) },
	} {
		s := memory.New()
		fill(t, s, 5)
		before := sums(t, s)
		must(t, change(s))
		after := sums(t, s)
		for other, want := range before.All() {
			if got := after.All()[other]; (got != want) != (domain(other) == d) {
				t.Errorf("after a change of %s, the sum of %s changed: %v", d, want.Domain, got != want)
			}
		}
	}
}

// A failing store breaks off after some writes, in the middle of what is written.
type failing struct {
	store.Store
	left atomic.Int64
}

var errBroken = errors.New("broken off")

func (f *failing) PutRecord(ctx context.Context, r store.Record) error {
	if f.left.Add(-1) < 0 {
		return errBroken
	}
	return f.Store.PutRecord(ctx, r)
}

func (f *failing) PutOffline(ctx context.Context, user string, page []store.OfflineMessage) error {
	if f.left.Add(-1) < 0 {
		return errors.Join(f.Store.PutOffline(ctx, user, page[:len(page)/2]), errBroken)
	}
	return f.Store.PutOffline(ctx, user, page)
}

func (f *failing) AppendHistory(ctx context.Context, room string, m store.HistoryMessage, max int) (int64, error) {
	if m.ID == "id100" && f.left.Add(-1) < 0 {
		return 0, errBroken
	}
	return f.Store.AppendHistory(ctx, room, m, max)
}

func (f *failing) PutEvents(ctx context.Context, q store.Queue, page []store.Event) error {
	if f.left.Add(-1) < 0 {
		return errBroken
	}
	return f.Store.PutEvents(ctx, q, page)
}

func TestResume(t *testing.T) {
	from := memory.New()
	fill(t, from, 30)
	for i := range 250 { // some pages
		_, err := from.AppendOffline(t.Context(), "user001", store.OfflineMessage{Stored: noon, Stanza: fmt.Append(nil, i)}, 0)
		must(t, err)
	}
	to := &failing{Store: openSQLite(t)}
	for attempt, left := 0, int64(1); ; attempt, left = attempt+1, left+3 {
		to.left.Store(left)
		err := (&Copy{From: from, To: to, Resume: attempt > 0}).Run(t.Context())
		if err == nil {
			if attempt < 3 {
				t.Fatalf("broken off %d times only", attempt)
			}
			break
		}
		if !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		empty, err := isEmpty(t.Context(), to)
		must(t, err)
		if err := (&Copy{From: from, To: to}).Run(t.Context()); !empty && err != ErrNotEmpty {
			t.Fatalf("without Resume: %v", err)
		}
	}
	expectSame(t, from, to)

	// Nothing is left to write.
	to.left.Store(3) // but the two queues and their events
	must(t, from.RemoveEvents(t.Context(), "b", []int64{1, 2, 3}))
	must(t, (&Copy{From: from, To: to, Resume: true}).Run(t.Context()))
	expectSame(t, from, to)
}

// TestResumeLater: the source was used again after a copy was broken off.
func TestResumeLater(t *testing.T) {
	ctx := t.Context()
	from, to := memory.New(), openSQLite(t)
	fill(t, from, 30)
	must(t, (&Copy{From: from, To: to}).Run(ctx))
	must(t, from.RemoveOffline(ctx, "user006", []int64{1}))
	must(t, from.SetVCard(ctx, "user007", []byte("<vCard>new</vCard>")))
	_, err := from.AppendOffline(ctx, "user008", store.OfflineMessage{Stanza: []byte("new")}, 0)
	must(t, err)
	must(t, from.DeleteAccount(ctx, "user011"))
	must(t, from.SetAffiliations(ctx, "room2", []store.Affiliation{{JID: "c@x", As: "member"}}))
	_, err = from.Post(ctx, []store.Posting{{Queue: "a"}, {Queue: "new"}})
	must(t, err)
	must(t, (&Copy{From: from, To: to, Resume: true}).Run(ctx))
	expectSame(t, from, to)
}

func TestForeignTarget(t *testing.T) {
	ctx := t.Context()
	from, to := memory.New(), memory.New()
	fill(t, from, 10)
	must(t, to.SetVCard(ctx, "stranger", []byte("<vCard/>")))
	must(t, to.SetVCard(ctx, "user001", []byte("<vCard>other</vCard>")))
	must(t, to.CreateRoom(ctx, store.Room{Name: "strange"}, nil))
	if err := (&Copy{From: from, To: to}).Run(ctx); err != ErrNotEmpty {
		t.Fatal(err)
	}
	err := (&Copy{From: from, To: to, Resume: true}).Run(ctx)
	if !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), `"stranger"`) {
		t.Fatal(err)
	}
	names, err := to.Names(ctx, "", 100)
	must(t, err)
	rooms, err := to.ListRooms(ctx, "", 100)
	must(t, err)
	if !slices.Equal(names, []string{"stranger", "user001"}) || !slices.Equal(rooms, []string{"strange"}) {
		t.Fatalf("a refused copy wrote: %q", names)
	}
	must(t, (&Copy{From: from, To: to, Force: true}).Run(ctx))
	expectSame(t, from, to)
}

// TestSameStore: a store may have two names, by which nobody can tell that it is copied onto itself.
func TestSameStore(t *testing.T) {
	s, before := memory.New(), memory.New()
	fill(t, s, 10)
	fill(t, before, 10)
	must(t, (&Copy{From: s, To: s, Force: true}).Run(t.Context()))
	expectSame(t, before, s)
}

// A growing store is written to while it is copied.
type growing struct{ store.Store }

func (g growing) Record(ctx context.Context, user string) (store.Record, error) {
	r, err := g.Store.Record(ctx, user)
	if err == nil {
		_, err = g.AppendOffline(ctx, user, store.OfflineMessage{}, 0)
	}
	return r, err
}

func TestSourceInUse(t *testing.T) {
	from := memory.New()
	fill(t, from, 10)
	err := (&Copy{From: growing{from}, To: memory.New()}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "somebody writes to the source") {
		t.Fatal(err)
	}
}
