package riaktest_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatd/store/riak/riaktest"

	riak "github.com/basho/riak-go-client"
)

func TestPutAndGet(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 0, r.Addrs()...)
	c.expect(siblingType, "none")
	c.mustPut(siblingType, "k", "one")
	vclock := c.expect(siblingType, "k", "one")
	c.mustPut(siblingType, "k", "two", seen(vclock))
	vclock = c.expect(siblingType, "k", "two")

	resp, err := c.get(siblingType, "k", func(b *riak.FetchValueCommandBuilder) { b.WithIfModified(vclock) })
	if err != nil || !resp.IsUnchanged {
		t.Errorf("unchanged: %+v, %v", resp, err)
	}
	resp, err = c.get(siblingType, "k", func(b *riak.FetchValueCommandBuilder) { b.WithHeadOnly(true) })
	if err != nil || len(resp.Values) != 1 || len(resp.Values[0].Value) != 0 || resp.Values[0].VTag == "" {
		t.Errorf("head: %+v, %v", resp, err)
	}
	if err := c.run(&riak.PingCommand{}, nil); err != nil {
		t.Error(err)
	}
}

// A put without a context, or with one that others have gone beyond, adds a
// sibling; a put that has seen the siblings replaces them and nothing else.
func TestSiblings(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 0, r.Addrs()...)
	c.both("k")
	c.mustPut(siblingType, "k", "blind")
	vclock := c.expect(siblingType, "k", "blind", "three", "two")
	c.mustPut(siblingType, "k", "late")
	c.mustPut(siblingType, "k", "merged", seen(vclock))
	c.expect(siblingType, "k", "late", "merged")
	if n := r.Counts().Siblings; n < 3 {
		t.Errorf("%d puts that left siblings", n)
	}
}

func TestTooManySiblings(t *testing.T) {
	r := cluster(t, riaktest.Config{MaxSiblings: 3})
	c := dial(t, 1, r.Addrs()...)
	for range 3 {
		c.mustPut(siblingType, "k", "v")
	}
	if err := c.put(siblingType, "k", "v"); err == nil || !strings.Contains(err.Error(), "RiakError|0|{too_many_siblings,4}") {
		t.Errorf("%v", err)
	}
	c.expect(siblingType, "k", "v", "v", "v")
}

// The last write wins without a look at its context.
func TestLastWriteWins(t *testing.T) {
	r := cluster(t, riaktest.Config{Nodes: 1})
	c := dial(t, 1, r.Addrs()...)
	if err := r.CreateType("last", `{"props":{"last_write_wins":true,"allow_mult":false,"dvv_enabled":false}}`); err != nil {
		t.Fatal(err)
	}
	c.mustPut("last", "k", "one")
	stale := c.expect("last", "k", "one")
	c.mustPut("last", "k", "two", seen(stale))
	c.mustPut("last", "k", "three", seen(stale))
	c.expect("last", "k", "three")
}

// Without dotted version vectors a value that was replaced comes back when
// another was written beside it.
func TestSiblingsWithoutDots(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 1, r.Addrs()...)
	if err := r.CreateType("plain", `{"props":{"allow_mult":true,"dvv_enabled":false}}`); err != nil {
		t.Fatal(err)
	}
	c.mustPut("plain", "k", "one")
	stale := c.expect("plain", "k", "one")
	c.mustPut("plain", "k", "two", seen(stale))
	c.mustPut("plain", "k", "three", seen(stale))
	vclock := c.expect("plain", "k", "three", "two")
	c.mustPut("plain", "k", "late")
	c.mustPut("plain", "k", "merged", seen(vclock))
	c.expect("plain", "k", "late", "merged", "three", "two")
}

func TestNoSiblingsAllowed(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 0, r.Addrs()...)
	for i := range 5 {
		c.mustPut("single", "k", fmt.Sprint(i))
		if values, _ := c.values("single", "k"); len(values) != 1 {
			t.Fatalf("%q", values)
		}
	}
	c.expect("single", "k", "4")
}

func TestDeleteInStaleContext(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 0, r.Addrs()...)
	c.mustPut(siblingType, "k", "one")
	stale := c.expect(siblingType, "k", "one")
	c.mustPut(siblingType, "k", "two", seen(stale))
	if err := c.delete(siblingType, "k", stale); err != nil {
		t.Fatal(err)
	}
	vclock := c.expect(siblingType, "k", "(deleted)", "two")
	c.mustPut(siblingType, "k", "three", seen(vclock))
	c.expect(siblingType, "k", "three")
}

func TestDelete(t *testing.T) {
	r := cluster(t, riaktest.Config{ReapAfter: -1})
	c := dial(t, 0, r.Addrs()...)
	for _, withContext := range []bool{true, false} {
		c.mustPut(siblingType, "k", "one", seen(c.deletedContext("k")))
		vclock := c.expect(siblingType, "k", "one")
		if !withContext {
			vclock = nil
		}
		if err := c.delete(siblingType, "k", vclock); err != nil {
			t.Fatal(err)
		}
		c.expect(siblingType, "k")
		if got := r.Siblings(siblingType, "b", "k"); len(got) != 1 || !got[0].Deleted {
			t.Errorf("replicas have %v", got)
		}
	}
	if err := c.delete(siblingType, "never", nil); err != nil {
		t.Errorf("of a key that is not there: %v", err)
	}
}

// deletedContext is the context of a tombstone; nil if there is none.
func (c *client) deletedContext(key string) []byte {
	c.t.Helper()
	resp, err := c.get(siblingType, key, func(b *riak.FetchValueCommandBuilder) { b.WithReturnDeletedVClock(true) })
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.VClock
}

// A key that is written without its tombstone's context is a sibling of it.
func TestWriteOverTombstone(t *testing.T) {
	r := cluster(t, riaktest.Config{ReapAfter: -1})
	c := dial(t, 0, r.Addrs()...)
	c.mustPut(siblingType, "k", "one")
	if err := c.delete(siblingType, "k", nil); err != nil {
		t.Fatal(err)
	}
	c.mustPut(siblingType, "k", "two")
	c.expect(siblingType, "k", "(deleted)", "two")
}

func TestTombstoneIsReaped(t *testing.T) {
	r := cluster(t, riaktest.Config{ReapAfter: time.Millisecond})
	c := dial(t, 0, r.Addrs()...)
	c.mustPut(siblingType, "k", "one")
	stale := c.expect(siblingType, "k", "one")
	if err := c.delete(siblingType, "k", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return r.Siblings(siblingType, "b", "k") == nil })
	if keys := c.keys(siblingType); len(keys) != 0 {
		t.Errorf("listed %q", keys)
	}
	c.mustPut(siblingType, "k", "again", seen(stale))
	c.expect(siblingType, "k", "again")
}

// Conditional puts read, and then write: of writers that race several get
// through. With siblings all values are there, without them all but one vanish.
func TestConditionalPutsRace(t *testing.T) {
	r := cluster(t, riaktest.Config{Seed: 7})
	c := dial(t, 1, r.Addrs()...)
	races := map[string]int{}
	for _, key := range keyNames(10) {
		for _, kind := range []string{siblingType, "single"} {
			through := race(t, c, kind, key)
			if through > 1 {
				races[kind]++
			}
			values, _ := c.values(kind, key)
			if want := map[string]int{siblingType: through, "single": 1}[kind]; len(values) != want {
				t.Errorf("%s: %d writers got through, values %q", kind, through, values)
			}
		}
	}
	if races[siblingType] < 5 || races["single"] < 5 {
		t.Errorf("of 10 races each these let several through: %v", races)
	}
}

// race lets 8 writers put a key only if it is not there, and counts who did.
func race(t *testing.T, c *client, kind, key string) int {
	var mu sync.Mutex
	var through int
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			err := c.put(kind, key, fmt.Sprint(i), ifNoneMatch)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				through++
			} else if !strings.Contains(err.Error(), "RiakError|0|match_found") {
				t.Error(err)
			}
		})
	}
	group.Wait()
	return through
}

func TestConditionsOneByOne(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 1, r.Addrs()...)
	refused := func(text string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "RiakError|0|"+text) {
			t.Errorf("%v, want %s", err, text)
		}
	}
	refused("notfound", c.put(siblingType, "k", "x", ifNotModified))
	c.mustPut(siblingType, "k", "one", ifNoneMatch)
	refused("match_found", c.put(siblingType, "k", "x", ifNoneMatch))
	stale := c.expect(siblingType, "k", "one")
	c.mustPut(siblingType, "k", "two", ifNotModified, seen(stale))
	refused("modified", c.put(siblingType, "k", "x", ifNotModified, seen(stale)))
	c.expect(siblingType, "k", "two")
}

// An answer that is lost makes the client put again, as often as it is allowed:
// the same value is there twice.
func TestClientRepeatsPuts(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 0, r.Addrs()...)
	lost := r.Fault(riaktest.Fault{Do: riaktest.LoseAnswer, Op: riaktest.Put, Times: 2})
	c.mustPut(siblingType, "k", "once")
	c.expect(siblingType, "k", "once", "once", "once")
	if got := r.Counts(); lost.Hits() != 2 || got.Repeats != 2 || got.Requests[riaktest.Put] != 3 {
		t.Errorf("%d answers lost, %+v", lost.Hits(), got)
	}
}

// The client's errors do not unwrap: only the text tells what Riak said.
func TestErrorsDoNotUnwrap(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 2, r.Addrs()...)
	r.Fault(riaktest.Fault{Do: riaktest.Refuse, Op: riaktest.Put, Error: "overload"})
	err := c.put(siblingType, "k", "x")
	if _, unwraps := err.(interface{ Unwrap() error }); unwraps {
		t.Errorf("%T unwraps", err)
	}
	if err == nil || !strings.HasSuffix(err.Error(), "InnerError|RiakError|0|overload") {
		t.Errorf("%v", err)
	}
	if n := r.Counts().Requests[riaktest.Put]; n != 2 {
		t.Errorf("%d attempts", n)
	}
}

func TestUnknownType(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 1, r.Addrs()...)
	_, err := c.get("unheard", "k")
	for what, err := range map[string]error{
		"no_type":             err,
		"RiakError|0|no_type": c.put("unheard", "k", "x"),
		"No bucket-type named 'unheard'": c.run(riak.NewFetchBucketPropsCommandBuilder().
			WithBucketType("unheard").WithBucket("b").Build()),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want %s", err, what)
		}
	}
}

func TestBucketProperties(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 1, r.Addrs()...)
	err := c.run(riak.NewStoreBucketPropsCommandBuilder().WithBucketType("single").WithBucket("b").WithAllowMult(true).Build())
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := riak.NewFetchBucketPropsCommandBuilder().WithBucketType("single").WithBucket("b").Build()
	if err := c.run(cmd, err); err != nil {
		t.Fatal(err)
	}
	if got := cmd.(*riak.FetchBucketPropsCommand).Response; got.NVal != 3 || !got.AllowMult || got.Backend != "bitcask" {
		t.Errorf("%+v", got)
	}
	if err := r.CreateType("bad", `{"props":{"alow_mult":true}}`); err == nil {
		t.Error("a property misspelt was taken")
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 10s")
		}
	}
}

func TestIndexes(t *testing.T) {
	r := cluster(t, riaktest.Config{})
	c := dial(t, 1, r.Addrs()...)
	for i, key := range keyNames(7) {
		o := &riak.Object{ContentType: "text/plain", Value: []byte("v")}
		o.AddToIndex("n_bin", fmt.Sprint(i))
		if err := c.run(riak.NewStoreValueCommandBuilder().WithBucketType("indexed").WithBucket("b").WithKey(key).WithContent(o).Build()); err != nil {
			t.Fatal(err)
		}
	}
	query := func(kind string) (*riak.SecondaryIndexQueryResponse, error) {
		cmd, err := riak.NewSecondaryIndexQueryCommandBuilder().WithBucketType(kind).WithBucket("b").
			WithIndexName("n_bin").WithRange("2", "5").WithMaxResults(3).Build()
		if err := c.run(cmd, err); err != nil {
			return nil, err
		}
		return cmd.(*riak.SecondaryIndexQueryCommand).Response, nil
	}
	resp, err := query("indexed")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, hit := range resp.Results {
		keys = append(keys, string(hit.ObjectKey))
	}
	if !slices.Equal(keys, []string{"key002", "key003", "key004"}) || resp.Continuation == nil {
		t.Errorf("%q, continuation %q", keys, resp.Continuation)
	}
	if _, err := query(siblingType); err == nil || !strings.Contains(err.Error(), "indexes_not_supported,riak_kv_bitcask_backend") {
		t.Errorf("bitcask: %v", err)
	}
}
