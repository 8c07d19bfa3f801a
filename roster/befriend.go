package roster

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// The verbs of friendship, for services that act on a player's behalf. Each sends the stanzas that
// the player's client would, through the same rules and limits, and with the same
// pushes and presence for both. They block on the store, take full or bare
// addresses of users of this server, and return ErrNoUser for who has no account. An error that is a
// *stanza.Error is what the player's client would be answered.

// ErrNoUser says that there is no such account.
var ErrNoUser = errors.New("roster: no such account")

// maxMessage bounds the text of a request, in bytes of UTF-8; escaped it fits in maxRequest.
const maxMessage = 500

// Request asks to for friendship with from, with a message of at most 500 bytes, "" for none.
// It approves to's own request in advance (RFC 6121 §3.4), so that an answer by Accept, or by a client that
// subscribes in turn, makes friends of both. If to has asked already it is an Accept.
// What to's block list or privacy settings refuse vanishes without an error, as it
// does for clients: the request stays pending on from's side.
func (s *Service) Request(ctx context.Context, from, to stanza.JID, message string) error {
	if len(message) > maxMessage {
		return stanza.ErrPolicyViolation.WithText("the message may have at most 500 bytes")
	}
	if !isText(message) {
		return errNotText
	}
	return s.between(ctx, from, to, func(ctx context.Context, b *router.Batch, from, to stanza.JID, at time.Time) error {
		if err := s.checkRequest(ctx, from, to); err != nil {
			return err
		}
		was, err := s.look(ctx, b, from, to)
		switch {
		case err != nil:
			return err
		case was == both:
			return nil
		case aspects[was].in:
			return s.accept(ctx, b, from, to, at)
		}
		st := &stanza.Stanza{Kind: stanza.Presence, Type: stanza.Subscribe, From: from, To: to, ID: s.nextID()}
		if message != "" {
			st.Inner = []byte("<status>" + stanza.Escape(message) + "</status>")
		}
		if err := s.send(ctx, b, st, at); err != nil || was.from() {
			return err
		}
		return s.send(ctx, b, s.verb(stanza.Subscribed, from, to), at)
	})
}

// Accept makes user and contact friends, who has asked user for it: the request is granted, and as who asks
// for friendship wants to be seen too, user is subscribed to contact in turn.
// Without a pending request it returns ErrItemNotFound of package stanza.
func (s *Service) Accept(ctx context.Context, user, contact stanza.JID) error {
	return s.between(ctx, user, contact, func(ctx context.Context, b *router.Batch, user, contact stanza.JID, at time.Time) error {
		was, err := s.look(ctx, b, user, contact)
		if err != nil {
			return err
		}
		if !aspects[was].in {
			return errNoRequest
		}
		if err := s.checkRequest(ctx, user, contact); err != nil {
			return err
		}
		return s.accept(ctx, b, user, contact, at)
	})
}

// accept is Accept for a caller who holds both locks and knows of the request.
func (s *Service) accept(ctx context.Context, b *router.Batch, user, contact stanza.JID, at time.Time) error {
	if err := s.send(ctx, b, s.verb(stanza.Subscribed, user, contact), at); err != nil {
		return err
	}
	if err := s.send(ctx, b, s.verb(stanza.Subscribe, user, contact), at); err != nil {
		return err
	}
	theirs, err := s.look(ctx, b, contact, user)
	if err != nil || !aspects[theirs].in {
		return err // it was approved in advance, or is refused by block list
	}
	return s.send(ctx, b, s.verb(stanza.Subscribed, contact, user), at)
}

// Decline refuses a pending request of contact's (RFC 6121 §3.1.6). Without one it returns ErrItemNotFound of
// package stanza.
func (s *Service) Decline(ctx context.Context, user, contact stanza.JID) error {
	return s.between(ctx, user, contact, func(ctx context.Context, b *router.Batch, user, contact stanza.JID, at time.Time) error {
		was, err := s.look(ctx, b, user, contact)
		if err != nil {
			return err
		}
		if !aspects[was].in {
			return errNoRequest
		}
		return s.send(ctx, b, s.verb(stanza.Unsubscribed, user, contact), at)
	})
}

// Remove deletes contact from user's list and ends what subscriptions and requests there
// are in either direction (RFC 6121 §2.5.2): a friendship, and a request of user's that is
// taken back. The contact keeps an entry without a subscription. Without an entry it returns ErrItemNotFound of package stanza.
func (s *Service) Remove(ctx context.Context, user, contact stanza.JID) error {
	user, contact = user.Bare(), contact.Bare()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.known(ctx, user); err != nil {
		return err
	}
	var b router.Batch
	defer b.Flush()
	return s.remove(ctx, &b, user, contact, shownItem)
}

// SetName changes what user calls contact; "" for no name of its own. It returns
// ErrItemNotFound of package stanza if contact is not in user's list.
func (s *Service) SetName(ctx context.Context, user, contact stanza.JID, name string) error {
	return s.edit(ctx, user, contact, func(it *queryItem) { it.Name = name })
}

// SetGroups changes the groups that contact is in, an empty slice for none. It returns ErrItemNotFound of package
// stanza if contact is not in user's list.
func (s *Service) SetGroups(ctx context.Context, user, contact stanza.JID, groups []string) error {
	return s.edit(ctx, user, contact, func(it *queryItem) { it.Groups = groups })
}

// edit is RFC 6121 §2.4 for one aspect of an item.
func (s *Service) edit(ctx context.Context, user, contact stanza.JID, set func(*queryItem)) error {
	user, contact = user.Bare(), contact.Bare()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.known(ctx, user); err != nil {
		return err
	}
	var b router.Batch
	defer b.Flush()
	a := s.accounts.lock(user)
	defer a.Unlock()
	c, err := s.update(ctx, &b, user, contact, func(item *store.RosterItem, exists bool, _ *change) (store.Verdict, error) {
		if !exists || item.Hidden {
			return store.Leave, stanza.ErrItemNotFound
		}
		it := queryItem{Name: item.Name, Groups: item.Groups}
		set(&it)
		if err := it.check(); err != nil {
			return store.Leave, err
		}
		if !isText(it.Name) || !isText(strings.Join(it.Groups, "")) {
			return store.Leave, errNotText
		}
		item.Name, item.Groups = it.Name, it.Groups
		return store.Keep, nil
	})
	if err != nil {
		return err
	}
	s.push(&b, user, &c)
	return nil
}

var errNotText = stanza.ErrNotAcceptable.WithText("only text that XML can hold")

// isText reports whether a text that did not come by XMPP can go that way: UTF-8 of characters that XML 1.0 knows
// (XML §2.2). A client that was sent another one would have to end its stream.
func isText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
	})
}

var errNoRequest = stanza.ErrItemNotFound.WithText("no request is pending")

// between runs what two users do with each other, under the locks of both.
func (s *Service) between(ctx context.Context, one, two stanza.JID, do func(ctx context.Context, b *router.Batch, one, two stanza.JID, at time.Time) error) error {
	one, two = one.Bare(), two.Bare()
	if one == two {
		return stanza.ErrNotAllowed.WithText("you are not your own contact")
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for _, user := range [...]stanza.JID{one, two} {
		if err := s.known(ctx, user); err != nil {
			return err
		}
	}
	var b router.Batch
	defer b.Flush()
	unlock := s.accounts.lockBoth(one, two)
	defer unlock()
	return do(ctx, &b, one, two, now())
}

// known returns ErrNoUser unless there is such an account here.
func (s *Service) known(ctx context.Context, user stanza.JID) error {
	if !s.local(user) {
		return ErrNoUser
	}
	exists, err := s.exists(ctx, user)
	if err == nil && !exists {
		err = ErrNoUser
	}
	return err
}

func (s *Service) verb(typ stanza.Type, from, to stanza.JID) *stanza.Stanza {
	return &stanza.Stanza{Kind: stanza.Presence, Type: typ, From: from, To: to, ID: s.nextID()}
}

// now is the time as it is kept.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
