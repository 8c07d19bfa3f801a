package roster

import (
	"context"
	"slices"
	"strings"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// Broadcast implements router.Presence.
func (s *Service) Broadcast(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) {
	switch st.Type {
	case stanza.None:
		if reachable := s.available(ctx, b, sess, st); reachable != nil {
			b.Flush()
			s.HandOver(ctx, sess, reachable)
		}
	case stanza.Unavailable:
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		s.leave(ctx, b, sess, st)
	case stanza.Probe, stanza.TypeError: // about nobody
	default:
		s.refuse(b, st, stanza.ErrBadRequest.WithText("a subscription stanza needs a 'to'"))
	}
}

// Ended implements router.Presence: RFC 6121 §4.5.2, ungracefully.
func (s *Service) Ended(ctx context.Context, sess router.Session) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var b router.Batch
	defer b.Flush()
	s.leave(ctx, &b, sess, &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable, From: sess.JID()})
}

// available is RFC 6121 §4.2.2 and §4.4.2. If the resource has yet to become
// reachable for messages, it returns what makes it so.
func (s *Service) available(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) (reachable func()) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if st.Size() > maxPresence {
		s.r.Reject(st, router.RuleSize, router.AtSender)
		s.refuse(b, st, stanza.ErrPolicyViolation.WithText("a presence may have at most 10000 bytes"))
		return nil
	}
	priority, err := parsePriority(st.Inner)
	if err != nil {
		s.refuse(b, st, err)
		return nil
	}
	if s.Amend != nil {
		st = s.Amend(ctx, sess, st)
	}
	p := st.Clone()
	p.To = stanza.JID{}
	watched, reachable, err := s.announce(ctx, b, sess, p, priority)
	if err != nil {
		s.refuse(b, st, err)
		return nil
	}
	s.watch(ctx, b, sess, watched)
	return reachable
}

// announce records an available presence and broadcasts it. For an initial
// presence the resource is also given what concerns its own account, and
// watched is the contacts whose presence it is to be given next.
func (s *Service) announce(ctx context.Context, b *router.Batch, sess router.Session, p *stanza.Stanza, priority int8) (watched []stanza.JID, reachable func(), err error) {
	user := p.From.Bare()
	a := s.accounts.lock(user)
	defer a.Unlock()
	row, ok := s.r.Table.Row(p.From)
	if !ok || row.Session != sess {
		return nil, nil, nil // replaced by another session meanwhile
	}
	initial := sess.State().Presence.Load() == nil
	var list store.Roster
	if initial {
		if list, err = s.loadLocked(ctx, a, user); err != nil {
			return nil, nil, err
		}
	}
	viewers, err := s.viewersLocked(ctx, a, user)
	if err != nil {
		return nil, nil, err
	}
	if priority >= 0 && !row.Reachable() && s.HandOver != nil {
		final := priority
		reachable = func() { s.r.Table.SetPresence(sess, true, final) }
		priority = router.Pending
	}
	sess.State().Presence.Store(p)
	if initial && s.Presence != nil && !s.anyAvailable(user) {
		s.Presence(user, true)
	}
	s.r.Table.SetPresence(sess, true, priority)
	if initial {
		watched = watchedBy(list.Items)
		s.appears(p.From, viewers, watched)
	}
	s.broadcast(b, sess, p, viewers)
	if initial {
		s.welcome(b, sess, user, list.Items)
	}
	return watched, reachable, nil
}

// appears notes a resource that has just become available here, before anybody is told.
func (s *Service) appears(full stanza.JID, viewers, watched []stanza.JID) {
	if s.Nodes {
		now := time.Now()
		s.missed.add(lately{full, false}, append(viewers[:len(viewers):len(viewers)], full.Bare()), now)
		s.missed.add(lately{full, true}, append(watched[:len(watched):len(watched)], full.Bare()), now)
	}
}

// broadcast sends a presence to the viewers and to the user's own available
// resources, among them sess (RFC 6121 §4.2.2, §4.4.2, §4.5.2). The caller holds
// the user's lock.
func (s *Service) broadcast(b *router.Batch, sess router.Session, p *stanza.Stanza, viewers []stanza.JID) {
	out := *p // one copy, readdressed: Send encodes at once
	blocked := sess.State().Blocked.Load()
	for _, viewer := range viewers {
		rows := s.r.Table.Rows(viewer)
		if len(rows) == 0 {
			continue
		}
		out.To = viewer
		sendAvailable(b, rows, &out, blocked)
	}
	out.To = p.From.Bare()
	for _, row := range s.r.Table.Rows(out.To) {
		if row.Available || row.Session == sess {
			row.Session.Send(b, &out)
		}
	}
}

// welcome gives a newly available resource the presence of the user's other
// resources and the requests that wait for an answer (RFC 6121 §3.1.3). The caller holds the user's lock.
func (s *Service) welcome(b *router.Batch, sess router.Session, user stanza.JID, items []store.RosterItem) {
	s.showOwn(b, sess, s.r.Table.Rows(user))
	blocked := sess.State().Blocked.Load()
	for i := range items {
		if !items[i].PendingIn {
			continue
		}
		contact, err := stanza.ParseJID(items[i].JID)
		if err != nil || blocked.Matches(contact) {
			continue
		}
		sess.Send(b, waitingRequest(&items[i], contact, user))
	}
}

// showOwn gives a resource the presence of the user's other ones. The caller holds the user's lock.
func (s *Service) showOwn(b *router.Batch, sess router.Session, rows []router.Row) {
	for _, row := range rows {
		if p := row.Session.State().Presence.Load(); p != nil && row.Session != sess {
			sess.Send(b, withTo(p, sess.JID().Bare()))
		}
	}
	s.ask(b, sess.JID(), rows)
}

// leave broadcasts an unavailable presence, if the resource was available, and
// sends it to whom else the resource had sent presence.
func (s *Service) leave(ctx context.Context, b *router.Batch, sess router.Session, st *stanza.Stanza) {
	user := st.From.Bare()
	a := s.accounts.lock(user)
	state := sess.State()
	was := state.Presence.Swap(nil)
	directed := state.Directed
	state.Directed = nil
	s.r.Table.SetPresence(sess, false, 0)
	if was != nil && s.Presence != nil && !s.anyAvailable(user) {
		s.Presence(user, false)
	}
	if was != nil && s.Nodes {
		s.left.add(lately{full: sess.JID()}, []stanza.JID{sess.JID().Bare()}, time.Now())
	}
	var viewers []stanza.JID
	if was != nil && !s.succeeded(sess) {
		var err error
		if viewers, err = s.viewersLocked(ctx, a, user); err != nil {
			s.log.Log(ctx, stanza.FaultLevel(err), "contacts not told of unavailable presence", "jid", st.From, "err", err)
		}
		s.broadcast(b, sess, st, viewers)
	}
	if len(s.r.Table.Local(user)) == 0 {
		a.dropLocked(user)
	}
	a.Unlock()
	s.leaveDirected(ctx, b, sess, st, directed, viewers)
}

// anyAvailable reports whether a user has an available resource. The caller holds the user's lock.
func (s *Service) anyAvailable(user stanza.JID) bool {
	return slices.ContainsFunc(s.r.Table.Rows(user), func(row router.Row) bool { return row.Available })
}

// succeeded reports whether another session has sess's full JID and is available, so that
// nobody is to be told that it is not. The caller holds the user's lock.
func (s *Service) succeeded(sess router.Session) bool {
	row, ok := s.r.Table.Row(sess.JID())
	return ok && row.Session != sess && (row.Remote && row.Available || row.Session.State().Presence.Load() != nil)
}

// viewersLocked is who is subscribed to the user's presence: bare JIDs in
// byte order, not to be changed.
func (s *Service) viewersLocked(ctx context.Context, a *stripe, user stanza.JID) ([]stanza.JID, error) {
	if viewers, ok := a.viewers[user.String()]; ok {
		return viewers, nil
	}
	list, err := s.store.Roster(ctx, user.Local())
	if err != nil {
		return nil, err
	}
	viewers := viewersIn(list.Items)
	if len(s.r.Table.Local(user)) > 0 && !s.lists.doubtful(user) {
		a.keepLocked(user, viewers)
	}
	return viewers, nil
}

// loadLocked reads a user's roster and caches what viewersLocked needs.
func (s *Service) loadLocked(ctx context.Context, a *stripe, user stanza.JID) (store.Roster, error) {
	changes := s.circles.seen(user)
	list, err := s.store.Roster(ctx, user.Local())
	if err == nil && !s.lists.doubtful(user) {
		a.keepLocked(user, viewersIn(list.Items))
		if s.asksFriends(user) { // now, lest it cannot be read when it is asked for
			s.circles.keep(s.circles.shard(user), user.Clone().String(), s.circleIn(list.Items), changes)
		}
	}
	return list, err
}

// seesLocked is SeesPresence for a caller who holds owner's lock.
func (s *Service) seesLocked(ctx context.Context, a *stripe, owner, viewer stanza.JID) (bool, error) {
	viewer = viewer.Bare()
	if viewer == owner {
		return true, nil
	}
	viewers, err := s.viewersLocked(ctx, a, owner)
	return contains(viewers, viewer), err
}

func contains(sorted []stanza.JID, j stanza.JID) bool {
	_, ok := slices.BinarySearchFunc(sorted, j, compareJID)
	return ok
}

func compareJID(a, b stanza.JID) int { return strings.Compare(a.String(), b.String()) }

// viewersIn is the contacts who see the user's presence.
func viewersIn(items []store.RosterItem) []stanza.JID {
	return contactsIn(items, func(s state) bool { return s.from() })
}

// watchedBy is the contacts whose presence the user sees.
func watchedBy(items []store.RosterItem) []stanza.JID {
	return contactsIn(items, func(s state) bool { return s.to() })
}

func contactsIn(items []store.RosterItem, want func(state) bool) []stanza.JID {
	var jids []stanza.JID
	for i := range items {
		if !want(stateOf(&items[i])) {
			continue
		}
		if j, err := stanza.ParseJID(items[i].JID); err == nil {
			jids = append(jids, j)
		}
	}
	slices.SortFunc(jids, compareJID)
	return jids
}

func withTo(st *stanza.Stanza, to stanza.JID) *stanza.Stanza {
	c := *st
	c.To = to
	return &c
}
