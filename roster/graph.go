package roster

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// MaxFriendships bounds how many others Friendships takes at once.
const MaxFriendships = 1000

// maxSuggestions bounds what FriendsOfFriends returns.
const maxSuggestions = 1000

// A Friendship is what two users are to each other, as one of them sees it.
type Friendship struct {
	Other stanza.JID // bare
	// Exists is whether they see each other's presence (RFC 6121 §2.1.2.5, "both").
	Exists bool
	Since  time.Time // UTC, whole seconds; zero unless it exists
}

// Friendship is what user and other are to each other; strangers and unknown users are no
// friends. It blocks on the store for one item unless the user's list is cached.
func (s *Service) Friendship(ctx context.Context, user, other stanza.JID) (Friendship, error) {
	user, other = user.Bare(), other.Bare()
	if friends, ok := s.lists.peek(user); ok {
		return friendshipIn(friends, other), nil
	}
	f := Friendship{Other: other}
	_, err := s.store.UpdateItem(ctx, user.Local(), other.String(), 0, func(item *store.RosterItem, _ bool) (store.Verdict, error) {
		if item.Sub == store.SubBoth {
			f.Exists, f.Since = true, item.Created
		}
		return store.Leave, nil
	})
	return f, err
}

// Friendships is Friendship for many others, at most MaxFriendships, in the order given.
func (s *Service) Friendships(ctx context.Context, user stanza.JID, others []stanza.JID) ([]Friendship, error) {
	if len(others) > MaxFriendships {
		return nil, stanza.ErrPolicyViolation.WithText("too many others at once")
	}
	friends, err := s.Friends(ctx, user)
	if err != nil {
		return nil, err
	}
	all := make([]Friendship, len(others))
	for i, other := range others {
		all[i] = friendshipIn(friends, other.Bare())
	}
	return all, nil
}

func friendshipIn(friends []Friend, other stanza.JID) Friendship {
	f := find(friends, other)
	if f == nil || !f.Mutual() {
		return Friendship{Other: other}
	}
	return Friendship{Other: other, Exists: true, Since: f.Created}
}

// Mutual is the friends that two users have in common, in byte order of their addresses.
func (s *Service) Mutual(ctx context.Context, one, two stanza.JID) ([]stanza.JID, error) {
	mine, err := s.Friends(ctx, one)
	if err != nil {
		return nil, err
	}
	theirs, err := s.Friends(ctx, two)
	if err != nil {
		return nil, err
	}
	var common []stanza.JID
	for len(mine) > 0 && len(theirs) > 0 {
		switch order := compareJID(mine[0].JID, theirs[0].JID); {
		case order < 0:
			mine = mine[1:]
		case order > 0:
			theirs = theirs[1:]
		default:
			if mine[0].Mutual() && theirs[0].Mutual() {
				common = append(common, mine[0].JID)
			}
			mine, theirs = mine[1:], theirs[1:]
		}
	}
	return common, nil
}

// A Suggestion is somebody whom a user may know.
type Suggestion struct {
	JID    stanza.JID
	Mutual int // how many friends they have in common, at least one
}

// FriendsOfFriends is the friends of a user's friends, those with the most friends in common first,
// and then in byte order of their addresses; at most limit of them, and
// never more than 1,000. Left out are the user, who is a friend or has a subscription in
// one direction already, whose request or to whom a request is pending, and who is blocked by the
// user or blocks the user.
func (s *Service) FriendsOfFriends(ctx context.Context, user stanza.JID, limit int) ([]Suggestion, error) {
	user, limit = user.Bare(), min(limit, maxSuggestions)
	mine, err := s.Friends(ctx, user)
	if err != nil {
		return nil, err
	}
	counts, err := s.countMutual(ctx, mine)
	if err != nil {
		return nil, err
	}
	delete(counts, user.String())
	for i := range mine {
		if mine[i].Subscription != store.SubNone || mine[i].Ask != AskNone {
			delete(counts, mine[i].JID.String())
		}
	}
	return s.rank(ctx, user, counts, limit)
}

// graphReaders is how many friends' lists are read at once.
const graphReaders = 4

// countMutual counts for each friend of a friend through how many friends they are known.
func (s *Service) countMutual(ctx context.Context, mine []Friend) (map[string]int, error) {
	counts := make(map[string]int, len(mine))
	var unread []stanza.JID
	for i := range mine {
		if !mine[i].Mutual() || !s.local(mine[i].JID) {
			continue
		}
		theirs, ok := s.lists.peek(mine[i].JID)
		if !ok {
			unread = append(unread, mine[i].JID)
		}
		for k := range theirs {
			if theirs[k].Mutual() {
				counts[theirs[k].JID.String()]++
			}
		}
	}
	read, err := s.readMutual(ctx, unread)
	for _, theirs := range read {
		for _, jid := range theirs {
			counts[jid]++
		}
	}
	return counts, err
}

// readMutual reads the friends of many, a few at once.
func (s *Service) readMutual(ctx context.Context, users []stanza.JID) ([][]string, error) {
	lists, errs := make([][]string, len(users)), make([]error, graphReaders)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range min(graphReaders, len(users)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(users) && errs[w] == nil; i = int(next.Add(1)) - 1 {
				lists[i], errs[w] = s.store.Mutual(ctx, users[i].Local())
			}
		})
	}
	wg.Wait()
	return lists, errors.Join(errs...)
}

// rank sorts suggestions and drops those between whom and the user there is a block. Only
// for those that are returned the store is asked for theirs.
func (s *Service) rank(ctx context.Context, user stanza.JID, counts map[string]int, limit int) ([]Suggestion, error) {
	blocked, err := s.blocklist(ctx, user)
	if err != nil {
		return nil, err
	}
	all := make([]Suggestion, 0, len(counts))
	for text, n := range counts {
		if j, err := stanza.ParseJID(text); err == nil && !blocked.Matches(j) {
			all = append(all, Suggestion{j, n})
		}
	}
	slices.SortFunc(all, func(a, b Suggestion) int { return cmp.Or(b.Mutual-a.Mutual, compareJID(a.JID, b.JID)) })
	var best []Suggestion
	for _, x := range all {
		if len(best) >= limit {
			break
		}
		theirs, err := s.blocklist(ctx, x.JID)
		if err != nil {
			return nil, err
		}
		if !theirs.Matches(user) {
			best = append(best, x)
		}
	}
	return best, nil
}

// blocklist reads a user's block list.
func (s *Service) blocklist(ctx context.Context, user stanza.JID) (*router.Blocklist, error) {
	list, err := s.store.Blocklist(ctx, user.Local())
	return router.NewBlocklist(list), err
}
