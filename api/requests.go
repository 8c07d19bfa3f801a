package api

import (
	"context"
	"net/http"

	"chatd/stanza"
)

// empty is an answer without a body: 204.
type empty struct{}

// A Request is what comes with a request for friendship.
type Request struct {
	Message string `json:"message,omitempty" maxLength:"500" doc:"text of the request, at most 500 bytes"`
}

func (s *Server) addRequests() {
	write := func(id, method, path, summary, about string) operation {
		return operation{id: id, method: method, path: "/players/{player}/friends/{other}" + path, scope: ScopeFriendsWrite, tag: tagFriends,
			summary: summary, about: about, write: true, errors: []int{http.StatusTooManyRequests}}
	}
	add(s, write("requestFriendship", http.MethodPost, "/request", "Ask for friendship on a player's behalf",
		"With the same pushes and presence as if the player's client had asked, and the same rules. If the other has asked already they are friends now. "+
			"What the other's block list or privacy settings refuse vanishes, as it does for clients."), s.requestFriendship)
	add(s, write("acceptFriendship", http.MethodPost, "/accept", "Accept the other's request on a player's behalf", "404 if there is none."), s.pair(s.cfg.Friends.Accept))
	add(s, write("declineFriendship", http.MethodPost, "/decline", "Decline the other's request on a player's behalf", "404 if there is none."), s.pair(s.cfg.Friends.Decline))
	add(s, write("removeFriend", http.MethodDelete, "", "End a friendship, or take back a request, on a player's behalf",
		"The other keeps an entry without a subscription, as after a client's removal."), s.pair(s.cfg.Friends.Remove))
	add(s, write("editFriend", http.MethodPatch, "", "Change what a player has noted about another",
		"What is left out stays as it is. nick and groups need the other to be in the player's list, note does not."), s.editFriend)
}

// pair makes a handler of a verb between two players.
func (s *Server) pair(verb func(ctx context.Context, user, other stanza.JID) error) func(context.Context, *PairPath) (*empty, error) {
	return func(ctx context.Context, in *PairPath) (*empty, error) {
		user, other, err := s.both(ctx, in.Player, in.Other)
		if err == nil {
			err = verb(ctx, user, other)
		}
		return nil, err
	}
}

func (s *Server) requestFriendship(ctx context.Context, in *struct {
	PairPath
	Body *Request
}) (*empty, error) {
	user, other, err := s.both(ctx, in.Player, in.Other)
	if err != nil {
		return nil, err
	}
	if in.Body == nil {
		in.Body = &Request{}
	}
	return nil, s.cfg.Friends.Request(ctx, user, other, in.Body.Message)
}

// editFriend changes one thing after the other. What would be refused for the list is refused before anything is changed.
func (s *Server) editFriend(ctx context.Context, in *struct {
	PairPath
	Body struct {
		Nick   *string   `json:"nick,omitempty" maxLength:"1023" doc:"empty: no name of the player's own"`
		Groups *[]string `json:"groups,omitempty" maxItems:"100" doc:"empty: in no group"`
		Note   *string   `json:"note,omitempty" maxLength:"1024" doc:"at most 1,024 bytes; empty: none"`
	}
}) (*empty, error) {
	user, other, err := s.both(ctx, in.Player, in.Other)
	if err != nil {
		return nil, err
	}
	if in.Body.Nick != nil {
		if err := s.cfg.Friends.SetName(ctx, user, other, *in.Body.Nick); err != nil {
			return nil, notInList(err)
		}
	}
	if in.Body.Groups != nil {
		if err := s.cfg.Friends.SetGroups(ctx, user, other, *in.Body.Groups); err != nil {
			return nil, notInList(err)
		}
	}
	if in.Body.Note != nil {
		return nil, s.cfg.Friends.SetNote(ctx, user, other, *in.Body.Note)
	}
	return nil, nil
}

func notInList(err error) error {
	if err == stanza.ErrItemNotFound {
		return failure(http.StatusNotFound, "the other is not in the player's list")
	}
	return err
}
