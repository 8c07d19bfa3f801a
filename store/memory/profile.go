package memory

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"chatd/store"
)

type privateName struct{ space, local string }

// PrivateXML implements store.Private.
func (s *Store) PrivateXML(ctx context.Context, user, space, local string) ([]byte, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	xml, ok := s.userLocked(user).private[privateName{space, local}]
	if !ok {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(xml), nil
}

// SetPrivateXML implements store.Private.
func (s *Store) SetPrivateXML(ctx context.Context, user, space, local string, xml []byte, max int) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	u, name := s.makeUserLocked(user), privateName{space, local}
	if _, ok := u.private[name]; !ok && max > 0 && len(u.private) >= max {
		return store.ErrFull
	}
	u.private[name] = bytes.Clone(xml)
	return nil
}

// PrivateElements implements store.Private.
func (s *Store) PrivateElements(ctx context.Context, user string) ([]store.PrivateElement, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var all []store.PrivateElement
	for name, xml := range s.userLocked(user).private {
		all = append(all, store.PrivateElement{Space: name.space, Local: name.local, XML: bytes.Clone(xml)})
	}
	slices.SortFunc(all, func(a, b store.PrivateElement) int {
		return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.Local, b.Local))
	})
	return all, nil
}

// VCard implements store.VCards.
func (s *Store) VCard(ctx context.Context, user string) ([]byte, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	vcard := s.userLocked(user).vcard
	if len(vcard) == 0 {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(vcard), nil
}

// SetVCard implements store.VCards.
func (s *Store) SetVCard(ctx context.Context, user string, xml []byte) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.makeUserLocked(user).vcard = bytes.Clone(xml)
	return nil
}

// LastActivity implements store.LastActivities.
func (s *Store) LastActivity(ctx context.Context, user string) (store.LastActivity, error) {
	if err := s.lock(ctx); err != nil {
		return store.LastActivity{}, err
	}
	defer s.mu.Unlock()
	last := s.userLocked(user).last
	if last == nil {
		return store.LastActivity{}, store.ErrNotFound
	}
	return *last, nil
}

// SetLastActivity implements store.LastActivities.
func (s *Store) SetLastActivity(ctx context.Context, user string, a store.LastActivity) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a.At = a.At.UTC().Truncate(time.Second)
	s.makeUserLocked(user).last = &a
	return nil
}
