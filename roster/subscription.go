package roster

import (
	"context"
	"errors"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// Outbound implements router.Presence: RFC 6121 §3, the user's side, and
// with it the contact's, who is on the same server.
func (s *Service) Outbound(ctx context.Context, b *router.Batch, _ router.Session, st *stanza.Stanza) {
	out := *st
	out.From, out.To = st.From.Bare(), st.To.Bare() // §3, implementation note
	switch {
	case out.From == out.To:
		return // a user sees the own resources anyway (§4.2.2)
	case out.To.Domain() != s.r.Domain.Domain():
		s.r.Route(ctx, b, st)
		return
	case st.Type == stanza.Subscribe && st.Size() > maxRequest:
		s.r.Reject(st, router.RuleSize, router.AtSender)
		s.refuse(b, st, stanza.ErrPolicyViolation.WithText("a subscription request may have at most 4096 bytes"))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	unlock := s.accounts.lockBoth(out.From, out.To)
	defer unlock()
	if err := s.send(ctx, b, &out, now()); err != nil {
		s.refuse(b, st, err)
	}
}

// Inbound implements router.Presence: RFC 6121 §3, the contact's side, of a
// stanza that did not come through Outbound.
func (s *Service) Inbound(ctx context.Context, b *router.Batch, st *stanza.Stanza) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	in := *st
	in.From, in.To = st.From.Bare(), st.To.Bare()
	unlock := s.accounts.lockBoth(in.From, in.To)
	defer unlock()
	if err := s.receive(ctx, b, &in, now()); err != nil {
		s.refuse(b, st, err)
	}
}

// send changes the sender's item and forwards the stanza. The caller
// holds both locks; so it is for all that follows. Addresses are bare. at is the time that is noted
// on both sides.
func (s *Service) send(ctx context.Context, b *router.Batch, st *stanza.Stanza, at time.Time) error {
	c, err := s.update(ctx, b, st.From, st.To, sent(st, at))
	if errors.Is(err, store.ErrFull) {
		return errFull
	}
	if err != nil {
		return err
	}
	s.push(b, st.From, &c)
	if !c.cell.pass {
		return nil
	}
	err = s.forward(ctx, b, st, c.was, at)
	if err != nil && st.Type == stanza.Subscribe && c.now != c.was {
		s.withdraw(ctx, b, st)
	}
	return err
}

// withdraw takes back a request that the contact could not be given.
func (s *Service) withdraw(ctx context.Context, b *router.Batch, st *stanza.Stanza) {
	back := s.verb(stanza.Unsubscribe, st.From, st.To)
	c, err := s.update(ctx, b, st.From, st.To, sent(back, now()))
	if err != nil {
		s.log.Log(ctx, stanza.FaultLevel(err), "subscription request not withdrawn", "from", st.From, "to", st.To, "err", err)
		return
	}
	s.push(b, st.From, &c)
}

// forward hands a subscription stanza to the contact's side. was is the state that the sender's
// item was in.
func (s *Service) forward(ctx context.Context, b *router.Batch, st *stanza.Stanza, was state, at time.Time) error {
	if st.Type == stanza.Unsubscribed && was.from() {
		s.hide(b, st.From, st.To) // RFC 6121 §3.2.2: first
	}
	return s.receive(ctx, b, st, at)
}

// receive is the side of a subscription stanza's recipient: the tables of RFC 6121
// §A.3, and §3.1.3, §3.1.6, §3.2.3, §3.3.3 for what is delivered in which order.
func (s *Service) receive(ctx context.Context, b *router.Batch, st *stanza.Stanza, at time.Time) error {
	if !s.local(st.To) {
		return nil // the server is nobody's contact, and others are not reached
	}
	b.Flush()
	blocked, err := s.blocks(ctx, st.To, st.From)
	if err != nil {
		return err
	}
	if st.Type == stanza.Subscribe {
		if admitted, err := s.admitRequest(ctx, b, st, blocked); !admitted || err != nil {
			return err
		}
	}
	c, err := s.update(ctx, b, st.To, st.From, received(st, at))
	if errors.Is(err, store.ErrFull) {
		return stanza.ErrResourceConstraint.WithText("too many requests wait for this contact")
	}
	if err != nil {
		return err
	}
	if c.cell.pass && !blocked {
		s.deliver(b, st, c.was)
	}
	s.push(b, st.To, &c)
	switch {
	case c.now.to() && !c.was.to():
		s.show(b, st.From, st.To) // §3.1.5
	case c.was.from() && !c.now.from():
		s.hide(b, st.To, st.From) // §3.3.3
	}
	if c.cell.reply == stanza.None {
		return nil
	}
	return s.receive(ctx, b, &stanza.Stanza{Kind: stanza.Presence, Type: c.cell.reply, From: st.To, To: st.From, ID: st.ID}, at)
}

// sent is the rule for the sender's item: RFC 6121 §A.2.
func sent(st *stanza.Stanza, at time.Time) rule {
	typ := st.Type
	return func(item *store.RosterItem, exists bool, c *change) (store.Verdict, error) {
		item.Hidden = item.Hidden || !exists
		before := *item
		c.cell = outbound.cell(typ, c.was)
		c.cell.next.put(item)
		switch {
		case c.cell.approve:
			item.Approved = true // §3.4.2
		case typ == stanza.Unsubscribed:
			item.Approved = false // §3.2.2
		}
		date(item, c.was, at, requestText(st))
		return settle(item, exists, &before), nil
	}
}

// received is the rule for the recipient's item: RFC 6121 §A.3. A pre-approval
// serves once.
func received(st *stanza.Stanza, at time.Time) rule {
	return func(item *store.RosterItem, exists bool, c *change) (store.Verdict, error) {
		item.Hidden = item.Hidden || !exists
		before := *item
		c.cell = inbound.cell(st.Type, c.was)
		if c.cell.approve && item.Approved { // §3.4.2
			c.cell = cell{next: c.cell.granted, reply: stanza.Subscribed}
			item.Approved = false
		}
		c.cell.next.put(item)
		if item.PendingIn && !before.PendingIn {
			item.Request = storedRequest(st)
		}
		date(item, c.was, at, requestText(st))
		return settle(item, exists, &before), nil
	}
}

// deliver gives a subscription stanza to the recipient's clients: a request to the
// available resources, what else happens to a subscription to the interested
// ones (RFC 6121 §3.1, implementation note), the end of a request to both.
func (s *Service) deliver(b *router.Batch, st *stanza.Stanza, was state) {
	request := st.Type == stanza.Subscribe
	requestOver := st.Type == stanza.Unsubscribe && !was.from()
	for _, row := range s.r.Table.Rows(st.To) {
		interested := row.Flags&router.Interested != 0
		if row.Available && (request || requestOver) || interested && !request {
			row.Session.Send(b, st)
		}
	}
}

// show sends owner's available presences to viewer's available resources.
func (s *Service) show(b *router.Batch, owner, viewer stanza.JID) {
	rows := s.r.Table.Rows(owner)
	for _, row := range rows {
		if p := row.Session.State().Presence.Load(); p != nil {
			s.present(b, row.Session, viewer, *p)
		}
	}
	for _, row := range s.r.Table.Rows(viewer) {
		if row.Available {
			s.ask(b, row.Session.JID(), rows)
		}
	}
}

// hide sends viewer an unavailable presence from each of owner's available resources.
func (s *Service) hide(b *router.Batch, owner, viewer stanza.JID) {
	for _, row := range s.r.Table.Rows(owner) {
		if row.Available {
			s.present(b, row.Session, viewer, stanza.Stanza{
				Kind: stanza.Presence, Type: stanza.Unavailable, From: row.Session.JID()})
		}
	}
}

// present sends a presence of session sess to viewer's available resources, unless
// either has blocked the other.
func (s *Service) present(b *router.Batch, sess router.Session, viewer stanza.JID, p stanza.Stanza) {
	p.To = viewer
	sendAvailable(b, s.r.Table.Rows(viewer), &p, sess.State().Blocked.Load())
}

// sendAvailable delivers a presence to a user's available resources, unless
// the user has blocked the sender, or the sender, by the list blocked, them.
func sendAvailable(b *router.Batch, rows []router.Row, p *stanza.Stanza, blocked *router.Blocklist) {
	for i := range rows {
		to := rows[i].Session
		// A session that is available has its list; one that is just binding may not.
		if rows[i].Available && !blocked.Matches(to.JID()) && !to.State().Blocked.Load().Matches(p.From) {
			to.Send(b, p)
		}
	}
}

// blocks reports whether owner has blocked other. It asks the store: a session that is
// just binding may have no list yet.
func (s *Service) blocks(ctx context.Context, owner, other stanza.JID) (bool, error) {
	list, err := s.store.Blocklist(ctx, owner.Local())
	return router.NewBlocklist(list).Matches(other), err
}

// exists reports whether there is such an account.
func (s *Service) exists(ctx context.Context, user stanza.JID) (bool, error) {
	if len(s.r.Table.Rows(user)) > 0 {
		return true, nil
	}
	return s.r.Users.Exists(ctx, user.Local())
}
