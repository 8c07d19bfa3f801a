package riak

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"chatd/store"
)

// A roster is one value: an entry an item by its address, and in high the version. Items of two nodes merge one by one, the one written last
// wins; what was removed leaves a tombstone. A roster that was merged from two that had something each has a version of its own,
// new, since a client that has seen either has not seen the other.
func rosterRef(user string) ref { return ref{"roster", user} }

// Roster implements store.Rosters.
func (s *Store) Roster(ctx context.Context, user string) (store.Roster, error) {
	if err := s.begin(ctx); err != nil {
		return store.Roster{}, err
	}
	defer s.end()
	return s.roster(ctx, user)
}

func (s *Store) roster(ctx context.Context, user string) (store.Roster, error) {
	v, err := s.read(ctx, rosterRef(user), s.quorums.lasting)
	if err != nil {
		return store.Roster{}, err
	}
	if v.forked {
		v.grow(s.clock)
		back := *v
		// If this fails the next reader gets yet another version, and all items once more.
		_, _ = s.write(ctx, rosterRef(user), &back, s.quorums.lasting)
	}
	return v.roster()
}

func (s *state) roster() (store.Roster, error) {
	jids := s.keys("")
	r := store.Roster{Version: s.high, Items: make([]store.RosterItem, 0, len(jids))}
	for _, jid := range jids {
		item, _, err := s.item(jid)
		if err != nil {
			return store.Roster{}, err
		}
		r.Items = append(r.Items, item)
	}
	return r, nil
}

func (s *state) item(jid string) (item store.RosterItem, exists bool, err error) {
	e, exists := s.get(jid)
	if !exists {
		return store.RosterItem{}, false, nil
	}
	item, err = decodeItem(jid, e)
	return item, true, err
}

func decodeItem(jid string, e entry) (store.RosterItem, error) {
	d := decoder{rest: e.value}
	item := d.item()
	item.JID = jid
	return item, d.err()
}

// Mutual implements store.Rosters.
func (s *Store) Mutual(ctx context.Context, user string) ([]string, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	v, err := s.fetch(ctx, rosterRef(user))
	if err != nil {
		return nil, err
	}
	var jids []string
	for jid, e := range v.entries {
		// The subscription comes first.
		if d := (decoder{rest: e.value}); v.shows(e) && store.Subscription(d.number()) == store.SubBoth {
			jids = append(jids, jid)
		}
	}
	slices.Sort(jids)
	return jids, nil
}

// An itemUpdate is one call of UpdateItem.
type itemUpdate struct {
	s             *Store
	user, contact string
	max           int
	update        func(*store.RosterItem, bool) (store.Verdict, error)

	// theirs is what another node made of the item at the same time, when our change of it is in the database already. The
	// update runs again for it, and its outcome is written whatever it is.
	theirs  *entry
	ours    stamp             // of our last change that is there
	before  *store.RosterItem // the item as it was at first
	version int64             // the outcome
}

// UpdateItem implements store.Rosters. update runs on the caller's goroutine, when nothing is locked.
func (s *Store) UpdateItem(ctx context.Context, user, contact string, maxItems int, update func(*store.RosterItem, bool) (store.Verdict, error)) (int64, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.end()
	r := rosterRef(user)
	k := s.locks.hold(r)
	defer s.locks.let(r, k)
	u := itemUpdate{s: s, user: user, contact: contact, max: maxItems, update: update}
	for {
		done, err := u.try(ctx, r, k)
		if done || err != nil {
			return u.version, err
		}
	}
}

// try reads, asks and writes, and reports false if it has to be done again because the item has changed meanwhile.
func (u *itemUpdate) try(ctx context.Context, r ref, k *lock) (done bool, err error) {
	if err := k.lock(ctx); err != nil {
		return false, err
	}
	writes := k.writes
	k.unlock()
	v, err := u.s.read(ctx, r, u.s.quorums.lasting)
	if err != nil {
		return false, err
	}
	before := v.entries[u.contact] // zero: none
	if u.theirs != nil {
		before = *u.theirs
	}
	after, err := u.ask(v, before)
	if err == errUnchanged && u.theirs == nil {
		u.version = v.high
		return true, nil
	}
	if err != nil && u.theirs == nil {
		return false, err
	}
	if err != nil { // what is refused now must not stay
		after = &before
	}
	done, err2 := u.write(ctx, r, k, writes, v, before, *after)
	if err == errUnchanged {
		err = nil
	}
	if err2 != nil {
		err = err2
	}
	return done, err
}

// ask has the caller decide what becomes of the item. errUnchanged: nothing.
func (u *itemUpdate) ask(v *value, before entry) (after *entry, err error) {
	item, exists := store.RosterItem{JID: u.contact}, false
	if exists = before.at != 0 && v.shows(before); exists {
		if item, err = decodeItem(u.contact, before); err != nil {
			return nil, err
		}
	}
	if u.before == nil {
		first := item
		first.Groups, first.Request = slices.Clone(item.Groups), bytes.Clone(item.Request)
		u.before = &first
	}
	verdict, err := u.update(&item, exists)
	switch {
	case err != nil:
		return nil, err
	case verdict > store.Remove:
		return nil, fmt.Errorf("riak: unknown verdict %d", verdict)
	case verdict == store.Leave, verdict == store.Remove && !exists && before.gone:
		// What is not known to be gone may be there, where this reading did not get to.
		return nil, errUnchanged
	case verdict == store.Remove:
		return &entry{gone: true}, nil
	}
	var e encoder
	e.item(&item)
	return &entry{value: e}, nil
}

// write puts after in the place of before.
func (u *itemUpdate) write(ctx context.Context, r ref, k *lock, writes int, v *value, before, after entry) (done bool, err error) {
	if len(v.context) == 0 {
		if err := u.s.enlist(ctx, userIndex, u.user); err != nil {
			return false, err
		}
	}
	if err := k.lock(ctx); err != nil {
		return false, err
	}
	defer k.unlock()
	if k.writes != writes {
		if v, err = u.s.read(ctx, r, u.s.quorums.lasting); err != nil {
			return false, err
		}
		now := v.entries[u.contact]
		if u.theirs == nil && now.compare(before) != 0 {
			return false, nil
		}
		if u.theirs != nil && now.at > max(before.at, u.ours) {
			u.theirs = nil // somebody here has changed the item since, and knew of both
			return false, nil
		}
	}
	after.at = u.s.clock.next(v.top())
	change := itemChange{v, u.contact, v.shows(before), before, after}
	if u.max > 0 && change.grows() && v.countItems(change.hidden(after)) >= u.max {
		return false, store.ErrFull
	}
	if change.seen() || v.forked {
		v.grow(u.s.clock)
	}
	v.put(u.contact, after)
	v.prune(u.s.clock.now())
	k.writes++
	others, err := u.s.write(ctx, r, v, u.s.quorums.lasting)
	if err != nil {
		return false, err
	}
	u.ours = after.at
	if u.raced(others, before, after) {
		return false, nil
	}
	if len(others) > 1 {
		if v.forked {
			v.grow(u.s.clock)
		}
		u.s.settle(ctx, r, v)
	}
	u.version = v.high
	return true, u.announce(ctx, after)
}

// raced reports that another node has changed the item as it was before too, and remembers to what.
func (u *itemUpdate) raced(others []*state, before, after entry) bool {
	var theirs *entry
	for _, other := range others {
		e, ok := other.entries[u.contact]
		if !ok || e.at == after.at || e.at <= before.at {
			continue
		}
		if theirs == nil || theirs.compare(e) < 0 {
			theirs = &e
		}
	}
	u.theirs = theirs
	return theirs != nil
}

func (u *itemUpdate) announce(ctx context.Context, after entry) error {
	item := store.RosterItem{JID: u.contact}
	if !after.gone {
		var err error
		if item, err = decodeItem(u.contact, after); err != nil {
			return err
		}
	}
	return u.s.announce(ctx, func(to store.Announcer) []store.Posting { return to.ItemChanged(u.user, u.before, &item) })
}

// An itemChange is what an entry of a roster becomes.
type itemChange struct {
	v             *value
	jid           string
	existed       bool
	before, after entry
}

func (c *itemChange) hidden(e entry) bool {
	item, _ := decodeItem(c.jid, e)
	return item.Hidden
}

// grows reports that there is one more of its sort, of those that are hidden or of the others.
func (c *itemChange) grows() bool {
	return !c.after.gone && (!c.existed || c.hidden(c.before) != c.hidden(c.after))
}

// seen reports that a client can see the change.
func (c *itemChange) seen() bool {
	return c.existed && !c.hidden(c.before) || !c.after.gone && !c.hidden(c.after)
}

func (s *state) countItems(hidden bool) (n int) {
	for jid, e := range maps.All(s.entries) {
		if s.shows(e) {
			if item, err := decodeItem(jid, e); err == nil && item.Hidden == hidden {
				n++
			}
		}
	}
	return n
}

// Bits of an item.
const (
	itemAsk = 1 << iota
	itemPendingIn
	itemApproved
	itemHidden
)

func (e *encoder) item(i *store.RosterItem) {
	e.number(int64(i.Sub))
	flags := int64(0)
	for bit, set := range map[int64]bool{itemAsk: i.Ask, itemPendingIn: i.PendingIn, itemApproved: i.Approved, itemHidden: i.Hidden} {
		if set {
			flags |= bit
		}
	}
	e.number(flags)
	e.text(i.Name)
	e.number(int64(len(i.Groups)))
	for _, group := range i.Groups {
		e.text(group)
	}
	e.bytes(i.Request)
	e.text(i.Message)
	e.time(i.Created)
}

func (d *decoder) item() (i store.RosterItem) {
	i.Sub = store.Subscription(d.number() & 3)
	flags := d.number()
	i.Ask, i.PendingIn = flags&itemAsk != 0, flags&itemPendingIn != 0
	i.Approved, i.Hidden = flags&itemApproved != 0, flags&itemHidden != 0
	i.Name = d.text()
	for range d.count() {
		i.Groups = append(i.Groups, d.text())
	}
	i.Request, i.Message, i.Created = d.bytes(), d.text(), d.time()
	return i
}
