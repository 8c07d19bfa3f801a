package riak

import (
	"cmp"
	"context"
	"slices"

	"chatd/store"
)

// An account is one value. Its entries are, each behind a letter and the stamp of the account's making:
//
//	a: that it was made, and when
//	c: the credentials
//	d: whether it is disabled
//	t: a token, by what names it
//	k: that the making was settled. The first that was settled is the account, whatever others there are: one that was given
//	   up by its maker and arrives late, say.
//
// So whatever is written for one that lost, or that was removed since, does not show.
func accountRef(user string) ref { return ref{"account", user} }

const (
	claimed     = "a" // also of rooms
	credentials = "c"
	disabled    = "d"
	token       = "t"
	kept        = "k"
)

func (s *state) account(user string) (a store.Account, err error) {
	made, ok := s.claim()
	if !ok {
		return store.Account{}, store.ErrNotFound
	}
	e, _ := s.get(claimed + made)
	d := decoder{rest: e.value}
	a = store.Account{User: user, Created: d.time()}
	creds, _ := s.get(credentials + made)
	c := decoder{rest: creds.value}
	a.Credentials = c.credentials()
	_, a.Disabled = s.get(disabled + made)
	for _, t := range s.tokens(made, creds.at) {
		a.Tokens = append(a.Tokens, t.token)
	}
	return a, cmp.Or(d.err(), c.err())
}

// Account implements store.Accounts.
func (s *Store) Account(ctx context.Context, user string) (store.Account, error) {
	if err := s.begin(ctx); err != nil {
		return store.Account{}, err
	}
	defer s.end()
	v, err := s.fetch(ctx, accountRef(user))
	if err != nil {
		return store.Account{}, err
	}
	return v.account(user)
}

// setAccount writes a new account.
func (s *state) setAccount(at stamp, a *store.Account) {
	made := at.key()
	var claim, creds encoder
	claim.time(a.Created)
	creds.credentials(a.Credentials)
	s.set(claimed+made, at, claim)
	s.set(credentials+made, at, creds)
	if a.Disabled {
		s.set(disabled+made, at, nil)
	}
	s.setTokens(made, at, at, a.Tokens)
}

// changeAccount is a read-modify-write of an account that exists.
func (s *Store) changeAccount(ctx context.Context, user string, change func(v *value, made string, at stamp) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	return s.update(ctx, accountRef(user), func(v *value, at stamp) error {
		made, ok := v.claim()
		if !ok {
			return store.ErrNotFound
		}
		v.keep(made, at)
		return change(v, made, at)
	})
}

// SetCredentials implements store.Accounts.
func (s *Store) SetCredentials(ctx context.Context, user string, creds []store.Credential) error {
	return s.changeAccount(ctx, user, func(v *value, made string, at stamp) error {
		old, _ := v.get(credentials + made)
		v.setTokens(made, old.at, at, nil)
		var e encoder
		e.credentials(creds)
		v.set(credentials+made, at, e)
		return nil
	})
}

// SetDisabled implements store.Accounts.
func (s *Store) SetDisabled(ctx context.Context, user string, is bool) error {
	err := s.changeAccount(ctx, user, func(v *value, made string, at stamp) error {
		if is {
			v.set(disabled+made, at, nil)
		} else if !v.remove(disabled+made, at) {
			return errUnchanged
		}
		return nil
	})
	if err == nil && is {
		err = s.noteRemoval(ctx)
	}
	return err
}

// DeleteAccount implements store.Accounts. The account goes first: from then on everything else is what was
// left under a name without one. When the rest fails it may be called again, until it has returned nil or store.ErrNotFound.
func (s *Store) DeleteAccount(ctx context.Context, user string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	var until stamp
	var missing error
	err := s.update(ctx, accountRef(user), func(v *value, at stamp) error {
		if _, ok := v.claim(); !ok {
			missing, until = store.ErrNotFound, v.purged
			return errUnchanged
		}
		until = at
		v.purge(at)
		return nil
	})
	if err == nil && until > 0 {
		if err = s.purge(ctx, user, until); err == nil {
			err = s.noteRemoval(ctx)
		}
	}
	return cmp.Or(err, missing)
}

// purge takes back what was written under a name until then, but for the account.
func (s *Store) purge(ctx context.Context, user string, until stamp) error {
	refs := [...]ref{rosterRef(user), profileRef(user), vcardRef(user), privateRef(user)}
	return inParallel(ctx, len(refs)+1, func(ctx context.Context, i int) error {
		if i == len(refs) {
			return s.offline(user).purge(ctx, until)
		}
		return s.update(ctx, refs[i], func(v *value, _ stamp) error {
			if v.empty() && (i != 0 || v.high == 0 || v.purged >= until) {
				return errUnchanged
			}
			if v.purge(until); i == 0 && v.high > 0 {
				v.grow(s.clock) // a client may have seen the roster that goes
			}
			return nil
		})
	})
}

// ListAccounts implements store.Accounts.
func (s *Store) ListAccounts(ctx context.Context, after string, limit int) ([]string, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	return s.listThose(ctx, userIndex, after, limit, false, func(ctx context.Context, name string) (bool, error) {
		v, err := s.fetch(ctx, accountRef(name))
		if err != nil {
			return false, err
		}
		_, exists := v.claim()
		return exists, nil
	})
}

// listThose is the names of an index that are there, as listBeyond has them.
func (s *Store) listThose(ctx context.Context, x index, beyond string, limit int, back bool, there func(ctx context.Context, name string) (bool, error)) (found []string, err error) {
	if back {
		defer func() { slices.Reverse(found) }()
	}
	for len(found) < limit {
		names, err := s.listBeyond(ctx, x, beyond, limit, back)
		if err != nil || len(names) == 0 {
			return found, err
		}
		is := make([]bool, len(names))
		err = inParallel(ctx, len(names), func(ctx context.Context, i int) (err error) {
			is[i], err = there(ctx, names[i])
			return err
		})
		if err != nil {
			return nil, err
		}
		for i := range names {
			if back {
				i = len(names) - 1 - i
			}
			if beyond = names[i]; is[i] && len(found) < limit {
				found = append(found, beyond)
			}
		}
	}
	return found, nil
}

func (e *encoder) credentials(creds []store.Credential) {
	e.number(int64(len(creds)))
	for i := range creds {
		c := &creds[i]
		e.text(c.Mechanism)
		e.bytes(c.Salt)
		e.number(int64(c.Iterations))
		e.bytes(c.StoredKey)
		e.bytes(c.ServerKey)
	}
}

func (d *decoder) credentials() []store.Credential {
	var creds []store.Credential
	for range d.count() {
		creds = append(creds, store.Credential{
			Mechanism: d.text(), Salt: d.bytes(), Iterations: int(d.number()), StoredKey: d.bytes(), ServerKey: d.bytes(),
		})
	}
	return creds
}
