package riaktest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"chatd/store/riak/riaktest"
)

// Writers on all nodes put values without a context while nodes die, part and
// return: each value that was answered for is there in the end.
func TestAnsweredValuesStay(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := cluster(t, riaktest.Config{Nodes: 5, Seed: seed + 1, MaxSiblings: 1 << 20})
			answered := make([]map[string][]string, 4) // by writer and key
			ctx, stop := context.WithCancel(t.Context())
			var group sync.WaitGroup
			for w := range answered {
				answered[w] = map[string][]string{}
				c := dial(t, 1, r.Addrs()...)
				group.Go(func() { c.write(ctx, w, answered[w]) })
			}
			disturb(t, r, rand.New(rand.NewPCG(seed, 1)))
			stop()
			group.Wait()
			r.Mend()
			checkAnswered(t, r, answered)
			time.Sleep(settleTime)
		})
	}
}

// settleTime is for the clients to find all nodes well again, which they look for every 125 ms: one that is stopped while it looks
// reads its state without a lock (riak-go-client, states.go).
const settleTime = 400 * time.Millisecond

func (c *client) write(ctx context.Context, writer int, answered map[string][]string) {
	for i := 0; ctx.Err() == nil; i++ {
		key, value := fmt.Sprint("k", i%32), fmt.Sprintf("%d/%d", writer, i)
		if c.put(siblingType, key, value) == nil {
			answered[key] = append(answered[key], value)
		}
	}
}

// disturb changes which nodes there are and who sees whom.
func disturb(t *testing.T, r *riaktest.Cluster, random *rand.Rand) {
	const nodes = 5
	down := -1
	for range 30 {
		switch random.IntN(4) {
		case 0:
			if down < 0 {
				down = random.IntN(nodes)
				r.Kill(down)
			}
		case 1:
			if down >= 0 {
				r.Restart(down)
				down = -1
			}
		case 2:
			order := random.Perm(nodes)
			r.Partition(order[:2], order[2:])
		case 3:
			r.Heal()
		}
		before := r.Counts().Requests[riaktest.Put]
		for deadline := time.Now().Add(time.Second); r.Counts().Requests[riaktest.Put] < before+20; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Log("nobody writes for a second")
				break
			}
		}
	}
}

func checkAnswered(t *testing.T, r *riaktest.Cluster, answered []map[string][]string) {
	c := dial(t, 1, r.Addrs()...)
	total := 0
	for w, keys := range answered {
		for key, values := range keys {
			total += len(values)
			got, _ := c.values(siblingType, key)
			for _, v := range values {
				if _, found := slices.BinarySearch(got, v); !found {
					t.Errorf("%s of writer %d is not at %s", v, w, key)
				}
			}
		}
	}
	if total < 100 {
		t.Errorf("only %d puts answered", total)
	}
	t.Logf("%d puts answered, %+v", total, r.Counts())
}
