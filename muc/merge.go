package muc

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"

	"chatd/stanza"
	"chatd/store"
)

// merge is one room of two copies of it that have gone ways of their own. It does not matter which comes first, and nothing comes
// of merging again. What both have changed is as it was changed last; who is in one of them is in it, and each
// message of either is in its history once.
func merge(a, b *State) *State {
	m := &State{Name: a.Name, Created: a.Created, Stamps: make(map[string]int64)}
	if b.Created.Before(a.Created) {
		m.Created = b.Created
	}
	m.Unread = a.Unread && b.Unread
	m.Unkept = a.Unkept || b.Unkept || a.Unread != b.Unread
	m.Expected, m.Awaited = a.Expected || b.Expected, max(a.Awaited, b.Awaited)
	by := a
	if cmp.Or(cmp.Compare(b.Configured, a.Configured), bytes.Compare(b.Config, a.Config)) > 0 {
		by = b
	}
	m.Config, m.Configured = by.Config, by.Configured
	m.Locked = a.Locked && b.Locked || by.Locked && bytes.Equal(a.Config, b.Config)
	by = a
	if cmp.Or(cmp.Compare(b.SubjectSet, a.SubjectSet), bytes.Compare(b.Subject, a.Subject)) > 0 {
		by = b
	}
	m.Subject, m.SubjectSet = by.Subject, by.SubjectSet
	m.mergeAffiliations(a, b)
	m.mergeOccupants(a, b)
	m.History = mergeHistory(a.History, b.History)
	m.Voices = mergeVoices(a.Voices, b.Voices)
	m.Dealt = mergeMarks(a.Dealt, b.Dealt)
	return m
}

// standing is an affiliation, or that there is none, and since when.
type standing struct {
	store.Affiliation
	at int64
}

func (x *State) standings() map[string]standing {
	all := make(map[string]standing)
	for jid, at := range x.Stamps {
		all[jid] = standing{store.Affiliation{JID: jid, As: None.String()}, at}
	}
	for _, a := range x.Affiliations {
		all[a.JID] = standing{a, x.Stamps[a.JID]}
	}
	return all
}

func (s standing) compare(o standing) int {
	mine, _ := ParseAffiliation(s.As)
	other, _ := ParseAffiliation(o.As)
	return cmp.Or(cmp.Compare(s.at, o.at), cmp.Compare(mine, other), cmp.Compare(s.Nick, o.Nick), cmp.Compare(s.Reason, o.Reason))
}

func (x *State) mergeAffiliations(a, b *State) {
	all := a.standings()
	for jid, s := range b.standings() {
		if has, ok := all[jid]; !ok || s.compare(has) > 0 {
			all[jid] = s
		}
	}
	for _, jid := range slices.Sorted(maps.Keys(all)) {
		s := all[jid]
		if s.at != 0 {
			x.Stamps[jid] = s.at
		}
		if s.As != None.String() {
			x.Affiliations = append(x.Affiliations, s.Affiliation)
		}
	}
}

// A sitting is one session with what its occupant is.
type sitting struct {
	SessionState
	of *OccupantState
	at int // its place among the occupant's sessions
}

func sittings(x *State) (all []sitting) {
	for i := range x.Occupants {
		o := &x.Occupants[i]
		for at, session := range o.Sessions {
			all = append(all, sitting{session, o, at})
		}
	}
	return all
}

func (s sitting) compare(o sitting) int {
	return cmp.Or(cmp.Compare(s.Bound, o.Bound), cmp.Compare(s.of.Since, o.of.Since), cmp.Compare(o.of.Nick, s.of.Nick), cmp.Compare(s.of.Role, o.of.Role),
		cmp.Compare(o.at, s.at), cmp.Compare(s.Node, o.Node), cmp.Compare(s.Presence, o.Presence))
}

// mergeOccupants has each session where it was last. Of different users with the same nick the one who has it longer
// keeps it.
func (x *State) mergeOccupants(a, b *State) {
	last := make(map[string]sitting)
	for _, s := range append(sittings(a), sittings(b)...) {
		if has, ok := last[s.JID]; !ok || s.compare(has) > 0 {
			last[s.JID] = s
		}
	}
	type key struct{ user, nick string }
	groups := make(map[key][]sitting)
	for full, s := range last {
		k := key{stanza.Restore(full).Bare().String(), s.of.Nick}
		groups[k] = append(groups[k], s)
	}
	keys := slices.SortedFunc(maps.Keys(groups), func(p, q key) int {
		return cmp.Or(cmp.Compare(since(groups[p]), since(groups[q])), cmp.Compare(p.user, q.user), cmp.Compare(p.nick, q.nick))
	})
	used := make(map[string]bool)
	for _, k := range keys {
		all := groups[k]
		slices.SortFunc(all, func(p, q sitting) int {
			return cmp.Or(cmp.Compare(p.at, q.at), cmp.Compare(p.of.Since, q.of.Since), cmp.Compare(p.JID, q.JID))
		})
		o := OccupantState{Nick: k.nick, Role: all[0].of.Role, Affiliation: all[0].of.Affiliation, Since: since(all)}
		for n := 2; used[o.Nick]; n++ {
			o.Nick = k.nick + " " + strconv.Itoa(n)
		}
		used[o.Nick] = true
		for _, s := range all {
			o.Sessions = append(o.Sessions, s.SessionState)
		}
		x.Occupants = append(x.Occupants, o)
	}
	slices.SortFunc(x.Occupants, func(p, q OccupantState) int { // as another merge has them, by the nicks that they have now
		return cmp.Or(cmp.Compare(p.Since, q.Since), cmp.Compare(p.user(), q.user()), cmp.Compare(p.Nick, q.Nick))
	})
}

// user is the bare JID of an occupant who has a session.
func (o *OccupantState) user() string { return stanza.Restore(o.Sessions[0].JID).Bare().String() }

func since(all []sitting) int64 {
	first := all[0].of.Since
	for _, s := range all {
		first = min(first, s.of.Since)
	}
	return first
}

// mergeHistory is all messages of both, by time. Of one that was taken back in one of them the tombstone is kept.
func mergeHistory(a, b []store.HistoryMessage) []store.HistoryMessage {
	byID := make(map[string]store.HistoryMessage)
	for _, m := range append(slices.Clone(a), b...) {
		if has, ok := byID[m.ID]; !ok || rank(m).compare(rank(has)) > 0 {
			byID[m.ID] = m
		}
	}
	return slices.SortedFunc(maps.Values(byID), func(p, q store.HistoryMessage) int {
		return cmp.Or(p.Stored.Compare(q.Stored), cmp.Compare(p.ID, q.ID))
	})
}

// A version is one text of a message.
type version struct {
	store.HistoryMessage
	retracted bool
}

func rank(m store.HistoryMessage) version {
	return version{m, bytes.Contains(m.Stanza, []byte("<retracted xmlns='"+nsRetract+"'"))}
}

func (v version) compare(o version) int {
	if v.retracted != o.retracted {
		if v.retracted {
			return 1
		}
		return -1
	}
	return cmp.Or(bytes.Compare(v.Stanza, o.Stanza), o.Stored.Compare(v.Stored)) // a node hears later than the room has said it
}

// apply brings a copy of a room up to date with what has changed since.
func (x *State) apply(d *State) {
	if d.Config != nil {
		x.Config, x.Configured, x.Locked, x.Created = d.Config, d.Configured, d.Locked, d.Created
	}
	if d.SubjectSet > x.SubjectSet {
		x.Subject, x.SubjectSet = d.Subject, d.SubjectSet
	}
	if len(d.Stamps)+len(d.Affiliations) > 0 {
		var m State
		m.Stamps = make(map[string]int64)
		m.mergeAffiliations(x, d)
		x.Affiliations, x.Stamps = m.Affiliations, m.Stamps
	}
	for _, full := range d.Left {
		x.unseat(full)
	}
	for _, o := range d.Occupants {
		for _, session := range o.Sessions {
			x.unseat(session.JID)
		}
		if i := slices.IndexFunc(x.Occupants, func(has OccupantState) bool { return has.Nick == o.Nick }); i >= 0 {
			x.Occupants[i] = o
		} else {
			x.Occupants = append(x.Occupants, o)
		}
	}
	x.History = append(x.History, d.History...)
	for user, role := range d.Voices {
		if x.Voices == nil {
			x.Voices = make(map[string]string)
		}
		if x.Voices[user] = role; role == NoRole.String() {
			delete(x.Voices, user)
		}
	}
}

// unseat takes a session out.
func (x *State) unseat(full string) {
	for i := range x.Occupants {
		o := &x.Occupants[i]
		at := slices.IndexFunc(o.Sessions, func(s SessionState) bool { return s.JID == full })
		if at < 0 {
			continue
		}
		if len(o.Sessions) == 1 {
			x.Occupants = slices.Delete(x.Occupants, i, i+1)
		} else {
			o.Sessions = slices.Delete(slices.Clone(o.Sessions), at, at+1)
		}
		return
	}
}

// remember adds a message to a copy, or puts a new text of it in its place, and drops the oldest ones over max.
func (x *State) remember(m store.HistoryMessage, max int) {
	if i := slices.IndexFunc(x.History, func(has store.HistoryMessage) bool { return has.ID == m.ID }); i >= 0 {
		x.History[i] = m
		return
	}
	x.History = append(x.History, m)
	if len(x.History) > max {
		x.History = slices.Delete(x.History, 0, len(x.History)-max)
	}
}
