package muc

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"chatd/store"
)

// states are copies of one room that have gone ways of their own.
func states() *rapid.Generator[*State] {
	users := rapid.SampledFrom([]string{"ann@chat.test", "ben@chat.test", "cat@chat.test"})
	stamp := rapid.Int64Range(0, 4)
	return rapid.Custom(func(t *rapid.T) *State {
		x := &State{Name: "lobby", Created: time.Unix(stamp.Draw(t, "created"), 0).UTC(), Configured: stamp.Draw(t, "configured"), SubjectSet: stamp.Draw(t, "set")}
		x.Config = []byte(fmt.Sprint("config", stamp.Draw(t, "config")))
		x.Subject = []byte(fmt.Sprint("subject", stamp.Draw(t, "subject")))
		x.Stamps = make(map[string]int64)
		for range rapid.IntRange(0, 3).Draw(t, "affiliations") {
			u := users.Draw(t, "affiliate")
			if _, ok := x.Stamps[u]; ok {
				continue
			}
			x.Stamps[u] = stamp.Draw(t, "changed") + 1
			if as := rapid.SampledFrom([]string{"owner", "member", "none"}).Draw(t, "as"); as != "none" {
				x.Affiliations = append(x.Affiliations, store.Affiliation{JID: u, As: as})
			}
		}
		slices.SortFunc(x.Affiliations, func(a, b store.Affiliation) int { return cmpStrings(a.JID, b.JID) })
		for range rapid.IntRange(0, 2).Draw(t, "voices") {
			if x.Voices == nil {
				x.Voices = make(map[string]string)
			}
			x.Voices[users.Draw(t, "voice")] = rapid.SampledFrom([]string{"visitor", "participant"}).Draw(t, "has")
		}
		in, nicks := map[string]bool{}, map[string]bool{}
		for range rapid.IntRange(0, 4).Draw(t, "occupants") {
			u, nick := users.Draw(t, "user"), rapid.SampledFrom([]string{"A", "B", "A 2"}).Draw(t, "nick")
			o := OccupantState{Nick: nick, Role: rapid.SampledFrom([]string{"moderator", "visitor"}).Draw(t, "role"), Since: stamp.Draw(t, "since")}
			for range rapid.IntRange(1, 2).Draw(t, "sessions") {
				full := u + "/" + rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "resource")
				if !in[full] && !nicks[nick] {
					in[full] = true
					o.Sessions = append(o.Sessions, SessionState{JID: full, Node: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "node")})
				}
			}
			if len(o.Sessions) > 0 {
				nicks[nick] = true
				x.Occupants = append(x.Occupants, o)
			}
		}
		ids := map[string]bool{}
		for range rapid.IntRange(0, 5).Draw(t, "messages") {
			m := store.HistoryMessage{ID: rapid.SampledFrom([]string{"m1", "m2", "m3", "m4"}).Draw(t, "id"), Stored: time.Unix(stamp.Draw(t, "at"), 0).UTC(),
				Stanza: []byte(rapid.SampledFrom([]string{"text", "<retracted xmlns='" + nsRetract + "'/>"}).Draw(t, "stanza"))}
			if !ids[m.ID] {
				ids[m.ID] = true
				x.History = append(x.History, m)
			}
		}
		return x
	})
}

func cmpStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := states().Draw(t, "a"), states().Draw(t, "b")
		m := merge(a, b)
		if other := merge(b, a); !reflect.DeepEqual(m, other) {
			t.Fatalf("it matters which comes first:\n%+v\n%+v", m, other)
		}
		if twice := merge(m, m); !reflect.DeepEqual(twice, m) {
			t.Fatalf("merged with itself it is another:\n%+v\n%+v", m, twice)
		}
		sessions, nicks, messages := map[string]int{}, map[string]int{}, map[string]int{}
		for _, s := range sittings(m) {
			sessions[s.JID]++
		}
		for _, o := range m.Occupants {
			nicks[o.Nick]++
			if user := userOf(o.Sessions[0]); slices.ContainsFunc(o.Sessions, func(s SessionState) bool { return userOf(s) != user }) {
				t.Fatalf("two users are one occupant: %+v", o)
			}
		}
		for i, h := range m.History {
			messages[h.ID]++
			if i > 0 && h.Stored.Before(m.History[i-1].Stored) {
				t.Fatalf("history is not in order: %+v", m.History)
			}
		}
		for _, x := range []*State{a, b} {
			for _, s := range sittings(x) {
				if sessions[s.JID] != 1 {
					t.Fatalf("%s is in it %d times", s.JID, sessions[s.JID])
				}
			}
			for _, h := range x.History {
				if messages[h.ID] != 1 {
					t.Fatalf("message %s is in it %d times", h.ID, messages[h.ID])
				}
			}
		}
		for nick, n := range nicks {
			if n != 1 {
				t.Fatalf("%d have the nick %q", n, nick)
			}
		}
	})
}

func userOf(s SessionState) string { return s.JID[:len(s.JID)-2] }

// TestParts has a room that was sent in parts come out whole.
func TestParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := merge(states().Draw(t, "a"), states().Draw(t, "b")) // as one that has been merged is in a canonical order
		var got *State
		for _, part := range x.parts() {
			if got == nil {
				got = part
			} else {
				got.apply(part)
			}
		}
		if !reflect.DeepEqual(merge(got, got), merge(x, x)) {
			t.Fatalf("sent %+v, got %+v", x, got)
		}
	})
}
