package riaktest_test

import (
	"fmt"
	"testing"

	"chatd/store/riak/riaktest"
)

// BenchmarkPutGet is a put and a get through the real client, in parallel.
func BenchmarkPutGet(b *testing.B) {
	r := cluster(b, riaktest.Config{})
	c := dial(b, 0, r.Addrs()...)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			key := fmt.Sprint(i % 1000)
			_, vclock := c.values(siblingType, key)
			c.mustPut(siblingType, key, "value", seen(vclock))
		}
	})
}
