package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatd/stanza"
)

type sentFrame struct {
	kind    byte
	payload []byte
}

// A pipe is a Sender that hands frames to another replica in order, on a goroutine of its own.
type pipe struct {
	to     *Replica
	as     Sender // what the other side knows this one as
	mu     sync.Mutex
	frames []sentFrame
	bytes  int
	limit  int // of bytes waiting; 0: none
	lose   func(kind byte) bool
	full   int // frames that were not taken
	more   chan struct{}
	ready  chan struct{} // closed when both sides know each other
}

func (p *pipe) Send(kind byte, parts ...[]byte) (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b []byte
	for _, part := range parts {
		b = append(b, part...)
	}
	if p.limit > 0 && p.bytes+len(b) > p.limit {
		p.full++
		return 0, false
	}
	if p.lose == nil || !p.lose(kind) {
		p.frames = append(p.frames, sentFrame{kind, b})
		p.bytes += len(b)
	}
	poke(p.more)
	return 0, true
}

func (p *pipe) run(ctx context.Context, delay time.Duration) {
	select {
	case <-ctx.Done():
		return
	case <-p.ready:
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.more:
		}
		for {
			p.mu.Lock()
			frames := p.frames
			p.frames = nil
			p.mu.Unlock()
			if len(frames) == 0 {
				break
			}
			if delay > 0 {
				time.Sleep(delay)
			}
			for _, f := range frames {
				p.to.Frame(p.as, f.kind, f.payload)
				p.mu.Lock()
				p.bytes -= len(f.payload)
				p.mu.Unlock()
			}
		}
	}
}

// A twin is two replicas with a link.
type twin struct {
	a, b   *Replica
	ab, ba *pipe // as a and b hold them
	wg     sync.WaitGroup
	cancel context.CancelFunc
	ready  chan struct{}
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newTwin(cfgA, cfgB ReplicaConfig, delay time.Duration) *twin {
	cfgA.Node, cfgB.Node, cfgA.Log, cfgB.Log = "a", "b", silent(), silent()
	w := &twin{a: NewReplica(cfgA), b: NewReplica(cfgB)}
	w.ready = make(chan struct{})
	w.ab = &pipe{to: w.b, more: make(chan struct{}, 1), ready: w.ready}
	w.ba = &pipe{to: w.a, more: make(chan struct{}, 1), ready: w.ready}
	w.ab.as, w.ba.as = w.ba, w.ab
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.wg.Go(func() { w.a.Run(ctx) })
	w.wg.Go(func() { w.b.Run(ctx) })
	w.wg.Go(func() { w.ab.run(ctx, delay) })
	w.wg.Go(func() { w.ba.run(ctx, delay) })
	return w
}

func (w *twin) up() {
	w.a.PeerUp(w.ab, "b", 1)
	w.b.PeerUp(w.ba, "a", 1)
	close(w.ready)
}

func (w *twin) stop() {
	w.cancel()
	w.wg.Wait()
}

func seenRows(r *Rows) map[string]Row {
	m := map[string]Row{}
	for row := range r.All() {
		m[row.Owner.Node+" "+row.JID.String()] = row.Row
	}
	return m
}

func ownRows(r *Replica) map[string]Row {
	m := map[string]Row{}
	for row := range r.local.All() {
		m[r.cfg.Node+" "+row.JID.String()] = row.Row
	}
	return m
}

// same fails unless both replicas have exactly each other's rows.
func (w *twin) same(t *testing.T) {
	t.Helper()
	if got, want := seenRows(w.b.Rows), ownRows(w.a); !maps.Equal(got, want) {
		t.Fatalf("b has %d rows of a, which has %d", len(got), len(want))
	}
	if got, want := seenRows(w.a.Rows), ownRows(w.b); !maps.Equal(got, want) {
		t.Fatalf("a has %d rows of b, which has %d", len(got), len(want))
	}
	for _, r := range []*Rows{w.a.Rows, w.b.Rows, w.a.local, w.b.local} {
		if err := r.ConsistencyCheck(); err != nil {
			t.Fatal(err)
		}
	}
}

func simRow(i int) Row {
	return Row{JID: stanza.MustJID(fmt.Sprintf("p%d@chat.test/r", i)), Bound: int64(i) + 1, Available: true}
}

func TestSnapshotThenDeltas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(ReplicaConfig{}, ReplicaConfig{}, time.Millisecond)
		defer w.stop()
		for i := range 5000 {
			w.a.Changed(simRow(i))
		}
		w.b.Changed(simRow(9000))
		w.up()
		time.Sleep(time.Second)
		w.same(t)
		if w.b.Rows.Len() != 5000 {
			t.Fatal(w.b.Rows.Len())
		}
		for i := range 1000 {
			w.a.Gone(simRow(i).JID)
			row := simRow(1000 + i)
			row.Priority = 5
			w.a.Changed(row)
			w.a.Changed(row) // the same again is no change
		}
		time.Sleep(100 * time.Millisecond)
		w.same(t)
		if s := w.b.Stats(); s.DeltasApplied != 2000 || s.SnapshotsApplied != 1 || s.Gaps+s.Drift+s.Malformed != 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * digestEvery)
		for _, r := range []*Replica{w.a, w.b} {
			st := r.States()[0]
			if !st.Complete || !st.Sent || st.Lag != 0 || st.Differing != 0 || time.Since(st.Compared) > digestEvery {
				t.Errorf("%+v", st)
			}
		}
	})
}

// TestSnapshotWhileRowsChange has changes go on all the time while the snapshot is on its way over a slow link with a short queue.
func TestSnapshotWhileRowsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(ReplicaConfig{}, ReplicaConfig{}, 3*time.Millisecond)
		defer w.stop()
		w.ab.limit = 40 << 10
		const n = 20_000
		for i := range n {
			w.a.Changed(simRow(i))
		}
		w.up()
		for i := range 300 {
			for k := range 20 {
				row := simRow((i*131 + k*977) % n)
				if k%5 == 0 {
					w.a.Gone(row.JID)
					continue
				}
				row.Priority = int8(i)
				w.a.Changed(row)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		w.same(t)
		if w.ab.full == 0 {
			t.Error("the queue was never full")
		}
		if s := w.b.Stats(); s.SnapshotsApplied != 1 || s.Gaps+s.Drift+s.Malformed != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestSlowPeerGetsASnapshot lets the log run over while a peer takes nothing.
func TestSlowPeerGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(ReplicaConfig{logBytes: 8 << 10}, ReplicaConfig{}, 0)
		defer w.stop()
		w.up()
		time.Sleep(time.Second)
		w.ab.mu.Lock()
		w.ab.limit = 1
		w.ab.mu.Unlock()
		for i := range 3000 {
			w.a.Changed(simRow(i))
		}
		time.Sleep(time.Second)
		if n := w.b.Rows.Len(); n != 0 {
			t.Fatal(n, "rows arrived over a link that takes nothing")
		}
		w.ab.mu.Lock()
		w.ab.limit = 0
		w.ab.mu.Unlock()
		time.Sleep(time.Second)
		w.same(t)
		if s := w.b.Stats(); s.SnapshotsApplied != 2 || s.Gaps != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestLostFramesAreMadeUpFor loses a frame of each kind in turn, as no link should.
func TestLostFramesAreMadeUpFor(t *testing.T) {
	for kind := kindSnapshot; kind <= kindAsk; kind++ {
		synctest.Test(t, func(t *testing.T) {
			w := newTwin(ReplicaConfig{}, ReplicaConfig{}, 0)
			defer w.stop()
			lost, lose := 0, kind
			loseOne := func(k byte) bool {
				if k == lose && lost < 2 {
					lost++
					return true
				}
				return false
			}
			w.ab.lose = loseOne
			if kind == kindAsk || kind == kindGot {
				w.ab.lose, w.ba.lose = nil, loseOne
			}
			for i := range 1000 {
				w.a.Changed(simRow(i))
			}
			w.up()
			for i := range 1000 {
				w.a.Changed(simRow(i + 1000))
				if i%50 == 0 {
					time.Sleep(5 * time.Millisecond)
				}
			}
			time.Sleep(time.Second)
			if kind == kindAsk { // nothing was asked for so far
				o := w.b.Rows.Owners()[0]
				w.b.Rows.unset(o, simRow(1).JID)
			}
			time.Sleep(4 * digestEvery)
			w.same(t)
			if lost == 0 {
				t.Skip("no frame of this kind was sent")
			}
			if st := w.b.States()[0]; st.Differing != 0 || !st.Complete {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestStalledPeerGetsASnapshot loses so much that the window stays full, as when frames come before PeerUp.
func TestStalledPeerGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(ReplicaConfig{}, ReplicaConfig{}, 0)
		defer w.stop()
		n := max(fewer(60_000), 40_000)
		for i := range n {
			w.a.Changed(simRow(i))
		}
		w.a.PeerUp(w.ab, "b", 1)
		close(w.ready)
		time.Sleep(time.Second)
		w.b.PeerUp(w.ba, "a", 1)
		time.Sleep(stallAfter + time.Second)
		w.same(t)
		if w.b.Rows.Len() != n {
			t.Error(w.b.Rows.Len())
		}
	})
}

func TestDriftIsRepairedBySegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(ReplicaConfig{}, ReplicaConfig{}, 0)
		defer w.stop()
		for i := range 20_000 {
			w.a.Changed(simRow(i))
		}
		w.up()
		time.Sleep(time.Second)
		o := w.b.Rows.Owners()[0]
		w.b.Rows.unset(o, simRow(3).JID)         // one is missing,
		w.b.Rows.set(o, simRow(70_000))          // one is too many,
		w.b.Rows.set(o, Row{JID: simRow(5).JID}) // one is wrong
		sent := w.a.Stats().SnapshotsSent
		time.Sleep(3 * digestEvery)
		w.same(t)
		s := w.b.Stats()
		if s.Drift == 0 || s.Drift > 3 || s.Repaired != s.Drift || w.a.Stats().SnapshotsSent != sent {
			t.Errorf("%+v", s)
		}
		if st := w.b.States()[0]; st.Differing != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestPeerDownHidesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(ReplicaConfig{}, ReplicaConfig{}, 0)
		defer w.stop()
		w.a.Changed(simRow(1))
		w.up()
		time.Sleep(time.Second)
		o := w.b.PeerDown(w.ba)
		if o == nil || w.b.Rows.Has(simRow(1).JID) {
			t.Fatal("still seen")
		}
		n := 0
		for _, row := range w.b.Rows.of(o) {
			if row.JID != simRow(1).JID {
				t.Error(row)
			}
			n++
		}
		if n != 1 {
			t.Error(n, "rows to tell of")
		}
		w.b.Release(o)
		w.b.Frame(w.ba, kindDigest, nil)
		if w.b.PeerDown(w.ba) != nil {
			t.Error("down twice")
		}
		synctest.Wait()
		for range w.b.Rows.of(o) {
			t.Error("not reclaimed")
		}
	})
}

func TestNewIncarnationReplacesTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(ReplicaConfig{}, ReplicaConfig{}, 0)
		defer w.stop()
		w.a.Changed(simRow(1))
		w.up()
		time.Sleep(time.Second)
		second := &pipe{to: w.a, more: make(chan struct{}, 1)}
		w.b.PeerUp(second, "a", 2)
		if w.b.Rows.Has(simRow(1).JID) {
			t.Error("rows of the incarnation before are seen")
		}
		w.a.Changed(simRow(2))
		time.Sleep(time.Second)
		if w.b.Rows.Len() != 0 {
			t.Error("frames of the incarnation before are applied")
		}
		third := &pipe{to: w.a, more: make(chan struct{}, 1)}
		w.b.PeerUp(third, "a", 1)
		w.b.Frame(third, kindSnapshot, numbers(1, 0))
		w.b.Frame(third, kindComplete, numbers(1, 0))
		if len(w.b.Rows.Owners()) != 0 {
			t.Error("a stale incarnation has rows")
		}
		w.b.Frame(second, kindSnapshot, numbers(1, 0))
		w.b.Frame(second, kindComplete, numbers(1, 0))
		if owners := w.b.Rows.Owners(); len(owners) != 1 || owners[0].Incarnation != 2 || owners[0].Peer != second {
			t.Error(owners)
		}
		if o := w.b.PeerDown(w.ba); o == nil {
			t.Error("the rows that were replaced cannot be enumerated")
		}
	})
}

// TestDuplicatesAreFoundOnBothSides binds the same full JID on both nodes, before the link and during it.
func TestDuplicatesAreFoundOnBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		found := map[string]bool{}
		note := func(node string) func(Row, RemoteRow) {
			return func(local Row, remote RemoteRow) {
				mu.Lock()
				defer mu.Unlock()
				wins := Wins(local.Bound, node, remote.Bound, remote.Owner.Node)
				found[fmt.Sprint(node, " ", local.JID, " ", wins)] = true
			}
		}
		w := newTwin(ReplicaConfig{Duplicate: note("a")}, ReplicaConfig{Duplicate: note("b")}, time.Millisecond)
		defer w.stop()
		early, late := simRow(1), simRow(1)
		late.Bound = 10
		w.a.Changed(early)
		w.b.Changed(late)
		w.up()
		time.Sleep(time.Second)
		even := simRow(2) // at the same instant
		w.a.Changed(even)
		w.b.Changed(even)
		time.Sleep(time.Second)
		w.b.Changed(simRow(4))
		time.Sleep(time.Second)
		after := simRow(4) // when the other one is known here already
		after.Bound = 100
		w.a.Changed(after)
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		for _, want := range []string{
			"a p1@chat.test/r false", "b p1@chat.test/r true",
			"a p2@chat.test/r false", "b p2@chat.test/r true",
			"a p4@chat.test/r true", "b p4@chat.test/r false",
		} {
			if !found[want] {
				t.Errorf("%s was not found: %v", want, found)
			}
			delete(found, want)
		}
		if len(found) > 0 {
			t.Error(found)
		}
	})
}

func TestStampIsAheadOfAllThatWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(ReplicaConfig{}, ReplicaConfig{}, 0)
		defer w.stop()
		ahead := simRow(1)
		ahead.Bound = time.Now().Add(time.Hour).UnixNano()
		w.a.Changed(ahead)
		w.up()
		time.Sleep(time.Second)
		one := w.b.Stamp()
		if two := w.b.Stamp(); one <= ahead.Bound || two <= one {
			t.Error(ahead.Bound, one, two)
		}
	})
}

func TestFlushSendsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(ReplicaConfig{}, ReplicaConfig{}, 0)
		defer w.stop()
		w.up()
		time.Sleep(time.Second)
		w.a.Changed(simRow(1))
		if !w.a.Flush(w.ab) {
			t.Error("not flushed")
		}
		w.ab.mu.Lock()
		n := len(w.ab.frames)
		w.ab.mu.Unlock()
		if n != 1 && !w.b.Rows.Has(simRow(1).JID) {
			t.Error("not sent")
		}
		if w.a.Flush(w.ba) {
			t.Error("flushed to a stranger")
		}
	})
}

func TestChangedAllocatesNothing(t *testing.T) {
	r := NewReplica(ReplicaConfig{Node: "a", Log: silent()})
	row := simRow(1)
	r.Changed(row)
	if n := testing.AllocsPerRun(100, func() {
		row.Priority++
		r.Changed(row)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestUnusableSnapshots: a peer of whose snapshots none can be used is asked again and again, but not as fast as it answers, and the log is not
// full of it.
func TestUnusableSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := NewReplica(ReplicaConfig{Node: "a", Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Run(ctx) })
		asked := 0
		link := &pipe{more: make(chan struct{}, 1), lose: func(kind byte) bool {
			if kind == kindAsk {
				asked++
			}
			return false
		}}
		r.PeerUp(link, "b", 1)
		for number := range uint64(30_000) {
			r.Frame(link, kindSnapshot, numbers(number+1, 0))
			r.Frame(link, kindSegment, []byte("no segment"))
			time.Sleep(time.Millisecond)
		}
		cancel()
		running.Wait()
		if asked < 25 || asked > 31 {
			t.Errorf("asked for %d snapshots in 30 s", asked)
		}
		if n := bytes.Count(log.Bytes(), []byte("\n")); n != 1 {
			t.Errorf("%d lines in the log:\n%.1000s", n, log.String())
		}
		if got := r.Stats().Malformed; got != 30_000 {
			t.Errorf("%d counted", got)
		}
	})
}
