package riak_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"chatd/store"
)

// Two stores add friends to one list and remove them, each writer its own: in the end every friend is there whose adding
// was answered for, and nobody whose removal was.
func TestStormOfRosters(t *testing.T) { storms(t, stormRoster) }

func stormRoster(s *storm) {
	var mu sync.Mutex
	friends := map[string]bool{}
	var writers []func(<-chan struct{})
	for w := range 4 {
		writers = append(writers, func(over <-chan struct{}) {
			until(over, func(i int) {
				jid := fmt.Sprintf("friend%d.%03d@example.org", w, i)
				there := i%3 != 2
				s.befriend(w%2, jid)
				if !there {
					s.unfriend(w%2, jid)
				}
				mu.Lock()
				defer mu.Unlock()
				friends[jid] = there
			})
		})
	}
	s.during(writers...)
	for in := range s.stores {
		s.checkRoster(in, friends)
	}
}

func (s *storm) befriend(in int, jid string) {
	s.must("add", func(ctx context.Context, _ bool) error {
		_, err := s.stores[in].UpdateItem(ctx, "romeo", jid, 0, func(item *store.RosterItem, _ bool) (store.Verdict, error) {
			item.Sub = store.SubBoth
			return store.Keep, nil
		})
		return err
	})
}

func (s *storm) unfriend(in int, jid string) {
	s.must("remove", func(ctx context.Context, _ bool) error {
		_, err := s.stores[in].UpdateItem(ctx, "romeo", jid, 0, func(*store.RosterItem, bool) (store.Verdict, error) { return store.Remove, nil })
		return err
	})
}

func (s *storm) checkRoster(in int, friends map[string]bool) {
	var r store.Roster
	s.must("roster", func(ctx context.Context, _ bool) (err error) { r, err = s.stores[in].Roster(ctx, "romeo"); return err })
	there := map[string]bool{}
	for _, item := range r.Items {
		there[item.JID] = true
	}
	for jid, want := range friends {
		if there[jid] != want {
			s.Errorf("store %d: %s is there: %v, want %v", in, jid, there[jid], want)
		}
	}
	s.Logf("%d friends of %d; %+v", len(r.Items), len(friends), s.riak.Counts())
}

// Both stores make the same accounts: of each name at most one is told so, and its account is the one that is there.
func TestStormOfAccounts(t *testing.T) { storms(t, stormAccounts) }

func stormAccounts(s *storm) {
	made := [2]map[string]bool{{}, {}}
	var writers []func(<-chan struct{})
	for w := range made {
		writers = append(writers, func(over <-chan struct{}) {
			until(over, func(i int) {
				if name := fmt.Sprintf("user%03d", i); s.makeAccount(w, name) {
					made[w][name] = true
				}
			})
		})
	}
	s.during(writers...)
	for w := range made {
		for name := range made[w] {
			if made[1-w][name] {
				s.Errorf("%s was made by both", name)
			}
			s.checkAccount(name, w)
		}
	}
	s.Logf("%d and %d made; %+v", len(made[0]), len(made[1]), s.riak.Counts())
}

func (s *storm) makeAccount(w int, name string) bool {
	err := s.sure(func(ctx context.Context, _ bool) error {
		return s.stores[w].CreateAccount(ctx, store.Account{User: name, Created: time.Now(), Credentials: []store.Credential{{
			Mechanism: "SCRAM-SHA-256", Salt: []byte("salt"), Iterations: 4096, StoredKey: fmt.Append(nil, w), ServerKey: []byte("key"),
		}}})
	})
	if err != nil && !errors.Is(err, store.ErrExists) {
		s.Errorf("%s: %v", name, err)
	}
	return err == nil
}

func (s *storm) checkAccount(name string, w int) {
	for i, in := range s.stores {
		var a store.Account
		s.must("account "+name, func(ctx context.Context, _ bool) (err error) { a, err = in.Account(ctx, name); return err })
		if len(a.Credentials) != 1 || !slices.Equal(a.Credentials[0].StoredKey, fmt.Append(nil, w)) {
			s.Errorf("store %d: %s was made by %d and has %+v", i, name, w, a.Credentials)
		}
	}
}
