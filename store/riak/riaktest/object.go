package riaktest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	rpb "github.com/basho/riak-go-client/rpb/riak_kv"
)

// A dot names one put: the actor that coordinated it and the actor's count.
type dot struct {
	actor string
	count uint64
}

// A clock is a version vector: the highest count seen of each actor. A clock
// that is part of an object never changes.
type clock map[string]uint64

// covers says whether the put d happened before the clock was read.
func (c clock) covers(d dot) bool { return c[d.actor] >= d.count }

// descends says whether the clock has seen everything that o has.
func (c clock) descends(o clock) bool {
	for actor, count := range o {
		if c[actor] < count {
			return false
		}
	}
	return true
}

func (c clock) equal(o clock) bool { return c.descends(o) && o.descends(c) }

// join is a new clock that has seen what both have.
func (c clock) join(o clock) clock {
	j := make(clock, len(c)+len(o)+1)
	for actor, count := range c {
		j[actor] = count
	}
	for actor, count := range o {
		j[actor] = max(j[actor], count)
	}
	return j
}

// encode is the clock as clients carry it, opaque to them.
func (c clock) encode() []byte {
	actors := make([]string, 0, len(c))
	for actor := range c {
		actors = append(actors, actor)
	}
	slices.Sort(actors)
	var b []byte
	for _, actor := range actors {
		b = binary.AppendUvarint(b, uint64(len(actor)))
		b = append(b, actor...)
		b = binary.AppendUvarint(b, c[actor])
	}
	return b
}

var errClock = errors.New("riaktest: not a vector clock")

func decodeClock(b []byte) (clock, error) {
	c := clock{}
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil, errClock
		}
		actor := string(b[n : n+int(size)])
		b = b[n+int(size):]
		count, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errClock
		}
		c[actor] = count
		b = b[n:]
	}
	return c, nil
}

// A sibling is one value of an object. Its message is shared between replicas
// and never changes.
type sibling struct {
	dot dot
	pb  *rpb.RpbContent
}

func (s sibling) deleted() bool { return s.pb.GetDeleted() }

func (s sibling) newer(o sibling) bool {
	if a, b := s.pb.GetLastMod(), o.pb.GetLastMod(); a != b {
		return a > b
	}
	return s.pb.GetLastModUsecs() > o.pb.GetLastModUsecs()
}

// An object is what a replica keeps under a key. It never changes: a put makes
// another one.
type object struct {
	clock    clock
	siblings []sibling
}

// tombstone says whether nothing but deletions is left.
func (o *object) tombstone() bool {
	return !slices.ContainsFunc(o.siblings, func(s sibling) bool { return !s.deleted() })
}

// update is the coordinating replica's put of one value, made in the context
// seen, over what the replica has (nil: nothing). With dotted version vectors
// the value replaces exactly what its writer had seen.
func update(old *object, seen clock, value *rpb.RpbContent, actor string, p Props) *object {
	if old == nil || p.LastWriteWins || seen.descends(old.clock) {
		next := seen.join(nil)
		next[actor]++
		return &object{clock: next, siblings: []sibling{{dot{actor, next[actor]}, value}}}
	}
	next := seen.join(old.clock)
	next[actor]++
	put := &object{clock: seen, siblings: []sibling{{dot{actor, next[actor]}, value}}}
	merged := merge(put, old, p)
	merged.clock = next
	return merged
}

// reconcile is what two replicas' objects are together.
func reconcile(a, b *object, p Props) *object {
	switch {
	case a == nil:
		return b
	case b == nil || a == b:
		return a
	}
	down, up := a.clock.descends(b.clock), b.clock.descends(a.clock)
	switch {
	case down && !up:
		return a
	case up && !down:
		return b
	case slices.Equal(a.siblings, b.siblings):
		return a
	}
	return merge(a, b, p)
}

// merge joins concurrent objects. Dotted version vectors drop a value that the
// other side has seen and no longer has; without them every value stays.
func merge(a, b *object, p Props) *object {
	m := &object{clock: a.clock.join(b.clock)}
	keep := func(from, other *object) {
		for _, s := range from.siblings {
			same := slices.ContainsFunc(other.siblings, func(o sibling) bool { return o.dot == s.dot })
			if p.DVV && other.clock.covers(s.dot) && !same || slices.Contains(m.siblings, s) {
				continue
			}
			m.siblings = append(m.siblings, s)
		}
	}
	keep(a, b)
	keep(b, a)
	slices.SortFunc(m.siblings, func(x, y sibling) int {
		if c := bytes.Compare(x.pb.Value, y.pb.Value); c != 0 {
			return c
		}
		return strings.Compare(x.dot.actor, y.dot.actor)
	})
	return m
}

// single is the object with its newest value only, if siblings are not allowed:
// the others vanish without a word.
func (o *object) single(p Props) *object {
	if p.AllowMult || len(o.siblings) < 2 {
		return o
	}
	newest := o.siblings[0]
	for _, s := range o.siblings[1:] {
		if s.newer(newest) {
			newest = s
		}
	}
	return &object{clock: o.clock, siblings: []sibling{newest}}
}
