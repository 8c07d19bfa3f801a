package riak

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"
	"time"

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

// claim is the making that counts: the one that was settled first, or else that was made first.
func (s *state) claim() (made string, ok bool) {
	all := s.keys(claimed)
	if len(all) == 0 {
		return "", false
	}
	made, since := all[0], stamp(math.MaxInt64)
	for _, one := range all {
		if k, ok := s.get(kept + one); ok && k.at < since {
			made, since = one, k.at
		}
	}
	return made, true
}

// keep settles a making.
func (s *state) keep(made string, at stamp) {
	if _, ok := s.get(kept + made); !ok {
		s.set(kept+made, at, nil)
	}
}

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

// A keptToken is one with its place among the others.
type keptToken struct {
	token store.LoginToken
	place int64
	key   string
}

// tokens are those that belong to the credentials that were written at under, in their order. Others were issued beside
// a change of the credentials that their issuer did not know of, and ended with it.
func (s *state) tokens(made string, under stamp) []keptToken {
	var all []keptToken
	for _, key := range s.keys(token + made) {
		e, _ := s.get(token + made + key)
		d := decoder{rest: e.value}
		if stamp(d.number()) != under {
			continue
		}
		t := keptToken{key: key, place: d.number()}
		if t.token = d.token(); d.err() == nil {
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(a, b keptToken) int { return cmp.Compare(a.place, b.place) })
	return all
}

// setTokens makes tokens the account's. It leaves alone those that stay, so that another node's change of them is not undone.
func (s *state) setTokens(made string, under, at stamp, tokens []store.LoginToken) {
	before := make(map[string]keptToken)
	for _, t := range s.tokens(made, under) {
		before[t.key] = t
	}
	place := int64(-1)
	for _, t := range tokens {
		key := tokenKey(&t)
		old, stays := before[key]
		delete(before, key)
		if stays && old.place > place {
			place = old.place
		} else {
			place++
		}
		var e encoder
		e.number(int64(under))
		e.number(place)
		e.token(&t)
		if now, ok := s.get(token + made + key); !ok || !bytes.Equal(now.value, e) {
			s.set(token+made+key, at, e)
		}
	}
	for key := range before {
		s.remove(token+made+key, at)
	}
}

func tokenKey(t *store.LoginToken) string {
	var e encoder
	e.text(t.Client)
	e.text(t.Mechanism)
	e.bytes(t.Nonce)
	return string(e)
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

// CreateAccount implements store.Accounts. Of several nodes that make the same account at the same time one is told that it did,
// unless one of them stands still for longer than settleTime at the worst moment (stake): then two may be told so, and all nodes agree on whose
// account it is.
func (s *Store) CreateAccount(ctx context.Context, a store.Account) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	err := s.locks.with(ctx, accountRef(a.User), func() error { return s.createAccount(ctx, &a) })
	if err != nil {
		return err
	}
	return s.announce(ctx, func(to store.Announcer) []store.Posting { return to.AccountMade(&a) })
}

func (s *Store) createAccount(ctx context.Context, a *store.Account) error {
	r := accountRef(a.User)
	v, err := s.read(ctx, r, s.quorums.strict)
	if err != nil {
		return err
	}
	if _, exists := v.claim(); exists {
		return store.ErrExists
	}
	if err := s.enlist(ctx, userIndex, a.User); err != nil {
		return err
	}
	if err := s.purge(ctx, a.User, s.clock.next(v.top())); err != nil {
		return err
	}
	at := s.clock.next(v.top())
	v.setAccount(at, a)
	v.prune(s.clock.now())
	return s.stake(ctx, r, v, at)
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

// settleTime is how long one who was first waits for another, who perhaps did not see it, to settle.
const settleTime = 50 * time.Millisecond

// stake writes a value with a claim made at, and takes it back if it does not become the one that counts. Everybody
// writes a claim before looking again, at most of the replicas that are responsible, so of two at least one sees the other. Who sees
// nobody else settles. Who sees somebody else leaves it to the first, and the first waits for those that had not seen it.
func (s *Store) stake(ctx context.Context, r ref, v *value, at stamp) error {
	if err := s.store(ctx, r, v, s.quorums.strict); err != nil {
		return err
	}
	mine := at.key()
	now, err := s.read(ctx, r, s.quorums.strict)
	if err != nil {
		return err
	}
	if len(now.keys(claimed)) > 1 {
		if made, _ := now.claim(); made == mine {
			sleep(ctx, settleTime)
			now, err = s.read(ctx, r, s.quorums.strict)
		}
		if err != nil {
			return err
		}
	}
	if made, _ := now.claim(); made == mine {
		now.keep(mine, s.clock.next(now.top()))
		if err := s.store(ctx, r, now, s.quorums.strict); err != nil {
			return err
		}
		if now, err = s.read(ctx, r, s.quorums.strict); err != nil {
			return err
		}
		if made, _ := now.claim(); made == mine {
			return nil
		}
	}
	for key, e := range now.entries {
		if len(key) >= 1+len(mine) && key[1:1+len(mine)] == mine && now.shows(e) {
			now.remove(key, s.clock.next(now.top()))
		}
	}
	// If this fails the claim stays, and counts for nothing.
	if err := s.store(ctx, r, now, s.quorums.lasting); err != nil {
		return err
	}
	return store.ErrExists
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

// UpdateTokens implements store.Accounts.
func (s *Store) UpdateTokens(ctx context.Context, user string, update func(store.Account) ([]store.LoginToken, error)) error {
	return s.changeAccount(ctx, user, func(v *value, made string, at stamp) error {
		a, err := v.account(user)
		if err != nil {
			return err
		}
		tokens, err := update(a)
		if err != nil {
			return err
		}
		creds, _ := v.get(credentials + made)
		v.setTokens(made, creds.at, at, tokens)
		return nil
	})
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
	return s.listThose(ctx, userIndex, after, limit, func(ctx context.Context, name string) (bool, error) {
		v, err := s.fetch(ctx, accountRef(name))
		if err != nil {
			return false, err
		}
		_, exists := v.claim()
		return exists, nil
	})
}

// listThose is the names of an index that are there.
func (s *Store) listThose(ctx context.Context, x index, after string, limit int, there func(ctx context.Context, name string) (bool, error)) (found []string, err error) {
	for len(found) < limit {
		names, err := s.list(ctx, x, after, limit)
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
		for i, name := range names {
			if after = name; is[i] && len(found) < limit {
				found = append(found, name)
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

func (e *encoder) token(t *store.LoginToken) {
	e.text(t.Client)
	e.text(t.Mechanism)
	e.bytes(t.Nonce)
	e.time(t.Issued)
	e.time(t.Expires)
	e.flag(t.Used)
	e.flag(t.Limited)
}

func (d *decoder) token() store.LoginToken {
	return store.LoginToken{
		Client: d.text(), Mechanism: d.text(), Nonce: d.bytes(),
		Issued: d.time(), Expires: d.time(), Used: d.flag(), Limited: d.flag(),
	}
}
