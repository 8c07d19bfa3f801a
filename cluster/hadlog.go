package cluster

import (
	"iter"
	"slices"

	"chatd/stanza"
)

// hadChains is how many chains of messages by their users a hadLog has: in a full one each has some 30.
const hadChains = 1 << 12

// A hadLog is messages in the order in which they came, numbered from 1, with what finds them by id and by user. Of each message between nodes there is
// an entry for a while, so that one costs neither an allocation nor, when it goes, a look at any other: a link to a number that was dropped is none.
// The zero value is empty, and can be read; add needs its map.
type hadLog struct {
	all     map[stanza.ID]uint64 // number of the last with the id
	chains  [hadChains]uint64    // and of the last with such a user
	ring    []hadMessage         // number n is at n modulo its length, a power of 2
	added   uint64               // number of the last
	dropped uint64               // number of the last that is here no more
}

// hadLinks is numbers of what came earlier; 0: of none.
type hadLinks struct {
	same uint64 // with the same id: a message to a bare JID comes for each resource
	near uint64 // in the same chain
}

func (l *hadLog) len() int                { return int(l.added - l.dropped) }
func (l *hadLog) at(n uint64) *hadMessage { return &l.ring[n&uint64(len(l.ring)-1)] }
func (l *hadLog) oldest() *hadMessage     { return l.at(l.dropped + 1) }

// each yields all, the oldest first.
func (l *hadLog) each() iter.Seq[*hadMessage] {
	return func(yield func(*hadMessage) bool) {
		for n := l.dropped + 1; n <= l.added && yield(l.at(n)); n++ {
		}
	}
}

// named yields those with an id, the last first.
func (l *hadLog) named(id stanza.ID) iter.Seq[*hadMessage] {
	return func(yield func(*hadMessage) bool) {
		for n := l.all[id]; n > l.dropped && yield(l.at(n)); n = l.at(n).same {
		}
	}
}

func (l *hadLog) add(m hadMessage) {
	if l.len() == len(l.ring) {
		l.grow()
	}
	l.added++
	chain := &l.chains[m.user%hadChains]
	m.hadLinks = hadLinks{l.all[m.id], *chain}
	*chain, l.all[m.id], *l.at(l.added) = l.added, l.added, m
}

func (l *hadLog) grow() {
	bigger := hadLog{ring: make([]hadMessage, max(64, 2*len(l.ring)))}
	for n := l.dropped + 1; n <= l.added; n++ {
		*bigger.at(n) = *l.at(n)
	}
	l.ring = bigger.ring
}

// drop is for the oldest.
func (l *hadLog) drop() {
	l.dropped++
	if m := l.at(l.dropped); l.all[m.id] == l.dropped {
		delete(l.all, m.id)
	}
}

// take is for the last that was for a resource, or instead for the last of all, which another one than it was for has taken.
func (l *hadLog) take(id stanza.ID, by uint64, instead bool) {
	for m := range l.named(id) {
		if instead || m.full == by {
			m.by = by
			return
		}
	}
}

// needless reports whether the resource that a message is for has it, or another one has taken it instead.
func (l *hadLog) needless(of *hadMessage) bool {
	for m := range l.named(of.id) {
		if m.by != 0 && (m.by == of.full || m.by == of.user) {
			return true
		}
	}
	return false
}

func (l *hadLog) has(id stanza.ID) bool {
	for m := range l.named(id) {
		if m.by != 0 {
			return true
		}
	}
	return false
}

// appendOf appends the ids of what the session of a user's resource has taken, the oldest first.
func (l *hadLog) appendOf(ids []stanza.ID, user, by uint64) []stanza.ID {
	before := len(ids)
	for n := l.chains[user%hadChains]; n > l.dropped; n = l.at(n).near {
		if m := l.at(n); m.by == by && m.user == user {
			ids = append(ids, m.id)
		}
	}
	slices.Reverse(ids[before:])
	return ids
}

// forget leaves all with an id in their places, as void.
func (l *hadLog) forget(id stanza.ID) {
	for m := range l.named(id) {
		m.by, m.peer = 0, nil
	}
	delete(l.all, id)
}
