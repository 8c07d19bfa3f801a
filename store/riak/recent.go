package riak

import "sync"

// How much is remembered: some megabytes at most.
const (
	rememberedNames  = 1 << 16
	rememberedQueues = 1 << 15
	rememberedDoubts = 1 << 14
)

// A recent remembers what was put last, at least size and at most twice as many.
type recent[K comparable, V any] struct {
	size int

	mu       sync.Mutex
	new, old map[K]V
}

func newRecent[K comparable, V any](size int) *recent[K, V] {
	return &recent[K, V]{size: size, new: make(map[K]V)}
}

func (r *recent[K, V]) get(key K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.new[key]
	if !ok {
		v, ok = r.old[key]
	}
	return v, ok
}

func (r *recent[K, V]) put(key K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.new) >= r.size {
		r.old, r.new = r.new, make(map[K]V)
	}
	r.new[key] = v
}

func (r *recent[K, V]) forget(key K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.new, key)
	delete(r.old, key)
}
