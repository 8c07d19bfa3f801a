package riak_test

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"chatd/store"
	"chatd/store/riak"
	"chatd/store/riak/riaktest"
	"chatd/store/storetest"
)

const bucketProps = `{"props":{"n_val":3,"allow_mult":true,"dvv_enabled":true,"last_write_wins":false}}`

// cluster is three nodes.
func cluster(t testing.TB) *riaktest.Cluster {
	return riaktest.Start(t, riaktest.Config{Types: map[string]string{"chatd": bucketProps}})
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

// TestRealRiak runs the suite on the Riak that CHATD_TEST_RIAK names, host:port[,host:port], in buckets of their own.
func TestRealRiak(t *testing.T) {
	nodes, err := riak.ParseNodes(os.Getenv("CHATD_TEST_RIAK"))
	if err != nil {
		t.Skip("CHATD_TEST_RIAK names no Riak")
	}
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, "test."+strings.ToLower(rand.Text())+".", nodes...)
	})
}

func TestFaults(t *testing.T) {
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
