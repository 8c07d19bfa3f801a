package roster

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// A far is a resource that is connected to another node.
type far struct {
	*client
	node  string
	flags router.Flags
}

func (f *far) Node() string { return f.node }

// nodes are the others of a cluster.
type nodes struct {
	router.Elsewhere
	all []*far
}

func (n *nodes) Rows(rows []router.Row, user stanza.JID) []router.Row {
	for _, f := range n.all {
		if f.jid.Bare() == user.Bare() {
			rows = append(rows, router.Row{Session: f, Available: true, Remote: true, Flags: f.flags})
		}
	}
	return rows
}

// remote is an available resource on another node.
func (w *world) remote(jid, node string) *far {
	n, ok := w.r.Table.Elsewhere.(*nodes)
	if !ok {
		n = &nodes{Elsewhere: w.r.Table.Elsewhere}
		w.r.Table.Elsewhere = n
	}
	f := &far{client: &client{w: w, jid: stanza.MustJID(jid)}, node: node}
	n.all = append(n.all, f)
	return f
}

// A silent store does not answer about rosters while it is down.
type silent struct {
	Store
	down atomic.Bool
}

func (s *silent) Roster(ctx context.Context, user string) (store.Roster, error) {
	if s.down.Load() {
		return store.Roster{}, store.ErrUnavailable
	}
	return s.Store.Roster(ctx, user)
}

func gone(jids ...string) func(stanza.JID) []stanza.JID {
	all := make(map[stanza.JID][]stanza.JID)
	for _, text := range jids {
		jid := stanza.MustJID(text)
		all[jid.Bare()] = append(all[jid.Bare()], jid)
	}
	return func(user stanza.JID) []stanza.JID { return all[user] }
}

func unavailable(from, to string) string {
	return "<presence from='" + from + "' to='" + to + "' type='unavailable'/>"
}

// TestLost: RFC 6121 §4.5.2 for all who were on a node.
func TestLost(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	w.given("juliet", "nurse@chat.test", toOnly) // seen by her
	w.given("nurse", juliet, fromOnly)
	w.given("juliet", "tybalt@chat.test", fromOnly) // sees her
	w.given("tybalt", juliet, toOnly)
	j, silent := w.login(juliet+"/balcony"), w.connect(juliet+"/silent")
	r := w.login(romeo + "/street") // is here again
	j.take()
	w.s.Lost(t.Context(), gone(romeo+"/orchard", romeo+"/street", "nurse@chat.test/kitchen", "tybalt@chat.test/square", "stranger@chat.test/x", juliet+"/phone"))
	j.expect(unavailable(juliet+"/phone", juliet), unavailable("nurse@chat.test/kitchen", juliet), unavailable(romeo+"/orchard", juliet))
	silent.expect()
	r.expect(unavailable(romeo+"/orchard", romeo), unavailable(juliet+"/phone", romeo))

	j.state.Blocked.Store(router.NewBlocklist([]string{romeo}))
	w.s.Lost(t.Context(), gone(romeo+"/orchard"))
	j.expect()

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	w.s.Lost(ended, gone("nurse@chat.test/kitchen"))
	j.expect()
}

// TestLostWithoutStore: who is known in memory is told of at once, the rest when the store answers again.
func TestLostWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.friends("juliet", "romeo")
		w.given("juliet", "nurse@chat.test", toOnly)
		w.given("nurse", juliet, fromOnly)
		j := w.login(juliet + "/balcony")
		db := &silent{Store: w.s.store}
		w.s.store = db
		db.down.Store(true)
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		lost := func() {
			w.s.Lost(ctx, gone(romeo+"/orchard", "nurse@chat.test/kitchen"))
			close(done)
		}
		go lost()
		synctest.Wait()
		j.expect(unavailable(romeo+"/orchard", juliet))
		time.Sleep(5 * patience)
		synctest.Wait()
		j.expect() // asked for again, and told nothing twice
		db.down.Store(false)
		<-done
		j.expect(unavailable("nurse@chat.test/kitchen", juliet), unavailable(romeo+"/orchard", juliet))

		db.down.Store(true)
		w.s.lists.forget(stanza.MustJID(juliet), false)
		done = make(chan struct{})
		go lost()
		synctest.Wait()
		cancel()
		<-done // it ends with its context
	})
}

// TestAppeared: who comes to another node just after somebody became available here, and so was not known here yet, is told; a second later it is not.
func TestAppeared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.s.Nodes = true
		w.friends("juliet", "romeo")
		j := w.login(juliet + "/balcony")
		for _, late := range []bool{false, true} {
			if late {
				time.Sleep(2 * missedFor)
			}
			orchard := w.remote(romeo+"/orchard", "b")
			stranger := w.remote("nurse@chat.test/kitchen", "b")
			for _, f := range []*far{orchard, stranger} {
				if tell := w.s.Appeared(f.jid); tell != nil {
					tell(t.Context())
				}
			}
			if late {
				orchard.expect()
			} else {
				orchard.expect(j.seenBy(romeo, "", ""), "<presence from='"+juliet+"/balcony' to='"+romeo+"' type='probe'/>")
			}
			stranger.expect()
		}
	})
}

// TestCameHere: a session that comes from another node just after one of its contacts became available here, and asked for it there, sees that one and is seen.
func TestCameHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.s.Nodes = true
		w.friends("juliet", "romeo")
		orchard := w.login(romeo + "/orchard")
		time.Sleep(2 * missedFor)
		j := w.login(juliet + "/balcony")
		orchard.take()
		j.take()
		w.s.Appeared(orchard.jid)(t.Context())
		orchard.expect(j.seenBy(romeo, "", ""))
		j.expect(orchard.seenBy(juliet, "", ""))
		time.Sleep(2 * missedFor)
		if w.s.Appeared(orchard.jid) != nil {
			t.Error("it is told of who has long been there")
		}
	})
}

// TestOutlived: a session ends for one of the same resource on a node that has just come, before the rows of that are seen here. Who was told of the end asks
// there; a second later, or of another node, nobody does.
func TestOutlived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.s.Nodes = true
		w.friends("juliet", "romeo")
		orchard := w.login(romeo + "/orchard")
		j := w.login(juliet + "/balcony")
		j.end()
		there := w.remote(juliet+"/balcony", "b")
		w.s.Found(t.Context(), "c")
		there.expect()
		w.s.Found(t.Context(), "b")
		there.expect(orchard.seenBy(juliet, "", ""), "<presence from='"+romeo+"/orchard' to='"+juliet+"' type='probe'/>")
		time.Sleep(2 * lostFor)
		w.s.Found(t.Context(), "b")
		there.expect(orchard.seenBy(juliet, "", ""))
	})
}

// TestOutlivedNode: users here are told that a resource is gone with its node, and hear only then that its session had moved to another one before. They ask there;
// for one that has logged in there they do not, and not later.
func TestOutlivedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			flags router.Flags
			pause time.Duration
			asked bool
		}{{router.Resumed, 0, true}, {0, 0, false}, {router.Resumed, 2 * lostFor, false}} {
			w := newWorld(t, Config{})
			w.s.Nodes = true
			w.friends("juliet", "romeo")
			orchard := w.login(romeo + "/orchard")
			time.Sleep(2 * missedFor)
			w.s.Lost(t.Context(), gone(juliet+"/balcony"))
			orchard.expect(unavailable(juliet+"/balcony", romeo))
			time.Sleep(c.pause)
			there := w.remote(juliet+"/balcony", "b")
			there.flags = c.flags
			tell := w.s.Appeared(there.jid)
			if (tell != nil) != c.asked {
				t.Fatalf("%+v: is to be asked: %t", c, tell != nil)
			}
			if tell != nil {
				tell(t.Context())
				there.expect("<presence from='" + romeo + "/orchard' to='" + juliet + "' type='probe'/>")
			}
		}
	})
}

// TestCameBack: a resource's session here ended, its next one was on another node and has come here. Contacts are told of it, as they may hear of the end of the first one
// only now; of one that ended long ago they are not.
func TestCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.s.Nodes = true
		w.friends("juliet", "romeo")
		there := w.remote(juliet+"/balcony", "b")
		for _, late := range []bool{false, true} {
			orchard := w.login(romeo + "/orchard")
			orchard.end()
			if late {
				time.Sleep(2 * lostFor)
			}
			orchard = w.login(romeo + "/orchard") // as if it had come
			time.Sleep(2 * missedFor)
			there.take()
			if tell := w.s.Appeared(orchard.jid); tell != nil {
				tell(t.Context())
			}
			if late {
				there.expect()
			} else {
				there.expect(orchard.seenBy(juliet, "", ""))
			}
			orchard.end()
			time.Sleep(2 * lostFor)
			there.take()
		}
	})
}

// TestFoundByStrayed: a session that has come here during a split asks each node that comes for its contacts there.
func TestFoundByStrayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.s.Nodes = true
		w.friends("juliet", "romeo")
		orchard := w.login(romeo + "/orchard")
		there := w.remote(juliet+"/balcony", "b")
		w.s.Found(t.Context(), "b")
		there.expect(orchard.seenBy(juliet, "", ""))
		orchard.State().Strayed.Store(true)
		w.s.Found(t.Context(), "b")
		there.expect(orchard.seenBy(juliet, "", ""), orchard.seenBy(juliet, "", ""), "<presence from='"+romeo+"/orchard' to='"+juliet+"' type='probe'/>")
		time.Sleep(2 * missedFor)
	})
}

// TestProbeIsNotSentOn: a probe of a resource elsewhere is answered here, and by its own node's doing by the others. Else those of two users who are both on
// two nodes would go to and fro for ever.
func TestProbeIsNotSentOn(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	j, orchard := w.login(juliet+"/balcony"), w.login(romeo+"/orchard")
	phone, street := w.remote(juliet+"/phone", "b"), w.remote(romeo+"/street", "b")
	j.take()
	street.take()
	probe := func(from string) *stanza.Stanza {
		return &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Probe, From: stanza.MustJID(from), To: stanza.MustJID(romeo)}
	}
	w.s.Probe(t.Context(), nil, probe(juliet+"/phone"))
	phone.expect(orchard.seenBy(juliet+"/phone", "", ""))
	street.expect()
	w.s.Probe(t.Context(), nil, probe(juliet+"/balcony"))
	j.expect(orchard.seenBy(juliet+"/balcony", "", ""))
	street.expect("<presence from='" + juliet + "/balcony' to='" + romeo + "' type='probe'/>")
}

// TestOwed: whom a node could not answer, since the store did not, is told when it does.
func TestOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.s.Nodes, w.s.Serving = true, t.Context()
		w.friends("juliet", "romeo")
		j, orchard := w.login(juliet+"/balcony"), w.remote(romeo+"/orchard", "b")
		db := &silent{Store: w.s.store}
		w.s.store = db
		db.down.Store(true)
		w.s.Forget(j.jid)
		orchard.take()
		w.s.Probe(t.Context(), nil, &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Probe, From: orchard.jid, To: j.jid.Bare()})
		time.Sleep(5 * patience)
		synctest.Wait()
		orchard.expect()
		if !j.state.Strayed.Load() {
			t.Error("if it moved now nobody would know")
		}
		db.down.Store(false)
		time.Sleep(2*patience + missedFor)
		synctest.Wait()
		if j.state.Strayed.Load() {
			t.Error("it is still to be done")
		}
		orchard.expect(j.seenBy(romeo, "", ""), "<presence from='"+juliet+"/balcony' to='"+romeo+"' type='probe'/>")
		if w.s.owed.serving {
			t.Error("it goes on although nothing is owed any more")
		}
	})
}

// TestFound: RFC 6121 §4.2.2 to those on a node that has come, and nobody else.
func TestFound(t *testing.T) {
	w := newWorld(t, Config{})
	w.friends("juliet", "romeo")
	w.given("juliet", "nurse@chat.test", toOnly) // does not see her
	w.given("nurse", juliet, fromOnly)
	j, silent := w.login(juliet+"/balcony"), w.connect(juliet+"/silent")
	orchard, street, kitchen, phone := w.remote(romeo+"/orchard", "b"), w.remote(romeo+"/street", "c"), w.remote("nurse@chat.test/kitchen", "b"), w.remote(juliet+"/phone", "b")
	w.s.Found(t.Context(), "b")
	orchard.expect(j.seenBy(romeo, "", ""))
	phone.expect(j.seenBy(juliet, "", ""))
	for _, c := range []*client{street.client, kitchen.client, j, silent} {
		c.expect()
	}

	j.state.Blocked.Store(router.NewBlocklist([]string{romeo}))
	w.s.Found(t.Context(), "b")
	orchard.expect()
	phone.expect(j.seenBy(juliet, "", ""))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	w.s.Found(ended, "b")
	phone.expect()
}

// TestProbeOfWhoHasLeft: a node that is asked by another one for somebody who is not there says nothing: they may be on the way to a third one, whose answer comes first.
func TestProbeOfWhoHasLeft(t *testing.T) {
	w := newWorld(t, Config{})
	w.s.Nodes = true
	w.friends("juliet", "romeo")
	orchard, here := w.remote(romeo+"/orchard", "b"), w.login(romeo+"/street")
	here.take()
	orchard.take()
	for _, asker := range []stanza.JID{orchard.jid, stanza.MustJID(romeo + "/yet-to-be-known"), here.jid} {
		var b router.Batch
		w.s.Probe(t.Context(), &b, &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Probe, From: asker, To: stanza.MustJID(juliet)})
		b.Flush()
	}
	orchard.expect()
	here.expect("<presence from='" + juliet + "' to='" + here.jid.String() + "' type='unavailable'/>")
}
