package roster

import (
	"context"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// Reannounce broadcasts the presence of an available resource anew, as change
// makes it; when change returns what it was given, or the resource is not
// available, it does nothing. change must not block. It may block on the store.
func (s *Service) Reannounce(ctx context.Context, b *router.Batch, sess router.Session, change func(*stanza.Stanza) *stanza.Stanza) error {
	user := sess.JID().Bare()
	a := s.accounts.lock(user)
	defer a.Unlock()
	p := sess.State().Presence.Load()
	if p == nil || s.succeeded(sess) {
		return nil
	}
	changed := change(p)
	if changed == p {
		return nil
	}
	viewers, err := s.viewersLocked(ctx, a, user)
	if err != nil {
		return err
	}
	sess.State().Presence.Store(changed)
	s.broadcast(b, sess, changed, viewers)
	return nil
}

// BlocklistChanged sends unavailable presence to those who see the user's
// presence and are blocked now, and the current one to those who are no longer
// blocked (XEP-0191 §3.3, §3.4). The user's sessions have the new list already. It may block
// on the store.
func (s *Service) BlocklistChanged(ctx context.Context, b *router.Batch, user stanza.JID, before, after *router.Blocklist) error {
	user = user.Bare()
	a := s.accounts.lock(user)
	defer a.Unlock()
	viewers, err := s.viewersLocked(ctx, a, user)
	if err != nil {
		return err
	}
	for _, viewer := range viewers {
		for _, row := range s.r.Table.Rows(viewer) {
			j := row.Session.JID()
			if row.Available && before.Matches(j) != after.Matches(j) {
				s.turn(b, user, row.Session, after.Matches(j))
			}
		}
	}
	return nil
}

// turn shows or hides the user's available resources of this node to one resource of a
// viewer. The caller holds the user's lock.
func (s *Service) turn(b *router.Batch, user stanza.JID, viewer router.Session, hidden bool) {
	for _, row := range s.r.Table.Local(user) {
		p := row.Session.State().Presence.Load()
		if p == nil || viewer.State().Blocked.Load().Matches(p.From) {
			continue
		}
		if hidden {
			p = &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: p.From}
		}
		viewer.Send(b, withTo(p, viewer.JID().Bare()))
	}
}

// Moved brings up to date what a resource that has come from another node during a split and its contacts know of each other: its old
// node may have reached others of them than this one. It may block on the store; if that does not answer, it is done when it does.
func (s *Service) Moved(ctx context.Context, b *router.Batch, sess router.Session) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	items, err := s.announceAgain(ctx, b, sess)
	if err != nil {
		s.owe(sess.JID(), err)
		return err
	}
	watched := watchedBy(items)
	s.watch(ctx, b, sess, watched)
	time.AfterFunc(missedFor, func() { s.tellAbsent(sess, watched) })
	return nil
}

// tellAbsent tells a resource that has moved which of its contacts are not there (RFC 6121 §4.3.2): others may have been between two nodes at the same
// moment. One that has moved on is told by the next node.
func (s *Service) tellAbsent(sess router.Session, watched []stanza.JID) {
	row, ok := s.r.Table.Row(sess.JID())
	if !ok || row.Session != sess {
		return
	}
	var b router.Batch
	defer b.Flush()
	sess.State().Strayed.Store(false)
	for _, contact := range watched {
		if !s.anyAvailable(contact) {
			sess.Send(&b, &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: contact, To: sess.JID().Bare()})
		}
	}
}

// announceAgain broadcasts an available resource's presence as it is, and returns the user's contacts.
func (s *Service) announceAgain(ctx context.Context, b *router.Batch, sess router.Session) ([]store.RosterItem, error) {
	user := sess.JID().Bare()
	a := s.accounts.lock(user)
	defer a.Unlock()
	p := sess.State().Presence.Load()
	if p == nil || s.succeeded(sess) {
		return nil, nil
	}
	list, err := s.loadLocked(ctx, a, user)
	if err != nil {
		return nil, err
	}
	viewers := viewersIn(list.Items)
	s.appears(p.From, viewers, watchedBy(list.Items))
	s.broadcast(b, sess, p, viewers)
	s.showOwn(b, sess, s.r.Table.Rows(user))
	return list.Items, nil
}
