package roster

import (
	"context"
	"encoding/xml"

	"chatd/router"
	"chatd/stanza"
	"chatd/store"
)

// NSPrivacy is the namespace of the privacy settings (docs/privacy.md).
const NSPrivacy = "urn:x-chatd:privacy"

// Privacy is who may send a user messages and ask for friendship. It blocks on the store.
func (s *Service) Privacy(ctx context.Context, user stanza.JID) (store.Privacy, error) {
	return s.store.Privacy(ctx, user.Local())
}

// SetPrivacy changes the settings, from the next stanza on, also for sessions of the user that are connected.
// It returns ErrNoUser if user has no account, and ErrNotAcceptable of package stanza for
// settings that there are not: store.Friends for requests. It blocks on the store.
func (s *Service) SetPrivacy(ctx context.Context, user stanza.JID, p store.Privacy) error {
	if p.Messages > store.Nobody || p.Requests > store.Nobody || p.Requests == store.Friends {
		return errAudience
	}
	user = user.Bare()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.known(ctx, user); err != nil {
		return err
	}
	a := s.accounts.lock(user)
	defer a.Unlock()
	if err := s.store.SetPrivacy(ctx, user.Local(), p); err != nil {
		return err
	}
	s.r.Table.Elsewhere.Stale(user, router.KeptPrivacy)
	for _, row := range s.r.Table.Local(user) {
		row.Session.State().Audience.Store(uint32(p.Messages))
	}
	if s.asksFriends(user) {
		_, err := s.circles.get(ctx, user, s.readCircle) // now, lest it cannot be read when it is asked for
		return err
	}
	return nil
}

// ReloadPrivacy gives the user's sessions on this node the settings as they are in the store, where another node has changed
// them. It blocks on the store.
func (s *Service) ReloadPrivacy(ctx context.Context, user stanza.JID) error {
	var err error
	for _, row := range s.r.Table.Local(user) {
		err = s.LoadPrivacy(ctx, row.Session)
	}
	return err
}

// LoadPrivacy gives a new session its user's settings. To be called after the session has entered the
// table, so that it misses no change, and before its client learns that it is bound.
func (s *Service) LoadPrivacy(ctx context.Context, sess router.Session) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	a := s.accounts.lock(sess.JID().Bare())
	defer a.Unlock()
	p, err := s.store.Privacy(ctx, sess.JID().Local())
	if err == nil {
		sess.State().Audience.Store(uint32(p.Messages))
	}
	return err
}

var errAudience = stanza.ErrNotAcceptable.WithText(
	"messages: everyone, friends-of-friends, friends or nobody; requests: everyone, friends-of-friends or nobody")

// privacyElement is the settings on the wire. An attribute that is left out stays as it is.
type privacyElement struct {
	XMLName  xml.Name   `xml:"urn:x-chatd:privacy privacy"`
	Messages *string    `xml:"messages,attr"`
	Requests *string    `xml:"requests,attr"`
	Other    []xml.Attr `xml:",any,attr"`
}

// handlePrivacy answers a request for the sender's own settings.
func (s *Service) handlePrivacy(ctx context.Context, req *router.Request) ([]byte, error) {
	user := req.From.Bare()
	p, err := s.Privacy(ctx, user)
	if err != nil {
		return nil, err
	}
	if req.Type == stanza.Set {
		e, err := stanza.Payload[privacyElement](req.Stanza)
		if err != nil {
			return nil, err
		}
		for _, a := range e.Other {
			if a.Name.Space == "" && a.Name.Local != "xmlns" { // lest a setting that is misspelt seems to be set
				return nil, errAudience
			}
		}
		if !parseAudience(&p.Messages, e.Messages) || !parseAudience(&p.Requests, e.Requests) {
			return nil, errAudience
		}
		if err := s.SetPrivacy(ctx, user, p); err != nil {
			return nil, err
		}
	}
	return []byte("<privacy xmlns='" + NSPrivacy + "' messages='" + p.Messages.String() + "' requests='" + p.Requests.String() + "'/>"), nil
}

// parseAudience reads a setting that may be left out.
func parseAudience(at *store.Audience, text *string) bool {
	if text == nil {
		return true
	}
	for a := store.Everyone; a <= store.Nobody; a++ {
		if a.String() == *text {
			*at = a
			return true
		}
	}
	return false
}
