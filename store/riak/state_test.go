package riak

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// states are small, so that they collide: few keys, few stamps.
var states = rapid.Custom(func(t *rapid.T) *state {
	s := &state{
		purged:  stamp(rapid.Int64Range(0, 6).Draw(t, "purged")),
		high:    rapid.Int64Range(0, 6).Draw(t, "high"),
		era:     stamp(rapid.Int64Range(0, 2).Draw(t, "era")),
		entries: rapid.MapOfN(rapid.SampledFrom([]string{"", "a", "b", "c\x00"}), entries, 0, 4).Draw(t, "entries"),
	}
	return s
})

var entries = rapid.Custom(func(t *rapid.T) entry {
	return entry{
		rank:  rapid.Int64Range(0, 2).Draw(t, "rank"),
		at:    stamp(rapid.Int64Range(0, 6).Draw(t, "at")),
		gone:  rapid.Bool().Draw(t, "gone"),
		value: rapid.SampledFrom([][]byte{nil, []byte("x"), []byte("y\xff")}).Draw(t, "value"),
	}
})

func merged(all ...*state) *state {
	m := new(state)
	for _, s := range all {
		m.merge(s)
	}
	return m
}

func sameStates(t *rapid.T, what string, a, b *state) {
	t.Helper()
	if !bytes.Equal(a.encode(), b.encode()) {
		t.Fatalf("%s:\n%+v\n%+v", what, a, b)
	}
}

func TestMergeIsAJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := states.Draw(t, "a"), states.Draw(t, "b"), states.Draw(t, "c")
		sameStates(t, "commutative", merged(a, b), merged(b, a))
		sameStates(t, "associative", merged(merged(a, b), c), merged(a, merged(b, c)))
		sameStates(t, "idempotent", merged(a, b, a, b, b), merged(a, b))
		sameStates(t, "the empty one is neutral", merged(a, new(state)), merged(a))
	})
}

// What was removed or purged by one who had seen it does not come back from a sibling that still has it; what one has
// added that the other does not know of stays.
func TestRemovedStaysRemoved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := states.Draw(t, "base")
		stale := merged(base)
		now := &clock{now: time.Now, actor: 1}
		remover := merged(base)
		purges := rapid.Bool().Draw(t, "purges")
		for key := range base.entries {
			remover.remove(key, now.next(remover.top()))
		}
		if purges {
			remover.purge(now.next(remover.top()))
		}
		adder := merged(base)
		adder.set("new", (&clock{now: func() time.Time { return time.Now().Add(time.Hour) }, actor: 2}).next(adder.top()), []byte("n"))

		all := merged(stale, adder, remover)
		for key := range base.entries {
			if _, ok := all.get(key); ok {
				t.Errorf("%q is back", key)
			}
		}
		if _, ok := all.get("new"); !ok {
			t.Error("what was added is lost")
		}
	})
}

// Pruning takes nothing that shows, and a merge with what was pruned shows nothing more until tombstones have lived.
func TestPruneShowsNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := states.Draw(t, "a"), states.Draw(t, "b")
		pruned := merged(a)
		pruned.prune(stamp(6 << actorBits).time())
		for key := range a.entries {
			before, shown := a.get(key)
			after, shows := pruned.get(key)
			if shown != shows || shown && before.compare(after) != 0 {
				t.Fatalf("%q: %v %v, then %v %v", key, before, shown, after, shows)
			}
		}
		whole, rest := merged(a, b), merged(pruned, b)
		for _, key := range rest.keys("") {
			if _, ok := whole.get(key); !ok && a.entries[key].at > a.purged {
				t.Fatalf("%q shows after pruning only", key)
			}
		}
	})
}

// toOurTimes: the time of synctest begins in 2000, that of stamps in 2020.
func toOurTimes() { time.Sleep(time.Until(stampEpoch.AddDate(5, 0, 0))) }

func TestTombstonesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		toOurTimes()
		now := newClock(time.Now)
		var s state
		s.set("a", now.next(0), []byte("x"))
		s.set("b", now.next(0), []byte("x"))
		s.remove("a", now.next(0))
		time.Sleep(tombstoneLife)
		s.prune(time.Now())
		if len(s.entries) != 2 {
			t.Fatal("forgotten too early")
		}
		time.Sleep(time.Minute)
		s.prune(time.Now())
		if _, ok := s.entries["a"]; ok || len(s.entries) != 1 {
			t.Fatalf("left: %v", s.entries)
		}
	})
}

func TestStateEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := states.Draw(t, "s")
		back, err := decodeState(s.encode())
		if err != nil {
			t.Fatal(err)
		}
		sameStates(t, "decoded", s, back)
	})
}

func FuzzDecodeState(f *testing.F) {
	f.Add([]byte{})
	f.Add((&state{purged: 7, high: 8, entries: map[string]entry{"a": {rank: 1, at: 2, gone: true}, "b": {value: []byte("x")}}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		again, err := decodeState(s.encode())
		if err != nil || !bytes.Equal(again.encode(), s.encode()) {
			t.Fatalf("%v: %v is %v", err, s, again)
		}
	})
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		toOurTimes()
		c := newClock(time.Now)
		first := c.next(0)
		if d := time.Since(first.time()); d < 0 || d > tick {
			t.Fatalf("stamp of %v ago", d)
		}
		if second := c.next(0); second <= first {
			t.Fatal("the clock stands")
		}
		ahead := first + stamp(time.Hour/tick)<<actorBits
		if s := c.next(ahead); s <= ahead {
			t.Fatal("not after what was seen")
		} else if stampOf(s.key()) != s {
			t.Fatal("the key is another stamp's")
		}
	})
}
