package roster

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chatd/router"
	"chatd/stanza"
)

const (
	// missedFor is longer than one node's rows take to get to another one that is up, mostly.
	missedFor = time.Second
	// lostFor is longer than what a node says may take that is not down.
	lostFor = 3 * time.Second
	// missedMost bounds what is remembered; the oldest go first.
	missedMost = 1 << 16
)

// Missed is who has become available here just now, by who is to know it or is to be known to them. A contact who comes to another node at the same moment sees nothing of that: this
// node had no row of theirs yet when it told the contacts, nor had that node one of this user's when it asked. So does a contact whose session is
// just on its way here: it has left the node that is told and asked.
type missed struct {
	keep  time.Duration // for how long; fixed
	count atomic.Int32

	mu    sync.Mutex
	by    map[string][]lately // by the contact's bare JID
	order []missedOne         // oldest first
}

type missedOne struct {
	at      time.Time
	contact string
}

// Lately is one resource of this node's: the contact is to see it, or it is to see the contact.
type lately struct {
	full stanza.JID
	sees bool
}

// add notes that a resource has become available, and forgets those of whom it is long ago.
func (m *missed) add(who lately, contacts []stanza.JID, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == nil {
		m.by = make(map[string][]lately)
	}
	for _, contact := range contacts {
		m.by[contact.String()] = append(m.by[contact.String()], who)
		m.order = append(m.order, missedOne{now, contact.String()})
	}
	for len(m.order) > missedMost || len(m.order) > 0 && now.Sub(m.order[0].at) > m.keep {
		old := m.order[0]
		m.order = m.order[1:]
		if m.by[old.contact] = m.by[old.contact][1:]; len(m.by[old.contact]) == 0 {
			delete(m.by, old.contact)
		}
	}
	m.count.Store(int32(len(m.order)))
}

// of is who became available lately and concerns a contact.
func (m *missed) of(contact stanza.JID, now time.Time) []lately {
	if m.count.Load() == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.order) > 0 && now.Sub(m.order[len(m.order)-1].at) > m.keep {
		return nil
	}
	return slices.Clone(m.by[contact.String()])
}

// all is who was added lately.
func (m *missed) all(now time.Time) (all []lately) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := make(map[string]bool)
	for _, one := range m.order {
		if now.Sub(one.at) <= m.keep && !seen[one.contact] {
			seen[one.contact] = true
			all = append(all, m.by[one.contact]...)
		}
	}
	return all
}

// Appeared is for a resource that has become available on another node, or whose session has come here from one. If some of this node's users
// became available at the same moment tell gives it their presence, and them its own, and those who were told that it is gone, by this node or with another one, hear
// of it; nil: there are none.
// tell may block on the store; it is not for a goroutine that other nodes' rows wait for.
func (s *Service) Appeared(full stanza.JID) (tell func(context.Context)) {
	all, outlived, back := s.missed.of(full.Bare(), time.Now()), s.outlivedNode(full), s.hasLeft(full)
	if len(all) == 0 && !outlived && !back {
		return nil
	}
	full = full.Clone()
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		var b router.Batch
		defer b.Flush()
		row, ok := s.r.Table.Row(full)
		if !ok {
			return
		}
		for _, who := range all {
			s.introduce(ctx, &b, row, who)
		}
		var err error
		switch {
		case row.Remote && outlived:
			err = s.outlived(ctx, full, row.Node())
		case !row.Remote && back:
			_, err = s.announceAgain(ctx, &b, row.Session)
		}
		if err != nil {
			s.log.Log(ctx, stanza.FaultLevel(err), "presence not brought up to date of a resource that has moved", "jid", full, "err", err)
		}
	}
}

// hasLeft reports whether this node's last word of a resource, whose next session has come here since, was just now that it is unavailable: contacts elsewhere may
// have heard that behind what the next one's node had told them.
func (s *Service) hasLeft(full stanza.JID) bool {
	if !slices.ContainsFunc(s.left.of(full.Bare(), time.Now()), func(l lately) bool { return l.full == full }) {
		return false
	}
	row, ok := s.r.Table.Row(full)
	return ok && !row.Remote
}

// outlivedNode reports whether users here may have been told just now that a resource is gone with its node, although its session had moved to another one before: it
// says nothing by itself, since for its contacts it was there all the time.
func (s *Service) outlivedNode(full stanza.JID) bool {
	if time.Since(time.Unix(0, s.lost.Load())) > lostFor {
		return false
	}
	row, ok := s.r.Table.Row(full)
	return ok && row.Remote && row.Flags&router.Resumed != 0
}

// introduce has a resource and one of this node's that became available lately see one another as they are to.
func (s *Service) introduce(ctx context.Context, b *router.Batch, row router.Row, who lately) {
	full := row.Session.JID()
	mine, ok := s.r.Table.Row(who.full)
	switch {
	case !ok || mine.Remote || who.full == full:
	case who.sees && row.Remote:
		s.ask(b, who.full, []router.Row{row})
	case who.sees:
		s.watch(ctx, b, mine.Session, []stanza.JID{full.Bare()})
	default:
		if p := mine.Session.State().Presence.Load(); p != nil {
			sendAvailable(b, []router.Row{row}, withTo(p, full.Bare()), mine.Session.State().Blocked.Load())
		}
	}
}
