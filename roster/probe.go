package roster

import (
	"context"

	"chatd/router"
	"chatd/stanza"
)

// watch gives a newly available resource the presence of the user's contacts
// (RFC 6121 §4.3): on the same server that takes no probes (§4.3.1). Each contact's lock is
// held in turn, so that what is told is not older than what the contact broadcasts.
func (s *Service) watch(ctx context.Context, b *router.Batch, sess router.Session, watched []stanza.JID) {
	user := sess.JID().Bare()
	blocked := sess.State().Blocked.Load()
	for _, contact := range watched {
		rows := s.r.Table.Rows(contact)
		if len(rows) == 0 || blocked.Matches(contact) {
			continue
		}
		s.ask(b, sess.JID(), rows)
		if rows[0].Remote || rows[0].Session.State().Blocked.Load().Matches(sess.JID()) {
			continue
		}
		sees, err := s.watchOne(ctx, b, sess, contact)
		if err == nil && !sees {
			err = s.disavow(ctx, b, contact, user, nil)
		}
		if err != nil {
			s.owe(user, err)
			s.log.Log(ctx, stanza.FaultLevel(err), "contact's presence not told", "user", user, "contact", contact, "err", err)
		}
	}
}

// watchOne sends contact's available presences to one resource of a
// contact of theirs, and reports whether it may see them.
func (s *Service) watchOne(ctx context.Context, b *router.Batch, sess router.Session, contact stanza.JID) (sees bool, err error) {
	user := sess.JID().Bare()
	a := s.accounts.lock(contact)
	defer a.Unlock()
	if sees, err = s.seesLocked(ctx, a, contact, user); !sees || err != nil {
		return sees, err
	}
	for _, row := range s.r.Table.Local(contact) {
		if p := row.Session.State().Presence.Load(); p != nil {
			sess.Send(b, withTo(p, user))
		}
	}
	return true, nil
}

// Probe implements router.Presence: RFC 6121 §4.3.2, and §4.6.6 for who has no
// subscription. The probe may be addressed to a full JID.
func (s *Service) Probe(ctx context.Context, b *router.Batch, st *stanza.Stanza) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.probe(ctx, b, st); err != nil {
		s.owe(st.To, err)
		s.log.Log(ctx, stanza.FaultLevel(err), "probe not answered", "from", st.From, "to", st.To, "err", err) // §4.3: no error to a client
	}
}

func (s *Service) probe(ctx context.Context, b *router.Batch, st *stanza.Stanza) error {
	owner := st.To.Bare()
	if blocked, err := s.blocks(ctx, owner, st.From); blocked || err != nil {
		return err // XEP-0191: no response
	}
	asker, ok := s.r.Table.Row(st.From)
	here := ok && !asker.Remote
	answers, err := s.answers(ctx, st, here)
	if err != nil {
		return err
	}
	if answers == nil {
		return s.disavow(ctx, b, owner, st.From.Bare(), st.ID)
	}
	for _, p := range answers {
		s.r.Route(ctx, b, p)
	}
	if here && st.To.IsBare() { // the others do not send it on: both users may be on both nodes
		s.ask(b, st.From, s.r.Table.Rows(owner))
	}
	return nil
}

// ask sends a probe for a user to each other node that has one of the user's available resources, which knows their
// presence and whether viewer may see it.
func (s *Service) ask(b *router.Batch, viewer stanza.JID, rows []router.Row) {
	asked := ""
	for _, row := range rows { // those of one node are side by side
		if !row.Remote || !row.Available || row.Node() == asked || row.Session.JID() == viewer {
			continue
		}
		asked = row.Node()
		row.Session.Send(b, &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Probe, From: viewer, To: row.Session.JID().Bare()})
	}
}

// answers is what the sender of a probe, who is here or on another node, may know; nil is nothing.
func (s *Service) answers(ctx context.Context, st *stanza.Stanza, here bool) ([]*stanza.Stanza, error) {
	owner := st.To.Bare()
	a := s.accounts.lock(owner)
	defer a.Unlock()
	sees, err := s.seesLocked(ctx, a, owner, st.From)
	if err != nil {
		return nil, err
	}
	row, connected := s.r.Table.Row(st.To)
	mere := stanza.Stanza{Kind: stanza.Presence, From: st.To, To: st.From}
	switch {
	case sees && st.To.IsBare():
		return s.presences(st, here), nil
	case connected && !sees && sentDirected(row.Session, st.From):
		return []*stanza.Stanza{&mere}, nil // §4.6.6
	case !sees:
		return nil, nil
	case connected && row.Available:
		return []*stanza.Stanza{&mere}, nil // §4.3.2: no details of one resource
	}
	mere.Type, mere.ID = stanza.Unavailable, st.ID
	return []*stanza.Stanza{&mere}, nil
}

// presences is the presence of every available resource of this node as it was broadcast, or
// one unavailable presence if there is none on any (RFC 6121 §4.3.2, §4.3.2.1). That is for the asker's own node to say: who has just left this one
// is on the way to another, perhaps, and this answer behind what that one tells.
func (s *Service) presences(st *stanza.Stanza, here bool) []*stanza.Stanza {
	all, anywhere := []*stanza.Stanza{}, false
	for _, row := range s.r.Table.Rows(st.To) {
		anywhere = anywhere || row.Available
		if p := row.Session.State().Presence.Load(); p != nil {
			all = append(all, withTo(p, st.From))
		}
	}
	if here && !anywhere {
		all = append(all, &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Unavailable,
			From: st.To, To: st.From, ID: st.ID})
	}
	return all
}

// sentDirected reports whether a session has outstanding directed presence with
// an address. The caller holds the lock of the session's user.
func sentDirected(sess router.Session, target stanza.JID) bool {
	directed := sess.State().Directed
	if _, ok := directed[target]; ok {
		return true
	}
	_, ok := directed[target.Bare()]
	return ok
}

// disavow answers "unsubscribed" for owner to a viewer who believes to be
// subscribed and is not (RFC 6121 §4.3.2). A viewer whose request still waits
// is left waiting: it has not been denied.
func (s *Service) disavow(ctx context.Context, b *router.Batch, owner, viewer stanza.JID, id []byte) error {
	unlock := s.accounts.lockBoth(owner, viewer)
	defer unlock()
	theirs, err := s.look(ctx, b, owner, viewer)
	if err != nil || theirs.from() || aspects[theirs].in {
		return err
	}
	return s.receive(ctx, b, &stanza.Stanza{
		Kind: stanza.Presence, Type: stanza.Unsubscribed, From: owner, To: viewer, ID: id}, now())
}
