package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"chatd/roster"
	"chatd/stanza"
)

// A Friendship is what two players are to each other.
type Friendship struct {
	PlayerRef
	Exists     bool       `json:"exists" doc:"whether they see each other's presence"`
	Since      *time.Time `json:"since,omitempty" doc:"UTC; absent if there is no friendship"`
	AgeSeconds *int64     `json:"age_seconds,omitempty" minimum:"0" doc:"how long it has existed"`
}

// A Suggestion is somebody whom a player may know.
type Suggestion struct {
	PlayerRef
	Mutual int `json:"mutual" minimum:"1" doc:"how many friends they have in common"`
}

type bytesOutput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Body        []byte
}

type friendshipList struct {
	Friendships []Friendship `json:"friendships" nullable:"false" doc:"in the order asked for"`
}

type suggestionList struct {
	Suggestions []Suggestion `json:"suggestions" nullable:"false"`
}

type playerList struct {
	Players []PlayerRef `json:"players" nullable:"false"`
}

func (s *Server) addFriendships() {
	add(s, operation{id: "getFriendship", method: http.MethodGet, path: "/players/{player}/friendships/{other}", scope: ScopeFriendsRead, tag: tagFriends,
		summary: "Whether two players are friends, and since when",
		about:   "Who is no player at all is nobody's friend: only {player} has to exist.", body: Friendship{}}, s.getFriendship)
	add(s, operation{id: "checkFriendships", method: http.MethodPost, path: "/players/{player}/friendships", scope: ScopeFriendsRead, tag: tagFriends,
		summary: "The same for one player and up to 1,000 others", maxBody: 1 << 20}, s.checkFriendships)
	add(s, operation{id: "listFriendsOfFriends", method: http.MethodGet, path: "/players/{player}/friends-of-friends", scope: ScopeFriendsRead, tag: tagFriends,
		summary: "Friends of a player's friends",
		about: "Those with the most friends in common first, then in byte order of the addresses. Left out are the player's friends, those between whom " +
			"and the player a request is pending, and who is blocked by the player or blocks the player."}, s.friendsOfFriends)
	add(s, operation{id: "listMutualFriends", method: http.MethodGet, path: "/players/{player}/mutual-friends/{other}", scope: ScopeFriendsRead, tag: tagFriends,
		summary: "Friends that two players have in common", about: "In byte order of the addresses."}, s.mutualFriends)
}

func (s *Server) getFriendship(ctx context.Context, in *PairPath) (*bytesOutput, error) {
	user, other, err := s.both(ctx, in.Player, in.Other)
	if err != nil {
		return nil, err
	}
	f, err := s.cfg.Friends.Friendship(ctx, user, other)
	if err != nil {
		return nil, err
	}
	return &bytesOutput{"application/json", s.appendFriendship(make([]byte, 0, 192), f, time.Now())}, nil
}

// appendFriendship writes a Friendship without reflection, as encode.go does friends lists.
func (s *Server) appendFriendship(b []byte, f roster.Friendship, now time.Time) []byte {
	b = s.appendRef(append(b, '{'), f.Other)
	b = strconv.AppendBool(append(b, `,"exists":`...), f.Exists)
	if f.Exists && !f.Since.IsZero() {
		b = f.Since.UTC().AppendFormat(append(b, `,"since":"`...), time.RFC3339Nano)
		b = strconv.AppendInt(append(b, `","age_seconds":`...), age(f.Since, now), 10)
	}
	return append(b, "}\n"...)
}

// age is in whole seconds, and never negative whatever a clock does.
func age(since, now time.Time) int64 { return max(0, int64(now.Sub(since)/time.Second)) }

func (s *Server) friendship(f roster.Friendship, now time.Time) Friendship {
	out := Friendship{PlayerRef: s.ref(f.Other), Exists: f.Exists}
	if f.Exists && !f.Since.IsZero() {
		since, seconds := f.Since.UTC(), age(f.Since, now)
		out.Since, out.AgeSeconds = &since, &seconds
	}
	return out
}

func (s *Server) checkFriendships(ctx context.Context, in *struct {
	PlayerPath
	Body struct {
		Others []string `json:"others" nullable:"false" minItems:"1" maxItems:"1000" doc:"numbers or bare JIDs"`
	}
}) (*struct{ Body friendshipList }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	others, err := s.addresses(in.Body.Others)
	if err != nil {
		return nil, err
	}
	all, err := s.cfg.Friends.Friendships(ctx, user, others)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	list := make([]Friendship, len(all))
	for i := range all {
		list[i] = s.friendship(all[i], now)
	}
	return &struct{ Body friendshipList }{friendshipList{list}}, nil
}

// addresses is address for many.
func (s *Server) addresses(texts []string) ([]stanza.JID, error) {
	all := make([]stanza.JID, len(texts))
	for i, text := range texts {
		j, err := s.address(text)
		if err != nil {
			return nil, failure(http.StatusUnprocessableEntity, "number "+strconv.Itoa(i+1)+" of the list is neither a number nor a bare JID of this server's domain")
		}
		all[i] = j
	}
	return all, nil
}

func (s *Server) friendsOfFriends(ctx context.Context, in *struct {
	PlayerPath
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"how many at most"`
}) (*struct{ Body suggestionList }, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	all, err := s.cfg.Friends.FriendsOfFriends(ctx, user, in.Limit)
	if err != nil {
		return nil, err
	}
	list := make([]Suggestion, len(all))
	for i := range all {
		list[i] = Suggestion{s.ref(all[i].JID), all[i].Mutual}
	}
	return &struct{ Body suggestionList }{suggestionList{list}}, nil
}

func (s *Server) mutualFriends(ctx context.Context, in *PairPath) (*struct{ Body playerList }, error) {
	user, other, err := s.both(ctx, in.Player, in.Other)
	if err == nil {
		err = s.known(ctx, other)
	}
	if err != nil {
		return nil, err
	}
	all, err := s.cfg.Friends.Mutual(ctx, user, other)
	if err != nil {
		return nil, err
	}
	return &struct{ Body playerList }{playerList{s.refs(all)}}, nil
}

func (s *Server) refs(jids []stanza.JID) []PlayerRef {
	all := make([]PlayerRef, len(jids))
	for i, j := range jids {
		all[i] = s.ref(j)
	}
	return all
}
