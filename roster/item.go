package roster

import (
	"context"
	"errors"
	"strconv"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// A change is what became of one item of one user.
type change struct {
	was, now state
	cell     cell // the line of Appendix A that applied, if one did
	item     store.RosterItem
	removed  bool
	visible  bool  // the roster's version grew, so the item is pushed
	version  int64 // of the roster, afterwards
}

// A rule decides what becomes of an item. It has no side effects and may run
// more than once. c.was is set.
type rule func(item *store.RosterItem, exists bool, c *change) (store.Verdict, error)

// update changes one item. The caller holds the user's lock; both addresses are bare.
func (s *Service) update(ctx context.Context, b *router.Batch, user, contact stanza.JID, decide rule) (change, error) {
	b.Flush()
	var c change
	var written bool
	var refusal error
	version, err := s.store.UpdateItem(ctx, user.Local(), contact.String(), int(s.maxContacts.Load()),
		func(item *store.RosterItem, exists bool) (store.Verdict, error) {
			c = change{was: stateOf(item)}
			shown := exists && !item.Hidden
			if !exists {
				item.Created = now()
			}
			verdict, err := decide(item, exists, &c)
			switch verdict {
			case store.Keep:
				c.now, c.visible = stateOf(item), shown || !item.Hidden
			case store.Remove:
				c.now, c.removed, c.visible = none, true, shown
			default:
				c.now = c.was
			}
			c.item = *item
			written, refusal = verdict != store.Leave, err
			return verdict, err
		})
	c.version = version
	if err != nil && (refusal != nil || errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrNotTried)) {
		return c, err // nothing was written
	}
	if written || err != nil {
		s.changed(user, &c, err != nil)
	}
	return c, err
}

// changed forgets what is cached of a user whose item has changed or, with doubt, may yet change. The caller
// holds the user's lock.
func (s *Service) changed(user stanza.JID, c *change, doubt bool) {
	if doubt || c.was.from() != c.now.from() {
		s.accounts.of(user).dropLocked(user)
	}
	s.lists.forget(user, doubt)
	if doubt || (c.was == both) != (c.now == both) {
		s.circles.forget(user, doubt)
	}
	s.r.Table.Elsewhere.Stale(user, router.KeptFriends)
}

// look reads one item's state. The caller holds the user's lock.
func (s *Service) look(ctx context.Context, b *router.Batch, user, contact stanza.JID) (state, error) {
	c, err := s.update(ctx, b, user, contact, func(*store.RosterItem, bool, *change) (store.Verdict, error) {
		return store.Leave, nil
	})
	return c.was, err
}

// settle gives the verdict on an item that a subscription stanza has changed. An
// item that nobody has seen yet stays hidden while there is only a pending
// request in it, and goes when there is nothing (RFC 6121 §3.1.3: no item before the approval).
func settle(item *store.RosterItem, exists bool, before *store.RosterItem) store.Verdict {
	if !item.PendingIn {
		item.Request = nil
		if !item.Ask {
			item.Message = ""
		}
	}
	if item.Hidden {
		now := stateOf(item)
		switch {
		case now == none && !item.Approved && exists:
			return store.Remove
		case now == none && !item.Approved:
			return store.Leave
		}
		item.Hidden = now == noneIn && !item.Approved
	}
	if exists && item.Equal(*before) {
		return store.Leave
	}
	return store.Keep
}

// date notes since when the friendship is mutual, and until then when the pending request was made, and its
// text. It is for an item whose state was was.
func date(item *store.RosterItem, was state, at time.Time, text string) {
	now := stateOf(item)
	asked := item.Ask && !aspects[was].out || item.PendingIn && !aspects[was].in
	switch {
	case now == both && was != both:
		item.Created = at
	case asked:
		item.Created, item.Message = at, text
	}
}

// push tells the interested resources of a change (RFC 6121 §2.1.6). The caller
// holds the user's lock.
func (s *Service) push(b *router.Batch, user stanza.JID, c *change) {
	if !c.visible {
		return
	}
	var st *stanza.Stanza
	for _, row := range s.r.Table.Rows(user) {
		if row.Flags&router.Interested == 0 {
			continue
		}
		if st == nil {
			inner := appendQuery(nil, c.version)
			inner = appendItem(inner, &c.item, c.removed)
			st = &stanza.Stanza{Kind: stanza.IQ, Type: stanza.Set, Inner: append(inner, "</query>"...)}
		}
		st.To, st.ID = row.Session.JID(), s.nextID()
		row.Session.Send(b, st)
	}
}

// appendQuery opens the <query/>; RFC 6121 §2.6.3 has the version on all results and pushes.
func appendQuery(b []byte, version int64) []byte {
	b = append(b, "<query xmlns='"+NS+"' ver='"...)
	b = strconv.AppendInt(b, version, 10)
	return append(b, "'>"...)
}

// appendItem writes an <item/> (RFC 6121 §2.1.2).
func appendItem(b []byte, item *store.RosterItem, removed bool) []byte {
	b = append(b, "<item jid='"...)
	b = stanza.AppendEscaped(b, item.JID)
	if removed {
		return append(b, "' subscription='remove'/>"...)
	}
	if item.Name != "" {
		b = append(b, "' name='"...)
		b = stanza.AppendEscaped(b, item.Name)
	}
	b = append(b, "' subscription='"...)
	b = append(b, item.Sub.String()...)
	if item.Ask {
		b = append(b, "' ask='subscribe"...)
	}
	if item.Approved {
		b = append(b, "' approved='true"...)
	}
	if len(item.Groups) == 0 {
		return append(b, "'/>"...)
	}
	b = append(b, "'>"...)
	for _, group := range item.Groups {
		b = append(b, "<group>"...)
		b = stanza.AppendEscaped(b, group)
		b = append(b, "</group>"...)
	}
	return append(b, "</item>"...)
}

// storedRequest is what is kept of a subscription request: all of it (RFC 6121
// §3.1.3), unless it is too large.
func storedRequest(st *stanza.Stanza) []byte {
	if st.Size() > maxRequest {
		return nil
	}
	return st.Append(nil)
}

// waitingRequest is the request that an item's contact has made of the user.
func waitingRequest(item *store.RosterItem, contact, user stanza.JID) *stanza.Stanza {
	if st, err := stanza.Parse(item.Request); err == nil {
		return st
	}
	return &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Subscribe, From: contact, To: user}
}
