package riak_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	basho "github.com/basho/riak-go-client"

	"chatd/store"
	"chatd/store/riak"
	"chatd/store/riak/riaktest"
	"chatd/store/storetest"
)

const bucketProps = `{"props":{"n_val":3,"allow_mult":true,"dvv_enabled":true,"last_write_wins":false}}`

// cluster is three nodes, of which a replica that a quorum did not need is a little behind.
func cluster(t testing.TB) *riaktest.Cluster {
	return riaktest.Start(t, riaktest.Config{Types: map[string]string{"chatd": bucketProps}, Lag: 5 * time.Millisecond})
}

// open is a chatd's store on some nodes. Each prefix is a database.
func open(t testing.TB, prefix string, nodes ...string) *riak.Store {
	t.Helper()
	s, err := riak.Open(context.Background(), riak.Config{Nodes: nodes, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	double := cluster(t)
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, rand.Text()+".", double.Addrs()...) })
}

// TestRealRiak runs the suite on the Riak that CHATD_TEST_RIAK names, host:port[,host:port], in buckets of their own, which it empties
// afterwards. A node named twice or more is as good as several for what two chatd do at the same time.
func TestRealRiak(t *testing.T) {
	nodes, err := riak.ParseNodes(os.Getenv("CHATD_TEST_RIAK"))
	if err != nil {
		t.Skip("CHATD_TEST_RIAK names no Riak")
	}
	prefix := func(t *testing.T) string {
		p := "test." + strings.ToLower(rand.Text()) + "."
		t.Cleanup(func() { empty(t, nodes, p) })
		return p
	}
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, prefix(t), nodes...) })
	several := func(t *testing.T) (stores []*riak.Store) {
		p := prefix(t)
		for i := range 4 {
			stores = append(stores, open(t, p, nodes[i%len(nodes)]))
		}
		return stores
	}
	t.Run("TwoNodesRace", func(t *testing.T) { twoNodesRace(t, several(t)) })
	t.Run("TwoNodesWrite", func(t *testing.T) { twoNodesWrite(t, several(t)) })
}

// buckets are all that the store uses, without the prefix.
var buckets = []string{"account", "roster", "profile", "vcard", "private", "room", "lease", "removals", "index.users", "index.rooms", "index.queues",
	"offline", "offline.segment", "events", "events.segment", "history", "history.segment"}

// empty removes what a test has left, with Basho's own client.
func empty(t testing.TB, nodes []string, prefix string) (removed int) {
	c, err := basho.NewClient(&basho.NewClientOptions{RemoteAddresses: nodes})
	must(t, err)
	defer c.Stop()
	for _, bucket := range buckets {
		list, err := basho.NewListKeysCommandBuilder().WithBucketType("chatd").WithBucket(prefix + bucket).Build()
		must(t, err)
		must(t, c.Execute(list))
		for _, key := range list.(*basho.ListKeysCommand).Response.Keys {
			get, err := basho.NewFetchValueCommandBuilder().WithBucketType("chatd").WithBucket(prefix + bucket).WithKey(key).Build()
			must(t, err)
			must(t, c.Execute(get))
			del, err := basho.NewDeleteValueCommandBuilder().WithBucketType("chatd").WithBucket(prefix + bucket).WithKey(key).
				WithVClock(get.(*basho.FetchValueCommand).Response.VClock).Build()
			must(t, err)
			must(t, c.Execute(del))
			removed++
		}
	}
	return removed
}

// TestEmpty: the list of buckets is whole, and what this package writes Basho's client reads.
func TestEmpty(t *testing.T) {
	ctx, double := t.Context(), cluster(t)
	s := open(t, "p.", double.Addrs()...)
	must(t, s.CreateAccount(ctx, store.Account{User: "anna"}))
	keepItem(t, s, "anna", store.RosterItem{JID: "a@x"})
	appendText(t, s, "anna", "x")
	must(t, s.Block(ctx, "anna", []string{"a@x"}, 0))
	must(t, s.SetVCard(ctx, "anna", []byte("x")))
	must(t, s.SetPrivateXML(ctx, "anna", "a", "b", nil, 0))
	must(t, s.SetDisabled(ctx, "anna", true))
	must(t, s.CreateRoom(ctx, store.Room{Name: "hall"}, nil))
	_, err := s.AppendHistory(ctx, "hall", store.HistoryMessage{ID: "1"}, 0)
	must(t, err)
	_, err = s.Post(ctx, []store.Posting{{Queue: "q"}})
	must(t, err)
	_, err = s.LeaseQueue(ctx, "q", "me", time.Now(), time.Now().Add(time.Minute))
	must(t, err)
	if n := empty(t, double.Addrs(), "p."); n != len(buckets) {
		t.Fatalf("%d values in %d buckets", n, len(buckets))
	}
	if _, err := s.Account(ctx, "anna"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("after all was deleted: %v", err)
	}
}

// TestBucketType: a type that is not there, or would lose what two write at the same time, is refused with what to run.
func TestBucketType(t *testing.T) {
	double := riaktest.Start(t, riaktest.Config{Types: map[string]string{
		"lossy": `{"props":{"n_val":3,"allow_mult":false}}`,
		"last":  `{"props":{"n_val":3,"allow_mult":true,"last_write_wins":true}}`,
		"few":   `{"props":{"n_val":2,"allow_mult":true}}`,
	}})
	for _, kind := range []string{"", "lossy", "last", "few"} {
		_, err := riak.Open(t.Context(), riak.Config{Nodes: double.Addrs(), BucketType: kind})
		if err == nil || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "riak-admin bucket-type create "+cmp.Or(kind, "chatd")) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("type %q: %v", kind, err)
		}
	}
	double.Cut()
	if _, err := riak.Open(t.Context(), riak.Config{Nodes: double.Addrs()}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("out of reach: %v", err)
	}
}

func TestParseNodes(t *testing.T) {
	got, err := riak.ParseNodes("a, b:1,[::1]:2,[::1]")
	if want := "a:8087 b:1 [::1]:2 [::1]:8087"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, dsn := range []string{"", "a,", ":1", "a:", "u@a:1", "riak://a"} {
		if got, err := riak.ParseNodes(dsn); err == nil {
			t.Errorf("%q is %q", dsn, got)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	storetest.RunFaults(t, func(t *testing.T) storetest.Faulty {
		double := cluster(t)
		return storetest.Faulty{
			Store: open(t, "", double.Addrs()...),
			Cut:   double.Cut,
			Stall: double.StallAll,
			Mend:  double.Mend,
		}
	})
}
