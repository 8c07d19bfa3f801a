package api

import (
	"context"
	"net/http"

	"chatd/stanza"
	"chatd/store"
)

// Privacy is who may do what to a player.
type Privacy struct {
	Messages string `json:"messages" enum:"everyone,friends-of-friends,friends,nobody" doc:"who may send the player messages"`
	Requests string `json:"requests" enum:"everyone,friends-of-friends,nobody" doc:"who may ask for friendship"`
}

type blockList struct {
	Blocked []string `json:"blocked" nullable:"false" doc:"addresses, in byte order: JIDs with or without a resource, or domains"`
}

type BlockPath struct {
	PlayerPath
	Address string `path:"address" minLength:"1" maxLength:"3071" doc:"a player's number, a JID with or without a resource, or a domain" example:"112233"`
}

func (s *Server) addPrivacy() {
	add(s, operation{id: "listBlocked", method: http.MethodGet, path: "/players/{player}/blocks", scope: ScopeFriendsRead, tag: tagPrivacy,
		summary: "Block list of a player"}, s.listBlocked)
	add(s, operation{id: "block", method: http.MethodPut, path: "/players/{player}/blocks/{address}", scope: ScopeFriendsWrite, tag: tagPrivacy, write: true,
		summary: "Block an address on a player's behalf", about: "Friendship stays as it is, but nothing passes."}, s.blockVerb(s.cfg.Blocking.Block))
	add(s, operation{id: "unblock", method: http.MethodDelete, path: "/players/{player}/blocks/{address}", scope: ScopeFriendsWrite, tag: tagPrivacy, write: true,
		summary: "Take an address off a player's block list", about: "One that is not on it is no error."}, s.blockVerb(s.cfg.Blocking.Unblock))
	add(s, operation{id: "getPrivacy", method: http.MethodGet, path: "/players/{player}/privacy", scope: ScopeFriendsRead, tag: tagPrivacy,
		summary: "Privacy settings of a player"}, s.getPrivacy)
	add(s, operation{id: "setPrivacy", method: http.MethodPut, path: "/players/{player}/privacy", scope: ScopeFriendsWrite, tag: tagPrivacy, write: true,
		summary: "Change the privacy settings of a player", about: "From the next stanza on."}, s.setPrivacy)
}

func (s *Server) listBlocked(ctx context.Context, in *PlayerPath) (*struct{ Body blockList }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	jids, err := s.cfg.Blocking.Blocked(ctx, user)
	if err != nil {
		return nil, err
	}
	list := make([]string, len(jids))
	for i, j := range jids {
		list[i] = j.String()
	}
	return &struct{ Body blockList }{blockList{list}}, nil
}

func (s *Server) blockVerb(verb func(context.Context, stanza.JID, []stanza.JID) error) func(context.Context, *BlockPath) (*empty, error) {
	return func(ctx context.Context, in *BlockPath) (*empty, error) {
		user, err := s.player(ctx, in.Player)
		if err != nil {
			return nil, err
		}
		address, err := s.address(in.Address)
		if err != nil {
			if address, err = stanza.ParseJID(in.Address); err != nil {
				return nil, failure(http.StatusUnprocessableEntity, "the address to block is neither a number nor a JID")
			}
		}
		return nil, verb(ctx, user, []stanza.JID{address})
	}
}

func (s *Server) getPrivacy(ctx context.Context, in *PlayerPath) (*struct{ Body Privacy }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	p, err := s.cfg.Friends.Privacy(ctx, user)
	return &struct{ Body Privacy }{privacyOf(p)}, err
}

func privacyOf(p store.Privacy) Privacy { return Privacy{p.Messages.String(), p.Requests.String()} }

func (s *Server) setPrivacy(ctx context.Context, in *struct {
	PlayerPath
	Body Privacy
}) (*empty, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Friends.SetPrivacy(ctx, user, store.Privacy{Messages: audience(in.Body.Messages), Requests: audience(in.Body.Requests)})
}

// audience is of that name; the document has admitted no other.
func audience(name string) store.Audience {
	for a := store.Everyone; a < store.Nobody; a++ {
		if a.String() == name {
			return a
		}
	}
	return store.Nobody
}
