// Package resident keeps in memory what a store has of the users who are just logging in, so that a login asks the database
// once: Player reads all that follows needs, and the verbs of its parts are answered from that, for seconds. Optionally it keeps
// it of the users who were here lately, for logins while the database cannot be reached.
package resident

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"
	"time"

	"chatd/store"
)

const (
	// fresh is for how long what Player has read answers the verbs of its parts: a login takes no longer, or
	// reads again. What other processes change meanwhile is seen that late.
	fresh = 10 * time.Second
	// KeptFor is for how long after it was read what is kept of a user serves logins while the database is out of reach.
	KeptFor = 24 * time.Hour
	// doubtTime is for how long a part is not kept of which it is not known whether a change was written:
	// longer than any store goes on with what its caller has given up.
	doubtTime = time.Minute

	shards    = 64
	freshRoom = 16 << 20 // bytes, of all that logins have read
)

// A Store is another one with a memory. Its own verbs are safe for concurrent use, like those of the other one.
type Store struct {
	store.Store
	// AccountChanged, if set, is told of each user whose account was made, changed or removed here, but for its tokens, before
	// whoever did so is answered. It is set before the first verb and must not block.
	AccountChanged func(user string)

	seed   maphash.Seed
	shards [shards]shard
	served atomic.Uint64
}

// New makes the store. keep is of how many users what a login needs is kept for when the database is out of reach; 0: of none.
func New(s store.Store, keep int) *Store {
	r := &Store{Store: s, seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].init((keep + shards - 1) / shards)
	}
	return r
}

// Close closes the other store.
func (r *Store) Close() error {
	for i := range r.shards {
		r.shards[i].close()
	}
	return r.Store.Close()
}

// Forget drops what is known of a user, after somebody else has changed it; of all for "".
func (r *Store) Forget(user string) {
	if user != "" {
		r.shard(user).forget(user)
		return
	}
	for i := range r.shards {
		r.shards[i].forgetAll()
	}
}

// Kept is of how many users what a login needs is in memory for when the database is out of reach.
func (r *Store) Kept() (n int) {
	for i := range r.shards {
		n += r.shards[i].count()
	}
	return n
}

// Served is how many logins were answered from memory because the database was out of reach.
func (r *Store) Served() uint64 { return r.served.Load() }

func (r *Store) shard(user string) *shard {
	return &r.shards[maphash.String(r.seed, user)%shards]
}

// Player implements store.Players. It begins a login: what it reads answers the verbs that the rest of the login
// calls. So does that there is no such user, lest the time that the answer takes tells who exists.
func (r *Store) Player(ctx context.Context, user string) (store.Player, error) {
	sh := r.shard(user)
	if p, ok := sh.login(user); ok {
		if p == nil {
			return store.Player{}, store.ErrNotFound
		}
		return *p, nil
	}
	p, err := r.read(ctx, sh, user)
	if errors.Is(err, store.ErrUnavailable) {
		if old := sh.old(user, login); old != nil {
			r.served.Add(1)
			return *old, nil
		}
	}
	return p, err
}

// read asks the database and keeps its answer.
func (r *Store) read(ctx context.Context, sh *shard, user string) (store.Player, error) {
	e := sh.reading(user)
	p, err := r.Store.Player(ctx, user)
	switch {
	case err == nil:
		sh.keep(e, &p)
	case errors.Is(err, store.ErrNotFound):
		sh.keep(e, nil)
	default:
		sh.failed(e)
	}
	return p, err
}

// Account implements store.Accounts.
func (r *Store) Account(ctx context.Context, user string) (store.Account, error) {
	if p, ok := r.shard(user).login(user); ok && p == nil {
		return store.Account{}, store.ErrNotFound
	}
	return part(ctx, r, user, account, func(p *store.Player) store.Account { return p.Account }, r.Store.Account)
}

// Blocklist implements store.Blocklists.
func (r *Store) Blocklist(ctx context.Context, user string) ([]string, error) {
	return part(ctx, r, user, blocked, func(p *store.Player) []string { return p.Blocked }, r.Store.Blocklist)
}

// Privacy implements store.Privacies.
func (r *Store) Privacy(ctx context.Context, user string) (store.Privacy, error) {
	return part(ctx, r, user, privacy, func(p *store.Player) store.Privacy { return p.Privacy }, r.Store.Privacy)
}

// Roster implements store.Rosters. The items are shared: they are not to be changed.
func (r *Store) Roster(ctx context.Context, user string) (store.Roster, error) {
	return part(ctx, r, user, roster, func(p *store.Player) store.Roster { return p.Roster }, r.Store.Roster)
}

// VCard implements store.VCards.
func (r *Store) VCard(ctx context.Context, user string) ([]byte, error) {
	card, err := part(ctx, r, user, vcard, func(p *store.Player) []byte { return p.VCard }, r.Store.VCard)
	if err == nil && card == nil {
		err = store.ErrNotFound
	}
	return card, err
}

// OfflinePage implements store.Offline. The first page is what a login asks for last.
func (r *Store) OfflinePage(ctx context.Context, user string, after int64, limit int) ([]store.OfflineMessage, error) {
	if after == 0 {
		if p := r.shard(user).take(user, waiting); p != nil && p.Waiting == 0 {
			return nil, nil
		}
	}
	return r.Store.OfflinePage(ctx, user, after, limit)
}

// part is one part of what a login needs, as Player has read it, or else as the database has it.
func part[V any](ctx context.Context, r *Store, user string, which parts, of func(*store.Player) V, read func(context.Context, string) (V, error)) (V, error) {
	sh := r.shard(user)
	if p := sh.take(user, which); p != nil {
		return of(p), nil
	}
	v, err := read(ctx, user)
	if errors.Is(err, store.ErrUnavailable) {
		if p := sh.old(user, which); p != nil {
			return of(p), nil
		}
	}
	return v, err
}
