package riaktest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"chatd/store/riak/riaktest"

	riak "github.com/basho/riak-go-client"
)

const siblingType = "siblings"

// cluster is a double with one type for siblings and one that has none.
func cluster(t testing.TB, config riaktest.Config) *riaktest.Cluster {
	t.Helper()
	config.Types = map[string]string{
		siblingType: `{"props":{"allow_mult":true,"dvv_enabled":true}}`,
		"single":    `{"props":{"allow_mult":false}}`,
		"indexed":   `{"props":{"backend":"leveled"}}`,
	}
	return riaktest.Start(t, config)
}

// A client is the real client on some of the nodes.
type client struct {
	t       testing.TB
	cluster *riak.Cluster
}

// dial opens the client as most programs do; attempts 0 is its default of 3.
func dial(t testing.TB, attempts byte, addrs ...string) *client {
	t.Helper()
	var nodes []*riak.Node
	for _, addr := range addrs {
		n, err := riak.NewNode(&riak.NodeOptions{RemoteAddress: addr, RequestTimeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	c, err := riak.NewCluster(&riak.ClusterOptions{Nodes: nodes, ExecutionAttempts: attempts})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &client{t, c}
}

func (c *client) run(cmd riak.Command, err error) error {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	return c.cluster.Execute(cmd)
}

type putOption func(*riak.StoreValueCommandBuilder)

func seen(vclock []byte) putOption {
	return func(b *riak.StoreValueCommandBuilder) { b.WithVClock(vclock) }
}

func quorums(w, pw uint32) putOption {
	return func(b *riak.StoreValueCommandBuilder) { b.WithW(w).WithPw(pw) }
}

func ifNoneMatch(b *riak.StoreValueCommandBuilder)   { b.WithIfNoneMatch(true) }
func ifNotModified(b *riak.StoreValueCommandBuilder) { b.WithIfNotModified(true) }

func (c *client) put(kind, key, value string, options ...putOption) error {
	c.t.Helper()
	b := riak.NewStoreValueCommandBuilder().WithBucketType(kind).WithBucket("b").WithKey(key).
		WithContent(&riak.Object{ContentType: "text/plain", Value: []byte(value)})
	for _, o := range options {
		o(b)
	}
	return c.run(b.Build())
}

func (c *client) mustPut(kind, key, value string, options ...putOption) {
	c.t.Helper()
	if err := c.put(kind, key, value, options...); err != nil {
		c.t.Fatal(err)
	}
}

// get is what the client makes of a read.
func (c *client) get(kind, key string, options ...func(*riak.FetchValueCommandBuilder)) (*riak.FetchValueResponse, error) {
	c.t.Helper()
	b := riak.NewFetchValueCommandBuilder().WithBucketType(kind).WithBucket("b").WithKey(key)
	for _, o := range options {
		o(b)
	}
	cmd, err := b.Build()
	if err := c.run(cmd, err); err != nil {
		return nil, err
	}
	return cmd.(*riak.FetchValueCommand).Response, nil
}

// values are a key's siblings in order, a tombstone among them as "(deleted)";
// nothing if the key is not found.
func (c *client) values(kind, key string) (values []string, vclock []byte) {
	c.t.Helper()
	resp, err := c.get(kind, key)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, o := range resp.Values {
		if o.IsTombstone {
			values = append(values, "(deleted)")
		} else {
			values = append(values, string(o.Value))
		}
	}
	slices.Sort(values)
	return values, resp.VClock
}

func (c *client) expect(kind, key string, want ...string) []byte {
	c.t.Helper()
	got, vclock := c.values(kind, key)
	if !slices.Equal(got, want) {
		c.t.Fatalf("%s/%s has %q, want %q", kind, key, got, want)
	}
	return vclock
}

func (c *client) delete(kind, key string, vclock []byte) error {
	c.t.Helper()
	b := riak.NewDeleteValueCommandBuilder().WithBucketType(kind).WithBucket("b").WithKey(key)
	if vclock != nil {
		b.WithVClock(vclock)
	}
	return c.run(b.Build())
}

func (c *client) keys(kind string) []string {
	c.t.Helper()
	cmd, err := riak.NewListKeysCommandBuilder().WithBucketType(kind).WithBucket("b").Build()
	if err := c.run(cmd, err); err != nil {
		c.t.Fatal(err)
	}
	keys := cmd.(*riak.ListKeysCommand).Response.Keys
	slices.Sort(keys)
	return keys
}

// expectAll expects the value of a read that asks all replicas.
func (c *client) expectAll(key, want string) {
	c.t.Helper()
	resp, err := c.get(siblingType, key, func(b *riak.FetchValueCommandBuilder) { b.WithR(3) })
	if err != nil || len(resp.Values) != 1 || string(resp.Values[0].Value) != want {
		c.t.Errorf("%+v, %v", resp, err)
	}
}

// both makes a key with two siblings and is the stale context of each.
func (c *client) both(key string) (stale []byte) {
	c.t.Helper()
	c.mustPut(siblingType, key, "one")
	stale = c.expect(siblingType, key, "one")
	c.mustPut(siblingType, key, "two", seen(stale))
	c.mustPut(siblingType, key, "three", seen(stale))
	c.expect(siblingType, key, "three", "two")
	return stale
}

func keyNames(n int) []string {
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("key%03d", i))
	}
	return keys
}
