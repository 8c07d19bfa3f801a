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

// Found asks a node that has come for the presence of the contacts of this node's users who are connected to it (RFC 6121
// §4.3). It blocks as Lost does.
func (s *Service) Found(ctx context.Context, node string) {
	s.eachWatcher(ctx, func(b *router.Batch, user, contact stanza.JID) {
		rows := s.r.Table.Rows(contact)
		rows = slices.DeleteFunc(slices.Clone(rows), func(row router.Row) bool { return row.Node() != node })
		if len(rows) == 0 {
			return
		}
		for _, mine := range s.r.Table.Local(user) {
			if mine.Available && !mine.Session.State().Blocked.Load().Matches(contact) {
				s.ask(b, mine.Session.JID(), rows)
			}
		}
	})
}

// eachWatcher calls visit for each user with an available resource on this node and each contact whose presence the
// user sees, the user among them.
func (s *Service) eachWatcher(ctx context.Context, visit func(b *router.Batch, user, contact stanza.JID)) {
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
		s.visitWatched(ctx, user, visit)
	}
}

func (s *Service) visitWatched(ctx context.Context, user stanza.JID, visit func(b *router.Batch, user, contact stanza.JID)) {
	var b router.Batch
	defer b.Flush()
	visit(&b, user, user)
	friends, err := s.Friends(ctx, user)
	if err != nil {
		s.log.Error("contacts' presence not told after a change of nodes", "user", user, "err", err)
		return
	}
	for i := range friends {
		if sub := friends[i].Subscription; sub == store.SubTo || sub == store.SubBoth {
			visit(&b, user, friends[i].JID)
		}
	}
}
