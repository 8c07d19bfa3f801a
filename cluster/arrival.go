package cluster

import (
	"bytes"
	"context"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/xmlstream"
)

// An arrival deals with frames on one worker's goroutine.
type arrival struct {
	s       *Service
	scanner *xmlstream.Scanner
	batch   router.Batch
	owed    router.Owed // of what was dealt with since the last flush
	told    []*Peer     // who has to look for what of that was stored
	st      stanza.Stanza
}

func newArrival(s *Service) *arrival {
	a := &arrival{s: s, scanner: xmlstream.NewScanner(xmlstream.Limits{})}
	a.owed.Here = true
	a.batch.Certain(&a.owed)
	return a
}

// slowTime bounds how long what was sent to a client that is slow to take it stays unconfirmed.
const slowTime = 2 * time.Second

// flush writes to the clients. What a client is slow to take is not confirmed to its sender's node before the store has a copy, and what
// was stored not before the nodes where its recipient is know: what the sender's node sends there afterwards would overtake it.
func (a *arrival) flush() (wait func()) {
	a.batch.Flush()
	if a.owed.Empty() && len(a.told) == 0 {
		return nil
	}
	owed, told := a.owed, a.told
	a.owed, a.told = router.Owed{Here: true}, nil
	return func() {
		ctx, cancel := context.WithTimeout(a.s.ctx, slowTime)
		defer cancel()
		owed.Confirmed(ctx)
		for _, p := range told {
			p.Confirm(ctx)
		}
	}
}

func (a *arrival) overflow(kind byte, payload []byte) { a.s.overflowed(kind, payload) }

func (a *arrival) deal(j job, payload []byte) (wait func(), again bool) {
	kind := j.kind
	if kind >= firstRoomKind && kind <= lastRoomKind {
		if !a.s.Rooms.deal(&a.batch, kind, payload) {
			a.malformed(j)
		}
		return nil, false
	}
	to, rest, _ := cutTo(payload)
	jid, ok := a.s.r.Table.Intern(to)
	if !ok {
		var err error
		if jid, err = stanza.ParseJID(string(to)); err != nil {
			a.malformed(j)
			return nil, false
		}
	}
	switch kind {
	case kindStanza:
		st := a.load(rest)
		if st == nil {
			a.malformed(j)
			return nil, false
		}
		if wait := a.behind(st, jid); wait != nil {
			return wait, true
		}
		a.stanza(st, jid, j.peer)
	case kindEnd:
		a.end(jid, rest)
	case kindStale:
		a.batch.Flush()
		if len(rest) == 1 {
			a.s.Sessions.Stale(a.s.ctx, jid.Clone(), router.Kept(rest[0]))
		}
	case kindHeld:
		user := jid.Bare().Clone()
		a.s.held.add(user.String(), time.Now(), true)
		a.s.tellHeld(user)
		if len(a.s.r.Table.Local(user)) == 0 {
			return nil, false
		}
		fallthrough
	case kindLook:
		a.batch.Flush()
		user := jid.Clone()
		return func() { a.s.Sessions.Look(a.s.ctx, user) }, false
	}
	return nil, false
}

// behindPatience bounds how long after a link went down what arrives waits for what came back from it.
const behindPatience = 5 * time.Second

// behind is to wait for what has come back for a message's user from a link that is down, which the message must not overtake (RFC 6120 §10.1): its
// sender may have moved to a node that does not know of that. nil: nothing has, or the store takes too long over it: nothing of the link is
// confirmed meanwhile.
func (a *arrival) behind(st *stanza.Stanza, full stanza.JID) (wait func()) {
	leaving := a.s.leaving
	done, since := a.s.back.ofSince(full)
	left := behindPatience - time.Since(since)
	if done == nil || left <= 0 || st.Kind != stanza.Message || leaving.Err() != nil {
		return nil
	}
	return func() {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		case <-leaving.Done():
		}
	}
}

// stanza deals with a stanza for a full JID.
func (a *arrival) stanza(st *stanza.Stanza, full stanza.JID, from settler) {
	var id stanza.ID
	had := false
	if p, ok := from.(*Peer); ok {
		if a.belated(st, p) {
			return
		}
		if router.Storable(st) {
			id = st.WrittenID()
			again := false
			if had, again = a.s.had.add(id, full, p, time.Now()); again {
				return
			}
		}
	}
	noted := a.s.held.notes.Load()
	if by := a.s.r.Arrived(a.s.ctx, &a.batch, st, full, had); !by.IsZero() && id != (stanza.ID{}) {
		a.s.had.took(id, by)
	}
	if a.s.held.notes.Load() != noted {
		a.told = a.s.held.appendTold(a.told, full.Bare().String())
	}
}

// belated reports whether a node tells of the end of a session although the resource is available on another one: it does not know of that
// session yet, or cannot, as the two do not reach each other. Who was told of the later session is not to be told of the end of the earlier one after that.
func (a *arrival) belated(st *stanza.Stanza, from *Peer) bool {
	if st.Kind != stanza.Presence || st.Type != stanza.Unavailable || st.From.IsBare() {
		return false
	}
	row, ok := a.s.r.Table.Row(st.From)
	return ok && row.Available && row.Node() != from.Name
}

func (a *arrival) malformed(j job) {
	from := ""
	if p, ok := j.peer.(*Peer); ok {
		from = p.Name
	}
	a.s.malformed(from, j.kind)
}

// load reads a stanza as Send of a session wrote it; a view. nil: it is none.
func (a *arrival) load(raw []byte) *stanza.Stanza {
	a.scanner.SetLimits(stanza.RescanLimits(len(raw)))
	a.scanner.Resume(xmlstream.ClientScope)
	tok, n, err := a.scanner.Scan(raw)
	if err != nil || tok.Kind != xmlstream.Element || n != len(raw) || a.st.Load(tok, a.s.r.Table.Intern) != nil {
		return nil
	}
	return &a.st
}

// end is session.Close at the other side of the link.
func (a *arrival) end(full stanza.JID, reason []byte) {
	condition, text, _ := bytes.Cut(reason, []byte{0})
	for _, row := range a.s.r.Table.Local(full) {
		if row.Session.JID() == full {
			row.Session.Close(&stanza.StreamError{Condition: string(condition), Text: string(text)})
		}
	}
}

// overflowed is for what there was no room for: who sent it is told, nothing waits.
func (s *Service) overflowed(kind byte, payload []byte) {
	if kind != kindStanza {
		return
	}
	_, raw, _ := cutTo(payload)
	if st, err := stanza.Parse(raw); err == nil {
		s.r.Overflowed(nil, st)
	}
}
