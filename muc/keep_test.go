package muc

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatd/store"
)

// A brokenStore is one that cannot be reached now and then.
type brokenStore struct {
	store.Rooms
	down atomic.Bool
}

func (s *brokenStore) fault() error {
	if s.down.Load() {
		return store.ErrUnavailable
	}
	return nil
}

func (s *brokenStore) Room(ctx context.Context, name string) (store.Room, error) {
	if err := s.fault(); err != nil {
		return store.Room{}, err
	}
	return s.Rooms.Room(ctx, name)
}

func (s *brokenStore) UpdateRoom(ctx context.Context, name string, update func(*store.Room) error) error {
	if err := s.fault(); err != nil {
		return err
	}
	return s.Rooms.UpdateRoom(ctx, name, update)
}

func (s *brokenStore) AppendHistory(ctx context.Context, name string, m store.HistoryMessage, max int) (int64, error) {
	if err := s.fault(); err != nil {
		return 0, err
	}
	return s.Rooms.AppendHistory(ctx, name, m, max)
}

// TestMergedIsKept has one side of a split make rooms persistent of which the other side changes what only memory has: the store has all of it after the heal, also
// if it cannot be reached just then.
func TestMergedIsKept(t *testing.T) {
	for _, down := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { testMergedIsKept(t, down) })
	}
}

func testMergedIsKept(t *testing.T, down bool) {
	c := newFakeCluster(t, "a", "b")
	var stores []*brokenStore
	for _, n := range c.nodes {
		db := &brokenStore{Rooms: c.store}
		n.store = db
		stores = append(stores, db)
	}
	ann, ben := c.node("a").client("ann@chat.test/1"), c.node("b").client("ben@chat.test/1")
	rooms := []string{"r0", "r1", "r2", "r3"}
	set := func(u *fakeClient, room, ns, inner string) {
		u.says("<iq type='set' id='i' to='%s@%s'><query xmlns='%s'>%s</query></iq>", room, fakeHost, ns, inner)
		c.quiet()
	}
	const persistent = "<x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_persistentroom'><value>1</value></field></x>"
	for _, room := range rooms {
		ann.enter(room, "Ann")
		c.quiet()
		set(ann, room, nsOwner, "<x xmlns='jabber:x:data' type='submit'/>")
		ben.enter(room, "Ben")
		c.quiet()
		set(ann, room, nsAdmin, "<item affiliation='owner' jid='ben@chat.test'/><item affiliation='member' jid='eve@chat.test'/>")
	}
	c.place([]string{"a"}, []string{"a"})
	c.place([]string{"b"}, []string{"b"})
	c.quiet()
	for _, room := range rooms {
		ben.shout(room, "aside")
		ben.says("<message type='groupchat' to='%s@%s'><subject>new</subject></message>", room, fakeHost)
		c.quiet()
		set(ben, room, nsAdmin, "<item affiliation='admin' jid='cat@chat.test'/><item affiliation='none' jid='eve@chat.test'/>")
		time.Sleep(time.Second)
		set(ann, room, nsOwner, persistent)
	}
	for _, db := range stores {
		db.down.Store(down)
	}
	c.place([]string{"a", "b"}, []string{"a", "b"})
	c.quiet()
	if down {
		ann.says("<presence type='unavailable' to='%s@%s/Ann'/>", rooms[0], fakeHost) // it does not leave memory before
		ben.says("<presence type='unavailable' to='%s@%s/Ben'/>", rooms[0], fakeHost)
		c.quiet()
		for _, db := range stores {
			db.down.Store(false)
		}
		time.Sleep(2 * storeAgain)
	}
	synctest.Wait()
	for _, room := range rooms {
		rec, err := c.store.Room(t.Context(), room)
		if err != nil || !strings.Contains(string(rec.Subject), ">new<") {
			t.Errorf("%s: the store has subject %q, %v", room, rec.Subject, err)
		}
		all, err := c.store.Affiliations(t.Context(), room)
		has := func(jid, as string) bool {
			return slices.ContainsFunc(all, func(a store.Affiliation) bool { return a.JID == jid && a.As == as })
		}
		if err != nil || len(all) != 3 || !has("ann@chat.test", "owner") || !has("ben@chat.test", "owner") || !has("cat@chat.test", "admin") {
			t.Errorf("%s: the store has affiliations %v, %v", room, all, err)
		}
		page, err := c.store.HistoryPage(t.Context(), room, 0, 10)
		if err != nil || len(page) != 1 || !strings.Contains(string(page[0].Stanza), "aside") {
			t.Errorf("%s: the store has messages %v, %v", room, page, err)
		}
	}
}

// TestIslandWithoutStore has players be on an island that has neither a room's home nor its copy, nor the store: they go on talking there. What they have said is in the room's history
// when the store is back, or the island is one no more.
func TestIslandWithoutStore(t *testing.T) {
	for _, heals := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { islandWithoutStore(t, heals) })
	}
}

func islandWithoutStore(t *testing.T, heals bool) {
	c := newFakeCluster(t, "a", "b", "c")
	home := c.node(c.node("a").Home("r0"))
	second := home.Second("r0")
	i := slices.IndexFunc(c.nodes, func(n *fakeNode) bool { return n != home && n.name != second })
	island := c.nodes[i]
	db := &brokenStore{Rooms: c.store}
	island.store = db
	ann, ben, cat := home.client("ann@chat.test/1"), island.client("ben@chat.test/1"), island.client("cat@chat.test/1")
	ann.enter("r0", "Ann")
	c.quiet()
	ann.says("<iq type='set' id='u' to='r0@%s'><query xmlns='%s'><x xmlns='%s' type='submit'><field var='muc#roomconfig_persistentroom'><value>1</value></field>"+
		"<field var='muc#roomconfig_roomname'><value>Kept</value></field></x></query></iq>", fakeHost, nsOwner, nsForms)
	c.quiet()
	ben.enter("r0", "Ben")
	cat.enter("r0", "Cat")
	c.quiet()
	ben.hears("")
	db.down.Store(true)
	c.place([]string{island.name}, []string{island.name})
	c.place([]string{home.name, second}, []string{home.name, second})
	time.Sleep(2 * homeless)
	if got := ben.hears("unavailable"); len(got) != 1 || !strings.Contains(got[0], "/Ann") {
		t.Errorf("ben was told %q", got)
	}
	ben.shout("r0", "one")
	dan := island.client("dan@chat.test/1")
	dan.enter("r0", "Dan")
	time.Sleep(settling + patience) // the others are not awaited any more
	if got := dan.hears(""); len(got) != 1 || !strings.Contains(got[0], "<resource-constraint") {
		t.Errorf("dan was told %q", got)
	}
	if heals {
		c.place([]string{"a", "b", "c"}, []string{"a", "b", "c"})
	}
	db.down.Store(false)
	time.Sleep(2 * storeAgain)
	ben.shout("r0", "two")
	time.Sleep(time.Second)
	for _, u := range []*fakeClient{ben, cat} {
		all := u.hears("")
		if got := texts(slices.DeleteFunc(slices.Clone(all), func(m string) bool { return !strings.Contains(m, "<body>") })); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("%s heard %v", u.jid, got)
		}
		if strings.Contains(strings.Join(all, ""), "code='104'") {
			t.Errorf("%s is told that the room's configuration has changed", u.jid)
		}
	}
	page, err := c.store.HistoryPage(t.Context(), "r0", 0, 10)
	if err != nil || len(page) != 2 || !strings.Contains(string(page[0].Stanza), "one") || !strings.Contains(string(page[1].Stanza), "two") {
		t.Errorf("the store has messages %v, %v", page, err)
	}
	if rec, err := c.store.Room(t.Context(), "r0"); err != nil || !strings.Contains(string(rec.Config), "Kept") {
		t.Errorf("the store has the room %q, %v", rec.Config, err)
	}
}

// TestUnreadIsRestored has a node stop and start again that has a room of which the store could not be asked: it asks then, and changes nothing that another node has changed.
func TestUnreadIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, "a")
		ann := c.nodes[0].client("ann@chat.test/1")
		ann.enter("r0", "Ann")
		c.quiet()
		ann.says("<iq type='set' id='u' to='r0@%s'><query xmlns='%s'><x xmlns='%s' type='submit'><field var='muc#roomconfig_persistentroom'><value>1</value></field>"+
			"<field var='muc#roomconfig_roomname'><value>Kept</value></field></x></query></iq>", fakeHost, nsOwner, nsForms)
		c.quiet()
		x := slices.Collect(c.nodes[0].Export())[0]
		blank, err := c.nodes[0].defaults.Load().encode(newSecret())
		if err != nil {
			t.Fatal(err)
		}
		x.Config, x.Configured, x.Affiliations, x.Unread, x.Occupants[0].Sessions[0].Bound = blank, 0, nil, true, 0

		d := newFakeCluster(t, "a")
		n := d.nodes[0]
		n.store = c.store
		n.client("ann@chat.test/1")
		if err := n.Import(x); err != nil {
			t.Fatal(err)
		}
		r := n.find("r0")
		r.mu.Lock()
		if !r.unread || r.rep.configured != 0 {
			t.Errorf("the room is restored as if all were known of it")
		}
		r.mu.Unlock()
		time.Sleep(2 * storeAgain)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.unread || r.cfg.Title != "Kept" || len(r.affiliates) != 1 || len(r.all) != 1 {
			t.Errorf("the room is %+v, with %d affiliations and %d occupants", r.cfg, len(r.affiliates), len(r.all))
		}
	})
}
