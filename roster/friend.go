package roster

import (
	"context"
	"slices"
	"time"

	"chatd/stanza"
	"chatd/store"
)

// A Friend is one contact of a user with all that is known of it. It is a
// value; its Groups are not to be changed.
type Friend struct {
	JID          stanza.JID // bare
	Subscription store.Subscription
	Ask          Ask
	AskMessage   string // text of the pending request, whoever made it; "" for none
	// Created is since when the subscription is mutual, UTC, whole seconds; until then when
	// the pending request was made, and without one when the contact was entered.
	Created  time.Time
	Groups   []string // as the user ordered them; none is usual
	Name     string   // what the user calls the contact
	Note     string   // what the user wrote about the contact (XEP-0145)
	Approved bool     // a request of the contact is granted at once (RFC 6121 §3.4)
	Hidden   bool     // no contact yet: somebody's request that waits for an answer
}

// Mutual reports whether both see each other's presence: what players call friends.
func (f *Friend) Mutual() bool { return f.Subscription == store.SubBoth }

// Ask is which requests of a contact and its user are pending.
type Ask uint8

// The four cases, each as the user sees it.
const (
	AskNone Ask = iota
	AskOut      // the user waits for the contact's answer
	AskIn       // the contact waits for the user's answer
	AskBoth
)

// String is "none", "out", "in" or "both".
func (a Ask) String() string { return [...]string{"none", "out", "in", "both"}[a] }

func askOf(item *store.RosterItem) (a Ask) {
	if item.Ask {
		a |= AskOut
	}
	if item.PendingIn {
		a |= AskIn
	}
	return a
}

// Friends is all of a user's contacts, and who else waits for the user's answer, in
// byte order of their addresses. An unknown user has none. The slice is shared: it is not to be
// changed. It blocks on the store unless the list is cached.
func (s *Service) Friends(ctx context.Context, user stanza.JID) ([]Friend, error) {
	return s.lists.get(ctx, user.Bare(), s.readFriends)
}

// readFriends reads what Friends returns.
func (s *Service) readFriends(ctx context.Context, user stanza.JID) ([]Friend, error) {
	list, err := s.store.Roster(ctx, user.Local())
	if err != nil || len(list.Items) == 0 {
		return nil, err
	}
	notes, err := s.store.Notes(ctx, user.Local())
	if err != nil {
		return nil, err
	}
	friends := make([]Friend, 0, len(list.Items))
	for i := range list.Items {
		item := &list.Items[i]
		contact, err := stanza.ParseJID(item.JID)
		if err != nil {
			continue
		}
		for len(notes) > 0 && notes[0].JID < item.JID { // both are in byte order
			notes = notes[1:]
		}
		f := Friend{
			JID: contact, Subscription: item.Sub, Ask: askOf(item), AskMessage: item.Message, Created: item.Created,
			Groups: item.Groups, Name: item.Name, Approved: item.Approved, Hidden: item.Hidden,
		}
		if len(notes) > 0 && notes[0].JID == item.JID {
			f.Note = notes[0].Text
		}
		friends = append(friends, f)
	}
	return friends, nil
}

// find is the contact of that address among friends, nil if there is none.
func find(friends []Friend, contact stanza.JID) *Friend {
	i, ok := slices.BinarySearchFunc(friends, contact, func(f Friend, j stanza.JID) int { return compareJID(f.JID, j) })
	if !ok {
		return nil
	}
	return &friends[i]
}
