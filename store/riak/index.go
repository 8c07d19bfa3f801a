package riak

import (
	"context"
	"hash/fnv"
	"slices"
	"sync"
)

// An index is the set of all names that were ever written under, because Riak has no way to list keys that may be used in
// production, nor with its default storage an index of its own. It is cut into shards by the names' hashes, each one value. Names
// stay when their accounts go, since numbers are kept that must not repeat; who lists accounts or rooms looks whether they are there.
type index struct {
	name   string
	shards uint32
}

// Names of one deployment hardly exceed a megabyte a shard.
var (
	userIndex  = index{"users", 256}
	roomIndex  = index{"rooms", 16}
	queueIndex = index{"queues", 1}
)

func (x index) shard(i uint32) ref {
	return ref{"index." + x.name, string([]byte{byte(i >> 8), byte(i)})}
}

func (x index) shardOf(name string) ref {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return x.shard(h.Sum32() % x.shards)
}

// enlist puts a name into an index, before anything is written under it: then nothing can be there that is not listed.
func (s *Store) enlist(ctx context.Context, x index, name string) error {
	remembered := ref{x.name, name}
	if _, ok := s.known.get(remembered); ok {
		return nil
	}
	err := s.update(ctx, x.shardOf(name), func(v *value, at stamp) error {
		if _, ok := v.get(name); ok {
			return errUnchanged
		}
		v.set(name, at, nil)
		return nil
	})
	if err == nil {
		s.known.put(remembered, struct{}{})
	}
	return err
}

// delist takes a name out of an index after nothing is left under it at all.
func (s *Store) delist(ctx context.Context, x index, name string) error {
	s.known.forget(ref{x.name, name})
	return s.update(ctx, x.shardOf(name), func(v *value, at stamp) error {
		if !v.remove(name, at) {
			return errUnchanged
		}
		return nil
	})
}

// shardsAtOnce bounds what listing takes of memory and connections.
const shardsAtOnce = 16

// list is the first limit names of an index after one, in byte order.
func (s *Store) list(ctx context.Context, x index, after string, limit int) ([]string, error) {
	return s.listBeyond(ctx, x, after, limit, false)
}

// listBeyond is the limit names next to one, in byte order: those after it or, with back, those before it, where "" is the end.
func (s *Store) listBeyond(ctx context.Context, x index, beyond string, limit int, back bool) ([]string, error) {
	if limit <= 0 {
		return nil, nil
	}
	var mu sync.Mutex
	var names []string
	err := inParallel(ctx, int(x.shards), func(ctx context.Context, i int) error {
		v, err := s.fetch(ctx, x.shard(uint32(i)))
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for name, e := range v.entries {
			if in := name > beyond; (in != back || back && beyond == "") && name != beyond && v.shows(e) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		if n := min(limit, len(names)); back {
			names = slices.Delete(names, 0, len(names)-n)
		} else {
			names = names[:n]
		}
		return nil
	})
	return slices.Clip(names), err
}

// inParallel runs n calls, at most shardsAtOnce at a time, and returns when all have returned, with the error of the one that failed
// first; then the others' context ends.
func inParallel(ctx context.Context, n int, call func(ctx context.Context, i int) error) error {
	if n == 1 {
		return call(ctx, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, shardsAtOnce) {
		wg.Go(func() {
			for i := range next {
				if err := call(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}
