package api

import (
	"context"
	"net/http"
	"strconv"

	"chatd/muc"
	"chatd/stanza"
)

// A RoomHat is what some players are in a room besides their affiliations (XEP-0317), with who wears it.
type RoomHat struct {
	HatLook
	Players []PlayerRef `json:"players" nullable:"false" doc:"who wear it, in byte order of the addresses"`
}

// A HatLook is a hat by itself.
type HatLook struct {
	URI   string `json:"uri" minLength:"1" maxLength:"256" doc:"the key" example:"urn:game:captain"`
	Title string `json:"title" minLength:"1" maxLength:"256" doc:"for players to read" example:"Captain"`
	Hue   string `json:"hue,omitempty" maxLength:"32" doc:"of its colour: degrees, from 0 to 360; without it, any" example:"327.25"`
}

// A NewHat is a hat as it is to be.
type NewHat struct {
	HatLook
	Players []string `json:"players,omitempty" maxItems:"1000" doc:"numbers or bare JIDs of who wear it"`
}

type hatList struct {
	Hats []RoomHat `json:"hats" nullable:"false"`
}

// NewHats is all hats of a room as they are to be.
type NewHats struct {
	Hats []NewHat `json:"hats" maxItems:"50" nullable:"false"`
}

func (s *Server) addHats() {
	op := func(id, method, summary, about string) operation {
		return operation{id: id, method: method, path: "/rooms/{room}/hats", scope: ScopeRooms, tag: tagRooms, summary: summary, about: about, write: method != http.MethodGet}
	}
	add(s, op("getHats", http.MethodGet, "The hats of a room", "In the order in which they were made."), s.getHats)
	put := op("setHats", http.MethodPut, "Say which hats a room has, and who wears them",
		"Instead of those that it had. Who is in the room and wears others than before is shown with them. 429 if more than 1,000 would be worn.")
	put.maxBody, put.errors = 1<<20, []int{http.StatusTooManyRequests}
	add(s, put, s.setHats)
}

func (s *Server) getHats(ctx context.Context, in *RoomPath) (*struct{ Body hatList }, error) {
	name, err := s.there(in.Room)
	if err != nil {
		return nil, err
	}
	cfg, err := s.cfg.Rooms.Configuration(ctx, name)
	if err != nil {
		return nil, roomProblem(err)
	}
	out := hatList{Hats: []RoomHat{}}
	for _, hat := range cfg.Hats.List() {
		h := RoomHat{HatLook{hat.URI, hat.Title, hat.Hue}, make([]PlayerRef, len(hat.Users))}
		for i, user := range hat.Users {
			h.Players[i] = s.ref(stanza.Restore(user))
		}
		out.Hats = append(out.Hats, h)
	}
	return &struct{ Body hatList }{out}, nil
}

func (s *Server) setHats(ctx context.Context, in *struct {
	RoomPath
	Body NewHats
}) (*empty, error) {
	name, err := s.there(in.Room)
	if err != nil {
		return nil, err
	}
	hats, err := s.hats(in.Body.Hats)
	if err != nil {
		return nil, roomProblem(err)
	}
	return nil, roomProblem(s.cfg.Rooms.Configure(ctx, name, func(cfg *muc.Settings) { cfg.Hats = hats }))
}

// hats reads what callers write.
func (s *Server) hats(list []NewHat) (*muc.Hats, error) {
	all := make([]muc.Hat, len(list))
	for i, h := range list {
		if !allowedText(h.URI) || !allowedText(h.Title) {
			return nil, errBadText
		}
		all[i] = muc.Hat{URI: h.URI, Title: h.Title, Hue: h.Hue}
		for _, p := range h.Players {
			j, err := s.address(p)
			if err != nil {
				return nil, failure(http.StatusUnprocessableEntity, "who wears number "+strconv.Itoa(i+1)+" of the list is neither a number nor a bare JID of this server's domain")
			}
			all[i].Users = append(all[i].Users, j.String())
		}
	}
	return muc.NewHats(all)
}
