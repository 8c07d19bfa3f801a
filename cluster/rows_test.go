package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"chatd/router"
	"chatd/stanza"
)

// set enters a row as a snapshot would.
func (r *Rows) set(o *Owner, row Row) {
	rec := mustRead(row.append(nil))
	r.enter(o, &rec)
}

// unset removes a row as a delta does.
func (r *Rows) unset(o *Owner, full stanza.JID) {
	rec := mustRead(appendGone(nil, full))
	r.apply(o, &rec, r.segment(o, segmentOf(r.key.text(full.Bare().String()))).last+1)
}

// of is an owner's rows, whether they are seen or not.
func (r *Rows) of(o *Owner) (rows []RemoteRow) {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.RLock()
		for _, p := range sh.pages {
			for k := range p {
				if s := &p[k]; s.size != 0 && s.owner == o.id {
					rows = append(rows, RemoteRow{sh.row(s), o})
				}
			}
		}
		sh.mu.RUnlock()
	}
	return rows
}

func mustRead(enc []byte) record {
	rec, rest, err := readRecord(enc)
	if err != nil || len(rest) > 0 {
		panic(fmt.Sprint(rec.JID, err))
	}
	return rec
}

func mustOpen(tb testing.TB, r *Rows, node string) *Owner {
	tb.Helper()
	o, err := r.open(node, 1, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return o
}

func randomRow(rng *rand.Rand, users int) Row {
	long := strings.Repeat("x", rng.IntN(40))
	return Row{
		JID:   stanza.MustJID(fmt.Sprintf("player%d@chat.test/r%d%s", rng.IntN(users), rng.IntN(3), long)),
		Bound: rng.Int64N(1000), Priority: int8(rng.IntN(5) - 2), Flags: router.Flags(rng.IntN(8)),
		Available: rng.IntN(2) == 0, Detached: rng.IntN(4) == 0,
	}
}

// TestRowsAgreeWithAModel makes random changes of several owners and compares each answer with plain maps.
func TestRowsAgreeWithAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	r := NewRows("secret")
	type slice struct {
		o    *Owner
		rows map[string]Row
		seen bool
	}
	var slices [4]slice
	for i := range slices {
		slices[i] = slice{mustOpen(t, r, fmt.Sprint("node", i)), map[string]Row{}, true}
		r.swap(slices[i].o, nil)
	}
	const users = 500
	for step := range fewer(60_000) {
		sl := &slices[rng.IntN(len(slices))]
		switch row := randomRow(rng, users); {
		case step%5_000 == 4_999:
			r.swap(nil, sl.o)
			r.reclaim(sl.o)
			if n := sl.o.Len(); n != 0 {
				t.Fatal(n, "rows left of an owner that was reclaimed")
			}
			*sl = slice{mustOpen(t, r, sl.o.Node), map[string]Row{}, true}
			r.swap(sl.o, nil)
		case rng.IntN(5_000) == 0:
			if sl.seen = !sl.seen; sl.seen {
				r.swap(sl.o, nil)
			} else {
				r.swap(nil, sl.o)
			}
		case rng.IntN(5) < 2 && len(sl.rows) > 0:
			for full := range sl.rows {
				row.JID = stanza.MustJID(full)
				break
			}
			r.unset(sl.o, row.JID)
			delete(sl.rows, row.JID.String())
		default:
			r.set(sl.o, row)
			sl.rows[row.JID.String()] = row
		}
		if step%4000 == 3999 {
			if err := r.ConsistencyCheck(); err != nil {
				t.Fatal(step, err)
			}
			for _, sl := range slices {
				got := map[string]Row{}
				for _, row := range r.of(sl.o) {
					got[row.JID.String()] = row.Row
				}
				if !maps.Equal(got, sl.rows) || sl.o.Len() != len(sl.rows) {
					t.Fatal(step, "the slice of", sl.o.Node, "differs")
				}
			}
		}
		if step%100 != 0 {
			continue
		}
		user := stanza.MustJID(fmt.Sprintf("player%d@chat.test", rng.IntN(users)))
		want, got := map[string]Row{}, map[string]Row{}
		for _, sl := range slices {
			for _, row := range sl.rows {
				if sl.seen && row.JID.Bare() == user {
					want[sl.o.Node+row.JID.String()] = row
				}
			}
		}
		for _, row := range r.Append(nil, user) {
			got[row.Owner.Node+row.JID.String()] = row.Row
			if _, ok := r.Row(row.JID); !ok {
				t.Fatal(step, row.JID, "is not found by its full JID")
			}
		}
		if !maps.Equal(got, want) || r.Has(user) != (len(want) > 0) {
			t.Fatalf("step %d: %s has %v, want %v", step, user, got, want)
		}
	}
}

// TestRowsAreReclaimedBetweenChanges changes other owners' rows wherever reclaim lets go of a shard.
func TestRowsAreReclaimedBetweenChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	r := NewRows("secret")
	o, other := mustOpen(t, r, "gone"), mustOpen(t, r, "other")
	r.swap(o, nil)
	r.swap(other, nil)
	rows := map[string]Row{}
	set := func(row Row) {
		r.set(other, row)
		rows[row.JID.String()] = row
	}
	var here [shardCount][]stanza.JID // the other's
	for range 20_000 {
		row := randomRow(rng, 20_000)
		r.set(o, row)
		row = randomRow(rng, 20_000)
		set(row)
		k := segmentOf(r.key.text(row.JID.Bare().String()))
		here[k] = append(here[k], row.JID)
	}
	r.swap(nil, o)
	for i := range r.shards {
		sh := &r.shards[i]
		for place, n := 0, 0; place >= 0; {
			place, n = sh.clear(o.id, place, 3)
			o.rows.Add(int64(-n))
			full := here[i][rng.IntN(len(here[i]))]
			if _, ok := rows[full.String()]; ok {
				r.unset(other, full)
				delete(rows, full.String())
			} else {
				set(Row{JID: full})
			}
		}
		sh.shrink()
	}
	if err := r.ConsistencyCheck(); err != nil {
		t.Fatal(err)
	}
	for _, row := range r.of(o) {
		t.Fatal(row.JID, "is left")
	}
	got := map[string]Row{}
	for row := range r.All() {
		got[row.JID.String()] = row.Row
	}
	if !maps.Equal(got, rows) || o.Len() != 0 {
		t.Errorf("%d rows of the owner, %d of the other, want 0 and %d", o.Len(), len(got), len(rows))
	}
}

func TestViewsOutliveTheirRows(t *testing.T) {
	r := NewRows("")
	o := mustOpen(t, r, "b")
	r.swap(o, nil)
	var views []stanza.JID
	var want []string
	for i := range 3000 {
		row := Row{JID: stanza.MustJID(fmt.Sprintf("view%d@chat.test/%s", i, strings.Repeat("v", i%50+1)))}
		r.set(o, row)
		got, ok := r.Row(row.JID)
		if !ok {
			t.Fatal(row.JID, "not found")
		}
		views, want = append(views, got.JID), append(want, row.JID.String())
	}
	for i, v := range views {
		r.unset(o, stanza.MustJID(want[i]))
		r.set(o, Row{JID: stanza.MustJID(fmt.Sprintf("other%d@chat.test/%d", i, i))})
		if i%2 == 0 {
			r.unset(o, stanza.MustJID(fmt.Sprintf("other%d@chat.test/%d", i, i)))
		}
		if v.String() != want[i] {
			t.Fatalf("view is %q, was %q", v, want[i])
		}
	}
	for i, v := range views {
		if v.String() != want[i] {
			t.Fatalf("view is %q, was %q", v, want[i])
		}
	}
	if err := r.ConsistencyCheck(); err != nil {
		t.Fatal(err)
	}
}

// TestSwapIsAtomic reads while slices are swapped and reclaimed: each look sees exactly one of them.
func TestSwapIsAtomic(t *testing.T) {
	r := NewRows("")
	users := make([]stanza.JID, 50)
	for i := range users {
		users[i] = stanza.MustJID(fmt.Sprintf("u%d@chat.test/x", i))
	}
	build := func() *Owner {
		o := mustOpen(t, r, "b")
		for _, u := range users {
			r.set(o, Row{JID: u})
		}
		return o
	}
	old := build()
	r.swap(old, nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			var buf []RemoteRow
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				buf = r.Append(buf[:0], users[i%len(users)])
				if len(buf) != 1 || buf[0].JID != users[i%len(users)] {
					t.Errorf("%d rows", len(buf))
					return
				}
			}
		})
	}
	for range 100 {
		next := build()
		r.swap(next, old)
		r.reclaim(old)
		old = next
	}
	close(stop)
	wg.Wait()
}

func TestHiddenRowsAreStillFound(t *testing.T) {
	r := NewRows("")
	o := mustOpen(t, r, "b")
	full := stanza.MustJID("a@chat.test/1")
	r.set(o, Row{JID: full, Available: true})
	if r.Has(full) {
		t.Error("seen before it is shown")
	}
	r.swap(o, nil)
	before := r.Clock()
	if !r.Has(full) || r.Len() != 1 || len(r.Owners()) != 1 {
		t.Error("not seen")
	}
	r.swap(nil, o)
	if r.Has(full) || r.Len() != 0 || r.Clock() == before {
		t.Error("seen after it was hidden")
	}
	if rows := r.appendOf(nil, o, full); len(rows) != 1 || rows[0].JID != full || rows[0].Owner != o || !rows[0].Available {
		t.Error("hidden:", rows)
	}
	for range r.All() {
		t.Error("a hidden row")
	}
	r.reclaim(o)
	if rows := append(r.of(o), r.appendOf(nil, o, full)...); len(rows) > 0 {
		t.Error("after they were reclaimed:", rows)
	}
}

func TestInternFindsRemoteAddresses(t *testing.T) {
	r := NewRows("")
	o := mustOpen(t, r, "b")
	r.swap(o, nil)
	full := stanza.MustJID("a@chat.test/1")
	r.set(o, Row{JID: full})
	for raw, want := range map[string]stanza.JID{
		"a@chat.test/1": full, "a@chat.test": full.Bare(), "a@chat.test/2": {}, "b@chat.test": {}, "a@chat.test/": {}, "": {},
	} {
		if got, ok := r.Intern([]byte(raw)); got != want || ok != !want.IsZero() {
			t.Errorf("%q: %q %v", raw, got, ok)
		}
	}
}

func TestLookupsAllocateNothing(t *testing.T) {
	r := NewRows("")
	o := mustOpen(t, r, "b")
	r.swap(o, nil)
	full := stanza.MustJID("a@chat.test/1")
	r.set(o, Row{JID: full})
	buf := make([]RemoteRow, 0, 4)
	raw := []byte("a@chat.test/1")
	if n := testing.AllocsPerRun(100, func() {
		buf = r.Append(buf[:0], full)
		_, ok := r.Row(full)
		if _, in := r.Intern(raw); !in || !ok || !r.Has(full) || len(buf) != 1 {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWinsIsAnOrder(t *testing.T) {
	for _, c := range []struct {
		aBound int64
		a      string
		bBound int64
		b      string
		want   bool
	}{{2, "a", 1, "b", true}, {1, "b", 2, "a", false}, {1, "b", 1, "a", true}, {1, "a", 1, "b", false}} {
		if Wins(c.aBound, c.a, c.bBound, c.b) != c.want || Wins(c.bBound, c.b, c.aBound, c.a) == c.want {
			t.Error(c)
		}
	}
}
