package roster

import (
	"context"
	"slices"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// Lost tells the users of this node that resources of their contacts, and of their own, are gone with the node that they
// were connected to (RFC 6121 §4.5.2, ungracefully). gone is full JIDs by bare ones; those that are connected again are
// left out. It blocks on the store and works its way through all users: the caller gives it a goroutine.
func (s *Service) Lost(ctx context.Context, gone map[string][]stanza.JID) {
	s.eachWatcher(ctx, func(b *router.Batch, user, contact stanza.JID) {
		for _, full := range gone[contact.String()] {
			if row, ok := s.r.Table.Row(full); ok && row.Available {
				continue
			}
			st := &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: full, To: user}
			for _, row := range s.r.Table.Local(user) {
				if row.Available && !row.Session.State().Blocked.Load().Matches(full) {
					row.Session.Send(b, st)
				}
			}
		}
	})
}

// Found tells the contacts of this node's users who are connected to a node that has come, or come back, the users' presence
// (RFC 6121 §4.2.2). That node does the same: neither has to know the other's resources before it can be answered. It blocks as Lost does.
func (s *Service) Found(ctx context.Context, node string) {
	s.eachUser(ctx, func(b *router.Batch, user stanza.JID) {
		if err := s.tell(ctx, b, user, node); err != nil {
			s.log.Log(ctx, stanza.FaultLevel(err), "presence not told to a node that has come", "user", user, "node", node, "err", err)
		}
	})
}

// tell sends the presence of a user's resources here to the contacts on one node, and to the user's own resources there. The account's lock
// is held, so that what is told is not older than what the user broadcasts.
func (s *Service) tell(ctx context.Context, b *router.Batch, user stanza.JID, node string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	a := s.accounts.lock(user)
	defer a.Unlock()
	viewers, err := s.viewersLocked(ctx, a, user)
	if err != nil {
		return err
	}
	elsewhere := func(row router.Row) bool { return row.Node() != node }
	for _, viewer := range append(viewers[:len(viewers):len(viewers)], user) {
		rows := slices.DeleteFunc(slices.Clone(s.r.Table.Rows(viewer)), elsewhere)
		if len(rows) == 0 {
			continue
		}
		for _, mine := range s.r.Table.Local(user) {
			if p := mine.Session.State().Presence.Load(); p != nil {
				sendAvailable(b, rows, withTo(p, viewer), mine.Session.State().Blocked.Load())
			}
		}
	}
	return nil
}

// eachWatcher calls visit for each user with an available resource on this node and each contact whose presence the
// user sees, the user among them.
func (s *Service) eachWatcher(ctx context.Context, visit func(b *router.Batch, user, contact stanza.JID)) {
	s.eachUser(ctx, func(b *router.Batch, user stanza.JID) { s.visitWatched(ctx, b, user, visit) })
}

// eachUser calls visit for each user with an available resource on this node.
func (s *Service) eachUser(ctx context.Context, visit func(b *router.Batch, user stanza.JID)) {
	seen := make(map[stanza.JID]bool)
	for row := range s.r.Table.All() {
		user := row.Session.JID().Bare()
		if !row.Available || seen[user] {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		seen[user] = true
		var b router.Batch
		visit(&b, user)
		b.Flush()
	}
}

func (s *Service) visitWatched(ctx context.Context, b *router.Batch, user stanza.JID, visit func(b *router.Batch, user, contact stanza.JID)) {
	visit(b, user, user)
	friends, err := s.Friends(ctx, user)
	if err != nil {
		s.visitViewers(ctx, b, user, visit)
		return
	}
	for i := range friends {
		if sub := friends[i].Subscription; sub == store.SubTo || sub == store.SubBoth {
			visit(b, user, friends[i].JID)
		}
	}
}

// visitViewers visits those who see the user's presence, which is known of who is online also while the store does not answer. Among
// friends they are the same.
func (s *Service) visitViewers(ctx context.Context, b *router.Batch, user stanza.JID, visit func(b *router.Batch, user, contact stanza.JID)) {
	a := s.accounts.lock(user)
	viewers, err := s.viewersLocked(ctx, a, user)
	a.Unlock()
	if err != nil {
		s.log.Log(ctx, stanza.FaultLevel(err), "contacts' presence not told after a change of nodes", "user", user, "err", err)
		return
	}
	for _, viewer := range viewers {
		visit(b, user, viewer)
	}
}
