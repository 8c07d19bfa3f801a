package api

import (
	"context"
	"net/http"
	"sort"
	"strconv"

	"chatd/muc"
	"chatd/stanza"
	"chatd/store"
)

// A RoomMember is somebody who is something to a room for good (XEP-0045 §5.2).
type RoomMember struct {
	PlayerRef
	Affiliation string `json:"affiliation" enum:"owner,admin,member,outcast" doc:"outcast: banned"`
	Nick        string `json:"nick" doc:"reserved in the room; empty for none"`
	Reason      string `json:"reason" doc:"empty for none"`
}

// A NewMember is what somebody is to become.
type NewMember struct {
	Player string `json:"player" minLength:"1" maxLength:"2047" doc:"number or bare JID" example:"13131"`
	Membership
}

// Membership is an affiliation to be given.
type Membership struct {
	Affiliation string `json:"affiliation,omitempty" enum:"owner,admin,member,outcast" default:"member" doc:"outcast: banned, and out of the room if there"`
	Nick        string `json:"nick,omitempty" maxLength:"1023" doc:"reserved in the room; without it, the one that is reserved stays"`
	Reason      string `json:"reason,omitempty" maxLength:"1000"`
}

type membersPage struct {
	Members []RoomMember `json:"members" nullable:"false"`
	Next    string       `json:"next,omitempty" doc:"cursor of what follows; absent at the end"`
}

// A RoomOccupant is somebody who is in a room now.
type RoomOccupant struct {
	PlayerRef
	Nick        string `json:"nick"`
	Role        string `json:"role" enum:"moderator,participant,visitor"`
	Affiliation string `json:"affiliation" enum:"owner,admin,member,none"`
	Sessions    int    `json:"sessions" minimum:"1" doc:"with which the player is there"`
}

type occupantsPage struct {
	Occupants []RoomOccupant `json:"occupants" nullable:"false"`
	Next      string         `json:"next,omitempty" doc:"cursor of what follows; absent at the end"`
}

// A RoomMemberPath is the input of an operation on one member.
type RoomMemberPath struct {
	RoomPath
	Player string `path:"player" minLength:"1" maxLength:"2047" doc:"the player's number, or bare JID" example:"13131"`
}

// A RoomPage is which part of what a room has is asked for.
type RoomPage struct {
	RoomPath
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"how many at most"`
	Cursor string `query:"cursor" maxLength:"2800" doc:"where to go on, from the answer before"`
}

func (s *Server) addMembers() {
	op := func(id, method, path, summary, about string) operation {
		return operation{id: id, method: method, path: "/rooms/{room}" + path, scope: ScopeRooms, tag: tagRooms, summary: summary, about: about,
			write: method != http.MethodGet}
	}
	add(s, op("listMembers", http.MethodGet, "/members", "Who is something to a room", "Owners, admins, members and who is banned, in byte order of the addresses."), s.listMembers)
	many := op("addMembers", http.MethodPost, "/members", "Give up to 1,000 players an affiliation",
		"All of them, or none. Who was something else is that now; whether there are such accounts is not looked at. New members of a room for members only are sent an invitation. "+
			"409 if a nick is another's, or if no owner would be left; 429 if they would be too many.")
	many.maxBody, many.errors = 1<<20, []int{http.StatusTooManyRequests}
	add(s, many, s.addMany)
	one := op("setMember", http.MethodPut, "/members/{player}", "Give a player an affiliation", "As for many.")
	one.errors = []int{http.StatusTooManyRequests}
	add(s, one, s.setMember)
	add(s, op("removeMember", http.MethodDelete, "/members/{player}", "Take a player's affiliation away",
		"Also a ban. Who is in a room for members only leaves it."), s.removeMember)
	add(s, op("listOccupants", http.MethodGet, "/occupants", "Who is in a room", "In byte order of the nicks."), s.listOccupants)
	add(s, op("kickOccupant", http.MethodDelete, "/occupants/{nick}", "Take an occupant out of a room", "Who may enter can come back: a ban is an affiliation."), s.kick)
}

// memberList reads what callers write.
func (s *Server) memberList(list []NewMember) ([]store.Affiliation, error) {
	all := make([]store.Affiliation, len(list))
	for i := range list {
		m := &list[i]
		j, err := s.address(m.Player)
		if err != nil {
			return nil, failure(http.StatusUnprocessableEntity, "number "+strconv.Itoa(i+1)+" of the list is neither a number nor a bare JID of this server's domain")
		}
		if all[i], err = m.of(j); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (m *Membership) of(user stanza.JID) (store.Affiliation, error) {
	if !allowedText(m.Nick) || !allowedText(m.Reason) {
		return store.Affiliation{}, errBadText
	}
	if m.Affiliation == "" {
		m.Affiliation = muc.Member.String()
	}
	return store.Affiliation{JID: user.String(), As: m.Affiliation, Nick: m.Nick, Reason: m.Reason}, nil
}

func (s *Server) listMembers(ctx context.Context, in *struct {
	RoomPage
	Affiliation string `query:"affiliation" enum:"owner,admin,member,outcast" doc:"only these"`
}) (*struct{ Body membersPage }, error) {
	members, _, last, err := s.inside(ctx, &in.RoomPage)
	if err != nil {
		return nil, err
	}
	out := membersPage{Members: []RoomMember{}}
	for _, m := range members {
		if m.JID <= last || in.Affiliation != "" && m.As != in.Affiliation {
			continue
		}
		if len(out.Members) == in.Limit {
			out.Next = cursor(out.Members[in.Limit-1].JID)
			break
		}
		j, err := stanza.ParseJID(m.JID)
		if err != nil {
			return nil, err
		}
		out.Members = append(out.Members, RoomMember{s.ref(j), m.As, m.Nick, m.Reason})
	}
	return &struct{ Body membersPage }{out}, nil
}

// inside is all members and occupants of a room, and after whom the page begins.
func (s *Server) inside(ctx context.Context, in *RoomPage) (members []store.Affiliation, occupants []muc.Occupant, last string, err error) {
	name, err := s.there(in.Room)
	if err == nil && in.Cursor != "" {
		last, err = readCursor(in.Cursor)
	}
	if err == nil {
		members, occupants, err = s.cfg.Rooms.Members(ctx, name)
	}
	return members, occupants, last, roomProblem(err)
}

func (s *Server) addMany(ctx context.Context, in *struct {
	RoomPath
	Body struct {
		Members []NewMember `json:"members" nullable:"false" minItems:"1" maxItems:"1000"`
	}
}) (*empty, error) {
	list, err := s.memberList(in.Body.Members)
	if err != nil {
		return nil, err
	}
	return nil, s.affiliate(ctx, in.Room, list)
}

func (s *Server) affiliate(ctx context.Context, room string, list []store.Affiliation) error {
	name, err := s.there(room)
	if err != nil {
		return err
	}
	return roomProblem(s.cfg.Rooms.SetMembers(ctx, name, list))
}

func (s *Server) setMember(ctx context.Context, in *struct {
	RoomMemberPath
	Body Membership
}) (*empty, error) {
	user, err := s.address(in.Player)
	if err != nil {
		return nil, err
	}
	a, err := in.Body.of(user)
	if err != nil {
		return nil, err
	}
	return nil, s.affiliate(ctx, in.Room, []store.Affiliation{a})
}

func (s *Server) removeMember(ctx context.Context, in *RoomMemberPath) (*empty, error) {
	user, err := s.address(in.Player)
	if err != nil {
		return nil, err
	}
	return nil, s.affiliate(ctx, in.Room, []store.Affiliation{{JID: user.String(), As: muc.None.String()}})
}

func (s *Server) listOccupants(ctx context.Context, in *RoomPage) (*struct{ Body occupantsPage }, error) {
	_, all, last, err := s.inside(ctx, in)
	if err != nil {
		return nil, err
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Nick < all[j].Nick })
	all = all[sort.Search(len(all), func(i int) bool { return all[i].Nick > last }):]
	out := occupantsPage{Occupants: make([]RoomOccupant, 0, min(len(all), in.Limit))}
	if len(all) > in.Limit {
		all = all[:in.Limit]
		out.Next = cursor(all[len(all)-1].Nick)
	}
	for _, o := range all {
		out.Occupants = append(out.Occupants, RoomOccupant{s.ref(o.User), o.Nick, o.Role.String(), o.Affiliation.String(), o.Sessions})
	}
	return &struct{ Body occupantsPage }{out}, nil
}

func (s *Server) kick(ctx context.Context, in *struct {
	RoomPath
	Nick   string `path:"nick" minLength:"1" maxLength:"1023" doc:"of the occupant"`
	Reason string `query:"reason" maxLength:"1000" doc:"for everybody in the room"`
}) (*empty, error) {
	name, err := s.there(in.Room)
	if err != nil {
		return nil, err
	}
	if !allowedText(in.Reason) {
		return nil, errBadText
	}
	return nil, roomProblem(s.cfg.Rooms.Kick(ctx, name, in.Nick, in.Reason))
}
