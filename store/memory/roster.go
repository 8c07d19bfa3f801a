package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"chatd/store"
)

// Roster implements store.Rosters.
func (s *Store) Roster(ctx context.Context, user string) (store.Roster, error) {
	if err := s.lock(ctx); err != nil {
		return store.Roster{}, err
	}
	defer s.mu.Unlock()
	return s.userLocked(user).rosterLocked(), nil
}

func (u *user) rosterLocked() store.Roster {
	r := store.Roster{Version: u.rosterVersion, Items: make([]store.RosterItem, 0, len(u.roster))}
	for _, item := range u.roster {
		r.Items = append(r.Items, cloneItem(item))
	}
	slices.SortFunc(r.Items, func(a, b store.RosterItem) int { return cmp.Compare(a.JID, b.JID) })
	return r
}

// Mutual implements store.Rosters.
func (s *Store) Mutual(ctx context.Context, user string) ([]string, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var jids []string
	for jid, item := range s.userLocked(user).roster {
		if item.Sub == store.SubBoth {
			jids = append(jids, jid)
		}
	}
	slices.Sort(jids)
	return jids, nil
}

// UpdateItem implements store.Rosters. The mutex is not held while update
// runs, so that update may call the store; a change made meanwhile by
// another makes it run again.
func (s *Store) UpdateItem(ctx context.Context, user, contact string, maxItems int, update func(*store.RosterItem, bool) (store.Verdict, error)) (int64, error) {
	for {
		if err := s.lock(ctx); err != nil {
			return 0, err
		}
		u := s.userLocked(user)
		before, exists := u.roster[contact]
		version := u.rosterVersion
		s.mu.Unlock()

		item := cloneItem(before)
		item.JID = contact
		verdict, err := update(&item, exists)
		if err != nil {
			return 0, err
		}
		if verdict == store.Leave || verdict == store.Remove && !exists {
			return version, nil
		}
		item = cloneItem(item)
		item.JID = contact
		version, written, err := s.writeItem(ctx, user, before, exists, item, verdict, maxItems)
		if written || err != nil {
			return version, err
		}
	}
}

// writeItem puts item in the place of before, and reports false if before is
// no longer what is there.
func (s *Store) writeItem(ctx context.Context, user string, before store.RosterItem, existed bool, item store.RosterItem, verdict store.Verdict, maxItems int) (version int64, written bool, err error) {
	if err := s.lock(ctx); err != nil {
		return 0, false, err
	}
	defer s.mu.Unlock()
	u := s.makeUserLocked(user)
	if now, exists := u.roster[item.JID]; exists != existed || exists && !now.Equal(before) {
		return 0, false, nil
	}
	before.JID = item.JID
	switch verdict {
	case store.Remove:
		delete(u.roster, item.JID)
		s.itemChangedLocked(user, &before, &store.RosterItem{JID: item.JID})
	case store.Keep:
		grows := !existed || before.Hidden != item.Hidden
		if grows && maxItems > 0 && u.countItems(item.Hidden) >= maxItems {
			return 0, false, store.ErrFull
		}
		u.roster[item.JID] = item
		s.itemChangedLocked(user, &before, &item)
	default:
		return 0, false, fmt.Errorf("memory: unknown verdict %d", verdict)
	}
	if existed && !before.Hidden || verdict == store.Keep && !item.Hidden {
		u.rosterVersion = nextVersion(u.rosterVersion)
	}
	return u.rosterVersion, true, nil
}

func (u *user) countItems(hidden bool) (n int) {
	for _, item := range u.roster {
		if item.Hidden == hidden {
			n++
		}
	}
	return n
}

func cloneItem(item store.RosterItem) store.RosterItem {
	item.Groups = slices.Clone(item.Groups)
	item.Request = bytes.Clone(item.Request)
	item.Created = item.Created.UTC().Truncate(time.Second)
	return item
}
