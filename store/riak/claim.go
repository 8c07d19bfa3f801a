package riak

import (
	"context"
	"math"
	"time"

	"chatd/store"
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
