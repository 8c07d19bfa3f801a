package riak

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"
)

// tombstoneLife is for how long it is known that an entry was removed. Whatever brings an old value back, a partition
// of the database, a write that is on its way, a disk that was away, must have done so before.
const tombstoneLife = 30 * 24 * time.Hour

// A state is what every value in the database holds: entries by key. It merges with any other state of the same value, in any
// order and any number of times, to the same result, so that siblings never need a judge:
//   - of two entries of one key the greater one stays (entry.compare);
//   - purged is the greater of both, and high too, unless one was set anew later (era).
//
// That is a join of total orders, hence commutative, associative and idempotent. What a state shows follows from it: the
// entries that are not gone and that were written after purged.
type state struct {
	// purged takes back all that was written until then, also what is not here yet: a write that was delayed
	// past the deletion of its account does not come back with it.
	purged stamp
	// high is the greatest number that was given out in this value: the version of a roster, or the number of a message. It outlives
	// a purge. era is when it was last set to what another store had.
	high    int64
	era     stamp
	entries map[string]entry
}

// An entry is one register of a state.
type entry struct {
	// rank goes before at. It is 0 for what simply was written last. With a rank, among
	// entries of one rank removal is final.
	rank  int64
	at    stamp // when it was written
	gone  bool  // a tombstone
	value []byte
}

// compare orders the entries that one key may have.
func (e entry) compare(o entry) int {
	if c := cmp.Compare(e.rank, o.rank); c != 0 {
		return c
	}
	if e.rank != 0 && e.gone != o.gone {
		return goneLast(e, o)
	}
	// Equal stamps of different writers are next to impossible, but must not make two nodes disagree.
	return cmp.Or(cmp.Compare(e.at, o.at), goneLast(e, o), bytes.Compare(e.value, o.value))
}

func goneLast(e, o entry) int {
	switch {
	case e.gone == o.gone:
		return 0
	case e.gone:
		return 1
	}
	return -1
}

// merge joins o into s. Values are shared.
func (s *state) merge(o *state) {
	s.purged = max(s.purged, o.purged)
	if o.era > s.era || o.era == s.era && o.high > s.high {
		s.era, s.high = o.era, o.high
	}
	if s.entries == nil {
		s.entries = make(map[string]entry, len(o.entries))
	}
	for key, theirs := range o.entries {
		if ours, ok := s.entries[key]; !ok || ours.compare(theirs) < 0 {
			s.entries[key] = theirs
		}
	}
}

// grow gives out the next number. It is a stamp, or follows one that came from a store that counts otherwise.
func (s *state) grow(c *clock) int64 {
	s.high = max(int64(c.next(0)), int64(stamp(s.high)>>actorBits+1)<<actorBits|int64(c.actor))
	return s.high
}

// top is the greatest stamp in s, for the next one to be greater.
func (s *state) top() stamp {
	top := max(s.purged, s.era)
	for _, e := range s.entries {
		top = max(top, e.at)
	}
	return top
}

// get is an entry that shows.
func (s *state) get(key string) (entry, bool) {
	e, ok := s.entries[key]
	return e, ok && s.shows(e)
}

func (s *state) shows(e entry) bool { return !e.gone && e.at > s.purged }

// set writes an entry.
func (s *state) set(key string, at stamp, value []byte) { s.put(key, entry{at: at, value: value}) }

func (s *state) put(key string, e entry) {
	if s.entries == nil {
		s.entries = make(map[string]entry)
	}
	s.entries[key] = e
}

// remove leaves a tombstone if the entry shows, and reports that.
func (s *state) remove(key string, at stamp) bool {
	e, ok := s.get(key)
	if ok {
		s.entries[key] = entry{rank: e.rank, at: at, gone: true}
	}
	return ok
}

// keys are those of the entries that show and begin with prefix, without it, in byte order.
func (s *state) keys(prefix string) []string {
	var keys []string
	for key, e := range s.entries {
		if len(key) >= len(prefix) && key[:len(prefix)] == prefix && s.shows(e) {
			keys = append(keys, key[len(prefix):])
		}
	}
	slices.Sort(keys)
	return keys
}

// empty reports that nothing shows.
func (s *state) empty() bool {
	for _, e := range s.entries {
		if s.shows(e) {
			return false
		}
	}
	return true
}

// purge takes back everything until at.
func (s *state) purge(at stamp) {
	s.purged = max(s.purged, at)
	maps.DeleteFunc(s.entries, func(_ string, e entry) bool { return e.at <= s.purged })
}

// prune forgets what need not be kept any longer. It runs before a write, never in a merge: there it would depend
// on the clock.
func (s *state) prune(now time.Time) {
	maps.DeleteFunc(s.entries, func(_ string, e entry) bool { return e.at <= s.purged || e.expired(now, tombstoneLife) })
}

// expired reports a tombstone that has lived.
func (e entry) expired(now time.Time, life time.Duration) bool {
	return e.gone && now.Sub(e.at.time()) > life
}

// stateVersion begins every value; another version would be another layout.
const stateVersion = 1

// Bits before an entry.
const (
	entryGone = 1 << iota
	entryRanked
)

// encode gives equal bytes for equal states.
func (s *state) encode() []byte {
	size := 32
	for key, e := range s.entries {
		size += len(key) + len(e.value) + 24
	}
	out := append(make(encoder, 0, size), stateVersion)
	out.number(int64(s.purged))
	out.number(s.high)
	out.number(int64(s.era))
	out.number(int64(len(s.entries)))
	for _, key := range slices.Sorted(maps.Keys(s.entries)) {
		e := s.entries[key]
		flags := int64(0)
		if e.gone {
			flags |= entryGone
		}
		if e.rank != 0 {
			flags |= entryRanked
		}
		out.number(flags)
		out.text(key)
		out.number(int64(e.at))
		if e.rank != 0 {
			out.number(e.rank)
		}
		out.bytes(e.value)
	}
	return out
}

// decodeState shares the bytes.
func decodeState(b []byte) (*state, error) {
	if len(b) == 0 || b[0] != stateVersion {
		return nil, errDamaged
	}
	d := decoder{rest: b[1:]}
	s := &state{purged: stamp(d.number()), high: d.number(), era: stamp(d.number())}
	n := d.count()
	s.entries = make(map[string]entry, n)
	for range n {
		flags := d.number()
		key := d.text()
		e := entry{at: stamp(d.number()), gone: flags&entryGone != 0}
		if flags&entryRanked != 0 {
			e.rank = d.number()
		}
		e.value = d.slice()
		s.entries[key] = e
	}
	return s, d.err()
}
