package roster

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"chatd/stanza"
)

const (
	cacheShards = 64
	// doubtTime is for how long nothing is cached of a user of whom it is not known whether a change was
	// written: longer than the store goes on with what its caller has given up.
	doubtTime = time.Minute
)

// A cache keeps what was lately read of anybody's friends list. This server is the only one to change
// them, and forgets what it has of a user after each change, also one that may
// have failed: what get returns is never older than the last change that had ended
// when get began. Past its bound a shard forgets any others. Its methods are safe for concurrent use.
type cache[V any] struct {
	seed   maphash.Seed
	room   int         // of a shard, in units of size
	size   func(V) int // what a value costs
	shards [cacheShards]cacheShard[V]
}

type cacheShard[V any] struct {
	mu      sync.RWMutex
	values  map[string]V // by bare JID; never changed in place
	used    int          // size of values
	changes uint64       // calls of forget: what was read before one of them is not kept
	doubts  map[string]time.Time
}

// newCache makes a cache with room for as many units of size.
func newCache[V any](room int, size func(V) int) *cache[V] {
	c := &cache[V]{seed: maphash.MakeSeed(), room: room / cacheShards, size: size}
	for i := range c.shards {
		c.shards[i].values = make(map[string]V)
	}
	return c
}

func (c *cache[V]) shard(user stanza.JID) *cacheShard[V] {
	return &c.shards[maphash.String(c.seed, user.String())%cacheShards]
}

// peek is a user's value if it is at hand. It neither blocks on the store nor allocates.
func (c *cache[V]) peek(user stanza.JID) (V, bool) {
	sh := c.shard(user)
	sh.mu.RLock()
	v, ok := sh.values[user.String()]
	sh.mu.RUnlock()
	return v, ok
}

// get is a user's value, read if need be.
func (c *cache[V]) get(ctx context.Context, user stanza.JID, read func(context.Context, stanza.JID) (V, error)) (V, error) {
	sh := c.shard(user)
	sh.mu.RLock()
	v, ok := sh.values[user.String()]
	changes := sh.changes
	sh.mu.RUnlock()
	if ok {
		return v, nil
	}
	v, err := read(ctx, user)
	if err == nil {
		c.keep(sh, user.Clone().String(), v, changes)
	}
	return v, err
}

// seen is how many changes there have been, for keep.
func (c *cache[V]) seen(user stanza.JID) uint64 {
	sh := c.shard(user)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.changes
}

// keep caches what was read when there had been so many changes.
func (c *cache[V]) keep(sh *cacheShard[V], user string, v V, changes uint64) {
	size := c.size(v)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if changes != sh.changes || size > c.room || sh.doubtfulLocked(user) {
		return
	}
	c.dropLocked(sh, user)
	for other := range sh.values {
		if sh.used+size <= c.room {
			break
		}
		c.dropLocked(sh, other)
	}
	sh.values[user] = v
	sh.used += size
}

func (c *cache[V]) dropLocked(sh *cacheShard[V], user string) {
	if v, ok := sh.values[user]; ok {
		delete(sh.values, user)
		sh.used -= c.size(v)
	}
}

func (sh *cacheShard[V]) doubtfulLocked(user string) bool {
	until, ok := sh.doubts[user]
	if ok && time.Now().After(until) {
		delete(sh.doubts, user)
		return false
	}
	return ok
}

// forget drops a user's value after a change. With doubt the change may yet come.
func (c *cache[V]) forget(user stanza.JID, doubt bool) {
	sh := c.shard(user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.changes++
	c.dropLocked(sh, user.String())
	if !doubt {
		return
	}
	if sh.doubts == nil {
		sh.doubts = make(map[string]time.Time)
	}
	for other := range sh.doubts { // those of the past go
		sh.doubtfulLocked(other)
	}
	sh.doubts[user.String()] = time.Now().Add(doubtTime)
}

// doubtful reports whether a change of the user's may yet come.
func (c *cache[V]) doubtful(user stanza.JID) bool {
	sh := c.shard(user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.doubtfulLocked(user.String())
}

// forgetAll drops everything.
func (c *cache[V]) forgetAll() {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		sh.changes++
		clear(sh.values)
		sh.used = 0
		sh.mu.Unlock()
	}
}
