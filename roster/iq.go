package roster

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// Bounds of one item (RFC 6121 §2.3.3). Bytes are of UTF-8.
const (
	maxName   = 1023
	maxGroup  = 1023
	maxGroups = 64
	maxItem   = 3000 // name and groups together: a roster of 300 fits in what is kept for a client
)

// query is a client's request.
type query struct {
	Ver   *string     `xml:"ver,attr"`
	Items []queryItem `xml:"jabber:iq:roster item"`
}

// queryItem has of an item what a client may set; everything else, 'ask' and
// 'approved' too, is ignored (RFC 6121 §2.1.2.1, §2.1.2.2).
type queryItem struct {
	JID          string   `xml:"jid,attr"`
	Name         string   `xml:"name,attr"`
	Subscription string   `xml:"subscription,attr"`
	Groups       []string `xml:"jabber:iq:roster group"`
}

// forbid answers a request for another user's roster (RFC 6121 §2.1.5).
func forbid(context.Context, *router.Request) ([]byte, error) { return nil, stanza.ErrForbidden }

// handle answers a request for the sender's own roster.
func (s *Service) handle(ctx context.Context, req *router.Request) ([]byte, error) {
	q, err := stanza.Payload[query](req.Stanza)
	if err != nil {
		return nil, err
	}
	if req.Type == stanza.Get {
		return s.get(ctx, req, &q)
	}
	return nil, s.set(ctx, req, &q)
}

// get is RFC 6121 §2.2 and §2.6. The lock is held until the result is queued, lest a
// push of something newer overtakes it.
func (s *Service) get(ctx context.Context, req *router.Request, q *query) ([]byte, error) {
	user := req.From.Bare()
	a := s.accounts.lock(user)
	list, err := s.store.Roster(ctx, user.Local())
	if err != nil {
		a.Unlock()
		return nil, err
	}
	req.After = a.Unlock
	if req.Session != nil {
		s.r.Table.SetFlags(req.Session, router.Interested, 0)
	}
	if q.Ver != nil && *q.Ver == strconv.FormatInt(list.Version, 10) {
		return nil, nil
	}
	b := appendQuery(make([]byte, 0, 64+128*len(list.Items)), list.Version)
	for i := range list.Items {
		if !list.Items[i].Hidden {
			b = appendItem(b, &list.Items[i], false)
		}
	}
	return append(b, "</query>"...), nil
}

// set is RFC 6121 §2.3, §2.4 and §2.5.
func (s *Service) set(ctx context.Context, req *router.Request, q *query) error {
	if len(q.Items) != 1 {
		return stanza.ErrBadRequest.WithText("a roster set has exactly one item")
	}
	it := &q.Items[0]
	user := req.From.Bare()
	contact, err := stanza.ParseJID(it.JID)
	if err != nil {
		return stanza.ErrJIDMalformed
	}
	contact = contact.Bare()
	if it.Subscription == "remove" {
		return s.remove(ctx, req.Batch, user, contact, shownItem)
	}
	if contact == user {
		return stanza.ErrNotAllowed.WithText("you are not your own contact") // §2.3.3, last note
	}
	if err := it.check(); err != nil {
		return err
	}
	return s.put(ctx, req.Batch, user, contact, it)
}

// check is RFC 6121 §2.3.3.
func (it *queryItem) check() error {
	switch {
	case len(it.Name) > maxName:
		return stanza.ErrNotAcceptable.WithText("the name is too long")
	case len(it.Groups) > maxGroups:
		return stanza.ErrNotAcceptable.WithText("too many groups")
	}
	size := len(it.Name)
	for i, group := range it.Groups {
		size += len(group)
		switch {
		case size > maxItem:
			return stanza.ErrNotAcceptable.WithText("name and groups are too long together")
		case group == "":
			return stanza.ErrNotAcceptable.WithText("a group needs a name")
		case len(group) > maxGroup:
			return stanza.ErrNotAcceptable.WithText("a group's name is too long")
		case slices.Contains(it.Groups[:i], group):
			return stanza.ErrBadRequest.WithText("the same group twice")
		}
	}
	return nil
}

// put adds or updates an item. Its subscription is not the client's to say.
func (s *Service) put(ctx context.Context, b *router.Batch, user, contact stanza.JID, it *queryItem) error {
	a := s.accounts.lock(user)
	defer a.Unlock()
	c, err := s.update(ctx, b, user, contact, func(item *store.RosterItem, _ bool, _ *change) (store.Verdict, error) {
		item.Name, item.Groups, item.Hidden = it.Name, it.Groups, false
		return store.Keep, nil
	})
	if errors.Is(err, store.ErrFull) {
		return errFull
	}
	if err != nil {
		return err
	}
	s.push(b, user, &c)
	return nil
}

// Rules for remove.
var (
	shownItem rule = func(item *store.RosterItem, exists bool, _ *change) (store.Verdict, error) {
		if !exists || item.Hidden {
			return store.Leave, stanza.ErrItemNotFound // RFC 6121 §2.5.3
		}
		return store.Remove, nil
	}
	anyItem rule = func(*store.RosterItem, bool, *change) (store.Verdict, error) { return store.Remove, nil }
)

// remove deletes an item and ends what subscriptions and requests there are
// (RFC 6121 §2.5.2). Both addresses are bare.
func (s *Service) remove(ctx context.Context, b *router.Batch, user, contact stanza.JID, decide rule) error {
	unlock := s.accounts.lockBoth(user, contact)
	defer unlock()
	c, err := s.update(ctx, b, user, contact, decide)
	if err != nil {
		return err
	}
	s.push(b, user, &c)
	for _, typ := range []stanza.Type{stanza.Unsubscribe, stanza.Unsubscribed} {
		if outbound.cell(typ, c.was).next == c.was {
			continue // nothing to end in this direction
		}
		st := &stanza.Stanza{Kind: stanza.Presence, Type: typ, From: user, To: contact, ID: s.nextID()}
		if err := s.forward(ctx, b, st, c.was, now()); err != nil {
			return err
		}
	}
	return nil
}
