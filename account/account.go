// Package account is a player's account as a whole, in what concerns all of it at once: its sessions
// ended, all of its data exported, all of it erased.
package account

import (
	"context"
	"errors"
	"time"

	"chatd/auth"
	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// A Service acts on the accounts of one server. Its methods are safe for concurrent use and block on the
// store. Users are given by bare or full JID and must be of this server.
type Service struct {
	r        *router.Router
	db       store.Store
	accounts *auth.Service
	friends  Friends
}

// Friends is the friends list's part in the end of an account. roster provides it.
type Friends interface {
	// RemoveUser ends all of a user's subscriptions, in the lists of others too.
	RemoveUser(ctx context.Context, user stanza.JID) error
	// Forget drops what is cached of a user, of all for the zero JID.
	Forget(user stanza.JID)
}

// New makes the service.
func New(r *router.Router, db store.Store, accounts *auth.Service, friends Friends) *Service {
	return &Service{r: r, db: db, accounts: accounts, friends: friends}
}

// EndSessions ends all sessions of a user with a stream error and waits, as long as ctx allows, until each has told
// its contacts and what it was not sent is routed anew. It returns how many there were.
func (s *Service) EndSessions(ctx context.Context, user stanza.JID, reason *stanza.StreamError) (ended int, err error) {
	rows := s.r.Table.Rows(user)
	for _, row := range rows {
		row.Session.Close(reason)
	}
	for _, row := range rows {
		select {
		case <-row.Session.Done():
		case <-ctx.Done():
			return len(rows), ctx.Err()
		}
	}
	return len(rows), nil
}

// Erase ends a user's sessions, takes the user off the lists of all contacts, who are told, and removes the account
// and all that is kept under the name. What others wrote about the user, and their block lists, are theirs
// and stay. It returns auth.ErrNotFound if there is no such account.
func (s *Service) Erase(ctx context.Context, user stanza.JID) error {
	user = user.Bare()
	exists, err := s.accounts.Exists(ctx, user.Local())
	if err != nil {
		return err
	}
	if !exists {
		return auth.ErrNotFound
	}
	if _, err := s.EndSessions(ctx, user, stanza.StreamNotAuthorized); err != nil {
		return err
	}
	if err := s.friends.RemoveUser(ctx, user); err != nil {
		return err
	}
	if err := s.accounts.Remove(ctx, user.Local()); err != nil {
		return err
	}
	s.friends.Forget(user)
	_, err = s.EndSessions(ctx, user, stanza.StreamNotAuthorized) // who logged in meanwhile
	return err
}

// Disable keeps a user from logging in and ends all sessions; data and friends stay. It returns auth.ErrNotFound
// if there is no such account.
func (s *Service) Disable(ctx context.Context, user stanza.JID) (ended int, err error) {
	if err := s.accounts.SetDisabled(ctx, user.Local(), true); err != nil {
		return 0, err
	}
	return s.EndSessions(ctx, user, errDisabled)
}

var errDisabled = stanza.StreamNotAuthorized.WithText("the account is disabled")

// Enable ends what Disable began. It returns auth.ErrNotFound if there is no such account.
func (s *Service) Enable(ctx context.Context, user stanza.JID) error {
	return s.accounts.SetDisabled(ctx, user.Local(), false)
}

// Admit returns a *stanza.StreamError for a new session whose user was disabled while it logged in. To be called after the session has
// entered the table: either it sees the change, or Disable sees the session.
func (s *Service) Admit(ctx context.Context, user stanza.JID) error {
	a, err := s.db.Account(ctx, user.Local())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return stanza.StreamNotAuthorized
	case err != nil:
		return err
	case a.Disabled:
		return errDisabled
	}
	return nil
}

// EndOrphans ends the sessions of users whose account is gone or disabled, and drops what is cached of
// anybody: for when somebody else has changed the store. It returns how many sessions it ended.
func (s *Service) EndOrphans(ctx context.Context) (ended int, err error) {
	s.friends.Forget(stanza.JID{})
	known := make(map[string]*stanza.StreamError) // nil: may stay
	for row := range s.r.Table.All() {
		user := row.Session.JID()
		reason, ok := known[user.Local()]
		if !ok {
			if err := s.Admit(ctx, user); err != nil && !errors.As(err, &reason) {
				return ended, err
			}
			known[user.Local()] = reason
		}
		if reason != nil {
			row.Session.Close(reason)
			ended++
		}
	}
	return ended, nil
}

// An Export is all that is kept of one user. What verifies the password is no data of the user's.
type Export struct {
	User       stanza.JID // bare
	Created    time.Time  // of the account, UTC
	Mechanisms []string   // by which the user can log in with a password
	Contacts   []store.RosterItem
	Notes      []store.Note
	Blocked    []string
	Privacy    store.Privacy
	VCard      []byte // XML; nil: none
	Private    []store.PrivateElement
	LastSeen   store.LastActivity // zero: never, or online since the account was made
	Messages   []store.OfflineMessage
}

// messagesPage is how many waiting messages are read at once.
const messagesPage = 200

// Export returns all that is kept of a user; auth.ErrNotFound if there is no such account. Its parts
// are read one after the other.
func (s *Service) Export(ctx context.Context, user stanza.JID) (*Export, error) {
	name := user.Local()
	account, err := s.db.Account(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, auth.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	x := &Export{User: user.Bare(), Created: account.Created}
	for _, c := range account.Credentials {
		x.Mechanisms = append(x.Mechanisms, c.Mechanism)
	}
	list, err := s.db.Roster(ctx, name)
	if err != nil {
		return nil, err
	}
	x.Contacts = list.Items
	if x.Notes, err = s.db.Notes(ctx, name); err != nil {
		return nil, err
	}
	if x.Blocked, err = s.db.Blocklist(ctx, name); err != nil {
		return nil, err
	}
	if x.Privacy, err = s.db.Privacy(ctx, name); err != nil {
		return nil, err
	}
	if x.Private, err = s.db.PrivateElements(ctx, name); err != nil {
		return nil, err
	}
	return x, s.exportRest(ctx, name, x)
}

// exportRest reads what need not be there.
func (s *Service) exportRest(ctx context.Context, name string, x *Export) (err error) {
	if x.VCard, err = s.db.VCard(ctx, name); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if x.LastSeen, err = s.db.LastActivity(ctx, name); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for after := int64(0); ; {
		page, err := s.db.OfflinePage(ctx, name, after, messagesPage)
		if err != nil || len(page) == 0 {
			return err
		}
		x.Messages = append(x.Messages, page...)
		after = page[len(page)-1].Seq
	}
}
