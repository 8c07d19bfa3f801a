package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func nodeNames(rng *rand.Rand, n int) []string {
	names := make([]string, 0, n)
	for len(names) < n {
		if name := fmt.Sprintf("chat-%d", rng.IntN(10_000)); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func without(names []string, i int) []string { return slices.Delete(slices.Clone(names), i, i+1) }

// moved counts the buckets that have another home, and what had to move at least so that each node has its share.
func moved(before, after []string, buckets int) (n, least int) {
	a, b := assignBuckets(before, buckets), assignBuckets(after, buckets)
	load := map[string]int{}
	for k := range buckets {
		from, to := before[a[k]], after[b[k]]
		if from != to {
			n++
		}
		load[to]++
		load[from]--
	}
	for _, d := range load {
		least += max(d, 0)
	}
	return n, least
}

func TestBucketsAreBalanced(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for n := 1; n <= 64; n++ {
		names := nodeNames(rng, n)
		buckets := bucketCount(n)
		if buckets&(buckets-1) != 0 || buckets < 8*n {
			t.Fatal(n, "nodes,", buckets, "buckets")
		}
		load := make([]int, n)
		for _, i := range assignBuckets(names, buckets) {
			load[i]++
		}
		if least, most := slices.Min(load), slices.Max(load); most-least > 1 || least < 8 || most*8 > least*9 {
			t.Errorf("%d nodes: from %d to %d buckets", n, least, most)
		}
	}
	for n, want := range map[int]int{1: 1 << 14, 2048: 1 << 14, 2049: 1 << 15, 5000: 1 << 16} {
		if got := bucketCount(n); got != want {
			t.Error(n, got, want)
		}
	}
}

// TestLittleMoves compares what moves with the least that could: at most one and a half times as much when one or two nodes join or
// leave. When one comes as another goes it is at most three times: the new one does not take over as a whole what
// the old one had, of which a function of the names alone knows nothing.
func TestLittleMoves(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for n := 1; n <= 64; n++ {
		if n > 9 && n%11 != 9 {
			continue
		}
		names := nodeNames(rng, n+2)
		one := without(names, rng.IntN(n+2))
		other := without(names, rng.IntN(n+2))
		two := without(one, rng.IntN(n+1))
		buckets := bucketCount(n)
		for _, c := range []struct {
			what          string
			before, after []string
			most          float64
		}{
			{"join", two, one, 1.5}, {"leave", one, two, 1.5}, {"replaced", one, other, 3}, {"two join", two, names, 1.5}, {"two leave", names, two, 1.5},
		} {
			if slices.Equal(c.before, c.after) {
				continue
			}
			got, least := moved(c.before, c.after, buckets)
			if got > int(c.most*float64(least)) || got < least {
				t.Errorf("%d nodes, %s: %d of %d buckets move, %d have to", n, c.what, got, buckets, least)
			}
			t.Logf("%d nodes, %s: %d move, %d have to: %.2f", n, c.what, got, least, float64(got)/float64(least))
		}
	}
}

func BenchmarkBuckets(b *testing.B) {
	for _, n := range []int{3, 30, 64} {
		names := nodeNames(rand.New(rand.NewPCG(3, 3)), n)
		b.Run(fmt.Sprint("nodes=", n), func(b *testing.B) {
			for b.Loop() {
				assignBuckets(names, bucketCount(n))
			}
		})
	}
}

func TestHomeDependsOnTheNamesOnly(t *testing.T) {
	one := newPlaces("b", newHashKey("s"), bucketCount, nil)
	two := newPlaces("c", newHashKey("s"), bucketCount, nil)
	one.set([]string{"c", "a"}, false)
	two.set([]string{"a", "b", "a"}, false)
	homes := map[string]int{}
	for i := range 30_000 {
		name := fmt.Sprintf("room%d@conference.chat.test", i)
		home := one.Current().Home(name)
		if two.Current().Home(name) != home {
			t.Fatal(name, "has two homes")
		}
		homes[home]++
	}
	if len(homes) != 3 {
		t.Error(homes)
	}
	for node, n := range homes {
		if n < 9_000 || n > 11_000 {
			t.Error(n, "rooms on", node)
		}
	}
	if n := one.Current().Buckets(); slices.Max(n)-slices.Min(n) > 1 {
		t.Error(n)
	}
}

// TestEpochsAgree has three nodes tell each other of every change, in any order.
func TestEpochsAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	names := []string{"a", "b", "c"}
	var all []*Places
	tokens := map[string]Token{}
	for _, n := range names {
		all = append(all, newPlaces(n, newHashKey("s"), bucketCount, func(p *Placement) {
			if old := tokens[n]; !p.Fences(old) {
				t.Errorf("%s: %v after %v", n, p.Token, old)
			}
			tokens[n] = p.Token
		}))
	}
	for range 50 {
		type message struct {
			to int
			t  Token
		}
		var flying []message
		apart := Token{}
		for _, others := range [][]string{{}, names} { // apart, then together
			for i := range rng.Perm(len(all)) {
				all[i].set(others, false)
				for to := range all {
					flying = append(flying, message{to, all[i].Current().Token})
				}
			}
			if len(others) == 0 {
				flying = nil // nobody hears anybody
				for _, p := range all {
					if p.Current().Fences(apart) {
						apart = p.Current().Token
					}
				}
			}
		}
		rng.Shuffle(len(flying), func(i, j int) { flying[i], flying[j] = flying[j], flying[i] })
		for _, m := range flying {
			all[m.to].told(m.t)
		}
		for _, p := range all {
			if p.Current().Token != all[0].Current().Token || !p.Current().Fences(apart) {
				t.Fatal(p.Current().Token, all[0].Current().Token, apart)
			}
		}
	}
}
