package riaktest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"chatd/store/riak/riaktest"

	riak "github.com/basho/riak-go-client"
)

// A node that is killed costs nobody its keys: fallbacks take its place for
// sloppy quorums, and give back what they hold when it returns.
func TestKillAndRestart(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 0, r.Addrs()...)
	c.mustPut(siblingType, "before", "one")
	r.Kill(1)
	c.expect(siblingType, "before", "one")
	for _, key := range keyNames(20) {
		c.mustPut(siblingType, key, "v", quorums(3, 2))
	}
	err := c.put(siblingType, "k", "x", quorums(2, 3))
	if err == nil || !strings.Contains(err.Error(), "RiakError|0|{pw_val_unsatisfied,3,2}") {
		t.Errorf("pw=3 with a node down: %v", err)
	}
	r.Restart(1)
	r.Kill(0)
	r.Kill(2)
	alone := dial(t, 1, r.Addrs()[1])
	for _, key := range keyNames(20) {
		resp, err := alone.get(siblingType, key, func(b *riak.FetchValueCommandBuilder) { b.WithR(1).WithSloppyQuorum(false) })
		if err != nil || len(resp.Values) != 1 {
			t.Fatalf("%s on the node that was down: %+v, %v", key, resp, err)
		}
	}
	_, err = alone.get(siblingType, "before", func(b *riak.FetchValueCommandBuilder) { b.WithPr(2) })
	if err == nil || !strings.Contains(err.Error(), "{pr_val_unsatisfied,2,1}") {
		t.Errorf("pr=2 with two nodes down: %v", err)
	}
	_, err = alone.get(siblingType, "before", func(b *riak.FetchValueCommandBuilder) { b.WithR(2).WithSloppyQuorum(false) })
	if err == nil || !strings.Contains(err.Error(), "{insufficient_vnodes,1,need,2}") {
		t.Errorf("r=2 of primaries with two nodes down: %v", err)
	}
}

// Both sides of a partition go on writing; what they wrote meets as siblings.
func TestPartition(t *testing.T) {
	r := cluster(t, riaktest.Config{ManualHandoff: true})
	c := dial(t, 0, r.Addrs()...)
	c.mustPut(siblingType, "k", "before")
	vclock := c.expect(siblingType, "k", "before")
	r.Partition([]int{0}, []int{1, 2})
	left, right := dial(t, 1, r.Addrs()[0]), dial(t, 1, r.Addrs()[1])
	left.mustPut(siblingType, "k", "left", seen(vclock))
	right.mustPut(siblingType, "k", "right", seen(vclock), quorums(2, 2))
	left.expect(siblingType, "k", "left")
	right.expect(siblingType, "k", "right")
	if err := left.put(siblingType, "k", "x", quorums(2, 2)); err == nil || !strings.Contains(err.Error(), "{pw_val_unsatisfied,2,1}") {
		t.Errorf("pw=2 on the small side: %v", err)
	}
	r.Heal()
	r.Handoff()
	vclock = c.expect(siblingType, "k", "left", "right")
	c.mustPut(siblingType, "k", "after", seen(vclock))
	c.expect(siblingType, "k", "after")
}

// While a node is down tombstones stay, and listings name them.
func TestDeletedKeysAreListed(t *testing.T) {
	r := cluster(t, riaktest.Config{ReapAfter: time.Nanosecond})
	c := dial(t, 0, r.Addrs()[:2]...)
	want := keyNames(250)
	for _, key := range want {
		c.mustPut(siblingType, key, "v")
	}
	if keys := c.keys(siblingType); !slices.Equal(keys, want) {
		t.Fatalf("%d keys listed of %d", len(keys), len(want))
	}
	r.Kill(2)
	for _, key := range want {
		if err := c.delete(siblingType, key, nil); err != nil {
			t.Fatal(err)
		}
		c.expect(siblingType, key)
	}
	if keys := c.keys(siblingType); !slices.Equal(keys, want) {
		t.Errorf("%d keys listed of %d that are deleted", len(keys), len(want))
	}
	r.Restart(2)
	for _, key := range want {
		c.expect(siblingType, key)
	}
	eventually(t, func() bool { return len(c.keys(siblingType)) == 0 })
}

// A listing asks one owner for each key: what only fallbacks have it misses.
func TestListingMissesWhatFallbacksHold(t *testing.T) {
	r := cluster(t, riaktest.Config{ManualHandoff: true})
	r.Partition([]int{0}, []int{1, 2})
	left := dial(t, 1, r.Addrs()[0])
	for _, key := range keyNames(50) {
		left.mustPut(siblingType, key, "v")
	}
	r.Heal()
	if n := len(left.keys(siblingType)); n == 0 || n == 50 {
		t.Errorf("%d keys of 50 listed before handoff", n)
	}
	r.Handoff()
	if n := len(left.keys(siblingType)); n != 50 {
		t.Errorf("%d keys of 50 listed after handoff", n)
	}
}

// Replicas that the quorum did not need are late: a read of one is stale.
func TestLag(t *testing.T) {
	r := cluster(t, riaktest.Config{Lag: 10 * time.Second})
	c := dial(t, 1, r.Addrs()...)
	c.mustPut(siblingType, "k", "v", func(b *riak.StoreValueCommandBuilder) { b.WithW(1).WithDw(1) })
	stale := false
	for range 100 {
		resp, err := c.get(siblingType, "k", func(b *riak.FetchValueCommandBuilder) { b.WithR(1) })
		if err != nil {
			t.Fatal(err)
		}
		stale = stale || resp.IsNotFound
	}
	if !stale {
		t.Error("every replica had it at once")
	}
	c.expectAll("k", "v")
}

// A read repairs the replicas that it finds behind.
func TestReadRepair(t *testing.T) {
	r := cluster(t, riaktest.Config{ManualHandoff: true})
	c := dial(t, 1, r.Addrs()[0])
	r.Kill(2)
	c.mustPut(siblingType, "k", "v")
	r.Restart(2)
	eventually(t, func() bool {
		c.expect(siblingType, "k", "v")
		resp, err := c.get(siblingType, "k", func(b *riak.FetchValueCommandBuilder) { b.WithR(3).WithNotFoundOk(false) })
		return err == nil && !resp.IsNotFound
	})
}

// A silent node holds up those who need its answer, and does later what it was
// asked.
func TestStalledNode(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 1, r.Addrs()[:2]...)
	r.Stall(2)
	c.mustPut(siblingType, "k", "v", quorums(2, 2))
	c.expect(siblingType, "k", "v")
	err := c.put(siblingType, "k2", "v", quorums(3, 3), func(b *riak.StoreValueCommandBuilder) { b.WithTimeout(30 * time.Millisecond) })
	if err == nil || !strings.Contains(err.Error(), "RiakError|0|timeout") {
		t.Errorf("w=3 with a node silent: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- c.put(siblingType, "k3", "v", quorums(3, 3)) }()
	eventually(t, func() bool { return r.Counts().Requests[riaktest.Put] == 3 })
	r.Restart(2)
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.Kill(0)
	r.Kill(1)
	alone := dial(t, 1, r.Addrs()[2])
	for _, key := range []string{"k", "k2", "k3"} {
		resp, err := alone.get(siblingType, key, func(b *riak.FetchValueCommandBuilder) { b.WithR(1).WithSloppyQuorum(false) })
		if err != nil || len(resp.Values) != 1 {
			t.Errorf("%s where it was silent: %+v, %v", key, resp, err)
		}
	}
}

func TestCutStallMend(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 1, r.Addrs()...)
	c.mustPut(siblingType, "k", "v")
	r.Cut()
	if _, err := c.get(siblingType, "k"); err == nil {
		t.Error("a read went through the cut")
	}
	r.Mend()
	back := func() bool { _, err := c.get(siblingType, "k"); return err == nil }
	eventually(t, back)
	r.StallAll()
	done := make(chan error, 1)
	go func() { _, err := c.get(siblingType, "k"); done <- err }()
	select {
	case err := <-done:
		t.Errorf("answered while stalled: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	r.Mend()
	if err := <-done; err != nil {
		t.Errorf("after the stall: %v", err)
	}
}

func TestFaults(t *testing.T) {
	only := func(_, key string) bool { return key == "k" }
	for _, test := range []struct {
		name    string
		fault   riaktest.Fault
		applied bool
		text    string
	}{
		{"refused", riaktest.Fault{Do: riaktest.Refuse, Error: "overload"}, false, "RiakError|0|overload"},
		{"failed after", riaktest.Fault{Do: riaktest.FailAfter}, true, "RiakError|0|timeout"},
		{"cut before", riaktest.Fault{Do: riaktest.CutBefore}, false, "EOF"},
		{"answer lost", riaktest.Fault{Do: riaktest.LoseAnswer}, true, "EOF"},
		{"cut in the middle", riaktest.Fault{Do: riaktest.CutMiddle}, true, "EOF"},
		{"on one replica", riaktest.Fault{Do: riaktest.HalfWrite}, true, "RiakError|0|timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := cluster(t, riaktest.Config{})
			c := dial(t, 1, r.Addrs()...)
			test.fault.Op, test.fault.Type, test.fault.Match, test.fault.Times = riaktest.Put, siblingType, only, 1
			r.Fault(test.fault)
			c.mustPut(siblingType, "other", "v")
			if err := c.put(siblingType, "k", "v"); err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v, want %s", err, test.text)
			}
			if applied := len(r.Siblings(siblingType, "b", "k")) == 1; applied != test.applied {
				t.Errorf("applied: %v", applied)
			}
			eventually(t, func() bool { return c.put(siblingType, "k2", "v") == nil })
		})
	}
}

// A write that reached one replica is seen by reads that ask it, and by all
// after one of those.
func TestHalfWriteSpreadsByReading(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 1, r.Addrs()...)
	r.Fault(riaktest.Fault{Do: riaktest.HalfWrite})
	if err := c.put(siblingType, "k", "v"); err == nil {
		t.Fatal("no error")
	}
	eventually(t, func() bool { values, _ := c.values(siblingType, "k"); return len(values) == 1 })
	for range 10 {
		c.expect(siblingType, "k", "v")
	}
}

func TestReorder(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 1, r.Addrs()...)
	held := r.Fault(riaktest.Fault{Do: riaktest.Reorder, Op: riaktest.Put, For: 10 * time.Second})
	first := make(chan error, 1)
	go func() { first <- c.put(siblingType, "k", "first") }()
	eventually(t, func() bool { return held.Hits() == 1 })
	c.mustPut(siblingType, "k", "second")
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	c.expect(siblingType, "k", "first", "second")
}

func TestHang(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 1, r.Addrs()...)
	hang := r.Fault(riaktest.Fault{Do: riaktest.Hang, Op: riaktest.Put, Times: 1})
	done := make(chan error, 1)
	go func() { done <- c.put(siblingType, "k", "v") }()
	eventually(t, func() bool { return len(r.Siblings(siblingType, "b", "k")) == 1 })
	hang.Remove()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
