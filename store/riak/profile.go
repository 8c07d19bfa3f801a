package riak

import (
	"context"
	"slices"
	"time"

	"chatd/store"
)

// A profile is the small things that are kept of a user, one value, so that login reads them together:
//
//	b: a blocked address, by itself
//	n: a note, by its address
//	p: the privacy settings
//	l: when the user was last online
//
// The vCard and the private XML are values of their own, being large and rarely needed.
func profileRef(user string) ref { return ref{"profile", user} }
func vcardRef(user string) ref   { return ref{"vcard", user} }
func privateRef(user string) ref { return ref{"private", user} }

const (
	blocked      = "b"
	note         = "n"
	privacy      = "p"
	lastActivity = "l"
)

// fetchFor reads a value for a verb.
func (s *Store) fetchFor(ctx context.Context, r ref) (*value, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	return s.fetch(ctx, r)
}

// change is update for a value of a user, who may be new.
func (s *Store) change(ctx context.Context, user string, r ref, change func(v *value, at stamp) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	return s.update(ctx, r, func(v *value, at stamp) error {
		if err := change(v, at); err != nil {
			return err
		}
		if len(v.context) == 0 {
			return s.enlist(ctx, userIndex, user)
		}
		return nil
	})
}

// Blocklist implements store.Blocklists.
func (s *Store) Blocklist(ctx context.Context, user string) ([]string, error) {
	v, err := s.fetchFor(ctx, profileRef(user))
	if err != nil {
		return nil, err
	}
	return v.keys(blocked), nil
}

// Block implements store.Blocklists.
func (s *Store) Block(ctx context.Context, user string, jids []string, max int) error {
	return s.change(ctx, user, profileRef(user), func(v *value, at stamp) error {
		before, added := len(v.keys(blocked)), 0
		for _, jid := range jids {
			if _, ok := v.get(blocked + jid); !ok {
				v.set(blocked+jid, at, nil)
				added++
			}
		}
		if added == 0 {
			return errUnchanged
		}
		if max > 0 && before+added > max {
			return store.ErrFull
		}
		return nil
	})
}

// Unblock implements store.Blocklists.
func (s *Store) Unblock(ctx context.Context, user string, jids []string) error {
	return s.change(ctx, user, profileRef(user), func(v *value, at stamp) error {
		if jids == nil {
			jids = v.keys(blocked)
		}
		changed := false
		for _, jid := range jids {
			changed = v.remove(blocked+jid, at) || changed
		}
		if !changed {
			return errUnchanged
		}
		return nil
	})
}

// Privacy implements store.Privacies.
func (s *Store) Privacy(ctx context.Context, user string) (store.Privacy, error) {
	v, err := s.fetchFor(ctx, profileRef(user))
	if err != nil {
		return store.Privacy{}, err
	}
	return v.privacy()
}

func (s *state) privacy() (p store.Privacy, err error) {
	e, ok := s.get(privacy)
	if !ok {
		return p, nil
	}
	d := decoder{rest: e.value}
	p = store.Privacy{Messages: store.Audience(d.number()), Requests: store.Audience(d.number())}
	return p, d.err()
}

// SetPrivacy implements store.Privacies.
func (s *Store) SetPrivacy(ctx context.Context, user string, p store.Privacy) error {
	return s.change(ctx, user, profileRef(user), func(v *value, at stamp) error {
		v.setPrivacy(at, p)
		return nil
	})
}

func (s *state) setPrivacy(at stamp, p store.Privacy) {
	var e encoder
	e.number(int64(p.Messages))
	e.number(int64(p.Requests))
	s.set(privacy, at, e)
}

// LastActivity implements store.LastActivities.
func (s *Store) LastActivity(ctx context.Context, user string) (store.LastActivity, error) {
	v, err := s.fetchFor(ctx, profileRef(user))
	if err != nil {
		return store.LastActivity{}, err
	}
	a, ok, err := v.lastActivity()
	if !ok {
		return a, store.ErrNotFound
	}
	return a, err
}

func (s *state) lastActivity() (a store.LastActivity, ok bool, err error) {
	e, ok := s.get(lastActivity)
	if !ok {
		return a, false, nil
	}
	d := decoder{rest: e.value}
	a = store.LastActivity{At: d.time(), Status: d.text()}
	return a, true, d.err()
}

// SetLastActivity implements store.LastActivities.
func (s *Store) SetLastActivity(ctx context.Context, user string, a store.LastActivity) error {
	return s.change(ctx, user, profileRef(user), func(v *value, at stamp) error {
		v.setLastActivity(at, a)
		return nil
	})
}

func (s *state) setLastActivity(at stamp, a store.LastActivity) {
	var e encoder
	e.time(a.At)
	e.text(a.Status)
	s.set(lastActivity, at, e)
}

// VCard implements store.VCards.
func (s *Store) VCard(ctx context.Context, user string) ([]byte, error) {
	v, err := s.fetchFor(ctx, vcardRef(user))
	if err != nil {
		return nil, err
	}
	e, ok := v.get("")
	if !ok {
		return nil, store.ErrNotFound
	}
	return slices.Clone(e.value), nil
}

// SetVCard implements store.VCards.
func (s *Store) SetVCard(ctx context.Context, user string, xml []byte) error {
	return s.change(ctx, user, vcardRef(user), func(v *value, at stamp) error {
		if len(xml) > 0 {
			v.set("", at, xml)
		} else if !v.remove("", at) {
			return errUnchanged
		}
		return nil
	})
}

// privateKey is unambiguous whatever is in the names.
func privateKey(space, local string) string {
	var e encoder
	e.text(space)
	return string(e) + local
}

// PrivateXML implements store.Private.
func (s *Store) PrivateXML(ctx context.Context, user, space, local string) ([]byte, error) {
	v, err := s.fetchFor(ctx, privateRef(user))
	if err != nil {
		return nil, err
	}
	e, ok := v.get(privateKey(space, local))
	if !ok {
		return nil, store.ErrNotFound
	}
	return slices.Clone(e.value), nil
}

// SetPrivateXML implements store.Private.
func (s *Store) SetPrivateXML(ctx context.Context, user, space, local string, xml []byte, max int) error {
	return s.change(ctx, user, privateRef(user), func(v *value, at stamp) error {
		key := privateKey(space, local)
		if _, ok := v.get(key); !ok && max > 0 && len(v.keys("")) >= max {
			return store.ErrFull
		}
		v.set(key, at, xml)
		return nil
	})
}

// PrivateElements implements store.Private.
func (s *Store) PrivateElements(ctx context.Context, user string) ([]store.PrivateElement, error) {
	v, err := s.fetchFor(ctx, privateRef(user))
	if err != nil {
		return nil, err
	}
	return v.privateElements()
}

func millis(n int64) time.Time { return time.UnixMilli(n).UTC() }
