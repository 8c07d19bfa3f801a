package resident

import (
	"context"
	"errors"

	"chatd/store"
)

// Changes go to the other store, and what is in memory is forgotten before whoever made one is answered.

// CreateAccount implements store.Accounts.
func (r *Store) CreateAccount(ctx context.Context, a store.Account) error {
	return r.changeAccount(ctx, a.User, everything, func() error { return r.Store.CreateAccount(ctx, a) })
}

// SetCredentials implements store.Accounts.
func (r *Store) SetCredentials(ctx context.Context, user string, creds []store.Credential) error {
	return r.changeAccount(ctx, user, account, func() error { return r.Store.SetCredentials(ctx, user, creds) })
}

// SetDisabled implements store.Accounts.
func (r *Store) SetDisabled(ctx context.Context, user string, disabled bool) error {
	return r.changeAccount(ctx, user, account, func() error { return r.Store.SetDisabled(ctx, user, disabled) })
}

// UpdateTokens implements store.Accounts.
func (r *Store) UpdateTokens(ctx context.Context, user string, update func(store.Account) ([]store.LoginToken, error)) error {
	return r.change(ctx, user, account, func() error { return r.Store.UpdateTokens(ctx, user, update) })
}

// DeleteAccount implements store.Accounts.
func (r *Store) DeleteAccount(ctx context.Context, user string) error {
	return r.changeAccount(ctx, user, everything, func() error { return r.Store.DeleteAccount(ctx, user) })
}

// UpdateItem implements store.Rosters.
func (r *Store) UpdateItem(ctx context.Context, user, contact string, maxItems int, update func(*store.RosterItem, bool) (store.Verdict, error)) (version int64, err error) {
	verdict := store.Leave
	err = r.change(ctx, user, roster, func() error {
		version, err = r.Store.UpdateItem(ctx, user, contact, maxItems, func(item *store.RosterItem, exists bool) (v store.Verdict, err error) {
			v, err = update(item, exists)
			if verdict = v; err != nil {
				verdict = store.Leave
			}
			return v, err
		})
		if verdict == store.Leave {
			return unchanged{err}
		}
		return err
	})
	return version, err
}

// Block implements store.Blocklists.
func (r *Store) Block(ctx context.Context, user string, jids []string, max int) error {
	return r.change(ctx, user, blocked, func() error { return r.Store.Block(ctx, user, jids, max) })
}

// Unblock implements store.Blocklists.
func (r *Store) Unblock(ctx context.Context, user string, jids []string) error {
	return r.change(ctx, user, blocked, func() error { return r.Store.Unblock(ctx, user, jids) })
}

// SetPrivacy implements store.Privacies.
func (r *Store) SetPrivacy(ctx context.Context, user string, p store.Privacy) error {
	return r.change(ctx, user, privacy, func() error { return r.Store.SetPrivacy(ctx, user, p) })
}

// SetVCard implements store.VCards.
func (r *Store) SetVCard(ctx context.Context, user string, xml []byte) error {
	return r.change(ctx, user, vcard, func() error { return r.Store.SetVCard(ctx, user, xml) })
}

// AppendOffline implements store.Offline.
func (r *Store) AppendOffline(ctx context.Context, user string, m store.OfflineMessage, max int) (seq int64, err error) {
	err = r.change(ctx, user, waiting, func() error {
		seq, err = r.Store.AppendOffline(ctx, user, m, max)
		return err
	})
	return seq, err
}

// changeAccount is change for what others keep as well.
func (r *Store) changeAccount(ctx context.Context, user string, which parts, write func() error) error {
	err := r.change(ctx, user, which, write)
	if r.AccountChanged != nil {
		r.AccountChanged(user)
	}
	return err
}

// unchanged says that a write has changed nothing, whatever else it says.
type unchanged struct{ error }

// change runs a write and forgets the parts that it changes. What is kept for logins without the database is read anew: the
// user is one of those who come back.
func (r *Store) change(ctx context.Context, user string, which parts, write func() error) error {
	err := write()
	if same, ok := err.(unchanged); ok {
		return same.error
	}
	switch {
	case errors.Is(err, store.ErrNotTried), errors.Is(err, store.ErrFull):
		return err
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrExists): // as somebody else has made it
		r.shard(user).forget(user)
		return err
	}
	if r.shard(user).changed(user, which, err != nil) && err == nil && which&login != 0 {
		_, _ = r.read(ctx, r.shard(user), user) // if it cannot be had, nothing is kept
	}
	return err
}
