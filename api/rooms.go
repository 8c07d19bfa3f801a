package api

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"chatd/muc"
	"chatd/stanza"
	"chatd/store"
)

// A ListedRoom is what a list of rooms says of one.
type ListedRoom struct {
	RoomRef
	Title      string `json:"title"`
	Public     bool   `json:"public" doc:"users can find it"`
	Persistent bool   `json:"persistent" doc:"stays when it is empty"`
	Occupants  int    `json:"occupants" minimum:"0"`
}

// A RoomRef names a room in an answer.
type RoomRef struct {
	Name string `json:"name" doc:"localpart of its address" example:"champion-select-42"`
	JID  string `json:"jid" example:"champion-select-42@conference.chat.test"`
}

type roomsPage struct {
	Rooms []ListedRoom `json:"rooms" nullable:"false"`
	Next  string       `json:"next,omitempty" doc:"cursor of what follows; absent at the end"`
}

// A RoomPath is the input of an operation on one room.
type RoomPath struct {
	Room string `path:"room" minLength:"1" maxLength:"1023" doc:"localpart of the room's address" example:"lobby"`
}

// A NewRoom is a room to be made.
type NewRoom struct {
	Name    string      `json:"name,omitempty" maxLength:"1023" doc:"localpart of its address; without it, one is made up" example:"champion-select-42"`
	Members []NewMember `json:"members,omitempty" maxItems:"1000" doc:"with their affiliations. To those of a room for members only an invitation is sent"`
	RoomChanges
}

var (
	errNoRoom  = failure(http.StatusNotFound, "there is no such room")
	errBadName = failure(http.StatusUnprocessableEntity, "that cannot be the name of a room")
	errBadText = failure(http.StatusUnprocessableEntity, "the text has characters that XML does not allow")
)

func (s *Server) addRooms() {
	op := func(id, method, path, summary, about string) operation {
		return operation{id: id, method: method, path: "/rooms" + path, scope: ScopeRooms, tag: tagRooms, summary: summary, about: about,
			write: method != http.MethodGet}
	}
	add(s, op("listRooms", http.MethodGet, "", "All rooms",
		"In byte order of the names, also those that users cannot find. A page may have fewer than limit when there are more."), s.listRooms)
	create := op("createRoom", http.MethodPost, "", "Make a room",
		"What is left out is as in a room that a user makes. A room that is not persistent ends when its last occupant has left, or when nobody enters it for ten minutes. "+
			"409 if there is such a room, 429 if there are too many.")
	create.status, create.maxBody, create.errors = http.StatusCreated, 1<<20, []int{http.StatusTooManyRequests}
	add(s, create, s.createRoom)
	add(s, op("getRoom", http.MethodGet, "/{room}", "One room", "Its configuration, its subject and how many are in it."), s.getRoom)
	add(s, op("configureRoom", http.MethodPatch, "/{room}", "Change a room's configuration",
		"What is left out stays as it is. Who may not be in the room any more leaves it. With If-Match it is 412 also when somebody has entered or left since."), s.configureRoom)
	add(s, op("destroyRoom", http.MethodDelete, "/{room}", "End a room", "Everybody in it is told, and its history is removed."), s.destroyRoom)
}

// room reads a room's name as callers write it, and returns it as it is kept.
func (s *Server) room(text string) (string, error) {
	host := s.cfg.Rooms.Host().Domain()
	j, err := stanza.ParseJID(text + "@" + host)
	if err != nil || j.Local() == "" || !j.IsBare() || j.Domain() != host {
		return "", errBadName
	}
	return j.Local(), nil
}

// there is room for one that has to be there: a name that cannot be is nowhere.
func (s *Server) there(text string) (string, error) {
	name, err := s.room(text)
	if err != nil {
		return "", errNoRoom
	}
	return name, nil
}

func (s *Server) roomRef(name string) RoomRef {
	return RoomRef{name, name + "@" + s.cfg.Rooms.Host().Domain()}
}

// roomProblem is err, unless it says that the room, or what is in it, is not there.
func roomProblem(err error) error {
	var refused *stanza.Error
	if errors.Is(err, store.ErrNotFound) || errors.As(err, &refused) && refused.Condition == "item-not-found" && refused.Text == "" {
		return errNoRoom
	}
	if refused != nil && refused.Condition == "recipient-unavailable" {
		return failure(http.StatusServiceUnavailable, refused.Text)
	}
	return err
}

func (s *Server) listRooms(ctx context.Context, in *struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"how many at most"`
	Cursor string `query:"cursor" maxLength:"2800" doc:"where to go on, from the answer before"`
}) (*struct{ Body roomsPage }, error) {
	last := ""
	if in.Cursor != "" {
		var err error
		if last, err = readCursor(in.Cursor); err != nil {
			return nil, err
		}
	}
	list, more, err := s.cfg.Rooms.List(ctx, muc.Part{Beyond: last, Max: in.Limit, Hidden: true})
	if err != nil {
		return nil, err
	}
	out := roomsPage{Rooms: make([]ListedRoom, len(list))}
	for i := range list {
		l := &list[i]
		out.Rooms[i] = ListedRoom{s.roomRef(l.Name), l.Title, l.Public, l.Persistent, l.Occupants}
	}
	if more && len(list) > 0 {
		out.Next = cursor(list[len(list)-1].Name)
	}
	return &struct{ Body roomsPage }{out}, nil
}

func (s *Server) createRoom(ctx context.Context, in *struct{ Body NewRoom }) (*struct {
	Location string `header:"Location"`
	Body     Room
}, error) {
	if in.Body.Name == "" {
		in.Body.Name = strings.ToLower(rand.Text())
	}
	name, err := s.room(in.Body.Name)
	if err != nil {
		return nil, err
	}
	members, err := s.memberList(in.Body.Members)
	if err != nil {
		return nil, err
	}
	cfg := s.cfg.Rooms.Default()
	if err := in.Body.apply(&cfg); err != nil {
		return nil, err
	}
	err = s.cfg.Rooms.Create(ctx, name, cfg, members)
	var refused *stanza.Error
	if errors.As(err, &refused) && refused == stanza.ErrConflict {
		return nil, failure(http.StatusConflict, "there is such a room already, or two members would have one nick")
	}
	if err != nil {
		return nil, roomProblem(err)
	}
	made, err := s.cfg.Rooms.Describe(ctx, name)
	if err != nil {
		return nil, roomProblem(err)
	}
	return &struct {
		Location string `header:"Location"`
		Body     Room
	}{"/rooms/" + url.PathEscape(name), s.roomOf(name, &made)}, nil
}

func (s *Server) getRoom(ctx context.Context, in *RoomPath) (*struct{ Body Room }, error) {
	name, err := s.there(in.Room)
	if err != nil {
		return nil, err
	}
	room, err := s.cfg.Rooms.Describe(ctx, name)
	if err != nil {
		return nil, roomProblem(err)
	}
	return &struct{ Body Room }{s.roomOf(name, &room)}, nil
}

func (s *Server) configureRoom(ctx context.Context, in *struct {
	RoomPath
	Body RoomChanges
}) (*empty, error) {
	name, err := s.there(in.Room)
	if err != nil {
		return nil, err
	}
	if err := in.Body.apply(new(muc.Settings)); err != nil { // what it cannot be, it cannot be in any room
		return nil, err
	}
	return nil, roomProblem(s.cfg.Rooms.Configure(ctx, name, func(cfg *muc.Settings) { in.Body.apply(cfg) })) //nolint:errcheck // as above
}

func (s *Server) destroyRoom(ctx context.Context, in *struct {
	RoomPath
	Reason string `query:"reason" maxLength:"1000" doc:"for those who are in it"`
	Venue  string `query:"venue" maxLength:"1023" doc:"name of another room where they are to go"`
}) (*empty, error) {
	name, err := s.there(in.Room)
	if err != nil {
		return nil, err
	}
	venue := ""
	if in.Venue != "" {
		other, err := s.room(in.Venue)
		if err != nil {
			return nil, err
		}
		venue = s.roomRef(other).JID
	}
	if !allowedText(in.Reason) {
		return nil, errBadText
	}
	return nil, roomProblem(s.cfg.Rooms.Destroy(ctx, name, venue, in.Reason))
}
