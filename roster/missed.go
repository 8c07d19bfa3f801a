package roster

import (
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
	// missedMost bounds what is remembered; the oldest go first.
	missedMost = 1 << 16
)

// Missed is who has become available here just now, by who is to know it or is to be known to them. A contact who comes to another node at the same moment sees nothing of that: this
// node had no row of theirs yet when it told the contacts, nor had that node one of this user's when it asked.
type missed struct {
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
	for len(m.order) > missedMost || len(m.order) > 0 && now.Sub(m.order[0].at) > missedFor {
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
	if len(m.order) > 0 && now.Sub(m.order[len(m.order)-1].at) > missedFor {
		return nil
	}
	return slices.Clone(m.by[contact.String()])
}

// Appeared is for a resource that has become available on another node. If some of this node's users became available at the same moment tell gives it
// their presence, and asks for its own; nil: none did. tell does not block; it is not for a goroutine that other nodes' rows wait for.
func (s *Service) Appeared(full stanza.JID) (tell func()) {
	all := s.missed.of(full.Bare(), time.Now())
	if len(all) == 0 {
		return nil
	}
	full = full.Clone()
	return func() {
		var b router.Batch
		defer b.Flush()
		row, ok := s.r.Table.Row(full)
		if !ok || !row.Remote {
			return
		}
		for _, who := range all {
			mine, ok := s.r.Table.Row(who.full)
			if !ok || mine.Remote {
				continue
			}
			if who.sees {
				s.ask(&b, who.full, []router.Row{row})
			} else if p := mine.Session.State().Presence.Load(); p != nil {
				sendAvailable(&b, []router.Row{row}, withTo(p, full.Bare()), mine.Session.State().Blocked.Load())
			}
		}
	}
}
