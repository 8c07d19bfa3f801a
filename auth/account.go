package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"chatd/stanza"
	"chatd/store"
)

// Register makes an account and returns its normalized name. The errors for
// the caller to tell apart are ErrExists, ErrBadUser and ErrBadPassword.
func (s *Service) Register(ctx context.Context, user, password string) (normalized string, err error) {
	user, err = s.localpart(user)
	if err != nil {
		return "", err
	}
	if exists, err := s.Exists(ctx, user); err != nil || exists { // before the hashing, which is dear
		return "", cmp.Or(err, ErrExists)
	}
	creds, err := s.newCredentials(ctx, password)
	if err != nil {
		return "", err
	}
	err = s.accounts.CreateAccount(ctx, store.Account{
		User:        user,
		Credentials: creds,
		Created:     time.Now().UTC().Truncate(time.Second),
	})
	if err != nil {
		return "", accountError("register", err)
	}
	return user, nil
}

// SetPassword replaces a user's credentials. The errors for the caller to tell
// apart are ErrNotFound, ErrBadUser and ErrBadPassword.
func (s *Service) SetPassword(ctx context.Context, user, password string) error {
	user, err := s.localpart(user)
	if err != nil {
		return err
	}
	creds, err := s.newCredentials(ctx, password)
	if err != nil {
		return err
	}
	return accountError("set password", s.accounts.SetCredentials(ctx, user, creds))
}

// Remove deletes an account and all that the store keeps of it. The errors for
// the caller to tell apart are ErrNotFound and ErrBadUser.
func (s *Service) Remove(ctx context.Context, user string) error {
	user, err := s.localpart(user)
	if err != nil {
		return err
	}
	return accountError("remove", s.accounts.DeleteAccount(ctx, user))
}

// SetDisabled changes whether a user may log in. It ends no session. The errors for the caller to tell
// apart are ErrNotFound and ErrBadUser.
func (s *Service) SetDisabled(ctx context.Context, user string, disabled bool) error {
	user, err := s.localpart(user)
	if err != nil {
		return err
	}
	return accountError("disable", s.accounts.SetDisabled(ctx, user, disabled))
}

// Exists reports whether there is such an account; ErrBadUser if there never
// can be.
func (s *Service) Exists(ctx context.Context, user string) (bool, error) {
	user, err := s.localpart(user)
	if err != nil {
		return false, err
	}
	switch _, err = s.accounts.Account(ctx, user); {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, accountError("look up", err)
	}
	return true, nil
}

// localpart normalizes a user name as what it is in an address (RFC 7622 §3.3).
func (s *Service) localpart(user string) (string, error) {
	if strings.ContainsAny(user, "@/") {
		return "", ErrBadUser
	}
	j, err := stanza.ParseJID(user + "@" + s.domain)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadUser, err)
	}
	return j.Local(), nil
}

// mayActAs reports whether an authorization identity is the user's own: none
// at all, the bare JID (RFC 6120 §6.3.8), or the bare user name that some
// clients send. Nobody may act as somebody else here.
func (s *Service) mayActAs(authzid, user string) bool {
	if authzid == "" {
		return true
	}
	name, domain, isJID := strings.Cut(authzid, "@")
	local, err := s.localpart(name)
	if err != nil || local != user {
		return false
	}
	if !isJID {
		return true
	}
	j, err := stanza.ParseJID(domain)
	return err == nil && j.String() == s.domain
}

func accountError(verb string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrExists):
		return ErrExists
	case errors.Is(err, store.ErrNotFound):
		return ErrNotFound
	}
	return fmt.Errorf("auth: %s: %w", verb, err)
}
