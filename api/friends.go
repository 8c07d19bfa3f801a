package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"chatd/roster"
	"chatd/stanza"
)

// dateLayout is how the friends list writes times, UTC: part of the contract.
const dateLayout = "2006-01-02 15:04:05"

// A Summoner is one entry of a friends list as services know it: the names and formats are a contract.
type Summoner struct {
	Ask          string `json:"ask" enum:"none,out,in,both" doc:"who waits for an answer: out, the other's; in, the player's"`
	AskMessage   string `json:"ask_message" doc:"text of the pending request; empty for none"`
	CreatedAt    string `json:"created_at" example:"2015-06-30 10:52:26" doc:"UTC: since when they are friends; until then when the pending request was made; empty if it is not known"`
	Group        string `json:"group" doc:"the first of the groups that the player has put the friend in; empty for none"`
	Nick         string `json:"nick" doc:"what the player calls the friend"`
	Note         string `json:"note" doc:"what the player has written about the friend"`
	Subscription string `json:"subscription" enum:"none,to,from,both" doc:"both: they are friends"`
	SummonerID   int64  `json:"summoner_id" doc:"the friend's number"`
}

// A Friend is one entry of a friends list, whether or not it has a number.
type Friend struct {
	Ask          string   `json:"ask" enum:"none,out,in,both" doc:"who waits for an answer: out, the other's; in, the player's"`
	AskMessage   string   `json:"ask_message" doc:"text of the pending request; empty for none"`
	CreatedAt    string   `json:"created_at" example:"2015-06-30 10:52:26" doc:"UTC: since when they are friends; until then when the pending request was made; empty if it is not known"`
	Groups       []string `json:"groups" nullable:"false" doc:"as the player ordered them"`
	ID           *int64   `json:"id,omitempty" doc:"the friend's number; absent for who has none"`
	JID          string   `json:"jid" doc:"bare address"`
	Nick         string   `json:"nick" doc:"what the player calls the friend"`
	Note         string   `json:"note" doc:"what the player has written about the friend"`
	Subscription string   `json:"subscription" enum:"none,to,from,both" doc:"both: they are friends"`
}

// A friendsPage is part of a list.
type friendsPage struct {
	Friends []Friend `json:"friends" nullable:"false"`
	Next    string   `json:"next,omitempty" doc:"cursor of what follows; absent at the end"`
}

// A Selection is which part of a friends list is asked for.
type Selection struct {
	Subscription string `query:"subscription" enum:"none,to,from,both" doc:"only entries in this state: both for friends"`
	Limit        int    `query:"limit" minimum:"1" maximum:"100000" doc:"how many entries; without it, all"`
	Cursor       string `query:"cursor" maxLength:"2800" doc:"where to go on, from the answer before"`
}

type friendsOutput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Link        string `header:"Link" doc:"rel=\"next\": where the list goes on, when a limit has cut it"`
	Body        []byte
}

func (s *Server) addFriends() {
	add(s, operation{id: "getSummonerFriends", method: http.MethodGet, path: "/friends/summoner/{id}", scope: ScopeFriendsRead, tag: tagFriends,
		summary: "Friends list of a player, by number",
		about: "A bare array in byte order of the addresses, of all entries unless limit is set; what goes on is then in the Link header. " +
			"Entries whose address is no player's number are left out: /players/{player}/friends has them too. Requests of strangers that wait for an answer are entries with ask \"in\".",
		body: []Summoner{}}, s.summonerFriends)
	add(s, operation{id: "listFriends", method: http.MethodGet, path: "/players/{player}/friends", scope: ScopeFriendsRead, tag: tagFriends,
		summary: "Friends list of a player",
		about:   "In byte order of the addresses, of all entries unless limit is set.",
		body:    friendsPage{}}, s.listFriends)
	add(s, operation{id: "getFriend", method: http.MethodGet, path: "/players/{player}/friends/{other}", scope: ScopeFriendsRead, tag: tagFriends,
		summary: "One entry of a friends list"}, s.getFriend)
}

func (s *Server) summonerFriends(ctx context.Context, in *struct {
	ID int64 `path:"id" minimum:"0" maximum:"999999999999999999" doc:"the player's number" example:"13131"`
	Selection
}) (*friendsOutput, error) {
	text := strconv.FormatInt(in.ID, 10)
	user, err := s.player(ctx, text)
	if err != nil {
		return nil, err
	}
	list, next, err := s.selected(ctx, user, &in.Selection)
	if err != nil {
		return nil, err
	}
	out := &friendsOutput{ContentType: "application/json", Body: s.appendSummoners(nil, list)}
	if next != "" {
		q := url.Values{"cursor": {next}, "limit": {strconv.Itoa(in.Limit)}}
		if in.Subscription != "" {
			q.Set("subscription", in.Subscription)
		}
		out.Link = "</friends/summoner/" + text + "?" + q.Encode() + `>; rel="next"`
	}
	return out, nil
}

func (s *Server) listFriends(ctx context.Context, in *struct {
	PlayerPath
	Selection
}) (*friendsOutput, error) {
	user, err := s.player(ctx, in.Player)
	if err != nil {
		return nil, err
	}
	list, next, err := s.selected(ctx, user, &in.Selection)
	if err != nil {
		return nil, err
	}
	return &friendsOutput{ContentType: "application/json", Body: s.appendFriendsPage(nil, list, next)}, nil
}

func (s *Server) getFriend(ctx context.Context, in *PairPath) (*struct{ Body Friend }, error) {
	user, other, err := s.both(ctx, in.Player, in.Other)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Friends.Friends(ctx, user)
	if err != nil {
		return nil, err
	}
	i := after(list, other.String())
	if i == 0 || list[i-1].JID != other {
		return nil, failure(http.StatusNotFound, "the other is not in the player's list")
	}
	return &struct{ Body Friend }{s.friend(&list[i-1])}, nil
}

// friend is an entry as it is answered.
func (s *Server) friend(f *roster.Friend) Friend {
	ref := s.ref(f.JID)
	return Friend{
		Ask: f.Ask.String(), AskMessage: f.AskMessage, CreatedAt: date(f.Created), Groups: append([]string{}, f.Groups...),
		ID: ref.ID, JID: ref.JID, Nick: f.Name, Note: f.Note, Subscription: f.Subscription.String(),
	}
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(dateLayout)
}

// selected is the part of a friends list that is asked for, and the cursor of what follows it. The slice is not to be changed.
func (s *Server) selected(ctx context.Context, user stanza.JID, sel *Selection) ([]roster.Friend, string, error) {
	list, err := s.cfg.Friends.Friends(ctx, user)
	if err != nil {
		return nil, "", err
	}
	if sel.Cursor != "" {
		last, err := readCursor(sel.Cursor)
		if err != nil {
			return nil, "", err
		}
		list = list[after(list, last):]
	}
	if sel.Subscription != "" {
		all := list
		list = make([]roster.Friend, 0, len(all))
		for i := range all {
			if all[i].Subscription.String() == sel.Subscription {
				list = append(list, all[i])
			}
		}
	}
	if sel.Limit == 0 || len(list) <= sel.Limit {
		return list, "", nil
	}
	list = list[:sel.Limit]
	return list, cursor(list[len(list)-1].JID.String()), nil
}

// after is the index of the first entry behind an address.
func after(list []roster.Friend, address string) int {
	return sort.Search(len(list), func(i int) bool { return strings.Compare(list[i].JID.String(), address) > 0 })
}

// cursor names the last of what was answered, so that it holds whatever comes and goes meanwhile.
func cursor(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }

func readCursor(text string) (last string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 || slices.Contains(b, 0) {
		return "", failure(http.StatusBadRequest, "the cursor is not one of ours")
	}
	return string(b), nil
}
