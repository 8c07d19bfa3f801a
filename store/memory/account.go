package memory

import (
	"bytes"
	"context"
	"slices"
	"time"

	"chatd/store"
)

// Account implements store.Accounts.
func (s *Store) Account(ctx context.Context, user string) (store.Account, error) {
	if err := s.lock(ctx); err != nil {
		return store.Account{}, err
	}
	defer s.mu.Unlock()
	a := s.userLocked(user).account
	if a == nil {
		return store.Account{}, store.ErrNotFound
	}
	return cloneAccount(*a), nil
}

// CreateAccount implements store.Accounts.
func (s *Store) CreateAccount(ctx context.Context, a store.Account) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.userLocked(a.User).account != nil {
		return store.ErrExists
	}
	s.purgeLocked(a.User)
	a = cloneAccount(a)
	s.makeUserLocked(a.User).account = &a
	if s.announcer != nil {
		s.announcedLocked(s.announcer.AccountMade(&a))
	}
	return nil
}

// SetCredentials implements store.Accounts.
func (s *Store) SetCredentials(ctx context.Context, user string, creds []store.Credential) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a := s.userLocked(user).account
	if a == nil {
		return store.ErrNotFound
	}
	a.Credentials, a.Tokens = cloneCredentials(creds), nil
	return nil
}

// UpdateTokens implements store.Accounts.
func (s *Store) UpdateTokens(ctx context.Context, user string, update func(store.Account) ([]store.LoginToken, error)) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a := s.userLocked(user).account
	if a == nil {
		return store.ErrNotFound
	}
	tokens, err := update(cloneAccount(*a))
	if err == nil {
		a.Tokens = cloneTokens(tokens)
	}
	return err
}

// DeleteAccount implements store.Accounts.
func (s *Store) DeleteAccount(ctx context.Context, user string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.userLocked(user).account == nil {
		return store.ErrNotFound
	}
	s.purgeLocked(user)
	return nil
}

// SetDisabled implements store.Accounts.
func (s *Store) SetDisabled(ctx context.Context, user string, disabled bool) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a := s.userLocked(user).account
	if a == nil {
		return store.ErrNotFound
	}
	a.Disabled = disabled
	return nil
}

// ListAccounts implements store.Accounts.
func (s *Store) ListAccounts(ctx context.Context, after string, limit int) ([]string, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var names []string
	for name, u := range s.users {
		if u.account != nil && name > after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:max(0, min(limit, len(names)))], nil
}

func cloneAccount(a store.Account) store.Account {
	a.Credentials, a.Tokens = cloneCredentials(a.Credentials), cloneTokens(a.Tokens)
	a.Created = a.Created.UTC().Truncate(time.Second)
	return a
}

func cloneCredentials(creds []store.Credential) []store.Credential {
	creds = slices.Clone(creds)
	for i := range creds {
		c := &creds[i]
		c.Salt = bytes.Clone(c.Salt)
		c.StoredKey = bytes.Clone(c.StoredKey)
		c.ServerKey = bytes.Clone(c.ServerKey)
	}
	return creds
}

func cloneTokens(tokens []store.LoginToken) []store.LoginToken {
	if len(tokens) == 0 {
		return nil
	}
	tokens = slices.Clone(tokens)
	for i := range tokens {
		t := &tokens[i]
		t.Nonce = bytes.Clone(t.Nonce)
		t.Issued, t.Expires = t.Issued.UTC().Truncate(time.Second), t.Expires.UTC().Truncate(time.Second)
	}
	return tokens
}
