package roster

import (
	"context"
	"hash/maphash"
	"slices"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// The rules by which a stanza is refused for what its sender and its recipient are to each other. The
// router asks for them where they apply (router.Rules); each has one name, which is
// the metric's label and the log's word. Those of subscription requests are in request.go.

// cachedFriends bounds the friends that are kept for the rules; one costs 8 bytes.
const cachedFriends = 16 << 20

// A circle is the hashes of a user's mutual friends, in order. One of two different addresses passes for
// the other once in 2^64; the hash's seed is this process's own secret.
type circle []uint64

func (s *Service) readCircle(ctx context.Context, user stanza.JID) (circle, error) {
	jids, err := s.store.Mutual(ctx, user.Local())
	if err != nil {
		return nil, err
	}
	friends := make(circle, len(jids))
	for i, j := range jids {
		friends[i] = maphash.String(s.circles.seed, j)
	}
	slices.Sort(friends)
	return friends, nil
}

// circleIn is what readCircle would read of a list.
func (s *Service) circleIn(items []store.RosterItem) circle {
	friends := make(circle, 0, len(items))
	for i := range items {
		if items[i].Sub == store.SubBoth {
			friends = append(friends, maphash.String(s.circles.seed, items[i].JID))
		}
	}
	slices.Sort(friends)
	return slices.Clip(friends)
}

// asksFriends reports whether what others send to a user who is online depends on who the user's friends are.
func (s *Service) asksFriends(user stanza.JID) bool {
	if s.r.RequiresFriends() {
		return true
	}
	return slices.ContainsFunc(s.r.Table.Rows(user), func(row router.Row) bool {
		a := store.Audience(row.Session.State().Audience.Load())
		return a == store.Friends || a == store.FriendsOfFriends
	})
}

// friends reports whether two users are. It blocks on the store unless the first one's friends are cached.
func (s *Service) friends(ctx context.Context, user, other stanza.JID) (bool, error) {
	mine, err := s.circles.get(ctx, user.Bare(), s.readCircle)
	if err != nil {
		return false, err
	}
	_, ok := slices.BinarySearch(mine, maphash.String(s.circles.seed, other.Bare().String()))
	return ok, nil
}

// admits reports whether other is of the audience that user admits.
func (s *Service) admits(ctx context.Context, a store.Audience, user, other stanza.JID) (bool, error) {
	switch a {
	case store.Everyone:
		return true, nil
	case store.Nobody:
		return false, nil
	}
	ok, err := s.friends(ctx, user, other)
	if ok || err != nil || a == store.Friends {
		return ok, err
	}
	mine, err := s.circles.get(ctx, user.Bare(), s.readCircle)
	if err != nil {
		return false, err
	}
	theirs, err := s.circles.get(ctx, other.Bare(), s.readCircle)
	return mine.meets(theirs), err
}

// meets reports whether two sets have anybody in common.
func (f circle) meets(other circle) bool {
	for len(f) > 0 && len(other) > 0 {
		switch {
		case f[0] < other[0]:
			f = f[1:]
		case f[0] > other[0]:
			other = other[1:]
		default:
			return true
		}
	}
	return false
}

// Sender implements router.Rules.
func (s *Service) Sender(ctx context.Context, b *router.Batch, st *stanza.Stanza) (rule string, err error) {
	return s.friendship(ctx, b, st, st.From, st.To)
}

// Receiver implements router.Rules.
func (s *Service) Receiver(ctx context.Context, b *router.Batch, st *stanza.Stanza, audience uint32) (rule string, err error) {
	if st.Kind == stanza.IQ {
		return s.stranger(ctx, b, st)
	}
	if rule, err = s.privacy(ctx, b, st, store.Audience(audience)); rule != "" || err != nil {
		return rule, err
	}
	return s.friendship(ctx, b, st, st.To, st.From)
}

// Offline implements router.Rules.
func (s *Service) Offline(ctx context.Context, st *stanza.Stanza) (rule string, err error) {
	p, err := s.store.Privacy(ctx, st.To.Local())
	if err != nil {
		return "", err
	}
	if rule, err = s.privacy(ctx, nil, st, p.Messages); rule != "" || err != nil {
		return rule, err
	}
	return s.friendship(ctx, nil, st, st.To, st.From)
}

// friendship is the rule that what the operator names goes between friends only, by the list of one of them.
func (s *Service) friendship(ctx context.Context, b *router.Batch, st *stanza.Stanza, user, other stanza.JID) (rule string, err error) {
	if !s.r.Requires(st) {
		return "", nil
	}
	return s.unless(ctx, b, store.Friends, user, other, router.RuleFriendship)
}

// privacy is the rule of the recipient's own settings for messages.
func (s *Service) privacy(ctx context.Context, b *router.Batch, st *stanza.Stanza, a store.Audience) (rule string, err error) {
	return s.unless(ctx, b, a, st.To, st.From, router.RulePrivacy)
}

// unless is a rule's name unless other is of the audience that user admits.
func (s *Service) unless(ctx context.Context, b *router.Batch, a store.Audience, user, other stanza.JID, rule string) (string, error) {
	if a == store.Friends || a == store.FriendsOfFriends {
		if _, ok := s.circles.peek(user.Bare()); !ok {
			b.Flush()
		}
	}
	ok, err := s.admits(ctx, a, user, other)
	if ok || err != nil {
		return "", err
	}
	return rule, nil
}

// stranger is the rule that who does not share presence is not asked by others either (RFC 6121 §8.5.3.1):
// a subscription or directed presence opens the door.
func (s *Service) stranger(ctx context.Context, b *router.Batch, st *stanza.Stanza) (rule string, err error) {
	owner := st.To.Bare()
	a := s.accounts.lock(owner)
	defer a.Unlock()
	if _, ok := a.viewers[owner.String()]; !ok {
		b.Flush()
	}
	sees, err := s.seesLocked(ctx, a, owner, st.From)
	if sees || err != nil {
		return "", err
	}
	if row, ok := s.r.Table.Row(st.To); ok && sentDirected(row.Session, st.From) {
		return "", nil
	}
	return router.RuleStranger, nil
}
