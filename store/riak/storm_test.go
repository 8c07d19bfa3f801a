package riak_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"chatd/store"
	"chatd/store/riak"
	"chatd/store/riak/riaktest"
)

// A storm is two stores on one cluster whose nodes die, part and return while
// single requests fail in every way.
type storm struct {
	*testing.T
	seed   uint64
	lasts  time.Duration
	riak   *riaktest.Cluster
	stores [2]*riak.Store
}

// storms runs a test for a short storm, or for two longer ones of the seed that CHATD_TEST_STORM names. Either both stores reach all nodes, or, pinned,
// each those of its own side of every partition.
func storms(t *testing.T, run func(s *storm)) {
	t.Parallel()
	seed, err := strconv.ParseUint(os.Getenv("CHATD_TEST_STORM"), 10, 64)
	if err != nil {
		run(newStorm(t, 1, true, 500*time.Millisecond))
		return
	}
	for _, pinned := range []bool{false, true} {
		t.Run(fmt.Sprintf("pinned=%v/%d", pinned, seed), func(t *testing.T) { run(newStorm(t, seed, pinned, 2*time.Second)) })
	}
}

// newStorm opens the stores: pinned ones have each its own side of every partition.
func newStorm(t *testing.T, seed uint64, pinned bool, lasts time.Duration) *storm {
	s := &storm{T: t, seed: seed, lasts: lasts, riak: riaktest.Start(t, riaktest.Config{
		Seed: seed, Types: map[string]string{"chatd": ""}, Lag: 5 * time.Millisecond,
		ReapAfter: 5 * time.Millisecond, ManualHandoff: true, Timeout: time.Second,
	})}
	sides := [2][]string{s.riak.Addrs(), s.riak.Addrs()}
	if pinned {
		sides = [2][]string{s.riak.Addrs()[:1], s.riak.Addrs()[1:]}
	}
	for i, addrs := range sides {
		r, err := riak.Open(t.Context(), riak.Config{Nodes: addrs})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		s.stores[i] = r
	}
	return s
}

// spoil begins faults of single requests.
func (s *storm) spoil() {
	for _, f := range []riaktest.Fault{
		{Do: riaktest.LoseAnswer, Chance: 0.03},
		{Do: riaktest.FailAfter, Chance: 0.02, Error: "timeout"},
		{Do: riaktest.HalfWrite, Chance: 0.03},
		{Do: riaktest.Refuse, Chance: 0.03, Error: "overload"},
		{Do: riaktest.CutMiddle, Chance: 0.01},
		{Do: riaktest.Delay, Chance: 0.03, For: 5 * time.Millisecond},
		{Do: riaktest.Reorder, Chance: 0.05, For: 5 * time.Millisecond},
	} {
		s.riak.Fault(f)
	}
}

// during lets the writers work until the storm is over, and mends everything.
func (s *storm) during(writers ...func(over <-chan struct{})) {
	var group sync.WaitGroup
	over := make(chan struct{})
	for _, write := range writers {
		group.Go(func() { write(over) })
	}
	s.disturb()
	close(over)
	group.Wait()
	s.riak.Handoff()
}

// until calls step with growing numbers until the storm is over.
func until(over <-chan struct{}, step func(i int)) {
	for i := 0; ; i++ {
		select {
		case <-over:
			return
		default:
			step(i)
		}
	}
}

// disturb is the storm; at its end everything is mended.
func (s *storm) disturb() {
	s.spoil()
	random := rand.New(rand.NewPCG(s.seed, 9))
	down := -1
	for end := time.Now().Add(s.lasts); time.Now().Before(end); {
		switch what := random.IntN(6); {
		case what == 0 && down < 0:
			down = random.IntN(3)
			s.riak.Kill(down)
		case what == 1 && down >= 0:
			s.riak.Restart(down)
			down = -1
		case what == 2:
			s.riak.Partition([]int{0}, []int{1, 2})
		case what == 3:
			s.riak.Heal()
		case what == 4:
			s.riak.Handoff()
		}
		time.Sleep(time.Duration(random.IntN(int(20 * time.Millisecond))))
	}
	s.riak.Mend()
}

// sure calls a verb until its answer is known.
func (s *storm) sure(call func(ctx context.Context, again bool) error) error {
	for again := false; ; again = true {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := call(ctx, again)
		cancel()
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (s *storm) must(what string, call func(ctx context.Context, again bool) error) {
	if err := s.sure(call); err != nil {
		s.Errorf("%s: %v", what, err)
	}
}

// Two stores add to one user's messages, which are read and removed meanwhile: each that was answered for is read, under
// one number, in the order of its writer, and not again after its removal.
func TestStormOfOfflineMessages(t *testing.T) { storms(t, stormOffline) }

// A mailbag is what is known of the messages of one user.
type mailbag struct {
	mu      sync.Mutex
	kept    []string         // answered for, in any order
	seen    map[string]int64 // by ID: the number under which it was seen
	removed map[string]bool  // removal was answered for
}

func stormOffline(s *storm) {
	bag := &mailbag{seen: map[string]int64{}, removed: map[string]bool{}}
	writers := []func(<-chan struct{}){func(over <-chan struct{}) { s.readSome(bag, over) }}
	for w := range 4 {
		writers = append(writers, func(over <-chan struct{}) {
			until(over, func(i int) { s.append(w, i, bag) })
		})
	}
	s.during(writers...)
	s.checkBag(bag)
}

func (s *storm) append(w, i int, bag *mailbag) {
	id := fmt.Sprintf("%d/%d", w, i)
	s.must("append", func(ctx context.Context, again bool) error {
		_, err := s.stores[w%2].AppendOffline(ctx, "romeo", store.OfflineMessage{ID: id, Again: again, Stanza: []byte(id), Stored: time.Now()}, 0)
		return err
	})
	bag.mu.Lock()
	defer bag.mu.Unlock()
	bag.kept = append(bag.kept, id)
}

// readSome reads and removes as a session does.
func (s *storm) readSome(bag *mailbag, over <-chan struct{}) {
	random := rand.New(rand.NewPCG(s.seed, 3))
	until(over, func(int) {
		time.Sleep(time.Duration(random.IntN(int(20 * time.Millisecond))))
		from := s.stores[random.IntN(2)]
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		page, err := from.OfflinePage(ctx, "romeo", 0, 20)
		if err != nil || len(page) == 0 {
			return
		}
		var seqs []int64
		for _, m := range page {
			bag.note(s, m)
			seqs = append(seqs, m.Seq)
		}
		s.must("remove", func(ctx context.Context, _ bool) error { return from.RemoveOffline(ctx, "romeo", seqs) })
		bag.mu.Lock()
		defer bag.mu.Unlock()
		for _, m := range page {
			bag.removed[m.ID] = true
		}
	})
}

// note remembers a message that was read; one ID has one number.
func (b *mailbag) note(s *storm, m store.OfflineMessage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if before, ok := b.seen[m.ID]; ok && before != m.Seq {
		s.Errorf("%s came as %d and as %d", m.ID, before, m.Seq)
	}
	b.seen[m.ID] = m.Seq
}

func (s *storm) checkBag(bag *mailbag) {
	var rest []store.OfflineMessage
	s.must("page", func(ctx context.Context, _ bool) (err error) {
		rest, err = s.stores[0].OfflinePage(ctx, "romeo", 0, 1<<20)
		return err
	})
	there := map[string]bool{}
	for _, m := range rest {
		if there[m.ID] {
			s.Errorf("%s is there twice", m.ID)
		}
		there[m.ID] = true
		if bag.removed[m.ID] {
			s.Errorf("%s is back after its removal", m.ID)
		}
		bag.note(s, m)
	}
	for _, id := range bag.kept {
		if _, ok := bag.seen[id]; !ok {
			s.Errorf("%s is lost", id)
		}
	}
	bag.checkOrder(s)
	s.Logf("%d kept, %d removed, %d rest; %+v", len(bag.kept), len(bag.removed), len(rest), s.riak.Counts())
}

// checkOrder: the messages of one writer have numbers in the order of its calls.
func (b *mailbag) checkOrder(s *storm) {
	type numbered struct {
		i   int
		seq int64
	}
	byWriter := map[int][]numbered{}
	for id, seq := range b.seen {
		var w, i int
		fmt.Sscanf(id, "%d/%d", &w, &i)
		byWriter[w] = append(byWriter[w], numbered{i, seq})
	}
	for w, all := range byWriter {
		slices.SortFunc(all, func(a, b numbered) int { return a.i - b.i })
		for k := 1; k < len(all); k++ {
			if all[k].seq <= all[k-1].seq {
				s.Errorf("writer %d: %d has %d, %d has %d", w, all[k-1].i, all[k-1].seq, all[k].i, all[k].seq)
			}
		}
	}
}
