package router

import (
	"slices"
	"sync"

	"chatd/stanza"
)

// handedMost bounds what is remembered of one session. What is older may come twice, with the same stanza-id (XEP-0359).
const handedMost = 256

// sharedMost bounds what is remembered of one session that other resources of its user were given, too: some devices are connected for long. What is
// older may likewise come twice.
const sharedMost = 32

// Handed is which of the messages that a session was given are, or may come to be, in the store more than once: a node that could not be reached had them as
// well, and stores them when it is back and finds that its session of the user's was replaced; or another resource was given them as well, and could not get rid of
// them. The zero value has none.
type Handed struct {
	mu     sync.Mutex
	all    []handed    // oldest first
	shared []stanza.ID // that the session has taken and others were given, too; oldest first
}

type handed struct {
	id   stanza.ID
	seq  int64 // in the store; 0: the session has taken the message, and stores it if it has to
	had  bool  // the client has it
	twin bool  // of another one, that was given: it is not
}

// A Given is one of them, as one process hands it to another with its session.
type Given struct {
	ID  string `json:"id"`
	Seq int64  `json:"seq,omitempty"`
	Had bool   `json:"had,omitempty"`
}

// All is what goes with the session to another node.
func (h *Handed) All() (all []Given) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.all {
		if !m.twin { // which are found again
			all = append(all, Given{string(m.id[:]), m.seq, m.had})
		}
	}
	for _, id := range h.shared {
		all = append(all, Given{string(id[:]), 0, true})
	}
	return all
}

// Restore notes what came with the session.
func (h *Handed) Restore(all []Given) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range all[max(0, len(all)-handedMost):] {
		if one := (handed{seq: m.Seq, had: m.Had}); len(m.ID) == len(one.id) {
			copy(one.id[:], m.ID)
			h.all = append(h.all, one)
		}
	}
}

// Take notes that the store has a message by this number, and reports whether the session is to be given it. If not it was given it by
// another number; with had it does not need this one any more. 0 is for one that the session has taken and the store does not have.
func (h *Handed) Take(id stanza.ID, seq int64) (give, had bool) {
	if id == (stanza.ID{}) {
		return true, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Contains(h.shared, id) {
		return false, true
	}
	known := false
	for _, m := range h.all {
		switch {
		case m.id != id:
		case m.had:
			return false, true
		case m.seq == seq:
			return !m.twin, false
		default:
			known = true
		}
	}
	if len(h.all) == handedMost {
		h.all = slices.Delete(h.all, 0, 1)
	}
	h.all = append(h.all, handed{id: id, seq: seq, had: seq == 0, twin: known})
	return !known, false
}

// Has reports whether the session has taken a message that others of its user were given, too, be it before it moved.
func (h *Handed) Has(id stanza.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.shared, id) || slices.ContainsFunc(h.all, func(m handed) bool { return m.id == id && m.had })
}

// Share notes that the session has taken a message that others of its user were given, too.
func (h *Handed) Share(id stanza.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id == (stanza.ID{}) || slices.Contains(h.shared, id) {
		return
	}
	if len(h.shared) == sharedMost {
		h.shared = slices.Delete(h.shared, 0, 1)
	}
	h.shared = append(h.shared, id)
}

// Knows reports whether the session was given a message that another one could not get rid of: the client has it, or the session sees to that.
func (h *Handed) Knows(st *stanza.Stanza) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all)+len(h.shared) == 0 {
		return false
	}
	id := st.WrittenID()
	return slices.Contains(h.shared, id) || slices.ContainsFunc(h.all, func(m handed) bool { return m.id == id })
}

// Stored notes that a message is stored which the session took and could not get rid of: it is for the session to be given it from there.
func (h *Handed) Stored(id stanza.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shared = slices.DeleteFunc(h.shared, func(one stanza.ID) bool { return one == id })
	h.all = slices.DeleteFunc(h.all, func(m handed) bool { return m.id == id && m.seq == 0 })
}

// Had notes that the client has messages of these numbers, and returns the others by which the store has them.
func (h *Handed) Had(seqs []int64) (others []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.all {
		if m := &h.all[i]; !m.twin && m.seq != 0 && slices.Contains(seqs, m.seq) {
			m.had = true
			others = h.appendTwinsLocked(others, m.id)
		}
	}
	h.all = slices.DeleteFunc(h.all, func(m handed) bool { return m.twin && slices.Contains(others, m.seq) })
	return others
}

func (h *Handed) appendTwinsLocked(seqs []int64, id stanza.ID) []int64 {
	for _, m := range h.all {
		if m.twin && m.id == id {
			seqs = append(seqs, m.seq)
		}
	}
	return seqs
}

// Again is for a session that is to be given anew what its client has not acknowledged.
func (h *Handed) Again() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = slices.DeleteFunc(h.all, func(m handed) bool { return !m.had })
}

// share notes that a session here has taken a message that other resources are given, too: what these cannot get rid of is not for it.
func share(row *Row, st *stanza.Stanza) {
	if row.Remote || !Storable(st) {
		return // its own node notes it
	}
	id := st.StanzaID
	if id == (stanza.ID{}) {
		id = st.WrittenID()
	}
	row.Session.State().Handed.Share(id)
}

// hasShared reports whether one of some sessions here that messages go to has a message that another one could not get rid of.
func hasShared(rows []Row, st *stanza.Stanza) bool {
	return slices.ContainsFunc(rows, func(row Row) bool { return !row.Remote && row.Reachable() && row.Session.State().Handed.Knows(st) })
}
