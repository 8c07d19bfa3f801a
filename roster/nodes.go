package roster

import (
	"context"
	"slices"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// patience is how long the contacts of one user are waited for when nodes change, and the pause before they are asked for again.
const patience = time.Second

// Lost tells the users of this node that resources of their contacts, and of their own, are gone with the node that they
// were connected to (RFC 6121 §4.5.2, ungracefully). gone says which a user had there; those that are connected again are
// left out. It blocks on the store and works its way through all users: the caller gives it a goroutine. While the store does not answer,
// those are told of whom it is in memory that they are friends, and the rest later.
func (s *Service) Lost(ctx context.Context, gone func(user stanza.JID) []stanza.JID) {
	var left []stanza.JID
	s.eachUser(ctx, func(_ *router.Batch, user stanza.JID) { left = append(left, user) })
	for first := true; len(left) > 0; first = false {
		var again []stanza.JID
		for _, user := range left {
			if !s.tellLost(ctx, user, gone, len(again) > 0, first) {
				again = append(again, user)
			}
		}
		if left = again; len(left) == 0 {
			return
		}
		select {
		case <-time.After(patience):
		case <-ctx.Done():
			return
		}
	}
}

// tellLost tells one user, and reports whether that is all. With failing it does not ask the store; with first it tells what is in
// memory if the store does not answer.
func (s *Service) tellLost(ctx context.Context, user stanza.JID, gone func(stanza.JID) []stanza.JID, failing, first bool) bool {
	var b router.Batch
	defer b.Flush()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if first {
		s.tellGone(&b, user, gone(user))
	}
	if !failing {
		friends, err := s.Friends(ctx, user)
		if err == nil {
			for i := range friends {
				if sub := friends[i].Subscription; sub == store.SubTo || sub == store.SubBoth {
					s.tellGone(&b, user, gone(friends[i].JID))
				}
			}
			return true
		}
	}
	if first {
		for _, viewer := range s.viewersInMemory(user) { // among friends they are the same
			s.tellGone(&b, user, gone(viewer))
		}
	}
	return false
}

func (s *Service) viewersInMemory(user stanza.JID) []stanza.JID {
	a := s.accounts.lock(user)
	defer a.Unlock()
	return a.viewers[user.String()]
}

// tellGone tells a user's resources here that others are unavailable, unless they are connected again.
func (s *Service) tellGone(b *router.Batch, user stanza.JID, gone []stanza.JID) {
	if len(gone) > 0 {
		s.lost.Store(time.Now().UnixNano()) // first: who is seen elsewhere only after this has looked is asked for (Appeared)
	}
	for _, full := range gone {
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
}

// Found tells the contacts of this node's users who are connected to a node that has come, or come back, the users' presence
// (RFC 6121 §4.2.2). That node does the same: neither has to know the other's resources before it can be answered. Who has just come here from another node
// asks as well: the node may have told its users' contacts before it knew of that. It blocks as Lost does.
func (s *Service) Found(ctx context.Context, node string) {
	s.eachUser(ctx, func(b *router.Batch, user stanza.JID) {
		err := s.tell(ctx, b, user, node)
		for _, row := range s.r.Table.Local(user) {
			if err == nil && row.Available && row.Session.State().Strayed.Load() {
				err = s.Moved(ctx, b, row.Session)
			}
		}
		if err != nil {
			s.owe(user, err)
			s.log.Log(ctx, stanza.FaultLevel(err), "presence not told to a node that has come", "user", user, "node", node, "err", err)
		}
	})
	for _, who := range s.left.all(time.Now()) {
		if err := s.outlived(ctx, who.full, node); err != nil {
			s.log.Log(ctx, stanza.FaultLevel(err), "presence not asked of a node that has come", "jid", who.full, "node", node, "err", err)
		}
	}
}

// outlived asks a node, on behalf of those here who see it, for the presence of a resource that is bound there. Its session here ended for
// that when the node's rows were not seen yet, so that they were told of the end, maybe after what the node said; or it was on another node, and they were
// told that it is gone with that.
func (s *Service) outlived(ctx context.Context, full stanza.JID, node string) error {
	row, ok := s.r.Table.Row(full)
	if !ok || !row.Available || row.Node() != node {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	user := full.Bare()
	a := s.accounts.lock(user)
	defer a.Unlock()
	viewers, err := s.viewersLocked(ctx, a, user)
	if err != nil {
		return err
	}
	var b router.Batch
	defer b.Flush()
	for _, viewer := range append(viewers[:len(viewers):len(viewers)], user) {
		for _, mine := range s.r.Table.Local(viewer) {
			if mine.Available {
				s.ask(&b, mine.Session.JID(), []router.Row{row})
			}
		}
	}
	return nil
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
