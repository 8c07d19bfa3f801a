package riak

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"chatd/store"
)

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
